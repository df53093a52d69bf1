"""Metrics of continuous tasks: MSE, MAE, XAUC. Exact, over all rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.in_parts import (
    as_they_are,
    counted_columns,
    mean_over,
    order_keys,
    parts,
    total_over,
)

_ROWS_MERGED = 1 << 18  # of a block whose inversions are counted at a time


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
    (y, p), w = counted_columns(weights, labels=labels, predictions=predictions)
    return mean_over(lambda some_y, some_p: (some_y - some_p) ** 2, w, y, p)


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
    (y, p), w = counted_columns(weights, labels=labels, predictions=predictions)
    return mean_over(lambda some_y, some_p: np.abs(some_y - some_p), w, y, p)


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
    (y, scored), w = counted_columns(weights, labels=labels, scores=scores)
    if w is None:
        return _share_in_order(y, scored)

    label_ranks = np.unique(y, return_inverse=True)[1].astype(np.int64)
    score_ranks = np.unique(scored, return_inverse=True)[1].astype(np.int64)
    label_and_score = label_ranks * len(y) + score_ranks
    # Rows of one label lie in rising order of score, so no pair of them is an inversion.
    order = np.argsort(label_and_score)

    if not y.size or y.min() == y.max():
        return float("nan")
    of_one_label = _weight_squares(label_ranks, w)
    twice_pairs = float(w.sum()) ** 2 - of_one_label
    twice_tied = _weight_squares(score_ranks, w) - _weight_squares(label_and_score, w)
    twice_wrong = 2 * _weighted_inversions(score_ranks[order], w[order])
    share = (twice_pairs - twice_wrong - twice_tied / 2) / twice_pairs
    return min(1.0, max(0.0, share))  # of which rounding leaves a little more or less


def _share_in_order(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the XAUC of rows that count once; 8 bytes a row lie beside the columns."""
    rows = len(labels)
    keys = order_keys(labels).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= order_keys(scores)
    # Rows of one label lie in rising order of score, so no pair of them is an inversion.
    keys.sort()
    tied_in_both = _tied_pairs(keys)
    pairs = rows * (rows - 1) // 2 - _tied_pairs(keys, shift=32)
    if pairs == 0:
        return float("nan")

    by_label = keys.astype(np.uint32)  # the lower half: the scores
    del keys
    wrong = _inversions(by_label)  # which sorts them
    tied = _tied_pairs(by_label) - tied_in_both
    return (2 * (pairs - wrong) - tied) / (2 * pairs)


def _tied_pairs(values: np.ndarray, shift: int = 0) -> int:
    """Counts the pairs of equal numbers among sorted ones, less their lowest `shift` bits.

    >>> _tied_pairs(np.array([1, 1, 4, 5, 5, 5])), _tied_pairs(np.array([1, 1, 4, 5, 5, 5]), 1)
    (4, 7)
    """
    tied, last, run = 0, None, 0  # the last number so far, and how many equal it
    for rows in parts(len(values)):
        some = values[rows] >> np.asarray(shift, values.dtype)
        starts = np.flatnonzero(np.concatenate([[some[0] != last], some[1:] != some[:-1]]))
        last = some[-1]
        if not len(starts):
            run += len(some)
            continue

        # The first run goes on from the part before, even if by no row.
        ended = np.diff(starts, prepend=0)
        ended[0] += run
        tied += int(np.sum(ended * (ended - 1) // 2))
        run = len(some) - int(starts[-1])
    return tied + run * (run - 1) // 2


def _weight_squares(values: np.ndarray, weights: np.ndarray) -> float:
    """Returns the sum over distinct values of the square of their rows' weight."""
    of_rows = np.unique(values, return_inverse=True)[1]
    return float(np.sum(np.bincount(of_rows, weights=weights) ** 2))


def _inversions(values: np.ndarray) -> int:
    """Counts the pairs i < j with values[i] > values[j]; sorts the values meanwhile.

    >>> _inversions(np.array([2, 0, 1, 1]))
    3

    Args:
        values: Whole numbers, (n,).
    """
    inversions, sorted_rows = 0, _ROWS_MERGED
    for start in range(0, len(values), sorted_rows):
        block = values[start : start + sorted_rows]
        inversions += _inversions_of_block(np.unique(block, return_inverse=True)[1])
        block.sort()

    while sorted_rows < len(values):
        for start in range(0, len(values), 2 * sorted_rows):
            both = values[start : start + 2 * sorted_rows]
            left, right = both[:sorted_rows], both[sorted_rows:]
            for rows in parts(len(right)):
                not_above = np.searchsorted(left, right[rows], side="right")
                inversions += len(left) * len(not_above) - int(np.sum(not_above))
            both.sort()
        sorted_rows *= 2
    return inversions


def _inversions_of_block(values: np.ndarray) -> int:
    """Counts as `_inversions` does, of a block of ranks, by merging all pairs of lists at a time.

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
    (y, p), w = counted_columns(weights, labels=labels, probabilities=probabilities)
    observed = total_over(as_they_are, w, y)
    # Python's division, unlike NumPy's, does not warn when very small labels overflow it.
    return total_over(as_they_are, w, p) / observed if observed else float("nan")
