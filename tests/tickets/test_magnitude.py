"""Pruning by magnitude: schedules, counts and ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lt4rec_tf.tickets.magnitude import alive_at_level, prune_by_magnitude
from lt4rec_tf.tickets.masks import density, ones_like

finite = st.floats(-1e6, 1e6, width=32)
# Few distinct values: most of them tie.
tying = st.sampled_from(np.float32([-1.0, -0.5, 0.0, 0.5, 1.0]))
final_densities = st.floats(0.001, 1.0)


@st.composite
def towers(draw, elements=finite):
    """Weights of one to three kernels and masks that keep at least one weight."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3))
    weights = {
        f"tower_{k}": draw(arrays(np.float32, shape, elements=elements))
        for k, shape in enumerate(shapes)
    }
    masks = {name: draw(arrays(bool, kernel.shape)) for name, kernel in weights.items()}
    masks["tower_0"][0, 0] = True
    return weights, masks


def flat(arrays_by_name):
    return np.concatenate([array.ravel() for array in arrays_by_name.values()])


def count(masks):
    return int(flat(masks).sum())


def draw_keep(data, masks):
    return data.draw(st.integers(1, count(masks)), label="keep")


# Schedule


def test_published_schedule():
    # The published code's own file names: 1_66.87%, 2_44.72%, 3_29.91%, 4_20.0%.
    counts = [alive_at_level(10_000, 0.2, 4, level) for level in range(1, 5)]
    assert counts == [6687, 4472, 2991, 2000]
    # Sparse Sharing's scripts: 0.1 in 20 rounds cut 10.87 of 100 a round.
    assert alive_at_level(10_000, 0.1, 20, 1) == 10_000 - 1087


def test_alive_counts_of_the_published_tower():
    total = 720 * 512 + 512 * 256 + 256 * 128
    counts = [alive_at_level(total, 0.2, 4, level) for level in range(5)]
    # By decimal arithmetic: 532480 * 0.2^(k/4) = 356090.86, 238132.30, 159248.67, 106496.
    assert counts == [532480, 356091, 238132, 159249, 106496]


@given(st.integers(1, 10**9), final_densities, st.integers(1, 20))
def test_levels_start_whole_end_exactly_and_never_grow(total, final_density, rounds):
    counts = [alive_at_level(total, final_density, rounds, level) for level in range(rounds + 1)]
    assert counts[0] == total
    assert counts[-1] == max(1, round(total * final_density))
    assert counts == sorted(counts, reverse=True)
    for level, alive in enumerate(counts):
        assert alive == 1 or abs(alive - total * final_density ** (level / rounds)) <= 0.5


@pytest.mark.parametrize("final_density", [0.0, -0.1, 1.1, float("nan")])
def test_densities_out_of_range_are_refused(final_density):
    with pytest.raises(ValueError, match="final_density: found"):
        alive_at_level(10, final_density, 4, 1)


def test_counts_out_of_range_are_refused():
    with pytest.raises(ValueError, match="rounds: found 0, expected 1 or more"):
        alive_at_level(10, 0.2, 0, 0)
    with pytest.raises(ValueError, match=r"level: found 5, expected 0\.\.4"):
        alive_at_level(10, 0.2, 4, 5)
    with pytest.raises(ValueError, match="level: found -1"):
        alive_at_level(10, 0.2, 4, -1)
    with pytest.raises(ValueError, match="total: found 0"):
        alive_at_level(0, 0.2, 4, 1)


# Pruning


def test_pruning_by_hand_is_global_and_ranks_alive_weights_only():
    weights = {
        "tower_0": np.array([[0.9, -0.05], [0.01, -0.7]]),
        "tower_1": np.array([[-0.04], [0.06]]),
    }
    masks = {
        "tower_0": np.array([[True, True], [False, True]]),
        "tower_1": np.array([[True], [True]]),
    }
    # Alive by magnitude: .04 .05 .06 .7 .9; the .01 is cut already and must not be counted again.
    pruned = prune_by_magnitude(weights, masks, keep=3)
    np.testing.assert_array_equal(pruned["tower_0"], [[True, False], [False, True]])
    np.testing.assert_array_equal(pruned["tower_1"], [[False], [True]])


def test_of_equal_weights_the_first_are_cut():
    weights = {"tower_0": np.full((2, 3), -0.5), "tower_1": np.full((2, 2), 0.5)}
    pruned = prune_by_magnitude(weights, ones_like(weights), keep=8)
    np.testing.assert_array_equal(pruned["tower_0"], [[False, False, True], [True, True, True]])
    assert pruned["tower_1"].all()


def test_row_major_order_decides_ties_whatever_the_memory_layout():
    weights = {"tower_0": np.asfortranarray(np.ones((2, 3)))}
    masks = {"tower_0": np.asfortranarray(np.ones((2, 3), bool))}
    pruned = prune_by_magnitude(weights, masks, keep=4)
    np.testing.assert_array_equal(pruned["tower_0"], [[False, False, True], [True, True, True]])


@given(towers(), st.data())
def test_exactly_the_asked_number_is_kept_and_none_revives(tower, data):
    weights, masks = tower
    keep = draw_keep(data, masks)
    pruned = prune_by_magnitude(weights, masks, keep)
    assert count(pruned) == keep
    assert not (flat(pruned) & ~flat(masks)).any()


@given(towers(elements=tying), st.data())
def test_ties_leave_counts_exact_and_the_first_are_cut(tower, data):
    weights, masks = tower
    keep = draw_keep(data, masks)
    pruned = prune_by_magnitude(weights, masks, keep)
    # In plain Python: sort pairs (magnitude, position) and cut the first.
    alive = [(abs(w), index) for index, w in enumerate(flat(weights)) if flat(masks)[index]]
    expected = sorted(index for _, index in sorted(alive)[len(alive) - keep :])
    assert np.flatnonzero(flat(pruned)).tolist() == expected


