"""Bootstrap intervals for metrics of trained models, over users and over seeds.

A replicate draws users with replacement (all rows of a user come together, since rows of one user
are alike) and, independently, seeds with replacement (each seed is a training). The two are
crossed: every seed predicts for every user. Bounds are percentiles over replicates.

With one seed the interval is that of these two trained models over users: it holds what other users
would change and nothing of what another training would, which is often more. It says nothing of a
row of a comparison, and reports leave it out.

Drawing both independently somewhat overstates the variance of what users and seeds do together;
drawing n seeds understates the variance between seeds by the factor (n - 1) / n, which counts where
seeds are few and users many. No bootstrap of crossed samples is exact.

Sources: Owen, The Pigeonhole Bootstrap (Annals of Applied Statistics 2007, doi 10.1214/07-AOAS122);
Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.inputs import finite_columns, same_length
from lt4rec_tf.metrics.resampled import MEASURES, Measure

METRICS = tuple(MEASURES)
_CELLS_TOGETHER = 1_000_000  # rows x replicates that are held at once


@dataclass(frozen=True)
class Interval:
    """The paired difference of two models with its interval.

    Attributes:
        difference: `value - base`.
        low: Lower bound of the difference.
        high: Upper bound of the difference.
        base: The base's metric, mean over the seeds.
        value: The compared model's metric, mean over the seeds.
        undefined: Replicates left out because the metric is undefined for the users drawn.
    """

    difference: float
    low: float
    high: float
    base: float
    value: float
    undefined: int


def paired_interval(
    metric: str,
    labels: ArrayLike,
    scores: ArrayLike,
    base_scores: ArrayLike,
    users: ArrayLike,
    *,
    replicates: int,
    seed: int,
    level: float = 0.95,
    weights: ArrayLike | None = None,
) -> Interval:
    """Measures mean over seeds of metric(model) - metric(base), with a percentile interval.

    In a replicate both models are given the same users and the same seeds, so that what makes a
    user or a seed easy for both cancels. Replicates for which the metric is undefined (AUC of one
    class, Spearman of equal labels) do not count. Where none is defined, or the metric is not
    defined on the rows themselves, the result is NaN.

    >>> interval = paired_interval(
    ...     "mse", [1.0, 0.0], [[1.0, 0.0]], [[0.0, 0.0]], [7, 8], replicates=100, seed=0
    ... )  # the base is wrong for user 7, who is drawn 0, 1 or 2 times of 2
    >>> interval.value, interval.base, interval.difference, interval.low, interval.high
    (0.0, 0.5, -0.5, -1.0, 0.0)

    Args:
        metric: One of `METRICS`, as in `metrics.binary`, `metrics.continuous`, `metrics.amounts`.
        labels: Of the task's population, (rows,); 0 or 1 for "auc" and "log_loss", 0 or more for
            "nmae" and "gini".
        scores: The compared model's, by seed, (seeds, rows); probabilities for "log_loss".
        base_scores: The base's, by the same seeds in the same order, (seeds, rows).
        users: Whole numbers, equal for rows of one user, (rows,).
        replicates: Number of bootstrap replicates, at least 1.
        seed: Of the draws; calls with one seed, the same users and as many seeds draw alike.
        level: Probability that the interval should cover, in (0, 1).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Raises:
        ValueError: The metric is another, the arrays do not fit or hold other values.
    """
    if weights is not None:
        weights, (labels, users), (scores, base_scores) = _with_weight(
            weights, (labels, users), (scores, base_scores)
        )
    labels, user_names, user_of = _checked_rows(metric, labels, users, replicates, level)
    scores = _checked_scores("scores", metric, labels, scores)
    base_scores = _checked_scores("base_scores", metric, labels, base_scores)
    if len(scores) != len(base_scores):
        raise ValueError(
            f"base_scores: found {len(base_scores)} seeds, expected {len(scores)} as in scores"
        )

    measures = [
        MEASURES[metric](labels, matrix, user_of, weights) for matrix in (scores, base_scores)
    ]
    value, base = (_on_all(measure, len(user_names)) for measure in measures)
    difference = value - base

    values, base_values = _replicated(measures, scores.shape, len(user_names), replicates, seed)
    low, high, undefined = _bounds(values - base_values, level, difference)
    return Interval(difference, low, high, base, value, undefined)


def resampled_counts(rng: np.random.Generator, replicates: int, units: int) -> np.ndarray:
    """Counts how often each of `units` is drawn in `units` draws with replacement.

    Returns:
        float64, (replicates, units); every line sums to `units`.
    """
    drawn = rng.integers(units, size=(replicates, units))
    # One count over all replicates: each has a range of numbers of its own.
    cells = drawn + units * np.arange(replicates)[:, None]
    counts = np.bincount(cells.ravel(), minlength=replicates * units)
    return counts.reshape(replicates, units).astype(np.float64)


def _replicated(
    measures: Sequence[Measure], shape: tuple[int, int], users: int, replicates: int, seed: int
) -> list[np.ndarray]:
    """Returns each measure's mean over the drawn seeds, (replicates,), all on the same draws."""
    seeds, rows = shape
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.integers(seeds, size=(replicates, seeds))

    # In blocks of replicates, which bounds the memory.
    block = max(1, _CELLS_TOGETHER // max(rows, users))
    values_by_measure: list[list[np.ndarray]] = [[] for _ in measures]
    for first in range(0, replicates, block):
        seeds_of_block = drawn_seeds[first : first + block]
        counts = resampled_counts(rng, len(seeds_of_block), users)
        for measure, values in zip(measures, values_by_measure, strict=True):
            by_seed = measure(counts)
            values.append(np.take_along_axis(by_seed, seeds_of_block, 1).mean(axis=1))

    return [np.concatenate(values) for values in values_by_measure]


def _on_all(measure: Measure, users: int) -> float:
    """Returns the mean over the seeds with every user once."""
    return float(measure(np.ones((1, users))).mean())


def _bounds(drawn: np.ndarray, level: float, value: float) -> tuple[float, float, int]:
    """Returns the percentiles of the defined replicates, and the number of undefined ones."""
    defined = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(defined)
    if np.isnan(value) or not len(defined):
        return float("nan"), float("nan"), undefined
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high), undefined


