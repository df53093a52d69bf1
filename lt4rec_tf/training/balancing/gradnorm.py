"""GradNorm: losses are weighed so that all tasks learn at one pace."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.training.balancing.gradients import Gradient, inner_products, weighted_sum
from lt4rec_tf.training.optimizers import build_optimizer, reset

ALPHA = 1.5
LEARNING_RATE = 0.025


class GradNorm:
    """Weighs losses so that the tasks learn at one pace.

    The network descends sum_t w_t L_t with w = T softmax(s), T tasks. With n_t the norm of L_t's
    gradient on the last shared kernel, G_t = w_t n_t, and the pace r_t = (L_t / L_t0) / (their
    mean), s descends sum_t |G_t - mean(G) r_t^alpha|, in which mean(G) r_t^alpha is held constant.
    L_t0 is the task's first loss above 0. A batch that lacks some task's rows moves no s.

    The paper renormalises its weights to the sum T after each step; the softmax keeps them there.
    s has an Adam of its own, at the paper's rate for the weights.
    Source: Chen et al., GradNorm (arXiv 1711.02257), Eq. 1 and 2, Algorithm 1.

    Args:
        tasks: Their number.
        kernel: On which gradients are measured, see `last_shared_kernel`.
    """

    def __init__(self, tasks: int, kernel: tf.Variable) -> None:
        self._tasks, self._kernel = tasks, kernel
        self._s = tf.Variable(tf.zeros(tasks), trainable=False)
        self._first_losses = tf.Variable(
            tf.zeros(tasks), trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        self._optimizer = build_optimizer("adam", LEARNING_RATE, [self._s])
        self.state = {"s": self._s, "first_losses": self._first_losses}
        self.state |= {f"optimizer/{i}": v for i, v in enumerate(self._optimizer.variables)}

    def reset(self) -> None:
        """Makes all weights 1 again and forgets the first losses."""
        self._s.assign(tf.zeros_like(self._s))
        self._first_losses.assign(tf.zeros_like(self._first_losses))
        reset(self._optimizer)

    def targets(self, losses: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Each task's loss."""
        return list(losses)

    def combine(
        self,
        losses: Sequence[tf.Tensor],
        gradients: Sequence[Sequence[Gradient | None]],
        variables: Sequence[tf.Variable],
    ) -> list[Gradient | None]:
        """Weighs by the present w, then moves s."""
        weights = self._tasks * tf.nn.softmax(self._s)
        by_variable = list(zip(*gradients, strict=True))
        place = next(i for i, variable in enumerate(variables) if variable is self._kernel)
        combined = [weighted_sum(parts, weights) for parts in by_variable]
        norms = tf.sqrt(tf.linalg.diag_part(inner_products(by_variable[place])))
        self._move(tf.stack(losses), norms)
        return combined

    def _move(self, losses: tf.Tensor, norms: tf.Tensor) -> None:
        unknown = self._first_losses == 0.0
        self._first_losses.assign(tf.where(unknown, losses, self._first_losses))
        left = tf.math.divide_no_nan(losses, self._first_losses)
        pace = tf.math.divide_no_nan(left, tf.reduce_mean(left))
        with tf.GradientTape() as tape:
            tape.watch(self._s)
            sizes = self._tasks * tf.nn.softmax(self._s) * norms
            wanted = tf.stop_gradient(tf.reduce_mean(sizes) * pace**ALPHA)
            gap = tf.reduce_sum(tf.abs(sizes - wanted))
        gradient = tape.gradient(gap, self._s)

        # A mask in place of a branch, in which replicas could not meet.
        moves = tf.fill(tf.shape(self._s), tf.cast(tf.reduce_all(losses > 0.0), tf.float32))
        self._optimizer.update_masks = {self._s.ref(): moves}
        self._optimizer.apply_gradients([(gradient, self._s)], skip_gradients_aggregation=True)


def last_shared_kernel(network: RankingNetwork, tasks: Sequence[str]) -> tf.Variable:
    """The last matrix, embeddings apart, that all tasks compute with.

    Last is what was built last: the top layer of a shared tower, the top layer of the last expert.

    Raises:
        ValueError: The tasks share embeddings alone.
    """
    trained = [{variable.ref() for variable in network.trained_by(task)} for task in tasks]
    everyones = set.intersection(*trained)
    kernels = [
        variable
        for name, variable in network.variables.items()
        if not is_table(name) and len(variable.shape) == 2 and variable.ref() in everyones
    ]
    if not kernels:
        raise ValueError(
            f"balance gradnorm: found no kernel that {', '.join(tasks)} share beside embeddings, "
            "expected one to measure gradients on"
        )
    return kernels[-1]
