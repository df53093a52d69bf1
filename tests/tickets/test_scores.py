"""Masks by learned scores: single weights, and whole pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.tickets.scores import density_after, keep_best_pieces, keep_highest

GROUPS = [np.array([0, 2]), np.array([1])]


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays.values()])


@given(st.data())
def test_as_many_as_asked_are_kept_and_none_that_is_cut_scores_higher(data):
    # Few different scores, so that many are equal.
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shapes = {"tower_0": (3, 4), "tower_1": (4, 2)}
    draw = {name: rng.integers(-2, 3, shape) for name, shape in shapes.items()}
    scores = {name: values.astype(np.float32) for name, values in draw.items()}
    keep = data.draw(st.integers(1, 20))
    kept = keep_highest(scores, keep)

    assert {name: mask.shape for name, mask in kept.items()} == shapes
    chosen = flat(kept)
    assert chosen.sum() == keep
    order = np.argsort(flat(scores), kind="stable")
    assert set(np.flatnonzero(chosen)) == set(order[-keep:])


@pytest.mark.parametrize("keep", [0, 5])
def test_more_or_fewer_weights_than_there_are_cannot_be_kept(keep):
    with pytest.raises(ValueError, match=f"keep: found {keep}, expected 1..4"):
        keep_highest({"tower_0": np.zeros((2, 2), np.float32)}, keep)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_of_a_training_that_diverged_are_refused(score):
    scores = {"tower_0": np.array([[1.0], [score]]), "tower_1": np.array([[1.0]])}
    with pytest.raises(ValueError, match="NaN or infinite"):
        keep_highest(scores, 1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        keep_best_pieces(scores, 2, [np.array([0]), np.array([1])])


def test_density_falls_from_all_to_the_final_one_and_stays():
    densities = [density_after(share, 0.25) for share in np.linspace(0, 1, 101)]
    assert densities[:11] == [1.0] * 11
    assert densities[70:] == pytest.approx([0.25] * 31)
    assert all(np.diff(densities[10:71]) < 0)
    assert densities[40] == pytest.approx(0.25 + 0.75 / 8)  # half way: (1 / 2)^3 is left to cut


def test_the_score_of_a_piece_is_the_sum_over_the_weights_that_read_it():
    # Groups: rows 0 and 2, row 1. Neurons of the first layer: rows of the second kernel; of the
    # second: its columns.
    first = np.array([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0], [-8.0, 1.0, 1.0]])
    second = np.array([[2.0, 1.0], [-4.0, 1.0], [1.0, 1.0]])
    scores = {"tower_0": first, "tower_1": second}
    # All: 3 * 3 + 3 * 2 = 15 weights. For the weights they take: groups -3 / 6, 15 / 3; neurons
    # 3 / 5, -3 / 5, 2 / 5; -1 / 3, 3 / 3.
    masks = keep_best_pieces(scores, 14, GROUPS)
    assert masks["tower_0"].astype(int).tolist() == [[1, 0, 1]] * 3
    assert masks["tower_1"].astype(int).tolist() == [[1, 1], [0, 0], [1, 1]]
    # Then of 3 * 2 + 2 * 2: groups -3 / 4; neurons 3 / 5, 2 / 5; -1 / 2, 3 / 2.
    masks = keep_best_pieces(scores, 9, GROUPS)
    assert masks["tower_0"].astype(int).tolist() == [[0, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert masks["tower_1"].astype(int).tolist() == [[1, 1], [0, 0], [1, 1]]


def test_what_was_cut_comes_back_once_it_scores():
    before = {"tower_0": np.array([[3.0, 2.0, 1.0]], np.float32)}
    after = {"tower_0": np.array([[3.0, 2.0, 2.5]], np.float32)}
    assert keep_highest(before, 2)["tower_0"].tolist() == [[True, True, False]]
    assert keep_highest(after, 2)["tower_0"].tolist() == [[True, False, True]]
