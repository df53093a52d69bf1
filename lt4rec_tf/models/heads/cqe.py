"""Conditional quantiles, of which the label's expectation is made.

Source: CQE (Lin et al., Conditional Quantile Estimation for Uncertain Watch Time in Short-Video
Recommendation, arXiv 2407.12223), sections 3 and 4.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.losses import population_mean

LEAST_STEP = 0.02  # in units: with smaller ones a softplus has hardly a gradient


def levels(count: int) -> np.ndarray:
    """Returns the levels of the quantiles, n / (N + 1).

    >>> levels(3).tolist()
    [0.25, 0.5, 0.75]
    """
    return np.arange(1, count + 1) / (count + 1)


def quantiles(outputs: tf.Tensor, start: np.ndarray, unit: float) -> tf.Tensor:
    """Returns q_n = u sum_(i <= n) softplus(o_i + c_i) at each level: they never cross.

    With c_i the softplus of outputs of 0 gives the steps between the quantiles of train, or
    `LEAST_STEP` where they are smaller.

    Args:
        outputs: float32 (..., N).
        start: The quantiles of train at the levels, (N,).
        unit: u, above 0.

    Returns:
        float32 (..., N), rising.
    """
    steps = np.maximum(np.diff(start, prepend=0.0) / unit, LEAST_STEP)
    begun = tf.constant(np.log(np.expm1(steps)), tf.float32)
    return unit * tf.cumsum(tf.nn.softplus(outputs + begun), axis=-1)


def loss(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    start: np.ndarray,
    unit: float,
) -> tf.Tensor:
    """Returns the mean over rows and levels a of max(a e, (a - 1) e) / u, e = y - q_a.

    Args:
        outputs: float32 (batch, N).
        labels: 0 or more, float32 (batch,).
        weights: See `models.losses`.
        emphasis: See `models.losses`.
        start: As `quantiles` takes it.
        unit: u, above 0.
    """
    error = (labels[:, tf.newaxis] - quantiles(outputs, start, unit)) / unit
    at = tf.constant(levels(outputs.shape[-1]), tf.float32)
    pinball = tf.maximum(at * error, (at - 1.0) * error)
    return population_mean(tf.reduce_mean(pinball, axis=1), weights, emphasis)


def prediction(outputs: tf.Tensor, start: np.ndarray, unit: float) -> tf.Tensor:
    """Returns the expectation: the integral over all levels, linear between two quantiles.

    Below the first level and above the last one the quantile function is taken for constant:
    (q_1 / 2 + q_1 + ... + q_N + q_N / 2) / (N + 1).

    Args:
        outputs: float32 (..., N).
        start: As `quantiles` takes it.
        unit: u, above 0.
    """
    found = quantiles(outputs, start, unit)
    ends = (found[..., 0] + found[..., -1]) / 2.0
    return (tf.reduce_sum(found, axis=-1) + ends) / (outputs.shape[-1] + 1)


def at_level(outputs: tf.Tensor, start: np.ndarray, unit: float, level: float) -> tf.Tensor:
    """Returns the quantile at a level, as `prediction` takes the quantile function.

    Args:
        outputs: float32 (..., N).
        start: As `quantiles` takes it.
        unit: u, above 0.
        level: In (0, 1).

    Returns:
        float32 (...,).
    """
    known = levels(outputs.shape[-1])
    # What each of the N quantiles counts for.
    shares = [np.interp(level, known, unit_vector) for unit_vector in np.eye(len(known))]
    found = quantiles(outputs, start, unit)
    return tf.reduce_sum(found * tf.constant(shares, tf.float32), axis=-1)
