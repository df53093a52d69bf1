"""Pruning of whole neurons, by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.masks import MaskError, find_dead_neurons, ones_like
from lt4rec_tf.tickets.neurons import prune_neurons

finite = st.floats(-1e6, 1e6, width=32)
# Few distinct values: most of them tie.
tying = st.sampled_from(np.float32([-1.0, -0.5, 0.0, 0.5, 1.0]))


@st.composite
def towers(draw, elements=finite):
    """Weights of one to three consecutive kernels and masks that have lost whole neurons."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    shapes = list(pairwise(sizes))
    weights = {
        f"tower_{k}": draw(arrays(np.float32, shape, elements=elements))
        for k, shape in enumerate(shapes)
    }
    alive = [np.ones(sizes[0], bool), *(draw(arrays(bool, size)) for size in sizes[1:])]
    for units in alive[1:]:
        units[draw(st.integers(0, units.size - 1))] = True
    masks = {
        name: np.outer(below, units)
        for name, (below, units) in zip(weights, pairwise(alive), strict=True)
    }
    return weights, masks


def alive_of(masks):
    """By layer, which neurons are alive."""
    return [mask.any(axis=0) for mask in masks.values()]


def count(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def fewest(masks):
    """The weights that one neuron in each layer takes."""
    return next(iter(masks.values())).shape[0] + len(masks) - 1


def draw_keep(data, masks):
    total = sum(mask.size for mask in masks.values())
    return data.draw(st.integers(fewest(masks), total), label="keep")


def pruned_by_hand(weights, masks, keep):
    """The docstring's rule in plain Python, one number at a time."""
    kernels = [weights[name].astype(float) * masks[name] for name in masks]
    alive = [units.tolist() for units in alive_of(masks)]
    widths = [kernels[0].shape[0], *(sum(units) for units in alive)]
    ranked = []
    for layer, kernel in enumerate(kernels):
        lengths = []
        for unit in range(kernel.shape[1]):
            length = sum(w**2 for w in kernel[:, unit]) ** 0.5
            if layer + 1 < len(kernels):
                length *= sum(w**2 for w in kernels[layer + 1][unit]) ** 0.5
                length **= 0.5
            lengths.append(length)
        mean_square = sum(a**2 for a, lives in zip(lengths, alive[layer], strict=True) if lives)
        typical = (mean_square / widths[layer + 1]) ** 0.5 or 1.0
        ranked += [(lengths[unit] / typical, layer, unit) for unit in np.flatnonzero(alive[layer])]
    for _, layer, unit in sorted(ranked):
        if sum(below * above for below, above in pairwise(widths)) <= keep:
            break
        if widths[layer + 1] > 1:
            alive[layer][unit] = False
            widths[layer + 1] -= 1
    return [np.array(units) for units in alive]


def test_pruning_by_hand():
    weights = {
        "tower_0": np.array([[3.0, 1.0], [4.0, 0.0]]),  # incoming lengths 5, 1
        "tower_1": np.array([[0.0, 3.0, 4.0], [0.6, 0.8, 0.0]]),  # outgoing 5, 1; incoming below
    }
    # Layer 0: lengths 5, 1, typical sqrt(13): scores 1.39, .28. Layer 1: lengths .6, sqrt(9.64),
    # 4, typical sqrt(8.67): scores .20, 1.05, 1.36. So the first of layer 1 goes, then the second
    # of layer 0, then the second of layer 1; the last of a layer stays.
    masks = ones_like(weights)
    steps = {10: [[1, 1], [1, 1, 1]], 9: [[1, 1], [0, 1, 1]], 8: [[1, 1], [0, 1, 1]]}
    steps |= {7: [[1, 0], [0, 1, 1]], 4: [[1, 0], [0, 1, 1]], 3: [[1, 0], [0, 0, 1]]}
    for keep, expected in steps.items():
        alive = alive_of(prune_neurons(weights, masks, keep))
        assert [units.astype(int).tolist() for units in alive] == expected


def test_cut_weights_count_for_nothing():
    weights = {
        "tower_0": np.array([[1.0, 9.0, 2.0]]),
        "tower_1": np.array([[1.0, 99.0], [99.0, 99.0], [1.0, 1.0]]),
    }
    # The second of layer 0 and the second of layer 1 are cut: of what is alive, the first neuron
    # of layer 0 is the weakest; its 99 to a cut neuron must not save it.
    masks = {
        "tower_0": np.array([[True, False, True]]),
        "tower_1": np.array([[True, False], [False, False], [True, False]]),
    }
    pruned = prune_neurons(weights, masks, keep=2)
    np.testing.assert_array_equal(pruned["tower_0"], [[False, False, True]])
    np.testing.assert_array_equal(
        pruned["tower_1"], [[False, False], [False, False], [True, False]]
    )


def test_layers_of_other_fan_in_are_cut_alike():
    # Drawn as the model draws them: deviation sqrt(2 / (inputs + units)), which is .032 for the
    # first kernel and .072 for the last. A rule on raw lengths would take one layer whole.
    rng = np.random.default_rng(0)
    shapes = [(1457, 512), (512, 256), (256, 128)]
    weights = {
        f"tower_{k}": rng.normal(scale=np.sqrt(2 / sum(shape)), size=shape)
        for k, shape in enumerate(shapes)
    }
    masks = ones_like(weights)
    for level in range(1, 5):
        keep = alive_at_level(count(ones_like(weights)), 0.2, 4, level)
        masks = prune_neurons(weights, masks, keep)
        assert keep - (1457 + 256) <= count(masks) <= keep
    shares = [units.mean() for units in alive_of(masks)]
    assert all(0.1 < share < 0.35 for share in shares)


@given(towers(), st.data(), st.integers(0, 2**32))
def test_it_is_the_documented_rule(tower, data, seed):
    weights, masks = tower
    rng = np.random.default_rng(seed)  # no two scores so near that rounding decides
    weights = {name: rng.normal(size=kernel.shape) for name, kernel in weights.items()}
    keep = draw_keep(data, masks)
    alive = alive_of(prune_neurons(weights, masks, keep))
    for ours, expected in zip(alive, pruned_by_hand(weights, masks, keep), strict=True):
        np.testing.assert_array_equal(ours, expected)


@given(towers(elements=tying), st.data())
def test_what_is_left_is_a_dense_tower_and_none_revives(tower, data):
    weights, masks = tower
    keep = draw_keep(data, masks)
    pruned = prune_neurons(weights, masks, keep)
    alive = alive_of(pruned)
    assert list(pruned) == list(masks)
    assert all(units.any() for units in alive)
    assert not any((pruned[name] & ~masks[name]).any() for name in masks)
    inputs = np.ones(masks["tower_0"].shape[0], bool)
    for mask, (below, units) in zip(pruned.values(), pairwise([inputs, *alive]), strict=True):
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, below[:, None] & units)
    # Whoever counts dead neurons finds the cut ones and no other.
    for dead, units in zip(find_dead_neurons(pruned).values(), alive, strict=True):
        np.testing.assert_array_equal(dead, ~units)


