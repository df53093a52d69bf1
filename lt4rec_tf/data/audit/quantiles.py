"""Bins of numbers that hold about equal shares of the rows, from values and their counts."""

from __future__ import annotations

import numpy as np


def quantiles(values: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns what `np.quantile` finds for values that are repeated `counts` times.

    >>> quantiles(np.array([1.0, 2.0, 4.0]), np.array([2, 1, 1]), np.array([0.5, 0.75])).tolist()
    [1.5, 2.5]

    Args:
        values: Rising.
        counts: At least 1 each.
        shares: In [0, 1].
    """
    last_rows = np.cumsum(counts)
    rows = shares * (last_rows[-1] - 1)
    below = np.floor(rows)
    low = values[np.searchsorted(last_rows, below, side="right")]
    high = values[np.searchsorted(last_rows, np.ceil(rows), side="right")]
    return low + (high - low) * (rows - below)


def boundaries(values: np.ndarray, counts: np.ndarray, bins: int) -> tuple[float, ...]:
    """Returns the boundaries between bins; a value on a boundary lies above it.

    Where 0 stands in 95 % of the rows, most quantiles of all rows are 0. So a value in two bins'
    share of the rows or more has a bin of its own, and the others are cut at their own quantiles.

    >>> boundaries(np.array([0.0, 2.0, 5.0]), np.array([90, 5, 5]), 16)
    (1.0, 3.5)

    Args:
        values: Distinct, rising, finite.
        counts: At least 1 each.
        bins: The most bins, at least 2.

    Returns:
        Increasing, at most bins - 1; none where there is one value or none.
    """
    if len(values) <= bins:
        middles = map(_between, values[:-1], values[1:])
        return tuple(middles)

    is_common = _are_common(counts, bins)
    cuts = set()
    if not is_common.all():
        # Each common value may cut a bin of the others in two.
        parts = bins - 2 * int(is_common.sum())
        shares = np.arange(1, parts) / parts
        cuts.update(quantiles(values[~is_common], counts[~is_common], shares).tolist())
    for index in np.flatnonzero(is_common):
        if index > 0:
            cuts.add(_between(values[index - 1], values[index]))
        if index + 1 < len(values):
            cuts.add(_between(values[index], values[index + 1]))
    # At the smallest value, below which there is none, nothing is cut.
    return tuple(sorted(cut for cut in cuts if cut > values[0]))


def edges(values: np.ndarray, counts: np.ndarray, bins: int) -> tuple[float, ...]:
    """Returns the ends of all bins, between which an encoding is linear.

    They are the smallest and the largest value, those in a bin's share of the rows or more, and the
    quantiles of the others.

    >>> edges(np.array([0.0, 2.0, 5.0]), np.array([90, 5, 5]), 16)
    (0.0, 2.0, 5.0)

    Args:
        values: Distinct, rising, finite.
        counts: At least 1 each.
        bins: The most bins, at least 2.

    Returns:
        Increasing, at most bins + 1; as many as there are values where those are fewer.
    """
    if len(values) <= bins + 1:
        return tuple(values.tolist())

    is_common = _are_common(counts, bins)
    ends = {float(values[0]), float(values[-1]), *values[is_common].tolist()}
    if not is_common.all():
        parts = bins - int(is_common.sum())
        shares = np.arange(1, parts) / parts
        ends.update(quantiles(values[~is_common], counts[~is_common], shares).tolist())
    return tuple(sorted(ends))


def _are_common(counts: np.ndarray, bins: int) -> np.ndarray:
    """Tells of values, bool, if one takes two bins' share of the rows or more."""
    return counts * bins >= 2 * counts.sum()


def _between(low: float, high: float) -> float:
    """Returns a number above the low one, at most the high one, near their middle."""
    middle = float(low) + (float(high) - float(low)) / 2
    return middle if low < middle else float(high)
