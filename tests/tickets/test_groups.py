"""Pruning of neurons and groups of inputs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.models.layers.cross import crossed_width, input_groups
from lt4rec_tf.tickets.groups import Importance, prune_groups
from lt4rec_tf.tickets.masks import MaskError

GROUPS = [np.array([0, 3]), np.array([1]), np.array([2])]


def ones(*widths):
    return {f"tower_{i}": np.ones(pair, bool) for i, pair in enumerate(pairwise(widths))}


def alive(masks):
    first, *_ = masks.values()
    return [first.any(axis=1), *(mask.any(axis=0) for mask in masks.values())]


def weights(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def importance(rng, widths, groups=3):
    return Importance(rng.random(groups), tuple(rng.random(width) for width in widths[1:]))


def test_what_matters_least_for_its_weights_goes_first():
    # Of 4 inputs, 3 and 2 neurons, groups free 6, 3 and 3 weights, neurons of the first layer
    # 4 + 2, of the second 3. Scores at first: .1 .2 .3, .25 .15 .5, .4 .6. The first group gone,
    # a neuron of the first layer frees 4: .375 .225 .75.
    found = Importance(np.array([0.6, 0.6, 0.9]), (np.array([1.5, 0.9, 3.0]), np.array([1.2, 1.8])))
    gone = []
    for keep in (12, 9, 6, 3, 2):
        pruned = prune_groups(found, ones(4, 3, 2), keep, GROUPS)
        assert weights(pruned) == keep
        gone.append([np.flatnonzero(~pieces).tolist() for pieces in alive(pruned)])
    assert gone == [
        [[0, 3], [], []],
        [[0, 1, 3], [], []],
        [[0, 1, 3], [1], []],
        [[0, 1, 3], [0, 1], []],
        [[0, 1, 3], [0, 1], [0]],
    ]


def test_a_piece_that_a_task_gains_by_losing_goes_first():
    units = (np.array([1.5, -0.1, 3.0]), np.ones(2))
    pruned = prune_groups(Importance(np.ones(3), units), ones(4, 3, 2), 17, GROUPS)
    assert [np.flatnonzero(~pieces).tolist() for pieces in alive(pruned)] == [[], [1], []]


@given(st.data())
def test_masks_are_whole_pieces_and_few_enough(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    widths = [4, *data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))]
    whole = ones(*widths)
    keep = data.draw(st.integers(len(whole) + 1, weights(whole)))
    found = importance(rng, widths)
    pruned = prune_groups(found, whole, keep, GROUPS)
    pieces = alive(pruned)
    assert weights(pruned) <= keep
    assert all(one.any() for one in pieces)
    assert pieces[0][0] == pieces[0][3]
    for mask, (below, above) in zip(pruned.values(), pairwise(pieces), strict=True):
        assert np.array_equal(mask, np.outer(below, above))

    # A further level cuts more, and nothing revives.
    fewer = data.draw(st.integers(len(whole) + 1, keep))
    again = prune_groups(found, pruned, fewer, GROUPS)
    assert weights(again) <= fewer
    for name in pruned:
        assert not (again[name] & ~pruned[name]).any()


def test_what_is_in_no_piece_is_refused():
    found = importance(np.random.default_rng(0), [4, 3, 2])
    single = ones(4, 3, 2)
    single["tower_1"][0, 1] = False
    with pytest.raises(MaskError, match=r"'tower_1': found single weights cut"):
        prune_groups(found, single, 9, GROUPS)
    half = ones(4, 3, 2)
    half["tower_0"][3] = False
    with pytest.raises(MaskError, match=r"'tower_0': found single weights cut"):
        prune_groups(found, half, 9, GROUPS)
    with pytest.raises(MaskError, match="each of 4 inputs in one of them"):
        prune_groups(found, ones(4, 3, 2), 9, GROUPS[1:])


@pytest.mark.parametrize(
    ("changed", "keep", "message"),
    [
        ({"groups": np.ones(2)}, 9, r"found shapes \[\(2,\)"),
        ({"groups": np.array([1, np.nan, 1])}, 9, "expected finite ones"),
        ({"groups": np.array([1, -np.inf, 1])}, 9, "expected finite ones"),
        ({}, 1, "keep: found 1, expected 2 or more"),
    ],
)
def test_importance_and_counts_that_do_not_fit_are_refused(changed, keep, message):
    found = {"groups": np.ones(3), "units": (np.ones(3), np.ones(2))} | changed
    with pytest.raises(ValueError, match=message):
        prune_groups(Importance(**found), ones(4, 3, 2), keep, GROUPS)


@pytest.mark.parametrize("cross", ["gram", "triangle", "dcn_v2", "none"])
@pytest.mark.parametrize("fields", [1, 2, 5])
def test_every_output_of_a_cross_layer_is_in_one_group(cross, fields):
    groups = input_groups(cross, [f"f{i}" for i in range(fields)], 3)
    places = np.concatenate([*groups.values()])
    assert sorted(places.tolist()) == list(range(crossed_width(cross, fields, 3)))
