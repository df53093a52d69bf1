"""What measures of resampled rows share: sums by user, and how often rows are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

# How often each user is drawn, (replicates, users) -> the metric, (replicates, seeds).
Measure = Callable[[np.ndarray], np.ndarray]
Weights = np.ndarray | None  # of the rows, above 0, (rows,); None: all count once


class Builder(Protocol):
    """Makes the measure of a metric on given rows."""

    def __call__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        user_of: np.ndarray,
        weights: Weights = None,
    ) -> Measure:
        """Returns the measure.

        Args:
            labels: (rows,).
            scores: (seeds, rows).
            user_of: Each row's place among the users, (rows,).
            weights: See `Weights`.
        """


def mean_by_counts(losses: np.ndarray, user_of: np.ndarray, weights: Weights) -> Measure:
    """Returns the measure of a mean over rows, for which a replicate needs sums by user alone."""
    rows_of = rows_by_user(user_of, weights)
    sums = sums_by_user(losses, user_of, weights)

    def measure(counts: np.ndarray) -> np.ndarray:
        # No BLAS, whose order of summation depends on its threads.
        totals = np.einsum("ru,su->rs", counts, sums)
        return totals / (counts @ rows_of)[:, None]

    return measure


def of_rows(weights: Weights, rows: np.ndarray) -> Weights:
    """Returns the weights of some rows, by their numbers or a mask; None where all count once."""
    return None if weights is None else weights[rows]


def drawn_rows(drawn: np.ndarray, users: np.ndarray, weights: Weights) -> np.ndarray:
    """Returns how often each row counts, (rows, replicates).

    Args:
        drawn: How often each user is drawn, (users, replicates).
        users: Of the rows, (rows,).
        weights: Of the rows, (rows,).
    """
    of_row = drawn[users]
    if weights is not None:
        of_row *= weights[:, None]
    return of_row


def rows_by_user(user_of: np.ndarray, weights: Weights) -> np.ndarray:
    """Returns the weight of each user's rows, float64 (users,)."""
    return np.bincount(user_of, weights=weights).astype(np.float64)


def sum_by_user(of_row: np.ndarray, user_of: np.ndarray, weights: Weights) -> np.ndarray:
    """(rows,) -> (users,)."""
    return np.bincount(user_of, weights=of_row if weights is None else of_row * weights)


def sums_by_user(of_row: np.ndarray, user_of: np.ndarray, weights: Weights) -> np.ndarray:
    """(seeds, rows) -> (seeds, users)."""
    return np.stack([sum_by_user(of_seed, user_of, weights) for of_seed in of_row])


def ratios(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """NaN where what is divided by is not above 0."""
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)
