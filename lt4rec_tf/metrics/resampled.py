"""Metrics of resampled rows, computed from how often each user is drawn.

Each equals its function in `metrics.binary`, `metrics.continuous`, `metrics.amounts` or
`metrics.calibration` on the drawn rows, where every row of a user counts as often as the user is
drawn, times its weight if rows have weights. What does not depend on the draws, such as the order
of rows, is computed once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lt4rec_tf.metrics.draws import (
    Builder,
    Measure,
    Weights,
    drawn_rows,
    mean_by_counts,
    of_rows,
    ratios,
    rows_by_user,
    sum_by_user,
    sums_by_user,
)
from lt4rec_tf.metrics.resampled_calibration import ece_by_counts, log_losses, ne_by_counts
from lt4rec_tf.metrics.resampled_ranks import gini_by_counts, spearman_by_counts


def _mean_of(losses_of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Builder:
    """Returns the builder of a mean over rows of losses (seeds, rows)."""

    def build(
        labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
    ) -> Measure:
        return mean_by_counts(losses_of(labels, scores), user_of, weights)

    return build


def _auc_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the weighted Mann-Whitney statistic; rows are sorted once.

    Without weights all sums are of whole numbers (ties count 1 of 2), exact in float64 below 2^53.
    """
    positive = labels == 1
    positive_user, negative_user = user_of[positive], user_of[~positive]
    positive_weight, negative_weight = of_rows(weights, positive), of_rows(weights, ~positive)
    sorted_scores = []
    for of_seed in scores:
        order = np.argsort(of_seed[~positive])
        negatives = of_seed[~positive][order]
        below = np.searchsorted(negatives, of_seed[positive], side="left")
        not_above = np.searchsorted(negatives, of_seed[positive], side="right")
        weight = of_rows(negative_weight, order)
        sorted_scores.append((negative_user[order], weight, below, not_above))

    def measure(counts: np.ndarray) -> np.ndarray:
        replicates = len(counts)
        # Users first: what is drawn of a row is then one stretch of memory.
        drawn = np.ascontiguousarray(counts.T)
        drawn_positive = drawn_rows(drawn, positive_user, positive_weight)
        won = np.empty((len(sorted_scores), replicates))
        up_to = np.zeros((len(negative_user) + 1, replicates))  # weight of the lowest n negatives

        for seed_index, (user, weight, below, not_above) in enumerate(sorted_scores):
            np.cumsum(drawn_rows(drawn, user, weight), axis=0, out=up_to[1:])
            twice_below = up_to[below]
            twice_below += up_to[not_above]
            won[seed_index] = np.einsum("pr,pr->r", drawn_positive, twice_below)

        pairs = drawn_positive.sum(axis=0) * up_to[-1]
        return ratios(won, 2 * pairs).T

    return measure


def _rmse_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    mean = mean_by_counts(_squares(labels, scores), user_of, weights)
    return lambda counts: np.sqrt(mean(counts))


def _nrmse_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the RMSE divided by the deviation of the drawn labels.

    Labels' squares are summed within each user about the user's mean, and users' means about the
    replicate's: a difference of large sums would lose the digits of a small deviation.
    """
    rmse = _rmse_by_counts(labels, scores, user_of, weights)
    rows_of = rows_by_user(user_of, weights)
    mean_of = sum_by_user(labels, user_of, weights) / rows_of
    within = sum_by_user((labels - mean_of[user_of]) ** 2, user_of, weights)
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
        return ratios(rmse(counts), np.where(low < high, deviation, 0.0)[:, None])

    return measure


def _nmae_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    sums = sums_by_user(np.abs(labels - scores), user_of, weights)
    amounts = sum_by_user(labels, user_of, weights)

    def measure(counts: np.ndarray) -> np.ndarray:
        totals = np.einsum("ru,u->r", counts, amounts)
        return ratios(np.einsum("ru,su->rs", counts, sums), totals[:, None])

    return measure


def _squares(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return (labels - scores) ** 2


MEASURES: dict[str, Builder] = {
    "auc": _auc_by_counts,
    "log_loss": _mean_of(log_losses),
    "mse": _mean_of(_squares),
    "mae": _mean_of(lambda labels, scores: np.abs(labels - scores)),
    "rmse": _rmse_by_counts,
    "nrmse": _nrmse_by_counts,
    "nmae": _nmae_by_counts,
    "spearman": spearman_by_counts,
    "gini": gini_by_counts,
    "ne": ne_by_counts,
    "ece": ece_by_counts,
}
