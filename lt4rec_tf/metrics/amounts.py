"""Metrics of amounts, such as seconds watched or money spent: RMSE, NRMSE, NMAE, Spearman, Gini.

Amounts are 0 in many rows and very large in a few. Squared errors then measure the few, absolute
errors the middle. Spearman and Gini depend on the order of predictions alone; Gini weighs rows by
their amounts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.continuous import mse
from lt4rec_tf.metrics.in_parts import as_they_are, counted_columns, mean_over, total_over
from lt4rec_tf.metrics.inputs import total


def rmse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the root of the mean squared error, in the labels' unit: sqrt(mean((y - p)^2)).

    >>> rmse([0.0, 7.0], [1.0, 0.0])
    5.0

    Args:
        labels: Finite numbers, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan without rows.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    return math.sqrt(mse(labels, predictions, weights))


def nrmse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns RMSE / deviation of the labels: sqrt(mean((y - p)^2) / mean((y - mean(y))^2)).

    The deviation is the population's (divided by the rows, not by one less), so that predicting
    the labels' mean has exactly 1, and 1 - NRMSE^2 is the coefficient of determination. Others
    divide by the labels' mean and call it the same (google/lifetime_value): such numbers do not
    compare with these.

    >>> nrmse([0.0, 0.0, 6.0], [2.0, 2.0, 2.0])
    1.0

    Args:
        labels: Finite numbers, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan where all labels are equal.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    (y, p), w = counted_columns(weights, labels=labels, predictions=predictions)
    # The computed deviation of equal labels need not be 0: their mean is rounded.
    deviation = 0.0 if _all_equal(y) else _deviation(y, w)
    return rmse(y, p, w) / deviation if deviation else float("nan")


def nmae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the mean absolute error divided by the labels' mean: mean(|y - p|) / mean(y).

    The normaliser is that of google/lifetime_value. Predicting 0 throughout has 1.

    >>> nmae([0.0, 4.0], [1.0, 2.0])
    0.75

    Args:
        labels: Finite numbers, 0 or more, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan where no label is above 0.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    y, p, w = _amounts(labels, predictions, weights)
    observed = total_over(as_they_are, w, y)
    errors = total_over(lambda some_y, some_p: np.abs(some_y - some_p), w, y, p)
    return errors / observed if observed else float("nan")


def spearman(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns Spearman's rank correlation: Pearson's correlation of the two columns' ranks.

    rho = sum(a b) / sqrt(sum(a^2) sum(b^2)), a and b the ranks of labels and of predictions less
    their mean, (rows + 1) / 2. Rows that tie all have the mean of the ranks they take up. A row of
    weight w takes up w ranks and counts w times.

    >>> round(spearman([0.0, 0.0, 1.0, 5.0], [0.1, 0.2, 0.3, 0.9]), 4)   # 4.5 / sqrt(4.5 * 5)
    0.9487

    Args:
        labels: Finite numbers, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        A number in [-1, 1]; nan where all labels or all predictions are equal.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Spearman (1904), doi 10.2307/1412159; ties as in Kendall, Rank Correlation Methods
    (1948), chapter 3.
    """
    columns, w = counted_columns(weights, labels=labels, predictions=predictions)
    if any(map(_all_equal, columns)):
        return float("nan")
    middle = (_rows(columns[0], w) + 1) / 2
    a, b = (_mid_ranks(column, w) - middle for column in columns)
    spread = total(a * a, w) * total(b * b, w)
    return total(a * b, w) / math.sqrt(spread)


def gini(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the normalised Gini coefficient: the highest predictions' part of the labels' sum.

    Gini = raw(p) / raw(y), raw(s) = 2 mean_i(g_i) - 1, where g_i is the share of sum(y) that lies
    in the i rows of highest s. Rows that tie in s each count the mean of their labels: g is linear
    over them, and the order of rows does not matter (the published code leaves it to the sort).

    As g_1 holds a whole row, raw has 1 / rows on top of twice the area between g and the diagonal,
    and predictions that are all equal have (1 / rows) / raw(y), not 0. The term is left in, as
    published: numbers compare with those of others, and over the rows of a split it is nothing. It
    is felt where rows are few, or labels nearly equal. With weights it is 1 / sum(w): a row of
    weight w is w rows, and the coefficient depends, that little, on the weights' unit.

    >>> round(gini([0.0, 1.0, 3.0], [0.1, 0.5, 0.5]), 12)   # raw: (2/4 + 1 + 1) 2/3 - 1 by 5/6
    0.8

    Args:
        labels: Finite numbers, 0 or more, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        At most 1, for predictions in the labels' order, and above -1; nan where all labels are
        equal.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Wang, Liu and Miao, A Deep Probabilistic Model for Customer Lifetime Value Prediction
    (arXiv 1912.07753), and its code, google/lifetime_value.
    """
    y, p, w = _amounts(labels, predictions, weights)
    if _all_equal(y):
        return float("nan")

    # A row of rising rank a is in n + 1 - (n + 1 - a) = a of the n sums g_i: hence
    # raw = 2 sum(y a) / (n sum(y)) - 1 = sum(y (2 a - n)) / (n sum(y)).
    rows = _rows(y, w)
    raw, best = (total(y * (2 * _mid_ranks(column, w) - rows), w) for column in (p, y))
    return raw / best


def _rows(column: np.ndarray, weights: np.ndarray | None) -> float:
    """Returns the rows that a column stands for, the sum of their weights."""
    return float(len(column) if weights is None else weights.sum())


def _deviation(column: np.ndarray, weights: np.ndarray | None) -> float:
    """Returns the standard deviation of a population."""
    middle = mean_over(as_they_are, weights, column)
    return math.sqrt(mean_over(lambda some: (some - middle) ** 2, weights, column))


def _mid_ranks(column: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Returns ranks from 1 by rising value; rows that tie have the mean of their ranks.

    >>> _mid_ranks(np.array([5.0, 0.0, 0.0, 7.0]), None)
    array([3. , 1.5, 1.5, 4. ])
    >>> _mid_ranks(np.array([5.0, 0.0, 7.0]), np.array([1.0, 2.0, 1.0]))
    array([3. , 1.5, 4. ])
    """
    _, run_of, counts = np.unique(column, return_inverse=True, return_counts=True)
    of_runs = counts if weights is None else np.bincount(run_of, weights=weights)
    return (np.cumsum(of_runs) - (of_runs - 1) / 2)[run_of]


def _all_equal(column: np.ndarray) -> bool:
    """Tells if all values are equal; so they are where there is none."""
    return not column.size or bool(column.min() == column.max())


def _amounts(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    (checked, other), w = counted_columns(weights, labels=labels, predictions=predictions)
    wrong = np.flatnonzero(checked < 0)
    if wrong.size:
        found = float(checked[wrong[0]])
        raise ValueError(f"labels: found {found} in row {wrong[0]}, expected 0 or more")
    return checked, other, w
