"""Exact ranking of all items for every user: the best k, their recall and NDCG."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.public.interactions import Interactions
from lt4rec_tf.metrics.top_k import recall_and_ndcg

USERS_AT_A_TIME = 256


def measure(
    vectors: np.ndarray, known: Interactions, truth: Interactions, k: int
) -> dict[str, float]:
    """Measures recall@k and NDCG@k of a ranking of all items that a user does not have yet.

    Args:
        vectors: float32 (users + items, dimension), users first.
        known: Pairs that are not ranked: train, and for test validation too.
        truth: Pairs to be ranked high; users without any are left out.
        k: Length of the list.

    Returns:
        {"recall": .., "ndcg": ..}, in [0, 1]; nan if no user has such a pair.
    """
    users = np.flatnonzero(truth.counts > 0)
    top = top_items(vectors, known, users, k)
    recall, ndcg = recall_and_ndcg(truth.have(users[:, None], top), truth.counts[users])
    return {"recall": recall, "ndcg": ndcg}


def top_items(vectors: np.ndarray, known: Interactions, users: np.ndarray, k: int) -> np.ndarray:
    """Returns the k items of highest x_u . x_i that a user does not know, best first.

    Of equals the lower id comes first. A user who knows all but fewer than k gets known ones at
    the end.

    Args:
        vectors: As `measure` takes them.
        known: Per user what is left out.
        users: Whose lists are returned, int64 (n,).
        k: Length of a list; all items if there are fewer.

    Returns:
        int64 (n, k).
    """
    items = tf.constant(vectors[known.users :])
    k = min(k, known.items)
    lists = [np.zeros((0, k), np.int64)]
    for start in range(0, len(users), USERS_AT_A_TIME):
        block = users[start : start + USERS_AT_A_TIME]
        hidden = np.stack(known.of_users(block), axis=1)
        lists.append(_best(vectors[block], items, hidden, k).numpy())
    return np.concatenate(lists).astype(np.int64)


@tf.function(reduce_retracing=True)
def _best(user_vectors: tf.Tensor, items: tf.Tensor, hidden: tf.Tensor, k: int) -> tf.Tensor:
    scores = tf.matmul(user_vectors, items, transpose_b=True)
    lowest = tf.fill([tf.shape(hidden)[0]], scores.dtype.min)
    return tf.math.top_k(tf.tensor_scatter_nd_update(scores, hidden, lowest), k).indices
