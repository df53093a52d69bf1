"""Uncertainty weighting: weighs each loss by the learned noise of its labels."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lt4rec_tf.training.balancing.gradients import Gradient
from lt4rec_tf.training.balancing.rule import Gradients, Losses, Rule, Variables
from lt4rec_tf.training.optimizers import build_optimizer, reset

FIRST_LOG_VARIANCE = -0.5


class Uncertainty(Rule):
    """Weighs each loss by the learned noise of its labels.

    The network and s = log sigma^2 descend sum_t h_t exp(-s_t) L_t + s_t / 2, with h = 1/2 for a
    squared error, the likelihood of a Gaussian, and h = 1 for a cross entropy, that of a softmax
    scaled by sigma^2. s starts at -0.5. For a batch without rows of a task, its term is left out.

    s is learned by an optimiser of the network's kind, at the network's learning rate.
    Source: Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses (arXiv
    1705.07115), Eq. 7 and 10.

    Args:
        squared: For each task whether its loss in the schema is a squared error; losses of a
            network's own are weighed like those that they replace.
        optimizer: Of the network.
        learning_rate: Of the network.
    """

    def __init__(self, squared: Sequence[bool], optimizer: str, learning_rate: float) -> None:
        self._factors = tf.constant([0.5 if one else 1.0 for one in squared])
        self._s = tf.Variable(tf.fill(len(squared), FIRST_LOG_VARIANCE), trainable=False)
        self._optimizer = build_optimizer(optimizer, learning_rate, [self._s])
        slots = {f"optimizer/{i}": v for i, v in enumerate(self._optimizer.variables)}
        super().__init__(state={"s": self._s} | slots)

    def reset(self) -> None:
        """Sets s back to its start."""
        self._s.assign(tf.fill(tf.shape(self._s), FIRST_LOG_VARIANCE))
        reset(self._optimizer)

    def targets(self, losses: Losses) -> list[tf.Tensor]:
        """Returns the weighted sum; the terms of s alone have no gradient for the network."""
        return [tf.reduce_sum(self._factors * tf.exp(-self._s) * tf.stack(losses))]

    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Returns the weighted sum's gradients, and updates s."""
        stacked = tf.stack(losses)
        slope = 0.5 - self._factors * tf.exp(-self._s) * stacked  # d/ds of a task's term
        slope = tf.where(stacked != 0.0, slope, 0.0)
        self._optimizer.apply_gradients([(slope, self._s)], skip_gradients_aggregation=True)
        return list(gradients[0])
