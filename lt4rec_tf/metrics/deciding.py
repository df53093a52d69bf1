"""How well one column alone tells a label: near 1 it is the label, or came after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.binary import auc

DECIDING = 0.99  # above it a column is named
LEAST_OF_CLASS = 20  # rows of each class, without which nothing is said
_CELLS = 256
# Of the halves. Labels that a program drew with a usual seed must not be what halves the rows.
_SEED = 0x6465636964696E67


def deciding_auc(values: ArrayLike, labels: ArrayLike) -> float:
    """Returns the AUC of the label's mean by value, which is learned on other rows.

    Rows are halved at random. A row's score is the mean label of its value in the other half,
    (sum + mean of the half) / (rows + 1), so that a value seen once says little; the AUC is the
    mean of both halves'. A column of names that occur once scores about .5.

    >>> deciding_auc(np.arange(400) % 2, np.arange(400) % 2)
    1.0
    >>> bool(deciding_auc(np.arange(400), np.arange(400) % 2) == 0.5)
    True

    Args:
        values: Integers, equal where the column holds the same, (rows,).
        labels: 0 or 1, (rows,).

    Returns:
        A number in [0, 1]; nan where a class has fewer rows than `LEAST_OF_CLASS`.
    """
    labels = np.asarray(labels, np.float64)
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < LEAST_OF_CLASS:
        return float("nan")

    codes = np.unique(np.asarray(values), return_inverse=True)[1]
    in_first = np.random.default_rng(_SEED).random(len(labels)) < 0.5
    aucs = []
    for learned in (in_first, ~in_first):
        sums = np.bincount(codes[learned], labels[learned], minlength=int(codes.max()) + 1)
        rows = np.bincount(codes[learned], minlength=len(sums))
        means = (sums + labels[learned].mean()) / (rows + 1)
        aucs.append(auc(labels[~learned], means[codes[~learned]]))
    return float(np.mean(aucs))


def cells_of(numbers: ArrayLike) -> np.ndarray:
    """Returns a cell for each number, int (rows,): between quantiles, or at one; NaN has its own.

    >>> cells_of([0.0, 0.0, 2.0, float("nan")]).tolist()
    [1, 1, 3, -1]

    Args:
        numbers: (rows,).
    """
    numbers = np.asarray(numbers, np.float64)
    is_number = ~np.isnan(numbers)
    cells = np.full(len(numbers), -1)
    if is_number.any():
        shares = np.linspace(0, 1, _CELLS + 1)
        edges = np.unique(np.quantile(numbers[is_number], shares, method="lower"))
        # Odd where a number is an edge: one that many rows share is told from its neighbours.
        found = numbers[is_number]
        cells[is_number] = np.searchsorted(edges, found) + np.searchsorted(edges, found, "right")
    return cells
