"""PCGrad: projects conflicting gradients onto each other's normal planes."""

from __future__ import annotations

import tensorflow as tf

from lt4rec_tf.training.balancing.gradients import Gradient, balanced_sum
from lt4rec_tf.training.balancing.rule import Gradients, Losses, Rule, Variables


class PCGrad(Rule):
    """Projects each task's gradient onto the normal planes of those that it conflicts with.

    For each task i, over the other tasks j in random order, where g_i . g_j < 0:

    g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j, with g_j as it was before any projection.

    The update is sum_i g_i. g is the concatenation of all shared parameters: those that two tasks
    or more have a gradient for, with zeros for a task without one. All other parameters are updated
    by the gradient of their only task.

    Every projected gradient is a combination of the original ones, so their inner products are
    sufficient and no embedding table is ever made dense.
    Source: Yu et al., Gradient Surgery for Multi-Task Learning (arXiv 2001.06782), Algorithm 1.

    Args:
        tasks: Their number.
        seed: Of the random orders, which depend on it and on the number of earlier steps.
    """

    def __init__(self, tasks: int, seed: int) -> None:
        self._tasks, self._seed = tasks, seed
        self._step = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().__init__(state={"step": self._step})

    def reset(self) -> None:
        """Restarts the sequence of random orders."""
        self._step.assign(0)

    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Sums the projected gradients."""
        keys = tf.random.stateless_uniform(
            (self._tasks, self._tasks), seed=tf.stack([self._seed, self._step])
        )
        self._step.assign_add(1)
        orders = tf.argsort(keys, axis=1)
        return balanced_sum(gradients, 2, lambda products: projected_weights(products, orders))


def projected_weights(products: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    """Returns each task's weight in the sum of the projected gradients.

    >>> at_135_degrees = tf.constant([[1.0, -1.0], [-1.0, 2.0]])
    >>> projected_weights(at_135_degrees, tf.constant([[0, 1], [1, 0]])).numpy().tolist()
    [2.0, 1.5]

    Args:
        products: float32 (tasks, tasks), inner products g_i . g_j of the tasks' gradients.
        orders: int (tasks, tasks): row i is the order of the tasks for the projections of task i,
            in which i itself is skipped.

    Returns:
        float32 (tasks,), w of the sum sum_t w_t g_t.
    """
    tasks = products.shape[0]
    total = tf.zeros(tasks)
    for i in range(tasks):
        projected = tf.one_hot(i, tasks)  # g_i as a combination of all tasks' gradients
        for position in range(tasks):
            j = orders[i, position]
            product = tf.tensordot(projected, products[:, j], 1)
            conflicts = (product < 0.0) & (j != i)
            share = tf.math.divide_no_nan(product, products[j, j])
            projected -= tf.where(conflicts, share, 0.0) * tf.one_hot(j, tasks)
        total += projected
    return total
