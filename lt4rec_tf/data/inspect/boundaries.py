"""Boundaries of a column of amounts: at quantiles, and around values that many rows share."""

from __future__ import annotations

import numpy as np

QUANTILES = 16
_SHARED = 2 / QUANTILES  # of the rows: a value that would take two quantiles or more


def boundaries_of(numbers: np.ndarray) -> tuple[float, ...]:
    """Chooses boundaries so that cells hold about equal shares of the rows.

    Where 0 stands in 95 % of the rows, the quantiles of all rows are 0. So a value in an eighth of
    the rows or more gets a cell of its own, halfway to its neighbours, and the others are cut at
    their own quantiles.

    >>> boundaries_of(np.repeat([0.0, 2.0, 5.0], [90, 5, 5]))
    (1.0, 2.0, 3.5, 5.0)

    Args:
        numbers: Sorted, finite, at least one.

    Returns:
        Increasing, at least one.
    """
    values, counts = np.unique(numbers, return_counts=True)
    is_shared = counts >= _SHARED * len(numbers)
    others = np.repeat(values[~is_shared], counts[~is_shared])

    cuts = set()
    if len(others):
        shares = np.arange(1, QUANTILES) / QUANTILES
        for cut in np.quantile(others, shares).tolist():
            cuts.add(_short(cut) if _short(cut) <= numbers[-1] else cut)
    for index in np.flatnonzero(is_shared):
        if index > 0:
            cuts.add(_between(values[index - 1], values[index]))
        if index + 1 < len(values):
            cuts.add(_between(values[index], values[index + 1]))
    return tuple(sorted(cuts)) or (_short(values[0]),)


def _between(low: float, high: float) -> float:
    """Returns a short number above the low one, up to the high one, that float32 tells from it."""
    middle = _short((low + high) / 2)
    return middle if np.float32(low) < np.float32(middle) <= np.float32(high) else float(high)


def _short(number: float) -> float:
    return float(f"{number:.6g}")
