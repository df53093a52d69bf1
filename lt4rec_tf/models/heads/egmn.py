"""A mixture of an exponential distribution, quick skips, and of Gaussians above it.

Source: EGMN (Multi-Granularity Distribution Modeling for Video Watch Time Prediction via
Exponential-Gaussian Mixture Network, RecSys 2025) and its authors' code. This project's are the
least spread, without which the likelihood of labels that are often equal has no bound, and the
means of the Gaussians as they are cut at 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.losses import population_mean

ENTROPY, ERROR = 0.1, 1.0  # weights of the loss's parts, as the authors have them
LEAST_SPREAD = 0.02  # of a component, in units


class Mixture(NamedTuple):
    """A mixture by row, in units.

    Attributes:
        logits: Of the components' shares, the exponential's first, float32 (..., K + 1).
        mean: Of the exponential, (...,).
        centres: Of the Gaussians before they are cut at 0, above the exponential's mean, (..., K).
        spreads: Their deviations before they are cut, (..., K).
    """

    logits: tf.Tensor
    mean: tf.Tensor
    centres: tf.Tensor
    spreads: tf.Tensor


def outputs_of(gaussians: int) -> int:
    """Returns the number of outputs: shares, centres and spreads, and the exponential's mean."""
    return 3 * gaussians + 2


def mixture(outputs: tf.Tensor) -> Mixture:
    """Returns the mixture that outputs stand for, float32 (..., 3 K + 2).

    Of outputs of 0 the exponential has the mean 1/2, and the Gaussians lie evenly in the unit above
    it.
    """
    count = (outputs.shape[-1] - 2) // 3
    logits, rate, centres, spreads = tf.split(outputs, [count + 1, 1, count, count], axis=-1)
    mean = LEAST_SPREAD + 1.0 / (tf.nn.softplus(rate + math.log(math.expm1(2.0))) + 1e-6)
    begun = np.log(np.expm1(np.arange(1, count + 1) / count))
    centres = mean + tf.nn.softplus(centres + tf.constant(begun, tf.float32))
    return Mixture(logits, mean[..., 0], centres, LEAST_SPREAD + tf.nn.softplus(spreads))


def loss(
    outputs: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    emphasis: tf.Tensor | None = None,
    *,
    unit: float,
) -> tf.Tensor:
    """Returns the mean of -log f(z) - a H(s) + b |E - z|, z = y / u.

    f is the mixture's density, H(s) the entropy of the components' shares, E its expectation.

    Args:
        outputs: float32 (batch, 3 K + 2).
        labels: 0 or more, float32 (batch,).
        weights: See `models.losses`.
        emphasis: See `models.losses`.
        unit: u, above 0.
    """
    z = labels / unit
    found = mixture(outputs)
    log_shares = tf.nn.log_softmax(found.logits, axis=-1)
    log_density = tf.reduce_logsumexp(log_shares + _log_densities(found, z), axis=-1)
    entropy = -tf.reduce_sum(tf.exp(log_shares) * log_shares, axis=-1)
    error = tf.abs(_expectation(found) - z)
    return population_mean(-log_density - ENTROPY * entropy + ERROR * error, weights, emphasis)


def prediction(outputs: tf.Tensor, unit: float) -> tf.Tensor:
    """Returns u times the mixture's expectation.

    Args:
        outputs: float32 (..., 3 K + 2).
        unit: u, above 0.
    """
    return unit * _expectation(mixture(outputs))


def _log_densities(found: Mixture, z: tf.Tensor) -> tf.Tensor:
    """Returns the logarithm of each component's density at z, float32 (..., K + 1)."""
    exponential = -tf.math.log(found.mean) - z / found.mean
    distance = (z[..., tf.newaxis] - found.centres) / found.spreads
    gaussians = (
        -0.5 * tf.square(distance)
        - tf.math.log(found.spreads)
        - 0.5 * math.log(2 * math.pi)
        - tf.math.log(_share_above_zero(found))
    )
    return tf.concat([exponential[..., tf.newaxis], gaussians], axis=-1)


def _expectation(found: Mixture) -> tf.Tensor:
    # A Gaussian cut at 0 has the mean c + d phi(c / d) / Phi(c / d).
    at_zero = found.centres / found.spreads
    density = tf.exp(-0.5 * tf.square(at_zero)) / math.sqrt(2 * math.pi)
    cut = found.centres + found.spreads * density / _share_above_zero(found)
    means = tf.concat([found.mean[..., tf.newaxis], cut], axis=-1)
    return tf.reduce_sum(tf.nn.softmax(found.logits, axis=-1) * means, axis=-1)


def _share_above_zero(found: Mixture) -> tf.Tensor:
    """Returns Phi(c / d), in [1/2, 1]: centres are above 0."""
    return 0.5 * (1.0 + tf.math.erf(found.centres / found.spreads / math.sqrt(2.0)))
