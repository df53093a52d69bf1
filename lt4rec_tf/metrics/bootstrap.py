"""Bootstrap intervals for metrics of trained models, over users and over seeds.

A replicate draws users with replacement (all rows of a user come together, since rows of one user
are alike) and, independently, seeds with replacement (each seed is a training). The two are
crossed: every seed predicts for every user. Bounds are percentiles over replicates.

With one seed the interval is that of these two trained models over users: it holds what other users
would change and nothing of what another training would, which is often more. It says nothing of a
model of a comparison, and reports leave it out.

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

from lt4rec_tf.metrics.draws import Measure
from lt4rec_tf.metrics.inputs import finite_columns, same_length
from lt4rec_tf.metrics.resampled import MEASURES

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
        metric: One of `METRICS`, as in `metrics.binary`, `metrics.continuous`, `metrics.amounts`,
            `metrics.calibration`.
        labels: Of the task's population, (rows,); 0 or 1 for "auc", "log_loss" and "ne", 0 or
            more for "nmae" and "gini".
        scores: The compared model's, by seed, (seeds, rows); probabilities for "log_loss" and "ne".
        base_scores: The base's, by the same seeds in the same order, (seeds, rows).
        users: Whole numbers, equal for rows of one user, (rows,).
        replicates: Number of bootstrap replicates, at least 1.
        seed: Of the draws; calls with one seed, the same users and as many seeds draw alike.
        level: Probability that the interval should cover, in (0, 1).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Raises:
        ValueError: The metric is another, the arrays do not fit or hold other values.
    """
    compared, base = (
        resampled(
            metric,
            labels,
            matrix,
            users,
            replicates=replicates,
            seed=seed,
            weights=weights,
            name=name,
        )
        for name, matrix in (("scores", scores), ("base_scores", base_scores))
    )
    return difference(compared, base, level)


@dataclass(frozen=True)
class Resampled:
    """A metric of a model on resampled users and seeds; compared ones have the same draws.

    Attributes:
        value: On all rows, mean over the seeds.
        replicates: On each replicate's draws, (replicates,); NaN where it is undefined.
        seeds: Number of seeds.
    """

    value: float
    replicates: np.ndarray
    seeds: int


def resampled(
    metric: str,
    labels: ArrayLike,
    scores: ArrayLike,
    users: ArrayLike,
    *,
    replicates: int,
    seed: int,
    weights: ArrayLike | None = None,
    name: str = "scores",
) -> Resampled:
    """Measures a model on resampled users and seeds, as `paired_interval` does each of two.

    Args:
        metric: One of `METRICS`.
        labels: Of the task's population, (rows,).
        scores: By seed, (seeds, rows).
        users: Whole numbers, equal for rows of one user, (rows,).
        replicates: Number of bootstrap replicates, at least 1.
        seed: Of the draws; calls with one seed, the same users and as many seeds draw alike.
        weights: Of the rows, 0 or more, (rows,); None: all count once.
        name: Of the scores in error messages.

    Raises:
        ValueError: The metric is another, the arrays do not fit or hold other values.
    """
    if weights is not None:
        weights, (labels, users), (scores,) = _with_weight(weights, (labels, users), (scores,))
    labels, user_names, user_of = _checked_rows(metric, labels, users, replicates)
    checked = _checked_scores(name, metric, labels, scores)
    measure = MEASURES[metric](labels, checked, user_of, weights)

    value = _on_all(measure, len(user_names))
    values = _replicated(measure, checked.shape, len(user_names), replicates, seed)
    return Resampled(value, values, len(checked))


def difference(compared: Resampled, base: Resampled, level: float = 0.95) -> Interval:
    """Returns the paired difference of two models with its interval.

    Args:
        compared: Of a model.
        base: Of another, with the same metric, rows, users, seeds and draws.
        level: Probability that the interval should cover, in (0, 1).

    Raises:
        ValueError: The seeds differ in number, or the level cannot be.
    """
    if not 0 < level < 1:
        raise ValueError(f"found level {level}, expected one between 0 and 1")
    if compared.seeds != base.seeds:
        raise ValueError(
            f"base_scores: found {base.seeds} seeds, expected {compared.seeds} as in scores"
        )
    value = compared.value - base.value
    low, high, undefined = _bounds(compared.replicates - base.replicates, level, value)
    return Interval(value, low, high, base.value, compared.value, undefined)


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
    measure: Measure, shape: tuple[int, ...], users: int, replicates: int, seed: int
) -> np.ndarray:
    """Returns the measure's mean over the drawn seeds, (replicates,)."""
    seeds, rows = shape
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.integers(seeds, size=(replicates, seeds))

    # In blocks of replicates, which bounds the memory.
    block = max(1, _CELLS_TOGETHER // max(rows, users))
    values = []
    for first in range(0, replicates, block):
        seeds_of_block = drawn_seeds[first : first + block]
        by_seed = measure(resampled_counts(rng, len(seeds_of_block), users))
        values.append(np.take_along_axis(by_seed, seeds_of_block, 1).mean(axis=1))
    return np.concatenate(values)


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
    metric: str, labels: ArrayLike, users: ArrayLike, replicates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the labels, the distinct users, and each row's index among them."""
    if metric not in METRICS:
        raise ValueError(f"metric: found {metric!r}, expected one of {', '.join(METRICS)}")
    if replicates < 1:
        raise ValueError(f"found {replicates} replicates, expected at least 1")

    (checked,) = finite_columns(labels=labels)
    users = np.asarray(users)
    same_length(labels=checked, users=users)
    if not checked.size:
        raise ValueError("labels: found no row, expected at least one")
    _check_range(metric, checked)

    user_names, user_of = np.unique(users, return_inverse=True)
    return checked, user_names, user_of


def _check_range(metric: str, labels: np.ndarray) -> None:
    if metric in ("auc", "log_loss", "ne"):
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
    if metric in ("log_loss", "ne"):
        wrong |= (checked < 0) | (checked > 1)
        expected = "numbers in [0, 1]"
    if wrong.any():
        seed_index, row = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name}: found {checked[seed_index, row]} in row {row} of the seed at place "
            f"{seed_index}, expected {expected}"
        )
    return checked
