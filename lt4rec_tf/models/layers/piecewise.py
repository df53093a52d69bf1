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


def row_weights(positions: tf.Tensor, bins: int) -> tf.Tensor:
    """Returns the weights of a table's rows in a field's vector.

    The rows are the missing row, v_0 and v_1 to v_T.

    >>> row_weights(tf.constant([1.25, float("nan")]), 3).numpy().tolist()
    [[0.0, 1.0, 1.0, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]]

    Args:
        positions: float32 (...,), NaN where a number is missing.
        bins: T, the number of bins.

    Returns:
        float32 (..., bins + 2).
    """
    is_number = tf.math.is_finite(positions)
    of_number = encoding(tf.where(is_number, positions, 0.0), bins)
    present = tf.cast(is_number, tf.float32)[..., tf.newaxis]
    return tf.concat([1.0 - present, present, present * of_number], axis=-1)
