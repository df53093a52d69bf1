"""Calibration: predictions against labels, by bins of about equally many rows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.in_parts import all_rows, counted_columns, parts
from lt4rec_tf.metrics.inputs import same_length

BINS = 15  # as most measurements of calibration have them (Guo et al. 2017, arXiv 1706.04599)
LABEL_BINS = 10
# Of a bin: rows at a boundary belong to the upper bin, whatever rounding does to their weights.
TOLERANCE = 1e-9
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_Z = 1.959963984540054  # of 95 % of a normal distribution


def mass_bins(values: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS) -> np.ndarray:
    """Returns each row's bin: of about equal weight, by rising value, int (rows,).

    A row's bin is floor(bins * (c + w / 2) / W) where values below it weigh c, equal ones w, all W.
    Equal values share a bin, in any order of the rows.

    >>> mass_bins([0.3, 0.1, 0.1, 0.9], bins=2).tolist()
    [1, 0, 0, 1]

    Args:
        values: Finite numbers, (rows,).
        weights: Of the rows, above 0, (rows,); None: all count once.
        bins: At least 1.
    """
    if weights is None:
        firsts = _first_values(np.asarray(values), bins)
        return np.searchsorted(firsts, np.asarray(values), side="right")

    run_of = np.unique(np.asarray(values), return_inverse=True)[1]
    of_runs = np.bincount(run_of, weights)
    if not of_runs.size:
        return np.zeros(0, np.int64)
    up_to = np.cumsum(of_runs)
    bin_of_run = np.floor(bins * (2 * up_to - of_runs) / (2 * up_to[-1]) + TOLERANCE)
    return np.minimum(bin_of_run, bins - 1).astype(np.int64)[run_of]


def _first_values(values: np.ndarray, bins: int) -> np.ndarray:
    """Returns the least value of each bin but the first, of rows that count once, (bins - 1,).

    Where no value lies in a bin or above it, infinity. A sorted copy of the values is searched.
    """
    in_order = np.sort(values)
    rows, firsts = len(values), np.full(bins - 1, np.inf)
    for index in range(bins - 1):
        low, high = 0, rows  # the bin's first row lies between
        while low < high:
            value = in_order[(low + high) // 2]
            below, up_to = (int(np.searchsorted(in_order, value, side)) for side in _SIDES)
            reached = np.floor(bins * (below + up_to) / (2 * rows) + TOLERANCE) > index
            low, high = (low, below) if reached else (up_to, high)
        if low < rows:
            firsts[index] = in_order[low]
    return firsts


def _narrow_bins(values: np.ndarray, weights: np.ndarray | None, bins: int) -> np.ndarray:
    """Returns `mass_bins` in a byte or two a row."""
    if weights is not None:
        return mass_bins(values, weights, bins)
    firsts = _first_values(values, bins)
    bin_of = np.empty(len(values), np.uint8 if bins <= 256 else np.int64)
    for rows in parts(len(values)):
        bin_of[rows] = np.searchsorted(firsts, values[rows], side="right")
    return bin_of


def ece(
    labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> float:
    """Returns the expected calibration error: sum_b (w_b / W) |mean_b(p) - mean_b(y)|.

    The bins b hold about as many rows each, by rising prediction (`mass_bins`). Noise is part of
    it: perfect probabilities p have about sqrt(2 p (1 - p) bins / (pi rows)), not 0.

    >>> ece([0, 1, 1, 1], [0.2, 0.2, 0.9, 0.9], bins=2)   # (|.2 - .5| + |.9 - 1|) / 2
    0.2

    Args:
        labels: Finite numbers, (rows,).
        predictions: In the labels' unit, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.
        bins: At least 1.

    Returns:
        0 or more, in the labels' unit; nan without rows.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Naeini et al. (AAAI 2015), with bins of equal mass as in Nixon et al., Measuring
    Calibration in Deep Learning (2019, arXiv 1904.01685).
    """
    (y, p), w = counted_columns(weights, labels=labels, predictions=predictions)
    if not y.size:
        return float("nan")
    if w is not None:
        weighted = np.bincount(mass_bins(p, w, bins), w * (p - y))
        return float(np.abs(weighted).sum()) / float(w.sum())

    firsts, errors = _first_values(p, bins), np.zeros(bins)
    for rows in parts(len(y)):
        differences = p[rows].astype(np.float64) - y[rows]
        np.add.at(errors, np.searchsorted(firsts, p[rows], side="right"), differences)
    return float(np.abs(errors).sum()) / len(y)


def reliability(
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = BINS,
) -> list[dict[str, Any]]:
    """Returns mean prediction and mean label by bin of the prediction, as `mass_bins` cuts them.

    The 95 % interval of a mean label is Wilson's, of a binomial share, where labels are 0 and 1
    and all rows count once. Else it is mean +- 1.96 standard errors, with the rows of a group taken
    together: se^2 = G / (G - 1) sum_g (sum_i w_i (y_i - mean))^2 / W^2 over the bin's G groups.

    Args:
        labels: Finite numbers, (rows,).
        predictions: In the labels' unit, (rows,).
        groups: Users; integers, equal for rows of one, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.
        bins: At least 1.

    Returns:
        By bin that has rows: rows, prediction, label, low, high; nan bounds where one group alone
        has rows.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Wilson (1927), doi 10.1080/01621459.1927.10502953.
    """
    (y, p), w = counted_columns(weights, labels=labels, predictions=predictions)
    group = np.asarray(groups)
    same_length(labels=np.asarray(labels), groups=group)
    if weights is not None:
        group = group[np.asarray(weights) > 0]
    binomial = w is None and all_rows(lambda some: (some == 0) | (some == 1), y)
    bin_of = _narrow_bins(p, w, bins)

    found = []
    for index in np.unique(bin_of):
        inside = bin_of == index
        labels_inside, of_row = y[inside].astype(np.float64), _of_rows(w, inside)
        label = float(np.average(labels_inside, weights=of_row))
        if binomial:
            low, high = _wilson(label, int(inside.sum()))
        else:
            error = _standard_error(labels_inside - label, group[inside], of_row)
            low, high = label - _Z * error, label + _Z * error
        found.append(
            {
                "rows": int(inside.sum()),
                "prediction": float(np.average(p[inside].astype(np.float64), weights=of_row)),
                "label": label,
                "low": low,
                "high": high,
            }
        )
    return found


def _of_rows(weights: np.ndarray | None, inside: np.ndarray) -> np.ndarray:
    return np.ones(int(inside.sum())) if weights is None else weights[inside]


def _wilson(share: float, rows: int) -> tuple[float, float]:
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z / (1 + _Z**2 / rows) * np.sqrt(share * (1 - share) / rows + (_Z / (2 * rows)) ** 2)
    # Of a share of 0 or 1 one end is the share itself, which rounding would leave outside.
    return min(share, float(middle - half)), max(share, float(middle + half))


def _standard_error(deviations: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> float:
    """Returns the standard error of a weighted mean over groups; nan of one group."""
    by_group = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(by_group, weights * deviations)
    count = len(sums)
    if count < 2:
        return float("nan")
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / weights.sum())


def error_by_label(
    labels: ArrayLike,
    predictions: ArrayLike,
    weights: ArrayLike | None = None,
    bins: int = LABEL_BINS,
) -> list[dict[str, Any]]:
    """Returns a task's errors by bin of its label, as `mass_bins` cuts them.

    >>> first, second = error_by_label([0.0, 0.0, 1.0, 0.5], [0.25, 0.25, 0.5, 0.5], bins=2)
    >>> first["low"], first["high"], first["rows"], first["prediction"], first["mse"]
    (0.0, 0.0, 2, 0.25, 0.0625)
    >>> second["low"], second["high"], second["label"], second["mae"]
    (0.5, 1.0, 0.75, 0.25)

    Args:
        labels: Finite numbers, (rows,).
        predictions: In the labels' unit, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.
        bins: At least 1.

    Returns:
        By bin that has rows: low and high, the least and the largest label; rows; the means label
        and prediction; mse; mae.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    (y, p), w = counted_columns(weights, labels=labels, predictions=predictions)
    bin_of = _narrow_bins(y, w, bins)

    found = []
    for index in np.unique(bin_of):
        inside = bin_of == index
        label, prediction = y[inside].astype(np.float64), p[inside].astype(np.float64)
        weight = _of_rows(w, inside)
        found.append(
            {
                "low": float(label.min()),
                "high": float(label.max()),
                "rows": len(label),
                "label": float(np.average(label, weights=weight)),
                "prediction": float(np.average(prediction, weights=weight)),
                "mse": float(np.average((label - prediction) ** 2, weights=weight)),
                "mae": float(np.average(np.abs(label - prediction), weights=weight)),
            }
        )
    return found
