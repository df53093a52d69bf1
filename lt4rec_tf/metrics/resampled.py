"""Metrics of resampled rows, computed from how often each user is drawn.

Each equals its function in `metrics.binary`, `metrics.continuous` or `metrics.amounts` on the
drawn rows, where every row of a user counts as often as the user is drawn, times its weight if rows
have weights. What does not depend on the draws, such as the order of rows, is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


def _mean_of(losses_of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Builder:
    """Returns the builder of a mean over rows of losses (seeds, rows)."""

    def build(
        labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
    ) -> Measure:
        return _mean_by_counts(losses_of(labels, scores), user_of, weights)

    return build


def _mean_by_counts(losses: np.ndarray, user_of: np.ndarray, weights: Weights) -> Measure:
    """Returns the measure of a mean over rows, for which a replicate needs sums by user alone."""
    rows_of = _rows_by_user(user_of, weights)
    sums = _sums_by_user(losses, user_of, weights)

    def measure(counts: np.ndarray) -> np.ndarray:
        # No BLAS, whose order of summation depends on its threads.
        totals = np.einsum("ru,su->rs", counts, sums)
        return totals / (counts @ rows_of)[:, None]

    return measure


def _auc_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the weighted Mann-Whitney statistic; rows are sorted once.

    Without weights all sums are of whole numbers (ties count 1 of 2), exact in float64 below 2^53.
    """
    positive = labels == 1
    positive_user, negative_user = user_of[positive], user_of[~positive]
    positive_weight, negative_weight = _of_rows(weights, positive), _of_rows(weights, ~positive)
    sorted_scores = []
    for of_seed in scores:
        order = np.argsort(of_seed[~positive])
        negatives = of_seed[~positive][order]
        below = np.searchsorted(negatives, of_seed[positive], side="left")
        not_above = np.searchsorted(negatives, of_seed[positive], side="right")
        weight = _of_rows(negative_weight, order)
        sorted_scores.append((negative_user[order], weight, below, not_above))

    def measure(counts: np.ndarray) -> np.ndarray:
        replicates = len(counts)
        # Users first: what is drawn of a row is then one stretch of memory.
        drawn = np.ascontiguousarray(counts.T)
        drawn_positive = _drawn_rows(drawn, positive_user, positive_weight)
        won = np.empty((len(sorted_scores), replicates))
        up_to = np.zeros((len(negative_user) + 1, replicates))  # weight of the lowest n negatives

        for seed_index, (user, weight, below, not_above) in enumerate(sorted_scores):
            np.cumsum(_drawn_rows(drawn, user, weight), axis=0, out=up_to[1:])
            twice_below = up_to[below]
            twice_below += up_to[not_above]
            won[seed_index] = np.einsum("pr,pr->r", drawn_positive, twice_below)

        pairs = drawn_positive.sum(axis=0) * up_to[-1]
        return _ratios(won, 2 * pairs).T

    return measure


def _rmse_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    mean = _mean_by_counts(_squares(labels, scores), user_of, weights)
    return lambda counts: np.sqrt(mean(counts))


def _nrmse_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the RMSE divided by the deviation of the drawn labels.

    Labels' squares are summed within each user about the user's mean, and users' means about the
    replicate's: a difference of large sums would lose the digits of a small deviation.
    """
    rmse = _rmse_by_counts(labels, scores, user_of, weights)
    rows_of = _rows_by_user(user_of, weights)
    mean_of = _sum_by_user(labels, user_of, weights) / rows_of
    within = _sum_by_user((labels - mean_of[user_of]) ** 2, user_of, weights)
    lowest, highest = np.full(len(rows_of), np.inf), np.full(len(rows_of), -np.inf)
    np.minimum.at(lowest, user_of, labels)
    np.maximum.at(highest, user_of, labels)

    def measure(counts: np.ndarray) -> np.ndarray:
        rows = counts @ rows_of
        means = np.einsum("ru,u->r", counts, rows_of * mean_of) / rows
        between = rows_of * (mean_of - means[:, None]) ** 2
        deviation = np.sqrt(np.einsum("ru,ru->r", counts, within + between) / rows)

        # Equal labels are recognised by their range: rounding may leave them a deviation.
        low = np.where(counts > 0, lowest, np.inf).min(axis=1)
        high = np.where(counts > 0, highest, -np.inf).max(axis=1)
        return _ratios(rmse(counts), np.where(low < high, deviation, 0.0)[:, None])

    return measure


def _nmae_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    sums = _sums_by_user(np.abs(labels - scores), user_of, weights)
    amounts = _sum_by_user(labels, user_of, weights)

    def measure(counts: np.ndarray) -> np.ndarray:
        totals = np.einsum("ru,u->r", counts, amounts)
        return _ratios(np.einsum("ru,su->rs", counts, sums), totals[:, None])

    return measure


@dataclass(frozen=True)
class _Sorted:
    """A column in rising order, whose draws are then running sums.

    Attributes:
        users: The users of the rows by rising value, (rows,).
        weights: Of these rows, (rows,); None: all count once.
        below: How many rows have a lower value than each row, (rows,).
        not_above: How many rows have no higher value, (rows,).
    """

    users: np.ndarray
    weights: Weights
    below: np.ndarray
    not_above: np.ndarray

    @classmethod
    def of(cls, column: np.ndarray, user_of: np.ndarray, weights: Weights = None) -> _Sorted:
        order = np.argsort(column)
        sides = (np.searchsorted(column[order], column, side=side) for side in ("left", "right"))
        return cls(user_of[order], _of_rows(weights, order), *sides)

    def places(self, drawn: np.ndarray) -> np.ndarray:
        """Returns twice the distance of each row's mid-rank from the mean rank: whole numbers.

        Of n rows drawn, w tie with a row and c lie below: its mid-rank is c + (w + 1) / 2, the
        mean rank (n + 1) / 2, and the result c + (c + w) - n. Rows count their weights.

        >>> rising = _Sorted.of(np.array([0.5, 0.1, 0.5]), np.array([0, 1, 2]))
        >>> rising.places(np.array([[1.0], [1.0], [1.0]])).T  # mid-ranks 2.5, 1, 2.5 about 2
        array([[ 1., -2.,  1.]])

        Args:
            drawn: How often each user is drawn, (users, replicates).

        Returns:
            (rows, replicates).
        """
        up_to = np.zeros((len(self.users) + 1, drawn.shape[1]))
        np.cumsum(_drawn_rows(drawn, self.users, self.weights), axis=0, out=up_to[1:])
        places = up_to[self.below]
        places += up_to[self.not_above]
        places -= up_to[-1]
        return places


def _spearman_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of Pearson's correlation of weighted mid-ranks; rows are sorted once."""
    sorted_labels = _Sorted.of(labels, user_of, weights)
    sorted_scores = [_Sorted.of(of_seed, user_of, weights) for of_seed in scores]

    def measure(counts: np.ndarray) -> np.ndarray:
        drawn = np.ascontiguousarray(counts.T)
        of_rows = _drawn_rows(drawn, user_of, weights)
        places = sorted_labels.places(drawn)
        weighted = of_rows * places
        label_spread = np.einsum("ir,ir->r", weighted, places)

        correlations = []
        for of_seed in sorted_scores:
            places = of_seed.places(drawn)
            covariance = np.einsum("ir,ir->r", weighted, places)
            places *= places
            spread = np.einsum("ir,ir->r", of_rows, places)
            correlations.append(_ratios(covariance, np.sqrt(spread * label_spread)))
        return np.stack(correlations, axis=1)

    return measure


