"""Metrics of the k items that a user is shown first, out of all."""

from __future__ import annotations

import numpy as np


def recall_and_ndcg(hits: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Recall@k and NDCG@k, averaged over the users that have something to find.

    recall_u = sum_i h_ui / n_u;  NDCG_u = (sum_i h_ui / log2(i + 1)) / (sum_{i <= min(n_u, k)} 1 /
    log2(i + 1)), with h_ui whether the item at place i = 1..k is one of the n_u that the user has.

    >>> recall_and_ndcg(np.array([[True, False, True], [False, False, False]]), np.array([4, 1]))
    (0.25, 0.35195...

    Args:
        hits: bool (users, k), whether each of the first k items, best first, is relevant.
        relevant: int (users,), how many relevant items there are; users with 0 are left out.

    Returns:
        Two numbers in [0, 1]; nan where no user has anything to find.

    Source: He et al., LightGCN (SIGIR 2020, arXiv 2002.02126), section 4.1, and its code.
    """
    hits, relevant = np.asarray(hits)[relevant > 0], relevant[relevant > 0]
    if not len(relevant):
        return float("nan"), float("nan")
    places = hits.shape[1]
    discounts = 1.0 / np.log2(np.arange(places) + 2.0)
    ideal = np.cumsum(discounts)[np.minimum(relevant, places) - 1]
    recall = hits.sum(axis=1) / relevant
    ndcg = (hits @ discounts) / ideal
    return float(recall.mean()), float(ndcg.mean())
