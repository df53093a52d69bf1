"""Adam that updates only the weights and embedding rows that a step involves.

It has two properties that Keras's Adam lacks:

* Lazy rows: a step's cost does not grow with the embedding tables. Moments of rows that the
  batch did not look up are neither decayed nor applied.
* Strict updates: a weight outside the current task's mask stays bit-identical. Its gradient is 0,
  but with shared moments Adam would still move it by momentum left over from the other task.

Keras's Adagrad has both already: a gradient of 0 changes nothing, and it updates rows sparsely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import by_parameter_server


class LazyAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba, arXiv 1412.6980) with lazy rows and strict updates.

    m <- m + M (1 - b1) (g - m);  v <- v + M (1 - b2) (g^2 - v);
    w <- w - M lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

    with M the update mask of the weight (1 without one) and, for looked-up rows, the rows alone.
    A weight whose gradient is 0 in every step needs no mask: its moments stay 0, and so does its
    update. t counts all steps of the optimiser, also those that do not involve the weight.

    With a decay d, dense weights of two axes or more, which biases are not, shrink first (AdamW,
    Loshchilov and Hutter, arXiv 1711.05101): w <- w - M lr d w. Embedding rows do not.

    Args:
        learning_rate: lr.
        decay: d, 0 or more.
        kwargs: Of Keras's Adam.

    Attributes:
        update_masks: variable.ref() -> 0/1 tensor of the variable's shape, for the step at hand.
    """

    def __init__(self, learning_rate: float, decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, jit_compile=False, **kwargs)
        self.kernel_decay = decay
        self.update_masks: Mapping[Any, tf.Tensor] = {}
        # For a batch's rows of a table and of its two moments. Asynchronous workers cannot share
        # them.
        self._scratch: dict[Any, list[tf.Variable]] = {}

    def build(self, var_list: list[tf.Variable]) -> None:
        """Makes the variables that hold moments; called by Keras, at every step."""
        if getattr(self, "_built", False):
            return
        super().build(var_list)
        if by_parameter_server():
            return

        for variable in var_list:
            empty = tf.zeros((0, *variable.shape[1:]), variable.dtype)
            self._scratch[self._var_key(variable)] = [
                tf.Variable(empty, trainable=False, shape=(None, *empty.shape[1:]))
                for _ in range(3)
            ]

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one variable; called by Keras with de-duplicated sparse gradients."""
        slot = self._index_dict[self._var_key(variable)]
        weights = [variable, self._momentums[slot], self._velocities[slot]]

        # The variable may be one replica's; masks are keyed by the one that users see.
        masks = {self._var_key(ref.deref()): mask for ref, mask in self.update_masks.items()}
        mask = masks.get(self._var_key(variable))
        if isinstance(gradient, tf.IndexedSlices):
            update = self._update_rows if self._scratch else self._update_rows_in_place
            update(gradient, weights)
            return
        if self.kernel_decay and variable.shape.rank > 1:
            share = tf.cast(self.learning_rate, variable.dtype) * self.kernel_decay
            variable.assign_sub(share * variable if mask is None else share * mask * variable)
        if mask is not None:
            self._update_masked(gradient, weights, mask)
        else:
            self._update_all(gradient, weights)

    def _update_all(self, gradient: tf.Tensor, weights: Sequence[tf.Variable]) -> None:
        """Computes the class's equation in one operation, which accesses each number once."""
        variable, m, v = weights
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _update_masked(
        self, gradient: tf.Tensor, weights: Sequence[tf.Variable], mask: tf.Tensor
    ) -> None:
        variable, m, v = weights
        alpha = self.step_size(tf.cast(self.iterations + 1, variable.dtype))
        m.assign_add(mask * (1 - self.beta_1) * (gradient - m))
        v.assign_add(mask * (1 - self.beta_2) * (tf.square(gradient) - v))
        variable.assign_sub(mask * alpha * m / (tf.sqrt(v) + self.epsilon))

    def step_size(self, steps: tf.Tensor) -> tf.Tensor:
        """Returns the factor lr sqrt(1 - b2^t) / (1 - b1^t) of `steps` t, of any shape."""
        return self.learning_rate * tf.sqrt(1 - self.beta_2**steps) / (1 - self.beta_1**steps)

    def _update_rows_in_place(
        self, gradient: tf.IndexedSlices, weights: Sequence[tf.Variable]
    ) -> None:
        """Updates rows that other workers may update at the same time; only moments can be lost."""
        steps = tf.cast(self.iterations + 1, weights[0].dtype)
        self.update_in_place(gradient.indices, gradient.values, weights, self.step_size(steps))

    def update_in_place(
        self,
        rows: tf.Tensor,
        gradients: tf.Tensor,
        weights: Sequence[tf.Variable],
        step_size: tf.Tensor,
    ) -> None:
        """Updates rows of a table and of its moments where they lie.

        Args:
            rows: Their indices, int (n,), distinct.
            gradients: float32 (n, dimension).
            weights: The table, then its moments m and v.
            step_size: Of all rows, (), or of each, (n, 1).
        """
        variable, m, v = weights
        m_rows, v_rows = tf.gather(m, rows), tf.gather(v, rows)
        m_rows += (1 - self.beta_1) * (gradients - m_rows)
        v_rows += (1 - self.beta_2) * (tf.square(gradients) - v_rows)
        change = step_size * m_rows / (tf.sqrt(v_rows) + self.epsilon)

        m.scatter_update(tf.IndexedSlices(m_rows, rows))
        v.scatter_update(tf.IndexedSlices(v_rows, rows))
        variable.scatter_sub(tf.IndexedSlices(change, rows))

    def _update_rows(self, gradient: tf.IndexedSlices, weights: Sequence[tf.Variable]) -> None:
        """Copies the rows out, updates them by `_update_all`, and copies them back."""
        copies = self._scratch[self._var_key(weights[0])]
        for scratch, whole in zip(copies, weights, strict=True):
            scratch.assign(tf.gather(whole, gradient.indices))
        self._update_all(gradient.values, copies)
        for scratch, whole in zip(copies, weights, strict=True):
            # `scatter_sub` of a change would take three times as long.
            whole.scatter_update(tf.IndexedSlices(scratch.read_value(), gradient.indices))
