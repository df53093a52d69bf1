"""Losses of one task over its population, and its predictions.

All take logits float32 (batch,), labels float32 (batch,) in [0, 1] and weights float32 (batch,):
the row's own, 1 unless the schema says otherwise, for rows of the task's population, 0 for others.
A row of weight w counts as w rows of its batch. The losses of amounts name their own arguments.

All return a scalar, the weighted mean sum(w * l) / sum(w), which is 0 if all weights are 0: a batch
without clicks has no effect on CVR. With an emphasis e, float32 (batch,), it is
sum(e * w * l) / sum(w): a row with e = 5 has five times the gradient, all others are unchanged.
"""

from __future__ import annotations

import math
from typing import Protocol

import tensorflow as tf

from lt4rec_tf.distributed.replicas import over_replicas
from lt4rec_tf.schema.types import Task


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
    """Returns sigmoid(logit): pctr, or the expected watch ratio of a click, in (0, 1).

    It is the prediction of all tasks but amounts and those with a head of their own.
    """
    return tf.sigmoid(logits)


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the mean of -y log p - (1 - y) log(1 - p), p = sigmoid(logit).

    With a label between 0 and 1 this is the soft cross entropy.

    >>> float(cross_entropy(tf.constant([0.0]), tf.constant([1.0]), tf.constant([1.0])))
    0.6931471824645996
    """
    return population_mean(_cross_entropies(logits, labels), weights, emphasis)


def _cross_entropies(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def focal(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the mean of -a_y (1 - p_y)^gamma log p_y with a_1 = alpha, a_0 = 1 - alpha.

    p_y is the probability of the observed label; alpha = .75, gamma = 2 as in the LT4REC
    authors' configuration. Source: Lin et al. (arXiv 1708.02002), Eq. 5.
    """
    return population_mean(_focal_losses(logits, labels), weights, emphasis)


def _focal_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    signs = 2.0 * labels - 1.0
    log_p = tf.math.log_sigmoid(signs * logits)
    alpha = labels * FOCAL_ALPHA + (1.0 - labels) * (1.0 - FOCAL_ALPHA)
    return -alpha * tf.pow(-tf.math.expm1(log_p), FOCAL_GAMMA) * log_p


def mse(
    logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the mean of (sigmoid(logit) - y)^2, the CVR loss of LT4REC's authors."""
    return population_mean(_squared_errors(logits, labels), weights, emphasis)


def _squared_errors(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.math.squared_difference(probability(logits), labels)


def population_mean(
    values: tf.Tensor, weights: tf.Tensor, emphasis: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns sum(e * w * v) / sum(w), and 0 if sum(w) is 0; e is 1 without an emphasis.

    Replicas that train together get the same mean, over the rows of all of them.
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
_LOSSES_BY_ROW = {
    "cross_entropy": _cross_entropies,
    "soft_cross_entropy": _cross_entropies,
    "focal": _focal_losses,
    "mse": _squared_errors,
}


ZILN_OUTPUTS = 3  # logit of "more than nothing", mean and raw deviation of the amount's logarithm
LEAST_DEVIATION = 2.0**-12  # of a logarithm: the likelihood of a narrower peak has no bound
LARGEST_LOG = 30.0  # of a prediction in deviations, beyond which float32 would overflow


def standardised_mse(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    mean: float,
    scale: float,
) -> tf.Tensor:
    """Returns the mean of (o - (y - mean) / scale)^2 of an amount y and the network's output o.

    Args:
        outputs: float32 (batch,).
        labels: Amounts in their own unit, float32 (batch,).
        weights: See the module.
        emphasis: See the module.
        mean: Of the amount in train.
        scale: Its standard deviation there, above 0.

    >>> y = tf.constant([10.0, 30.0])
    >>> float(standardised_mse(tf.zeros(2), y, tf.ones(2), mean=20.0, scale=10.0))
    1.0
    """
    errors = _standardised_errors(outputs, labels, mean=mean, scale=scale)
    return population_mean(errors, weights, emphasis)


def _standardised_errors(
    outputs: tf.Tensor, labels: tf.Tensor, *, mean: float, scale: float
) -> tf.Tensor:
    return tf.math.squared_difference(outputs, (labels - mean) / scale)


def ziln(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    scale: float,
) -> tf.Tensor:
    """Returns the mean negative log likelihood of a zero-inflated log-normal amount.

    An amount is 0 with probability 1 - p, else log-normal: with z = y / scale,

    -log(1 - p) where y = 0; -log p + log z + log d + log(2 pi) / 2 + (log z - m)^2 / (2 d^2) else

    p = sigmoid(o_0), m = o_1, d = softplus(o_2). Source: Wang et al., A Deep Probabilistic Model
    for Customer Lifetime Value Prediction (arXiv 1912.07753), Eq. 4 and 5.

    Args:
        outputs: float32 (batch, 3).
        labels: Amounts in their own unit, float32 (batch,).
        weights: See the module.
        emphasis: See the module.
        scale: Of the amount, above 0. For amounts much smaller, log z starts far from the draw's m.
    """
    return population_mean(_ziln_losses(outputs, labels, scale=scale), weights, emphasis)


def _ziln_losses(outputs: tf.Tensor, labels: tf.Tensor, *, scale: float) -> tf.Tensor:
    logit, mean, deviation = ziln_parts(outputs)
    positive = labels > 0.0
    # Of an amount of 0 the logarithm is taken of 1, as an infinity's gradient would be NaN.
    log_z = tf.math.log(tf.where(positive, labels, scale) / scale)

    is_positive = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), logit)
    amount = (
        log_z
        + tf.math.log(deviation)
        + 0.5 * math.log(2 * math.pi)
        + 0.5 * tf.square((log_z - mean) / deviation)
    )
    return is_positive + tf.where(positive, amount, 0.0)


def ziln_parts(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the logit, mean and deviation that the network's outputs stand for."""
    logit, mean, raw = tf.unstack(outputs, axis=-1)
    return logit, mean, tf.maximum(tf.nn.softplus(raw), LEAST_DEVIATION)


def losses_by_row(task: Task, outputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the losses whose weighted mean a task with a plain head learns, float32 (batch,).

    Args:
        task: Whose.
        outputs: Its logits, float32 (batch,), or what its loss takes.
        labels: float32 (batch,).

    >>> task = Task("cvr", "ratio", "continuous", None, "mse", "mse", "min")
    >>> losses_by_row(task, tf.zeros(2), tf.constant([0.5, 1.0])).numpy().tolist()
    [0.0, 0.25]
    """
    if task.kind != "amount":
        return _LOSSES_BY_ROW[task.loss](outputs, labels)
    if task.loss == "ziln":
        return _ziln_losses(outputs, labels, scale=task.scale)
    return _standardised_errors(outputs, labels, mean=task.mean, scale=task.scale)


def log_kept(task: Task) -> float:
    """Returns what is added to a binary task's logit, so that it is one of the unsampled log.

    >>> task = Task("ctr", "click", "binary", None, "cross_entropy", "auc", "max")
    >>> log_kept(task)
    0.0
    """
    return math.log(task.negatives_kept)
