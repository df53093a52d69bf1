"""Piecewise linear encoding of numbers, over bins that hold about equal shares of train.

    e_t(x) = (x - b_{t-1}) / (b_t - b_{t-1}), clipped to [0, 1],   t = 1..T

A field's vector is v_0 + sum_t e_t(x) v_t: a linear map of the encoding.

Source: Gorishniy et al., On Embeddings for Numerical Features in Tabular Deep Learning (arXiv
2203.05556), Eq. 1. There e_1 and e_T are not clipped outside [b_0, b_T], where train has no number.
"""

from __future__ import annotations

import tensorflow as tf


def encoding(positions: tf.Tensor, bins: int) -> tf.Tensor:
    """Returns the elements of the encoding, each in [0, 1].

    >>> encoding(tf.constant([0.0, 1.25, 3.0]), 3).numpy().tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.25, 0.0], [1.0, 1.0, 1.0]]

    Args:
        positions: float32 (...,): bins below a number, and the share of its own bin below it.
        bins: T, their number.

    Returns:
        float32 (..., bins).
    """
    return tf.clip_by_value(positions[..., tf.newaxis] - tf.range(bins, dtype=tf.float32), 0.0, 1.0)


def piecewise_vectors(positions: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns v_0 + sum_t e_t v_t, or the missing row where a number is missing.

    >>> rows = tf.constant([[[9.0], [1.0], [10.0], [100.0]]])  # missing, v_0, v_1, v_2
    >>> piecewise_vectors(tf.constant([[1.25, float("nan")]]), rows).numpy().tolist()
    [[[36.0], [9.0]]]

    Args:
        positions: float32 (fields, batch), NaN where a number is missing.
        rows: Of each field's table the missing row and v_0 to v_T, float32 (fields, T + 2,
            dimension).

    Returns:
        float32 (fields, batch, dimension).
    """
    missing, base, moves = rows[:, :1], rows[:, 1:2], rows[:, 2:]
    is_number = tf.math.is_finite(positions)
    elements = encoding(tf.where(is_number, positions, 0.0), moves.shape[1])
    vectors = base + tf.matmul(elements, moves)
    return tf.where(is_number[..., tf.newaxis], vectors, missing)
