"""GradNorm: weighs losses so that all tasks learn at the same pace."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.training.balancing.gradients import Gradient, inner_products, weighted_sum
from lt4rec_tf.training.balancing.rule import Gradients, Losses, Rule, Variables
from lt4rec_tf.training.optimizers import build_optimizer, reset

ALPHA = 1.5
LEARNING_RATE = 0.025


class GradNorm(Rule):
    """Weighs losses so that the tasks learn at the same pace.

    The network descends sum_t w_t L_t with w = T softmax(s), T tasks. With n_t the norm of L_t's
    gradient on the last shared kernel, G_t = w_t n_t, and the pace r_t = (L_t / L_t0) / (their
    mean), s descends sum_t |G_t - mean(G) r_t^alpha|, in which mean(G) r_t^alpha is held constant.
    L_t0 is the task's first loss above 0. A batch without rows of some task leaves s unchanged.

    The paper renormalises its weights to the sum T after each step; the softmax keeps them there.
    s has an Adam of its own, at the paper's rate for the weights.
    Source: Chen et al., GradNorm (arXiv 1711.02257), Eq. 1 and 2, Algorithm 1.

    Args:
        tasks: Their number.
        kernel: Gradients are measured on it, see `last_shared_kernel`.
    """

    def __init__(self, tasks: int, kernel: tf.Variable) -> None:
        self._tasks, self._kernel = tasks, kernel
        self._s = tf.Variable(tf.zeros(tasks), trainable=False)
        self._first_losses = tf.Variable(
            tf.zeros(tasks), trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self._optimizer = build_optimizer("adam", LEARNING_RATE, [self._s])
        slots = {f"optimizer/{i}": v for i, v in enumerate(self._optimizer.variables)}
        super().__init__(state={"s": self._s, "first_losses": self._first_losses} | slots)

    def reset(self) -> None:
        """Sets all weights to 1 and clears the first losses."""
        self._s.assign(tf.zeros_like(self._s))
        self._first_losses.assign(tf.zeros_like(self._first_losses))
        reset(self._optimizer)

    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Weighs by the present w, then updates s."""
        weights = self._tasks * tf.nn.softmax(self._s)
        by_variable = list(zip(*gradients, strict=True))
        combined = [weighted_sum(parts, weights) for parts in by_variable]

        kernel_index = next(i for i, variable in enumerate(variables) if variable is self._kernel)
        norms = tf.sqrt(tf.linalg.diag_part(inner_products(by_variable[kernel_index])))
        self._update_s(tf.stack(losses), norms)
        return combined

    def _update_s(self, losses: tf.Tensor, norms: tf.Tensor) -> None:
        unknown = self._first_losses == 0.0
        self._first_losses.assign(tf.where(unknown, losses, self._first_losses))
        relative_losses = tf.math.divide_no_nan(losses, self._first_losses)
        pace = tf.math.divide_no_nan(relative_losses, tf.reduce_mean(relative_losses))

        with tf.GradientTape() as tape:
            tape.watch(self._s)
            sizes = self._tasks * tf.nn.softmax(self._s) * norms
            targets = tf.stop_gradient(tf.reduce_mean(sizes) * pace**ALPHA)
            gap = tf.reduce_sum(tf.abs(sizes - targets))
        gradient = tape.gradient(gap, self._s)

        # A mask in place of a branch: replicas could not communicate within a branch.
        moves = tf.fill(tf.shape(self._s), tf.cast(tf.reduce_all(losses > 0.0), tf.float32))
        self._optimizer.update_masks = {self._s.ref(): moves}
        self._optimizer.apply_gradients([(gradient, self._s)], skip_gradients_aggregation=True)


def last_shared_kernel(network: RankingNetwork, tasks: Sequence[str]) -> tf.Variable:
    """Returns the last matrix, embeddings excluded, that all tasks compute with.

    The last is the one built last: the top layer of a shared tower or of the last expert.

    Raises:
        ValueError: The tasks share only embeddings.
    """
    trained_by_task = []
    for task in tasks:
        trained_by_task.append({variable.ref() for variable in network.trained_by(task)})
    shared = set.intersection(*trained_by_task)

    kernels = [
        variable
        for name, variable in network.variables.items()
        if not is_table(name) and len(variable.shape) == 2 and variable.ref() in shared
    ]
    if not kernels:
        raise UnfitError(
            f"balance gradnorm: found no kernel that {', '.join(tasks)} share beside embeddings, "
            "expected one to measure gradients on"
        )
    return kernels[-1]
