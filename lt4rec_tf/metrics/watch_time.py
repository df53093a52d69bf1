"""Ranking of watch time within each user's rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.in_parts import counted_columns


def user_ndcg(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> float:
    """Returns the mean over users of DCG / ideal DCG, with the label itself as the gain.

    DCG = sum_k y_(k) / log2(k + 1), y_(k) the label in place k of a user's rows by falling score.
    Rows of equal score share the mean of their places' discounts, which is the expectation over all
    orders among them. Users whose labels are all 0, or who have a single row, are left out.

    >>> user_ndcg([3.0, 0.0, 1.0], [0.2, 0.5, 0.1], [7, 7, 7]).__round__(4)
    0.659

    Args:
        labels: Watch times or ratios, 0 or more, (rows,).
        scores: Finite numbers, (rows,).
        users: Whole numbers, equal for rows of one user, (rows,).

    Returns:
        A number in (0, 1]; nan where no user is left.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques (TOIS 2002);
    ties as McSherry and Najork (ECIR 2008).
    """
    (y, scored), _ = counted_columns(None, labels=labels, scores=scores)
    y, scored = y.astype(np.float64), scored.astype(np.float64)
    user = np.unique(np.asarray(users), return_inverse=True)[1]
    if len(user) != len(y):
        raise ValueError(f"users: found {len(user)} rows, expected {len(y)}")
    if not len(y):
        return float("nan")

    found = _dcg(y, scored, user)
    ideal = _dcg(y, y, user)
    left = (ideal > 0) & (np.bincount(user) > 1)
    return float(np.mean(found[left] / ideal[left])) if left.any() else float("nan")


def _dcg(gains: np.ndarray, scores: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Returns the DCG of each user, (users,)."""
    order = np.lexsort((-scores, user))
    sorted_user, sorted_scores = user[order], scores[order]
    first = np.searchsorted(sorted_user, np.arange(user.max() + 1))
    place = np.arange(len(user)) - first[sorted_user]
    discounts = 1 / np.log2(place + 2)

    starts = np.r_[True, (np.diff(sorted_user) != 0) | (np.diff(sorted_scores) != 0)]
    tie = np.cumsum(starts) - 1
    shared = np.bincount(tie, discounts) / np.bincount(tie)
    return np.bincount(sorted_user, gains[order] * shared[tie])
