"""Pruning by scores that are learned while a network trains, and the schedule along which it cuts.

A ticket is not the one before with less in it: what has the highest scores is kept each time, so
that a weight that was cut may come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lt4rec_tf.tickets.groups import Importance, prune_groups
from lt4rec_tf.tickets.masks import Masks, ones

# Scores mean something before the first cut; after the last one they settle at the final density.
BEGIN_SHARE = 0.1
END_SHARE = 0.7

Scores = Mapping[str, np.ndarray]


def density_after(share: float, final_density: float) -> float:
    """Returns the density at a moment of a training: d + (1 - d) (1 - p)^3.

    p rises from 0 to 1 between `BEGIN_SHARE` and `END_SHARE` of the steps.

    >>> [round(density_after(share, 0.2), 3) for share in (0.0, 0.1, 0.4, 0.7, 1.0)]
    [1.0, 1.0, 0.3, 0.2, 0.2]

    Args:
        share: Of the training's steps that are done, in [0, 1].
        final_density: d, in (0, 1].

    Source: Zhu and Gupta (arXiv 1710.01878), Eq. 1.
    """
    passed = (share - BEGIN_SHARE) / (END_SHARE - BEGIN_SHARE)
    left = 1.0 - min(1.0, max(0.0, passed))
    return final_density + (1.0 - final_density) * left**3


def keep_highest(scores: Scores, keep: int) -> Masks:
    """Keeps the weights of the highest scores over all kernels together.

    Of equal scores those that come last are kept: kernels in the order of `scores`, weights in
    row-major order.

    >>> kept = keep_highest({"tower_0": np.array([[0.5, -0.9]]), "tower_1": np.array([[0.2]])}, 2)
    >>> kept["tower_0"].tolist(), kept["tower_1"].tolist()
    ([[True, False]], [[True]])

    Args:
        scores: Kernel name -> float (inputs, units).
        keep: Number of weights to keep, from 1 to the number of all.

    Raises:
        ValueError: A score is not finite, or `keep` is out of its range.
    """
    flat = np.concatenate([scores[name].ravel() for name in scores])
    if not np.isfinite(flat).all():
        raise ValueError("scores: found some that are NaN or infinite, expected finite ones")
    if not 1 <= keep <= flat.size:
        raise ValueError(f"keep: found {keep}, expected 1..{flat.size}")

    # Sorting all of them would take ten times as long, at every step of the schedule.
    lowest = np.partition(flat, flat.size - keep)[flat.size - keep]
    kept = flat > lowest
    equal = np.flatnonzero(flat == lowest)
    kept[equal[len(equal) - (keep - np.count_nonzero(kept)) :]] = True

    masks, start = {}, 0
    for name, of_kernel in scores.items():
        stop = start + of_kernel.size
        masks[name] = kept[start:stop].reshape(of_kernel.shape)
        start = stop
    return masks


def keep_best_pieces(scores: Scores, keep: int, groups: Sequence[np.ndarray]) -> Masks:
    """Keeps the neurons and groups of inputs of the highest scores for the weights they take.

    The score of a piece is the sum of those of the weights that read it: rows of the first kernel
    for a group of inputs, a row of the next kernel for a neuron, the own column for one of the last
    layer.

    Args:
        scores: Kernel name -> float (inputs, units), from the input upwards.
        keep: Number of weights to keep at most; see `prune_groups`.
        groups: Indices of the first layer's inputs; each is in one group.

    Raises:
        ValueError: A score is not finite, or `keep` is too small.
    """
    by_layer = [scores[name].astype(np.float64) for name in scores]
    of_inputs = by_layer[0].sum(axis=1)
    of_groups = np.array([of_inputs[places].sum() for places in groups])
    of_units = [*(above.sum(axis=1) for above in by_layer[1:]), by_layer[-1].sum(axis=0)]

    shapes = {name: scores[name].shape for name in scores}
    return prune_groups(Importance(of_groups, tuple(of_units)), ones(shapes), keep, groups)
