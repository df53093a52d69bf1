"""Losses of a table whose rows are users and items, of which only those that met are known.

Vectors are float32 (users + items, dimension), users first; x_u . x_i is the score of a pair.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Users whose scores of all items are held at a time; more of them are no faster.
USERS_AT_A_TIME = 256


def bpr(
    vectors: tf.Tensor, user_rows: tf.Tensor, item_rows: tf.Tensor, drawn_rows: tf.Tensor
) -> tf.Tensor:
    """Returns Bayesian personalised ranking's loss: mean of -log sigmoid(x_u . x_i - x_u . x_j).

    >>> vectors = tf.constant([[1.0], [2.0], [1.0]])
    >>> loss = bpr(vectors, tf.constant([0]), tf.constant([1]), tf.constant([2]))
    >>> round(float(loss), 4)  # log(1 + 1 / e)
    0.3133

    Args:
        vectors: Of users and items.
        user_rows: u, int64 (pairs,).
        item_rows: i, an item that u met, int64 (pairs,).
        drawn_rows: j, one that u did not meet, int64 (pairs,).

    Returns:
        A scalar.

    Source: Rendle et al. (UAI 2009, arXiv 1205.2618), section 4.
    """
    user_vectors = tf.gather(vectors, user_rows)
    difference = tf.gather(vectors, item_rows) - tf.gather(vectors, drawn_rows)
    return tf.reduce_mean(tf.nn.softplus(-tf.reduce_sum(user_vectors * difference, axis=1)))


def softmax(
    vectors: tf.Tensor,
    users: int,
    user_rows: tf.Tensor,
    user_positions: tf.Tensor,
    item_rows: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """Returns the softmax loss of a user's items against all items, exactly.

    That is the mean over pairs (u, i) of

    log sum_j exp(s_uj) - s_ui,  s_uj = x_u . x_j / T

    Value and gradient come from one pass over blocks of scores: a matrix (users, items) never lies
    in memory. Every pair counts alike. If every user counted alike, most pairs would teach little:
    recall on validation was a tenth lower (docs/embedding_tickets.md).

    >>> vectors = tf.constant([[1.0], [2.0], [1.0]])  # one user, two items
    >>> row = tf.constant([0])
    >>> loss = softmax(vectors, 1, row, row, tf.constant([1]), temperature=1.0)
    >>> round(float(loss), 4)  # log(1 + 1 / e)
    0.3133

    Args:
        vectors: Of users and items.
        users: The number of all users: items' rows begin there.
        user_rows: u, int64 (batch,), each with an item at least.
        user_positions: Of each pair: its user's position in `user_rows`, int64 (pairs,).
        item_rows: i, int64 (pairs,).
        temperature: T, above 0.

    Returns:
        A scalar.

    Source: Liang et al., Variational Autoencoders for Collaborative Filtering (WWW 2018, arXiv
    1802.05814), Eq. 2, the multinomial likelihood.
    """
    items = vectors[users:] / temperature
    user_vectors = tf.gather(vectors, user_rows)
    batch = tf.shape(user_rows)[0]
    met = tf.math.unsorted_segment_sum(tf.ones_like(item_rows, tf.float32), user_positions, batch)

    pair_vectors = tf.gather(user_vectors, user_positions)
    pair_scores = tf.reduce_sum(pair_vectors * tf.gather(items, item_rows - users))
    pairs = tf.cast(tf.size(item_rows), tf.float32)
    return (_log_partitions(user_vectors, items, met) - pair_scores) / pairs


@tf.custom_gradient
def _log_partitions(
    user_vectors: tf.Tensor, items: tf.Tensor, met: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, None]]]:
    """Returns sum_u met_u log sum_j exp(x_u . x_j) and its gradients, by the same exponentials."""
    blocks = -(-tf.shape(user_vectors)[0] // USERS_AT_A_TIME)

    def one_more(
        block: tf.Tensor, total: tf.Tensor, by_items: tf.Tensor, by_users: tf.TensorArray
    ) -> tuple[tf.Tensor, ...]:
        block_rows = slice(block * USERS_AT_A_TIME, (block + 1) * USERS_AT_A_TIME)
        block_vectors, weights = user_vectors[block_rows], met[block_rows, tf.newaxis]
        scores = tf.matmul(block_vectors, items, transpose_b=True)

        # The highest score is taken out, lest an exponential overflow.
        highest = tf.reduce_max(scores, axis=1, keepdims=True)
        exponentials = tf.exp(scores - highest)
        sums = tf.reduce_sum(exponentials, axis=1, keepdims=True)
        return (
            block + 1,
            total + tf.reduce_sum(weights * (tf.math.log(sums) + highest)),
            by_items + tf.matmul(exponentials, weights * block_vectors / sums, transpose_a=True),
            by_users.write(block, weights * tf.matmul(exponentials, items) / sums),
        )

    _, total, by_items, by_users = tf.while_loop(
        lambda block, *_: block < blocks,
        one_more,
        (
            tf.constant(0),
            tf.constant(0.0),
            tf.zeros_like(items),
            tf.TensorArray(
                tf.float32, blocks, infer_shape=False, element_shape=(None, items.shape[1])
            ),
        ),
        parallel_iterations=1,
    )
    user_gradient = by_users.concat()
    return total, lambda upstream: (upstream * user_gradient, upstream * by_items, None)


def half_squares(table: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns the regulariser |X_rows|^2 / (2 count), each row as often as it occurs.

    Source: the code of LightGCN (arXiv 2002.02126), which sums over a batch's u, i and j and
    divides by its pairs.
    """
    return tf.nn.l2_loss(tf.gather(table, rows)) / tf.cast(count, tf.float32)
