"""Checks of the columns that every metric is given."""

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