def _with_weight(
    weights: ArrayLike, columns: Sequence[ArrayLike], matrices: Sequence[ArrayLike]
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Returns the rows whose weight is above 0: weights, columns (rows,), matrices (seeds, rows).

    Raises:
        ValueError: The weights do not fit the columns, or one is below 0 or not finite.
    """
    arrays = [np.asarray(column) for column in columns]
    (checked,) = finite_columns(weights=weights)
    same_length(labels=arrays[0], weights=checked)
    if (checked < 0).any():
        row = int(np.argmax(checked < 0))
        raise ValueError(f"weights: found {checked[row]} in row {row}, expected 0 or more")

    counts = checked > 0
    kept = []
    for matrix in map(np.asarray, matrices):
        fits = matrix.ndim == 2 and matrix.shape[1] == len(counts)
        kept.append(matrix[:, counts] if fits else matrix)  # what does not fit is refused by name
    return checked[counts], [column[counts] for column in arrays], kept


def _checked_rows(
    metric: str, labels: ArrayLike, users: ArrayLike, replicates: int, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the labels, the distinct users, and each row's index among them."""
    if metric not in METRICS:
        raise ValueError(f"metric: found {metric!r}, expected one of {', '.join(METRICS)}")
    if replicates < 1 or not 0 < level < 1:
        raise ValueError(
            f"found {replicates} replicates at level {level}, expected at least 1 and a level "
            "between 0 and 1"
        )

    (checked,) = finite_columns(labels=labels)
    users = np.asarray(users)
    same_length(labels=checked, users=users)
    if not checked.size:
        raise ValueError("labels: found no row, expected at least one")
    _check_range(metric, checked)

    user_names, user_of = np.unique(users, return_inverse=True)
    return checked, user_names, user_of


def _check_range(metric: str, labels: np.ndarray) -> None:
    if metric in ("auc", "log_loss"):
        wrong, expected = (labels != 0) & (labels != 1), "0 or 1"
    elif metric in ("nmae", "gini"):
        wrong, expected = labels < 0, "0 or more"
    else:
        return
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"labels: found {labels[row]} in row {row}, expected {expected} for {metric}"
        )


def _checked_scores(name: str, metric: str, labels: np.ndarray, scores: ArrayLike) -> np.ndarray:
    checked = np.asarray(scores, np.float64)
    if checked.ndim != 2 or not len(checked) or checked.shape[1] != len(labels):
        raise ValueError(
            f"{name}: found shape {checked.shape}, expected (seeds, {len(labels)}), as many rows "
            "as labels"
        )

    wrong = ~np.isfinite(checked)
    expected = "finite numbers"
    if metric == "log_loss":
        wrong |= (checked < 0) | (checked > 1)
        expected = "numbers in [0, 1]"
    if wrong.any():
        seed_index, row = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name}: found {checked[seed_index, row]} in row {row} of the seed at place "
            f"{seed_index}, expected {expected}"
        )
    return checked