@given(towers(), st.data())
def test_no_cut_weight_is_larger_than_a_kept_one(tower, data):
    weights, masks = tower
    pruned = flat(prune_by_magnitude(weights, masks, draw_keep(data, masks)))
    magnitudes, cut = np.abs(flat(weights)), flat(masks) & ~pruned
    assert not cut.any() or magnitudes[cut].max() <= magnitudes[pruned].min()


@given(towers(), st.data(), st.integers(-8, 8))
def test_scale_and_sign_of_the_weights_change_nothing(tower, data, exponent):
    weights, masks = tower
    keep = draw_keep(data, masks)
    # A power of two, as other factors round and so can make ties; in float64 nothing underflows.
    scaled = {name: -np.float64(2.0**exponent) * kernel for name, kernel in weights.items()}
    expected = flat(prune_by_magnitude(weights, masks, keep))
    np.testing.assert_array_equal(flat(prune_by_magnitude(scaled, masks, keep)), expected)


@given(towers(), st.data())
def test_without_ties_the_order_of_kernels_changes_nothing(tower, data):
    weights, masks = tower
    size = flat(weights).size
    distinct = np.array(data.draw(st.permutations(range(size))), np.float32) - size / 2 + 0.25
    pieces = np.split(distinct, np.cumsum([kernel.size for kernel in weights.values()])[:-1])
    shaped = zip(weights.items(), pieces, strict=True)
    weights = {name: piece.reshape(kernel.shape) for (name, kernel), piece in shaped}
    keep = draw_keep(data, masks)
    expected = prune_by_magnitude(weights, masks, keep)
    pruned = prune_by_magnitude(weights, dict(reversed(masks.items())), keep)
    for name, mask in expected.items():
        np.testing.assert_array_equal(pruned[name], mask)


@given(towers(), final_densities, st.integers(1, 5))
def test_density_is_exact_at_every_level(tower, final_density, rounds):
    weights, _ = tower
    masks = ones_like(weights)
    total = flat(weights).size
    rng = np.random.default_rng(0)
    for level in range(1, rounds + 1):
        trained = {name: rng.normal(size=kernel.shape) for name, kernel in weights.items()}
        masks = prune_by_magnitude(
            trained, masks, alive_at_level(total, final_density, rounds, level)
        )
        exact = total * final_density ** (level / rounds)
        assert count(masks) == max(1, round(exact))
    assert density(masks) == max(1, round(total * final_density)) / total


@given(towers(), st.data())
def test_pruning_in_steps_is_pruning_at_once_while_weights_stand_still(tower, data):
    weights, masks = tower
    first = draw_keep(data, masks)
    second = data.draw(st.integers(1, first))
    in_steps = prune_by_magnitude(weights, prune_by_magnitude(weights, masks, first), second)
    np.testing.assert_array_equal(flat(in_steps), flat(prune_by_magnitude(weights, masks, second)))


@given(towers(), st.data())
def test_arguments_are_left_as_they_are(tower, data):
    weights, masks = tower
    before = flat(weights).copy(), flat(masks).copy()
    pruned = prune_by_magnitude(weights, masks, draw_keep(data, masks))
    np.testing.assert_array_equal(flat(weights), before[0])
    np.testing.assert_array_equal(flat(masks), before[1])
    assert not any(np.shares_memory(pruned[name], masks[name]) for name in masks)


def test_keeping_all_that_is_alive_changes_nothing():
    weights = {"tower_0": np.array([[3.0, 1.0, 2.0]])}
    masks = {"tower_0": np.array([[True, False, True]])}
    np.testing.assert_array_equal(
        prune_by_magnitude(weights, masks, 2)["tower_0"], masks["tower_0"]
    )


@pytest.mark.parametrize("keep", [0, -1, 3])
def test_keep_must_lie_between_one_and_what_is_alive(keep):
    weights = {"tower_0": np.array([[3.0, 1.0, 2.0]])}
    masks = {"tower_0": np.array([[True, False, True]])}
    with pytest.raises(ValueError, match=rf"keep: found {keep}, expected 1\.\.2"):
        prune_by_magnitude(weights, masks, keep)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("alive", [True, False])
def test_weights_that_are_no_numbers_are_refused(wrong, alive):
    weights = {"tower_0": np.array([[1.0, wrong]])}
    masks = {"tower_0": np.array([[True, alive]])}
    with pytest.raises(ValueError, match="'tower_0': found 1 that are NaN or infinite"):
        prune_by_magnitude(weights, masks, 1)


def test_weights_that_do_not_fit_the_masks_are_refused():
    weights = {"tower_0": np.ones((2, 3))}
    with pytest.raises(ValueError, match=r"'tower_0': found shape \(2, 3\).*\(3, 2\)"):
        prune_by_magnitude(weights, {"tower_0": np.ones((3, 2), bool)}, 1)
    with pytest.raises(ValueError, match=r"found kernels \['tower_0'\], expected \['tower_1'\]"):
        prune_by_magnitude(weights, {"tower_1": np.ones((2, 3), bool)}, 1)
    with pytest.raises(ValueError, match=r"'tower_0': found dtype float64, expected bool"):
        prune_by_magnitude(weights, {"tower_0": np.ones((2, 3))}, 1)
    with pytest.raises(ValueError, match="found kernels"):
        prune_by_magnitude({}, {}, 1)
