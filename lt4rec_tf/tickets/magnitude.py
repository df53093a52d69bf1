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


def rate_per_round(final_density: float, rounds: int) -> float:
    """Share of the alive weights that each round cuts: 1 - d^(1 / n).

    >>> round(rate_per_round(0.2, 4), 5)
    0.33126

    Args:
        final_density: d, share of weights left after the last round, in (0, 1].
        rounds: n, number of prunings, 1 or more.

    Raises:
        ValueError: An argument is out of its range.

    Source: LT4REC's and Sparse Sharing's code; Sun et al. (arXiv 1911.05034), Algorithm 1.
    """
    _check_schedule(final_density, rounds)
    return 1.0 - final_density ** (1.0 / rounds)


def densities_of_rounds(final_density: float, rounds: int) -> list[float]:
    """Density after each round, the last being the final one: d^(k / n) for k = 1..n.

    >>> [round(density, 4) for density in densities_of_rounds(0.2, 4)]
    [0.6687, 0.4472, 0.2991, 0.2]

    Args:
        final_density: In (0, 1].
        rounds: 1 or more.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check_schedule(final_density, rounds)
    return [final_density ** (level / rounds) for level in range(1, rounds + 1)]


def alive_at_level(total: int, final_density: float, rounds: int, level: int) -> int:
    """Number of weights that a level keeps: round(total * d^(level / n)), 1 at least.

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
    """
    _check_schedule(final_density, rounds)
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
    """Weights as float64, which holds every narrower float exactly.

    So kernels of different types rank rightly.
    """
    return np.asarray(weights, np.float64)


def check_weights(weights: Mapping[str, np.ndarray], masks: Masks) -> None:
    """Makes sure that masks fit the weights and that the weights can be ranked.

    Raises:
        ValueError: Names, shapes or dtypes do not match, or a weight is not finite.
    """
    if not masks or weights.keys() != masks.keys():
        raise ValueError(
            f"weights: found kernels {list(weights)}, expected {list(masks) or 'some'}"
        )
    for name, mask in masks.items():
        found = np.asarray(weights[name])
        if found.shape != mask.shape:
            raise ValueError(
                f"weights of {name!r}: found shape {found.shape}, expected the mask's {mask.shape}"
            )
        if mask.dtype != bool:
            raise ValueError(f"mask of {name!r}: found dtype {mask.dtype}, expected bool")
        infinite = int(np.count_nonzero(~np.isfinite(as_float(found))))
        if infinite:
            raise ValueError(
                f"weights of {name!r}: found {infinite} that are NaN or infinite, expected finite "
                "ones; a training that diverged cannot be pruned"
            )


def _check_schedule(final_density: float, rounds: int) -> None:
    if not 0.0 < final_density <= 1.0:
        raise ValueError(f"final_density: found {final_density}, expected a number in (0, 1]")
    if rounds < 1:
        raise ValueError(f"rounds: found {rounds}, expected 1 or more")
