"""Losses of one task over its population.

All take logits float32 (batch,), labels float32 (batch,) in [0, 1] and weights float32 (batch,):
1 for rows of the task's population, 0 for others. All return a scalar, the weighted mean
sum(w * l) / sum(w), which is 0 where no row counts: a batch without clicks teaches CVR nothing.
An emphasis e, float32 (batch,), makes it sum(e * w * l) / sum(w): a row with e = 5 pulls five times
as hard, and all others as before.
"""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf

from lt4rec_tf.training.distribution import over_replicas


class Loss(Protocol):
    """A loss as the module describes it."""

    def __call__(
        self,
        logits: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
        emphasis: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the loss, a scalar."""


FOCAL_ALPHA = 0.75
FOCAL_GAMMA = 2.0


def probability(logits: tf.Tensor) -> tf.Tensor:
    """sigmoid(logit): pctr, or the expected watch ratio of a click, in (0, 1).

    The only way from logits to predictions: metrics, evaluation and serving call it.
    """
    return tf.sigmoid(logits)


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean of -y log p - (1 - y) log(1 - p), p = sigmoid(logit).

    With a label between 0 and 1 this is the soft cross entropy.

    >>> float(cross_entropy(tf.constant([0.0]), tf.constant([1.0]), tf.constant([1.0])))
    0.6931471824645996
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return population_mean(losses, weights, emphasis)


def focal(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean of -a_y (1 - p_y)^gamma log p_y with a_1 = alpha, a_0 = 1 - alpha.

    p_y is the probability of the label that was seen; alpha = .75, gamma = 2 as in the LT4REC
    authors' configuration. Source: Lin et al. (arXiv 1708.02002), Eq. 5.
    """
    signs = 2.0 * labels - 1.0
    log_p = tf.math.log_sigmoid(signs * logits)
    alpha = labels * FOCAL_ALPHA + (1.0 - labels) * (1.0 - FOCAL_ALPHA)
    losses = -alpha * tf.pow(-tf.math.expm1(log_p), FOCAL_GAMMA) * log_p
    return population_mean(losses, weights, emphasis)


def mse(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean of (sigmoid(logit) - y)^2, the CVR loss of LT4REC's authors."""
    losses = tf.math.squared_difference(probability(logits), labels)
    return population_mean(losses, weights, emphasis)


def population_mean(
    values: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """sum(e * w * v) / sum(w), and 0 where sum(w) is 0; e is 1 where there is no emphasis.

    Replicas that train together have the same mean, over the rows of all of them.
    """
    if emphasis is not None:
        values = emphasis * values
    total, count = over_replicas([tf.reduce_sum(values * weights), tf.reduce_sum(weights)])
    return tf.math.divide_no_nan(total, count)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "soft_cross_entropy": cross_entropy,
    "focal": focal,
    "mse": mse,
}