@given(towers(), st.data())
def test_it_keeps_at_most_what_was_asked_for_and_stops_at_once(tower, data):
    weights, masks = tower
    keep = draw_keep(data, masks)
    weights_left = count(prune_neurons(weights, masks, keep))
    assert weights_left <= keep
    widths = [masks["tower_0"].shape[0], *(mask.shape[1] for mask in masks.values()), 0]
    largest = max(below + above for below, above in zip(widths, widths[2:], strict=False))
    assert weights_left >= min(count(masks), keep + 1 - largest)


@given(towers(), st.data(), st.lists(st.integers(-8, 8), min_size=3, max_size=3))
def test_each_kernel_s_scale_and_sign_change_nothing(tower, data, exponents):
    weights, masks = tower
    keep = draw_keep(data, masks)
    # Powers of four, as their roots are exact; others round and so can make ties.
    scaled = {
        name: -(4.0**exponent) * kernel.astype(np.float64)
        for exponent, (name, kernel) in zip(exponents, weights.items(), strict=False)
    }
    expected = prune_neurons(weights, masks, keep)
    for name, mask in prune_neurons(scaled, masks, keep).items():
        np.testing.assert_array_equal(mask, expected[name])


def test_of_equal_neurons_the_first_are_cut():
    weights = {"tower_0": np.full((2, 3), 0.5), "tower_1": np.full((3, 2), -0.5)}
    pruned = prune_neurons(weights, ones_like(weights), keep=8)
    assert [units.tolist() for units in alive_of(pruned)] == [[False, True, True], [True, True]]


