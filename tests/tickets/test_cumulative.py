"""Pruning by cumulative magnitude: what it cuts by hand, how its densities depend on the layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.tickets.cumulative import prune_by_cumulative_magnitude


def pruned(kernel, share, mask=None):
    kernel = np.array(kernel, np.float32)
    mask = np.ones(kernel.shape, bool) if mask is None else np.array(mask)
    return prune_by_cumulative_magnitude({"tower_0": kernel}, {"tower_0": mask}, share)["tower_0"]


def test_a_layer_by_hand():
    kernel = [[1.0, -2.0, 3.0], [-4.0, 0.0, 10.0]]  # magnitudes sum to 20: 0, 1, 3, 6, 10, 20
    for share, kept in [(0, 5), (0.05, 4), (0.14, 4), (0.15, 3), (0.3, 2), (0.5, 1), (0.99, 1)]:
        mask = pruned(kernel, share)
        assert mask.sum() == kept, share
        assert np.abs(kernel)[mask].min() > np.abs(kernel)[~mask].max()


def test_what_is_not_alive_neither_counts_nor_revives():
    mask = [[True, True, False], [True, True, False]]
    # Of 1, 2, 4 and 0 two fifths are 2.8: the first two go.
    expected = [[False, True, False], [True, False, False]]
    assert pruned([[1.0, -2.0, 3.0], [-4.0, 0.0, 10.0]], 0.4, mask).tolist() == expected


def test_of_equal_weights_the_first_go_and_one_stays():
    assert pruned([[1.0, 1.0], [-1.0, 1.0]], 0.5).tolist() == [[False, False], [True, True]]
    assert pruned([[0.0, 0.0]], 0.5).tolist() == [[False, True]]
    assert pruned([[5.0, 5.0]], 0.5, [[False, False]]).tolist() == [[False, False]]


def test_each_layer_has_its_own_density():
    rng = np.random.default_rng(1)
    weights = {"alike": np.ones((50, 40)), "normal": rng.normal(size=(50, 40))}
    weights["heavy"] = weights["normal"] ** 3
    masks = {name: np.ones((50, 40), bool) for name in weights}
    found = prune_by_cumulative_magnitude(weights, masks, 0.5)
    shares = {name: mask.mean() for name, mask in found.items()}
    # Of normal weights those above sqrt(2 log 2) deviations hold half of the sum: .239 of them.
    assert shares["alike"] == 0.5
    assert shares["normal"] == pytest.approx(0.239, abs=0.02)
    assert shares["heavy"] < 0.1


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_larger_share_cuts_no_less_and_the_cut_hold_at_most_it(seed, first, second):
    kernel = np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32)
    less, more = (pruned(kernel, share) for share in sorted((first, second)))
    assert (less >= more).all()
    sizes = np.abs(kernel.astype(np.float64))
    assert sizes[~more].sum() <= max(first, second) * sizes.sum() * (1 + 1e-12)
    assert more.any()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match=r"share: found .*, expected a number in"):
        pruned([[1.0]], share)