def _gini_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the ratio of sums y (2 a - n) in `metrics.amounts.gini`."""
    sorted_labels = _Sorted.of(labels, user_of, weights)
    sorted_scores = [_Sorted.of(of_seed, user_of, weights) for of_seed in scores]

    def measure(counts: np.ndarray) -> np.ndarray:
        drawn = np.ascontiguousarray(counts.T)
        of_rows = _drawn_rows(drawn, user_of, weights)
        amounts = of_rows * labels[:, None]
        places = sorted_labels.places(drawn)
        differ = ((places != 0) & (of_rows > 0)).any(axis=0)  # equal labels are all in the middle
        places += 1
        best = np.where(differ, np.einsum("ir,ir->r", amounts, places), 0.0)

        coefficients = []
        for of_seed in sorted_scores:
            raw = np.einsum("ir,ir->r", amounts, of_seed.places(drawn) + 1)
            coefficients.append(_ratios(raw, best))
        return np.stack(coefficients, axis=1)

    return measure


def _of_rows(weights: Weights, rows: np.ndarray) -> Weights:
    return None if weights is None else weights[rows]


def _drawn_rows(drawn: np.ndarray, users: np.ndarray, weights: Weights) -> np.ndarray:
    """Returns how often each row counts, (rows, replicates).

    Args:
        drawn: How often each user is drawn, (users, replicates).
        users: Of the rows, (rows,).
        weights: Of the rows, (rows,).
    """
    of_rows = drawn[users]
    if weights is not None:
        of_rows *= weights[:, None]
    return of_rows


def _rows_by_user(user_of: np.ndarray, weights: Weights) -> np.ndarray:
    """Returns the weight of each user's rows, float64 (users,)."""
    return np.bincount(user_of, weights=weights).astype(np.float64)


def _sum_by_user(of_rows: np.ndarray, user_of: np.ndarray, weights: Weights) -> np.ndarray:
    """(rows,) -> (users,)."""
    return np.bincount(user_of, weights=of_rows if weights is None else of_rows * weights)


def _sums_by_user(of_rows: np.ndarray, user_of: np.ndarray, weights: Weights) -> np.ndarray:
    """(seeds, rows) -> (seeds, users)."""
    return np.stack([_sum_by_user(of_seed, user_of, weights) for of_seed in of_rows])


def _ratios(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """NaN where what is divided by is not above 0."""
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)


def _squares(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return (labels - scores) ** 2


def _log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the losses of the rows, whose mean is `metrics.binary.log_loss`."""
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(probabilities, epsilon, 1.0 - epsilon)
    return np.where(labels == 1, -np.log(clipped), -np.log1p(-clipped))


MEASURES: dict[str, Builder] = {
    "auc": _auc_by_counts,
    "log_loss": _mean_of(_log_losses),
    "mse": _mean_of(_squares),
    "mae": _mean_of(lambda labels, scores: np.abs(labels - scores)),
    "rmse": _rmse_by_counts,
    "nrmse": _nrmse_by_counts,
    "nmae": _nmae_by_counts,
    "spearman": _spearman_by_counts,
    "gini": _gini_by_counts,
}
