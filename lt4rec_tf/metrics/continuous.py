"""Metrics of continuous tasks: MSE, MAE, XAUC. Exact, over all rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.inputs import mean, total, weighted_columns


def mse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the mean squared error: mean((y - p)^2).

    >>> mse([0.0, 1.0], [0.5, 1.0])
    0.125

    Args:
        labels: Finite numbers, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan without rows.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    (y, p), w = weighted_columns(weights, labels=labels, predictions=predictions)
    return mean((y - p) ** 2, w)


def mae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the mean absolute error: mean(|y - p|).

    >>> mae([0.0, 1.0], [0.5, 1.0])
    0.25

    Args:
        labels: Finite numbers, (rows,).
        predictions: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan without rows.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    (y, p), w = weighted_columns(weights, labels=labels, predictions=predictions)
    return mean(np.abs(y - p), w)


def xauc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the share of pairs with different labels whose scores are in the labels' order.

    XAUC = (#{(y_i - y_j)(s_i - s_j) > 0} + #{s_i = s_j} / 2) / #pairs, over all pairs with
    y_i != y_j. On labels 0 and 1 it is the AUC. All pairs are counted, in O(n log^2 n). With
    weights a pair counts w_i w_j.

    >>> xauc([0.2, 0.5, 0.5, 1.0], [0.1, 0.3, 0.7, 0.3])   # of 5 pairs 3 right, 1 tied, 1 wrong
    0.7

    Args:
        labels: Finite numbers, such as watch ratios, (rows,).
        scores: Finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        A number in [0, 1]; nan where all labels are equal.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Zhan et al., Deconfounding Duration Bias in Watch-time Prediction for Video
    Recommendation (KDD 2022, arXiv 2206.06003).
    """
    (y, scored), w = weighted_columns(weights, labels=labels, scores=scores)
    label_ranks = np.unique(y, return_inverse=True)[1].astype(np.int64)
    score_ranks = np.unique(scored, return_inverse=True)[1].astype(np.int64)
    label_and_score = label_ranks * len(y) + score_ranks
    # Rows of one label lie in rising order of score, so no pair of them is an inversion.
    order = np.argsort(label_and_score)

    if w is None:
        rows = len(y)
        pairs = rows * (rows - 1) // 2 - _tied_pairs(label_ranks)
        if pairs == 0:
            return float("nan")
        tied = _tied_pairs(score_ranks) - _tied_pairs(label_and_score)
        return (2 * (pairs - _inversions(score_ranks[order])) - tied) / (2 * pairs)

    if not y.size or y.min() == y.max():
        return float("nan")
    of_one_label = _weight_squares(label_ranks, w)
    twice_pairs = float(w.sum()) ** 2 - of_one_label
    twice_tied = _weight_squares(score_ranks, w) - _weight_squares(label_and_score, w)
    twice_wrong = 2 * _weighted_inversions(score_ranks[order], w[order])
    share = (twice_pairs - twice_wrong - twice_tied / 2) / twice_pairs
    return min(1.0, max(0.0, share))  # of which rounding leaves a little more or less


def _tied_pairs(values: np.ndarray) -> int:
    counts = np.unique(values, return_counts=True)[1].astype(np.int64)
    return int(np.sum(counts * (counts - 1) // 2))


def _weight_squares(values: np.ndarray, weights: np.ndarray) -> float:
    """Returns the sum over distinct values of the square of their rows' weight."""
    of_rows = np.unique(values, return_inverse=True)[1]
    return float(np.sum(np.bincount(of_rows, weights=weights) ** 2))


def _inversions(values: np.ndarray) -> int:
    """Counts the pairs i < j with values[i] > values[j], by merging sorted blocks.

    >>> _inversions(np.array([2, 0, 1, 1]))
    3

    Args:
        values: Whole numbers, 0 or more, (n,), n >= 1.
    """
    size = 1 << (len(values) - 1).bit_length()
    # Padding that is largest and last is in no inversion.
    padding = int(values.max()) + 1
    blocks = np.full(size, padding, np.int64)
    blocks[: len(values)] = values

    inversions, width = 0, 1
    while width < size:
        # A block's number in front of its values makes all left halves together one sorted list.
        number = np.arange(size // (2 * width))
        halves = blocks.reshape(-1, 2, width) + (number * (padding + 1))[:, None, None]
        left, right = halves[:, 0].ravel(), halves[:, 1].ravel()
        not_above = np.searchsorted(left, right, side="right")
        left_so_far = np.repeat((number + 1) * width, width)
        inversions += int(np.sum(left_so_far - not_above))

        width *= 2
        blocks = np.sort(blocks.reshape(-1, width), axis=1).ravel()
    return inversions


def _weighted_inversions(values: np.ndarray, weights: np.ndarray) -> float:
    """Sums w_i w_j over the pairs i < j with values[i] > values[j], as `_inversions` finds them.

    >>> _weighted_inversions(np.array([2, 0, 1, 1]), np.array([2.0, 3.0, 1.0, 0.5]))
    9.0

    Args:
        values: Whole numbers, 0 or more, (n,), n >= 1.
        weights: Of the values, (n,).
    """
    size = 1 << (len(values) - 1).bit_length()
    padding = int(values.max()) + 1
    blocks = np.full(size, padding, np.int64)
    blocks[: len(values)] = values
    of_blocks = np.zeros(size)  # padding weighs nothing
    of_blocks[: len(values)] = weights

    inversions, width = 0.0, 1
    while width < size:
        number = np.arange(size // (2 * width))
        halves = blocks.reshape(-1, 2, width) + (number * (padding + 1))[:, None, None]
        left, right = halves[:, 0].ravel(), halves[:, 1].ravel()
        left_weights, right_weights = np.moveaxis(of_blocks.reshape(-1, 2, width), 1, 0)
        up_to = np.concatenate([[0.0], np.cumsum(left_weights)])
        not_above = np.searchsorted(left, right, side="right")
        left_so_far = np.repeat((number + 1) * width, width)
        above = up_to[left_so_far] - up_to[not_above]
        inversions += float(np.sum(right_weights.ravel() * above))

        width *= 2
        order = np.argsort(blocks.reshape(-1, width), axis=1)
        blocks = np.take_along_axis(blocks.reshape(-1, width), order, 1).ravel()
        of_blocks = np.take_along_axis(of_blocks.reshape(-1, width), order, 1).ravel()
    return inversions


def pcoc(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns predicted clicks over observed clicks: mean(p) / mean(y).

    >>> pcoc([1, 0, 0, 1], [0.5, 0.25, 0.25, 0.5])   # predicts 3 clicks where 4 happen
    0.75

    Args:
        labels: 0 or 1, or ratios in [0, 1], (rows,).
        probabilities: In [0, 1], (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more: 1 is calibrated, above 1 promises too much; nan where no label is above 0.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014),
    where it is called calibration.
    """
    (y, p), w = weighted_columns(weights, labels=labels, probabilities=probabilities)
    observed = total(y, w)
    # Python's division, unlike NumPy's, does not warn when very small labels overflow it.
    return total(p, w) / observed if observed else float("nan")
