"""CREAD: a classification for each threshold of a label, of which the label is restored.

Source: CREAD (Sun et al., A Classification-Restoration Framework with Error Adaptive Discretization
for Watch Time Prediction in Video Recommender Systems, AAAI 2024, arXiv 2401.07521).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.losses import population_mean
from lt4rec_tf.schema.label_bins import Bins

RESTORATION, ORDER = 1.0, 2e-5  # weights of the loss's parts, as EGMN's authors have them
HUBER = 1.0  # distance, in units, beyond which the restoration's error counts linearly


def loss(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    bins: Bins,
    unit: float,
) -> tf.Tensor:
    """Returns the mean of a + b H(r / u - y / u) + c d.

    a is the mean over m of the cross entropy of p_m = sigmoid(o_m + l_m) against y > t_m, l_m the
    logit of the share of labels above t_m in train. r is the restored label (`prediction`), H
    Huber's loss, d = sum_m max(p_(m+1) - p_m, 0) what breaks the order of the thresholds.

    Args:
        outputs: float32 (batch, M).
        labels: 0 or more, float32 (batch,).
        weights: See `models.losses`.
        emphasis: See `models.losses`.
        bins: Of M thresholds.
        unit: u, above 0.
    """
    above = tf.cast(labels[:, tf.newaxis] > tf.constant(bins.thresholds, tf.float32), tf.float32)
    logits = _logits(outputs, bins)
    entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels=above, logits=logits)
    error = (prediction(outputs, bins) - labels) / unit
    size = tf.abs(error)
    huber = tf.where(size <= HUBER, 0.5 * tf.square(error), HUBER * (size - 0.5 * HUBER))

    chances = tf.sigmoid(logits)
    disorder = tf.reduce_sum(tf.nn.relu(chances[:, 1:] - chances[:, :-1]), axis=1)
    losses = tf.reduce_mean(entropies, axis=1) + RESTORATION * huber + ORDER * disorder
    return population_mean(losses, weights, emphasis)


def prediction(outputs: tf.Tensor, bins: Bins) -> tf.Tensor:
    """Returns sum_m p_m (t_m - t_(m-1)), t_0 = 0: the integral of P(y > t).

    >>> halves = Bins(np.array([1.0, 4.0]), np.zeros(3), np.array([0.5, 0.5]))
    >>> prediction(tf.zeros((1, 2)), halves).numpy().tolist()
    [2.0]

    Args:
        outputs: float32 (..., M).
        bins: Of M thresholds.
    """
    widths = tf.constant(np.diff(bins.thresholds, prepend=0.0), tf.float32)
    return tf.reduce_sum(tf.sigmoid(_logits(outputs, bins)) * widths, axis=-1)


def _logits(outputs: tf.Tensor, bins: Bins) -> tf.Tensor:
    return outputs + tf.constant(np.log(bins.shares / (1 - bins.shares)), tf.float32)
