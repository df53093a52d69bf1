"""Global magnitude pruning with exact counts.

The published code (LT4REC, and Sparse Sharing before it) cuts every weight below the magnitude of
rank round(rate * alive). Two things differ here, on purpose:

- Ties. A threshold cuts none or all of equal weights: of ten equal ones, "cut two" cuts none.
  Here weights are sorted stably and cut by index, so the count asked for is the count cut.
- Rounding. There the rate applies to what the last round left, so each round's rounding carries
  on to the next. Here a level's count comes from the whole: round(total * d^(level / rounds)).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lt4rec_tf.tickets.masks import Masks


def alive_at_level(total: int, final_density: float, rounds: int, level: int) -> int:
    """Returns the number of weights kept at a level: round(total * d^(level / n)), 1 at least.

    >>> [alive_at_level(1000, 0.2, 4, level) for level in range(5)]
    [1000, 669, 447, 299, 200]

    Args:
        total: Number of prunable weights, 1 or more.
        final_density: d, in (0, 1].
        rounds: n, 1 or more.
        level: Number of prunings so far, in 0..n.

    Returns:
        A whole number in 1..total; a product exactly half way goes to the even neighbour.

    Raises:
        ValueError: An argument is out of its range.

    Source: LT4REC's and Sparse Sharing's code, which cut the share 1 - d^(1 / n) of the alive
    weights in each round; Sun et al. (arXiv 1911.05034), Algorithm 1.
    """
    if not 0.0 < final_density <= 1.0:
        raise ValueError(f"final_density: found {final_density}, expected a number in (0, 1]")
    if rounds < 1:
        raise ValueError(f"rounds: found {rounds}, expected 1 or more")
    if total < 1:
        raise ValueError(f"total: found {total}, expected 1 weight or more")
    if not 0 <= level <= rounds:
        raise ValueError(f"level: found {level}, expected 0..{rounds}")
    return max(1, round(total * final_density ** (level / rounds)))


def prune_by_magnitude(weights: Mapping[str, np.ndarray], masks: Masks, keep: int) -> Masks:
    """Keeps the alive weights of largest magnitude over all kernels together.

    Only alive weights are ranked, so no cut weight revives. Of equal magnitudes those that come
    first are cut first: kernels in the order of `masks`, weights in row-major order.

    >>> weights = {"tower_0": np.array([[0.1, -0.9], [0.5, -0.3]]), "tower_1": np.array([[-0.2]])}
    >>> masks = {"tower_0": np.array([[True, False], [True, True]]), "tower_1": np.array([[True]])}
    >>> pruned = prune_by_magnitude(weights, masks, keep=2)
    >>> pruned["tower_0"].tolist(), pruned["tower_1"].tolist()
    ([[False, False], [True, True]], [[False]])

    Args:
        weights: Kernel name -> float array, finite.
        masks: Kernel name -> bool array of the kernel's shape: what is alive now.
        keep: Number of weights to keep, from 1 to the number alive.

    Returns:
        New masks that keep exactly `keep` weights; the arguments are left as they are.

    Raises:
        ValueError: Names, shapes or dtypes do not match, a weight is not finite, or `keep` is out
            of its range.
    """
    check_weights(weights, masks)
    alive = np.concatenate([np.abs(as_float(weights[name])[masks[name]]) for name in masks])
    if not 1 <= keep <= alive.size:
        raise ValueError(f"keep: found {keep}, expected 1..{alive.size}, the weights alive")

    # Cut by index, not by a threshold, which would cut none or all of equal weights.
    survives = np.ones(alive.size, bool)
    survives[np.argsort(alive, kind="stable")[: alive.size - keep]] = False

    pruned, start = {}, 0
    for name, mask in masks.items():
        stop = start + int(np.count_nonzero(mask))
        pruned[name] = np.zeros_like(mask)
        pruned[name][mask] = survives[start:stop]
        start = stop
    return pruned


def as_float(weights: np.ndarray) -> np.ndarray:
    """Converts weights to float64, which holds every narrower float exactly.

    Kernels of different types are then ranked correctly.
    """
    return np.asarray(weights, np.float64)


def check_weights(weights: Mapping[str, np.ndarray], masks: Masks) -> None:
    """Checks that masks fit the weights and that the weights can be ranked.

    Raises:
        ValueError: Names, shapes or dtypes do not match, or a weight is not finite.
    """
    if not masks or weights.keys() != masks.keys():
        raise ValueError(
            f"weights: found kernels {list(weights)}, expected {list(masks) or 'some'}"
        )
    for name, mask in masks.items():
        kernel = np.asarray(weights[name])
        if kernel.shape != mask.shape:
            raise ValueError(
                f"weights of {name!r}: found shape {kernel.shape}, expected the mask's {mask.shape}"
            )
        if mask.dtype != bool:
            raise ValueError(f"mask of {name!r}: found dtype {mask.dtype}, expected bool")
        infinite = int(np.count_nonzero(~np.isfinite(as_float(kernel))))
        if infinite:
            raise ValueError(
                f"weights of {name!r}: found {infinite} that are NaN or infinite, expected finite "
                "ones; a training that diverged cannot be pruned"
            )
