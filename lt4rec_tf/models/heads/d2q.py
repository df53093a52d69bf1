"""Duration-deconfounded quantiles: where a label lies among those of videos as long.

Source: D2Q (Zhan et al., Deconfounding Duration Bias in Watch-time Prediction for Video
Recommendation, KDD 2022, arXiv 2206.06003), section 4.
"""

from __future__ import annotations

import tensorflow as tf

from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles


def quantile_of(
    quantiles: LabelQuantiles, labels: tf.Tensor, seconds: tf.Tensor | None
) -> tf.Tensor:
    """Returns the share of the labels of a row's group that lie below its label, in [0, 1].

    Between two quantiles it is linear. A label that several quantiles equal, such as the ratio 1,
    has the middle of their levels.

    Args:
        quantiles: Of the label in train.
        labels: float32 (rows,).
        seconds: The rows' durations, float32 (rows,), NaN where unknown; None: all are.

    Returns:
        float32 (rows,).
    """
    curves = tf.gather(_curves(quantiles), _group_of(quantiles, labels, seconds))
    y = labels[:, tf.newaxis]
    below = tf.searchsorted(curves, y, side="left")[:, 0]
    not_above = tf.searchsorted(curves, y, side="right")[:, 0]

    last = tf.maximum(below - 1, 0)
    low = tf.gather(curves, last, batch_dims=1)
    high = tf.gather(curves, tf.minimum(below, LEVELS), batch_dims=1)
    between = tf.math.divide_no_nan(labels - low, high - low)
    inside = tf.cast(last, tf.float32) + between
    equal = tf.cast(below + not_above - 1, tf.float32) / 2.0
    place = tf.where(not_above > below, equal, tf.where(below > LEVELS, float(LEVELS), inside))
    return tf.where(not_above > 0, place, 0.0) / LEVELS


def prediction(
    quantiles: LabelQuantiles, outputs: tf.Tensor, seconds: tf.Tensor | None
) -> tf.Tensor:
    """Returns the quantile of a row's group at the level sigmoid(o), linear between two of them.

    But for rounding, a larger output never gives a smaller prediction.

    Args:
        quantiles: Of the label in train.
        outputs: float32, any shape.
        seconds: Durations in a shape that broadcasts to that one, NaN where unknown; None: all are.

    Returns:
        float32 in that shape.
    """
    flat = tf.reshape(tf.cast(outputs, tf.float32), [-1])
    if seconds is not None:
        seconds = tf.reshape(tf.broadcast_to(seconds, tf.shape(outputs)), [-1])
    place = tf.sigmoid(flat) * LEVELS
    below = tf.minimum(tf.cast(place, tf.int32), LEVELS - 1)

    curves, width = _curves(quantiles), LEVELS + 1
    first = _group_of(quantiles, flat, seconds) * width + below
    numbers = tf.reshape(curves, [-1])
    low, high = tf.gather(numbers, first), tf.gather(numbers, first + 1)
    between = low + (high - low) * (place - tf.cast(below, tf.float32))
    return tf.reshape(tf.minimum(between, high), tf.shape(outputs))


def _curves(quantiles: LabelQuantiles) -> tf.Tensor:
    return tf.constant(quantiles.curves, tf.float32)


def _group_of(quantiles: LabelQuantiles, rows: tf.Tensor, seconds: tf.Tensor | None) -> tf.Tensor:
    """Returns which curve is whose, int32 (rows,): the first one where a duration is unknown."""
    if seconds is None or not quantiles.by_duration:
        return tf.zeros_like(rows, tf.int32)
    seconds = tf.cast(seconds, tf.float32)
    bounds = tf.constant(quantiles.bounds, tf.float32, [len(quantiles.bounds)])
    group = tf.searchsorted(bounds, seconds, side="right")
    is_known = tf.math.is_finite(seconds) & (seconds > 0.0)
    return tf.where(is_known, 1 + group, 0)