def test_a_tower_of_zeros_is_cut_too():
    weights = {"tower_0": np.zeros((2, 3)), "tower_1": np.zeros((3, 2))}
    assert count(prune_neurons(weights, ones_like(weights), keep=4)) <= 4


def test_the_order_of_weights_does_not_matter():
    rng = np.random.default_rng(0)
    weights = {"tower_0": rng.normal(size=(4, 4)), "tower_1": rng.normal(size=(4, 4))}
    masks = ones_like(weights)
    expected = prune_neurons(weights, masks, 12)
    pruned = prune_neurons(dict(reversed(weights.items())), masks, 12)
    for name, mask in expected.items():
        np.testing.assert_array_equal(pruned[name], mask)


@given(towers(), st.data())
def test_arguments_are_left_as_they_are(tower, data):
    weights, masks = tower
    before = [array.copy() for array in (*weights.values(), *masks.values())]
    pruned = prune_neurons(weights, masks, draw_keep(data, masks))
    for array, copy in zip((*weights.values(), *masks.values()), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not any(np.shares_memory(pruned[name], masks[name]) for name in masks)


def test_fewer_alive_than_asked_for_are_left_alone():
    weights = {"tower_0": np.ones((2, 3))}
    masks = {"tower_0": np.array([[True, False, False], [True, False, False]])}
    np.testing.assert_array_equal(prune_neurons(weights, masks, 5)["tower_0"], masks["tower_0"])


@pytest.mark.parametrize("keep", [-1, 0, 4, 13])
def test_keep_must_lie_between_one_neuron_a_layer_and_all_weights(keep):
    weights = {"tower_0": np.ones((3, 2)), "tower_1": np.ones((2, 2)), "tower_2": np.ones((2, 1))}
    with pytest.raises(ValueError, match=rf"keep: found {keep}, expected 5\.\.12"):
        prune_neurons(weights, ones_like(weights), keep)


def test_what_cannot_be_pruned_by_neurons_is_refused():
    weights = {"tower_0": np.ones((2, 2)), "tower_1": np.ones((2, 2))}
    masks = ones_like(weights)
    with pytest.raises(ValueError, match="'tower_0': found 1 that are NaN or infinite"):
        prune_neurons(weights | {"tower_0": np.array([[1, 1], [1, np.nan]])}, masks, 4)
    single = masks | {"tower_1": np.array([[True, True], [True, False]])}
    with pytest.raises(MaskError, match="'tower_1': found single weights cut"):
        prune_neurons(weights, single, 4)
    column_only = masks | {"tower_0": np.array([[True, False], [True, False]])}
    with pytest.raises(MaskError, match="'tower_1': found single weights cut"):
        prune_neurons(weights, column_only, 4)
    with pytest.raises(MaskError, match="'tower_1': found no neuron alive"):
        prune_neurons(weights, masks | {"tower_1": np.zeros((2, 2), bool)}, 4)
    unchained = {"tower_0": np.ones((2, 2)), "tower_1": np.ones((3, 2))}
    with pytest.raises(MaskError, match=r"'tower_1': found shape \(3, 2\), expected \(2, units\)"):
        prune_neurons(unchained, ones_like(unchained), 4)
