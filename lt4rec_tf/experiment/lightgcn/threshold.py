"""PEP's learned pruning: a threshold below which the numbers of a table are 0."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class ThresholdPlan:
    """Settings of a threshold that is trained beside its table.

    Attributes:
        start: Its logit s at the start.
        scale: g of `soft_threshold`.
        decay: Weight of s^2 / 2 in the loss, which draws the threshold towards g / 2. The loss
            alone lowers a threshold that all numbers share (docs/embedding_tickets.md); the code of
            PEP trains s with the weight decay of all parameters.
    """

    start: float
    scale: float
    decay: float


def soft_threshold(table: tf.Tensor, logit: tf.Tensor, scale: float) -> tf.Tensor:
    """Returns sign(v) max(0, |v| - g sigmoid(s)) for each number v of a table.

    >>> soft_threshold(tf.constant([-2.0, 0.25, 1.0]), tf.constant(0.0), 1.0).numpy().tolist()
    [-1.5, 0.0, 0.5]

    Args:
        table: float32 of any shape.
        logit: s, float32 ().
        scale: g, above 0: the most that is cut away.

    Source: Liu et al., Learnable Embedding Sizes for Recommender Systems (ICLR 2021, arXiv
    2101.07577), Eq. 4 and 5, one threshold for all numbers; g is 1 there, and a factor in its code.
    """
    return tf.sign(table) * tf.nn.relu(tf.abs(table) - scale * tf.sigmoid(logit))
