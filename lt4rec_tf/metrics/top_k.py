"""Metrics of the first k items of a user's ranking of all items."""

from __future__ import annotations

import numpy as np


def recall_and_ndcg(hits: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Returns Recall@k and NDCG@k, averaged over the users with relevant items.

    recall_u = sum_i h_ui / n_u;  NDCG_u = (sum_i h_ui / log2(i + 1)) / (sum_{i <= min(n_u, k)} 1 /
    log2(i + 1)), with h_ui = 1 if the item at position i = 1..k is one of the user's n_u, else 0.

    >>> recall_and_ndcg(np.array([[True, False, True], [False, False, False]]), np.array([4, 1]))
    (0.25, 0.35195...

    Args:
        hits: bool (users, k), whether each of the first k items, best first, is relevant.
        relevant: int (users,), how many relevant items there are; users with 0 are left out.

    Returns:
        Two numbers in [0, 1]; nan where no user has a relevant item.

    Source: He et al., LightGCN (SIGIR 2020, arXiv 2002.02126), section 4.1, and its code.
    """
    hits, relevant = np.asarray(hits)[relevant > 0], relevant[relevant > 0]
    if not len(relevant):
        return float("nan"), float("nan")

    length = hits.shape[1]
    discounts = 1.0 / np.log2(np.arange(length) + 2.0)
    ideal = np.cumsum(discounts)[np.minimum(relevant, length) - 1]

    recall = hits.sum(axis=1) / relevant
    ndcg = (hits @ discounts) / ideal
    return float(recall.mean()), float(ndcg.mean())
