"""Ordinal regression by conditional probabilities, whose order no network can break.

Source: CORN (Shi, Cao and Raschka, Deep Neural Networks for Rank-Consistent Ordinal Regression
Based On Conditional Probabilities, arXiv 2111.08851), Eq. 4 and 5; bins of equal shares and the
expectation from their means are this project's.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.losses import population_mean
from lt4rec_tf.schema.label_bins import LEAST_SHARE, Bins


def loss(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    bins: Bins,
) -> tf.Tensor:
    """Returns the mean of sum_m [y > t_(m-1)] H(h_m, y > t_m), H the cross entropy.

    It is the negative log likelihood of the label's bin. h_m = sigmoid(o_m + l_m) is the
    probability of y > t_m where y > t_(m-1), t_0 below all labels, and l_m its logit in train.

    Args:
        outputs: float32 (batch, bins - 1).
        labels: float32 (batch,).
        weights: See `models.losses`.
        emphasis: See `models.losses`.
        bins: Of the label.
    """
    above = tf.cast(labels[:, tf.newaxis] > tf.constant(bins.thresholds, tf.float32), tf.float32)
    asked = tf.concat([tf.ones_like(above[:, :1]), above[:, :-1]], axis=1)
    logits = _logits(outputs, bins)
    entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels=above, logits=logits)
    return population_mean(tf.reduce_sum(asked * entropies, axis=1), weights, emphasis)


def prediction(outputs: tf.Tensor, bins: Bins) -> tf.Tensor:
    """Returns the expectation v_0 + sum_m P(y > t_m) (v_m - v_(m-1)), v_m the mean of bin m.

    >>> of_train = Bins(np.array([0.5, 2.0]), np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.25]))
    >>> prediction(tf.zeros((1, 2)), of_train).numpy().round(4).tolist()  # 1 / 2 + 2 / 4
    [1.0]

    Args:
        outputs: float32 (..., bins - 1).
        bins: Of the label.
    """
    chances = tf.exp(tf.cumsum(tf.math.log_sigmoid(_logits(outputs, bins)), axis=-1))
    steps = tf.constant(np.diff(bins.means), tf.float32)
    return float(bins.means[0]) + tf.reduce_sum(chances * steps, axis=-1)


def _logits(outputs: tf.Tensor, bins: Bins) -> tf.Tensor:
    shares = bins.shares / np.concatenate([[1.0], bins.shares[:-1]])
    shares = np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE)
    return outputs + tf.constant(np.log(shares / (1 - shares)), tf.float32)
