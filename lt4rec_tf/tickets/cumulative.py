"""Pruning by cumulative magnitude: each layer keeps the weights that hold most of its sum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lt4rec_tf.tickets.magnitude import as_float, check_weights
from lt4rec_tf.tickets.masks import Masks


def prune_by_cumulative_magnitude(
    weights: Mapping[str, np.ndarray], masks: Masks, share: float
) -> Masks:
    """Cuts each kernel's smallest alive weights, as many as hold at most a share of its sum of |w|.

    A kernel whose sum lies in few large weights is cut more than one of many alike, so each has a
    density of its own. Of equal magnitudes those that come first, row by row, are cut first. The
    largest weight of a kernel always stays.

    >>> weights = {"tower_0": np.array([[4, -1.0], [2, 3]]), "tower_1": np.array([[1.0, 1]])}
    >>> masks = {name: np.ones(kernel.shape, bool) for name, kernel in weights.items()}
    >>> pruned = prune_by_cumulative_magnitude(weights, masks, share=0.5)
    >>> pruned["tower_0"].tolist(), pruned["tower_1"].tolist()
    ([[True, False], [False, True]], [[False, True]])

    Args:
        weights: Kernel name -> float array, finite.
        masks: Kernel name -> bool array of the kernel's shape: what is alive now. A kernel may
            have none, and keeps none then.
        share: tau, in [0, 1).

    Returns:
        New masks; the arguments are left as they are.

    Raises:
        ValueError: The share is out of its range, or names, shapes or dtypes do not match, or a
            weight is not finite.

    Source: CSMF (Deng et al., SIGIR 2025, arXiv 2504.12920), cumulative percentile-based pruning,
    with a weight's magnitude for its value.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"share: found {share}, expected a number in [0, 1)")
    check_weights(weights, masks)
    return {name: _cut(as_float(weights[name]), mask, share) for name, mask in masks.items()}


def _cut(weights: np.ndarray, mask: np.ndarray, share: float) -> np.ndarray:
    sizes = np.abs(weights[mask])
    order = np.argsort(sizes, kind="stable")
    held = np.cumsum(sizes[order])
    survives = np.ones(sizes.size, bool)
    # Without the last one: the largest weight stays, also where all are 0.
    survives[order[:-1][held[:-1] <= share * sizes.sum()]] = False
    pruned = np.zeros_like(mask)
    pruned[mask] = survives
    return pruned
