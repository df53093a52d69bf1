"""Checks of the columns that every metric is given, and means of weighted rows.

A row of weight w counts as w rows, a row of weight 0 as none. Without weights all rows count once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def finite_columns(**columns: ArrayLike) -> list[np.ndarray]:
    """Returns the columns as float64, checked.

    >>> finite_columns(labels=[0, 1], scores=[0.25, 0.5])
    [array([0., 1.]), array([0.25, 0.5 ])]

    Args:
        columns: Name -> numbers, (rows,); the names are for error messages.

    Raises:
        ValueError: A column is not one-dimensional, has another length than the first, or holds a
            value that is NaN or infinite.
    """
    checked = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    same_length(**checked)
    for name, column in checked.items():
        wrong = np.flatnonzero(~np.isfinite(column))
        if wrong.size:
            raise ValueError(
                f"{name}: found {column[wrong[0]]} in row {wrong[0]} (and {wrong.size - 1} more "
                "such rows), expected finite numbers"
            )
    return list(checked.values())


def weighted_columns(
    weights: ArrayLike | None, **columns: ArrayLike
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Returns the columns and the weights of the rows that count, checked, as float64.

    >>> weighted_columns([2.0, 0.0], labels=[0, 1], scores=[0.25, 0.5])
    ([array([0.]), array([0.25])], array([2.]))

    Args:
        weights: Of the rows, 0 or more, (rows,); None: all count once.
        columns: Name -> numbers, (rows,).

    Raises:
        ValueError: See `finite_columns`; or a weight is below 0.
    """
    if weights is None:
        return finite_columns(**columns), None
    *checked, of_rows = finite_columns(**columns, weights=weights)
    wrong = np.flatnonzero(of_rows < 0)
    if wrong.size:
        raise ValueError(
            f"weights: found {of_rows[wrong[0]]} in row {wrong[0]}, expected 0 or more"
        )
    counts = of_rows > 0
    return [column[counts] for column in checked], of_rows[counts]


def mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Returns sum(w v) / sum(w), of equal weights where there are none; nan without rows."""
    if not values.size:
        return float("nan")
    return float(values.mean() if weights is None else np.average(values, weights=weights))


def total(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Returns sum(w v)."""
    return float((values if weights is None else values * weights).sum())


def same_length(**columns: np.ndarray) -> None:
    """Checks that columns are one-dimensional and of one length.

    Raises:
        ValueError: They are not.
    """
    first = next(iter(columns))
    for name, column in columns.items():
        if column.ndim != 1:
            raise ValueError(f"{name}: found shape {column.shape}, expected one dimension")
        if len(column) != len(columns[first]):
            raise ValueError(
                f"{name}: found {len(column)} rows, expected {len(columns[first])} as in {first}"
            )
