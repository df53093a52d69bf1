"""Columns of many rows, read in parts, so that no more than a few bytes a row lie beside them.

Columns stay as narrow as they are given, also where they lie in a file; a part of them becomes
float64 at a time. Results are, bit for bit, those of NumPy over the whole columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.inputs import mean, same_length, total, weighted_columns

ROWS = 1 << 20  # of a part; a multiple of 8


def parts(rows: int) -> Iterator[slice]:
    """Yields the parts of so many rows, in order."""
    for start in range(0, rows, ROWS):
        yield slice(start, min(start + ROWS, rows))


def narrow_columns(**columns: ArrayLike) -> list[np.ndarray]:
    """Returns the columns as `inputs.finite_columns` does, those of float32 as they are.

    Raises:
        ValueError: As there.
    """
    checked = {}
    for name, column in columns.items():
        array = np.asarray(column)
        checked[name] = array if array.dtype == np.float32 else np.asarray(array, np.float64)
    same_length(**checked)
    for name, column in checked.items():
        _refuse_infinite(name, column)
    return list(checked.values())


def counted_columns(
    weights: ArrayLike | None, **columns: ArrayLike
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Returns what `inputs.weighted_columns` does; without weights as `narrow_columns` does.

    Raises:
        ValueError: As there.
    """
    if weights is None:
        return narrow_columns(**columns), None
    return weighted_columns(weights, **columns)


def _refuse_infinite(name: str, column: np.ndarray) -> None:
    first, wrong = None, 0
    for rows in parts(len(column)):
        found = np.flatnonzero(~np.isfinite(column[rows]))
        if first is None and found.size:
            first = rows.start + int(found[0])
        wrong += found.size
    if first is not None:
        raise ValueError(
            f"{name}: found {float(column[first])} in row {first} (and {wrong - 1} more such "
            "rows), expected finite numbers"
        )


def total_of(function: Callable[..., np.ndarray], *columns: np.ndarray) -> float:
    """Returns the sum over rows of a function of the columns, as `np.sum` adds them up.

    NumPy halves a column until its pieces are short, and adds up their sums; the first half is a
    multiple of 8. So does this, down to pieces that fit.

    >>> total_of(lambda y, p: y * p, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    11.0

    Args:
        function: From float64 columns (some rows,) to numbers (some rows,).
        columns: (rows,).
    """

    def total(start: int, stop: int) -> np.float64:
        rows = stop - start
        if rows <= ROWS:
            some = (column[start:stop].astype(np.float64, copy=False) for column in columns)
            return np.float64(np.asarray(function(*some)).sum())
        half = rows // 2
        half -= half % 8
        return total(start, start + half) + total(start + half, stop)

    return float(total(0, len(columns[0])))


def total_over(
    function: Callable[..., np.ndarray], weights: np.ndarray | None, *columns: np.ndarray
) -> float:
    """Returns sum(w f(columns)), see `total_of`; weights lie in memory as their columns do."""
    if weights is None:
        return total_of(function, *columns)
    return total(function(*columns), weights)


def mean_over(
    function: Callable[..., np.ndarray], weights: np.ndarray | None, *columns: np.ndarray
) -> float:
    """Returns sum(w f(columns)) / sum(w), see `total_of`; nan without rows."""
    if weights is not None:
        return mean(function(*columns), weights)
    rows = len(columns[0])
    return total_of(function, *columns) / rows if rows else float("nan")


def as_they_are(column: np.ndarray) -> np.ndarray:
    """Returns a column, where a function of it is asked for."""
    return column


def all_rows(function: Callable[[np.ndarray], np.ndarray], column: np.ndarray) -> bool:
    """Tells if a function of a column, from numbers to truth values, holds for every row."""
    return all(bool(function(column[rows]).all()) for rows in parts(len(column)))


def order_keys(column: np.ndarray) -> np.ndarray:
    """Returns whole numbers in the order of a column's numbers, equal where these are: uint32.

    Of float32 they are its bits, with the sign turned into order; of others, ranks.

    >>> order_keys(np.array([0.5, -1.0, 0.5, -0.0, 0.0])).tolist()
    [2, 0, 2, 1, 1]

    Args:
        column: Finite numbers, (rows,), fewer than 2^32.
    """
    if column.dtype != np.float32:
        return np.unique(column, return_inverse=True)[1].astype(np.uint32)

    keys = np.empty(len(column), np.uint32)
    for rows in parts(len(column)):
        bits = (column[rows] + np.float32(0.0)).view(np.uint32)  # -0.0 equals 0.0
        keys[rows] = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return keys
