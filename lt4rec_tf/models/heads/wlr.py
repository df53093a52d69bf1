"""Weighted logistic regression: the odds of a logit are the expected label."""

from __future__ import annotations

import tensorflow as tf

from lt4rec_tf.models.losses import population_mean

LARGEST_LOGIT = 30.0  # beyond which the odds would overflow float32


def loss(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    unit: float,
) -> tf.Tensor:
    """Returns the mean of -(y / u) log p - log(1 - p), p = sigmoid(o).

    Each row is a positive one of weight y / u and a negative one of weight 1, so that the loss is
    least where the odds p / (1 - p) = e^o are the expectation of y / u. Source: Covington et al.,
    Deep Neural Networks for YouTube Recommendations (RecSys 2016), section 4.2, where rows without
    a click are the negative ones; for clicks alone as in Zhan et al. (KDD 2022, arXiv 2206.06003).

    >>> loss_of_half = loss(tf.zeros(1), tf.constant([0.5]), tf.ones(1), unit=1.0)
    >>> round(float(loss_of_half), 4)  # 1.5 log 2
    1.0397

    Args:
        outputs: float32 (batch,).
        labels: 0 or more, float32 (batch,).
        weights: See `models.losses`.
        emphasis: See `models.losses`.
        unit: u, above 0.
    """
    y = labels / unit
    losses = (1.0 + y) * tf.nn.softplus(outputs) - y * outputs
    return population_mean(losses, weights, emphasis)


def prediction(outputs: tf.Tensor, unit: float) -> tf.Tensor:
    """Returns u e^o.

    >>> prediction(tf.constant([0.0]), 2.0).numpy().tolist()
    [2.0]
    """
    return unit * tf.exp(tf.minimum(outputs, LARGEST_LOGIT))
