"""Calibration on resampled rows; see `metrics.resampled`."""

from __future__ import annotations

import numpy as np

from lt4rec_tf.metrics.calibration import BINS, TOLERANCE
from lt4rec_tf.metrics.draws import (
    Measure,
    Weights,
    mean_by_counts,
    of_rows,
    ratios,
    rows_by_user,
    sum_by_user,
)


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the losses of the rows, whose mean is `metrics.binary.log_loss`."""
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(probabilities, epsilon, 1.0 - epsilon)
    return np.where(labels == 1, -np.log(clipped), -np.log1p(-clipped))


def ne_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the log loss over the entropy of the drawn labels' mean."""
    loss = mean_by_counts(log_losses(labels, scores), user_of, weights)
    rows_of, positives_of = rows_by_user(user_of, weights), sum_by_user(labels, user_of, weights)

    def measure(counts: np.ndarray) -> np.ndarray:
        positive = np.einsum("ru,u->r", counts, positives_of) / (counts @ rows_of)
        mixed = (positive > 0) & (positive < 1)
        share = np.where(mixed, positive, 0.5)
        entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        return ratios(loss(counts), np.where(mixed, entropy, 0.0)[:, None])

    return measure


def ece_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of `metrics.calibration.ece`, with bins of the drawn rows.

    Rows are sorted once: a bin is a stretch of them, and what is drawn of it a difference of two
    running sums.
    """
    sorted_rows = []
    for of_seed in scores:
        order = np.argsort(of_seed)
        by_score = of_seed[order]
        # Rows of one score are a run, which no bin divides.
        run_ends = np.flatnonzero(np.append(by_score[1:] != by_score[:-1], True))
        errors = (of_seed - labels)[order]
        sorted_rows.append((user_of[order], of_rows(weights, order), errors, run_ends))

    def measure(counts: np.ndarray) -> np.ndarray:
        values = np.empty((len(counts), len(sorted_rows)))
        for seed_index, (users, weight, errors, run_ends) in enumerate(sorted_rows):
            # One replicate at a time: its rows then stay in the processor's cache.
            for replicate, of_users in enumerate(counts):
                drawn = of_users[users]
                if weight is not None:
                    drawn *= weight
                values[replicate, seed_index] = _ece_of_sorted(drawn, errors, run_ends)
        return values

    return measure


def _ece_of_sorted(drawn: np.ndarray, errors: np.ndarray, run_ends: np.ndarray) -> float:
    """Returns the ECE of rows in rising order of their scores.

    Args:
        drawn: How often each row counts, (rows,).
        errors: Score minus label, (rows,).
        run_ends: The last row of each run of equal scores, (runs,).
    """
    up_to = np.concatenate([[0.0], np.cumsum(drawn)[run_ends]])
    twice_starts = 2 * up_to[-1] * (np.arange(1, BINS) - TOLERANCE) / BINS

    # A bin begins with the first run whose middle is not below its start: that in which the start
    # lies, or the next.
    runs = np.searchsorted(up_to[1:], twice_starts / 2)
    runs += up_to[runs] + up_to[runs + 1] < twice_starts
    errors_up_to = np.cumsum(drawn * errors)
    first_rows = np.concatenate([[0], run_ends + 1])[runs]
    before = np.where(first_rows > 0, errors_up_to[first_rows - 1], 0.0)
    of_bins = np.diff(before, prepend=0.0, append=errors_up_to[-1])
    return float(np.abs(of_bins).sum() / up_to[-1])
