"""Optimisers of embedding tables that keep a number of their own for each row.

A step reads and writes the rows that it looked up, and no others.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


class RowwiseAdagrad(keras.optimizers.Optimizer):
    """Adagrad (Duchi et al., 2011) with one accumulator for each row of a table.

    a <- a + mean_j g_j^2;  w <- w - lr g / (sqrt(a) + eps)

    with g the row's gradient of a step that looked it up, and a = 0 before the first. All numbers
    of a row have one step size, which falls with the number of steps that looked it up. A table's
    state is one number a row. Source: the row-wise Adagrad of DLRM (arXiv 1906.00091).
    """

    def __init__(self, learning_rate: float, epsilon: float = 1e-8) -> None:
        # Without None, Keras would shrink whole tables by 0 at each step.
        super().__init__("RowwiseAdagrad", weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.epsilon = epsilon

    def build(self, var_list: list[tf.Variable]) -> None:
        """Makes the accumulators, float32 (rows, 1); called by Keras, at every step."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._accumulators = []
        for variable in var_list:
            zeros = tf.zeros((variable.shape[0], 1), variable.dtype)
            self._accumulators.append(
                self.add_variable_from_reference(variable, "accumulator", initial_value=zeros)
            )

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one table; called by Keras with de-duplicated sparse gradients."""
        accumulator = self._accumulators[self._index_dict[self._var_key(variable)]]
        rows, values = _rows_of(gradient, variable)

        squares = tf.reduce_mean(tf.square(values), axis=1, keepdims=True)
        accumulator.scatter_add(tf.IndexedSlices(squares, rows))
        sizes = tf.sqrt(tf.gather(accumulator, rows)) + self.epsilon
        change = tf.cast(self.learning_rate, variable.dtype) * values / sizes
        variable.scatter_sub(tf.IndexedSlices(change, rows))


class AdamByRow(keras.optimizers.Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980) whose bias correction counts each row's own steps.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
    w <- w - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

    with t the steps that looked the row up, this one included. With the count of all steps in its
    place a row that is looked up late begins with moments near 0 that nothing corrects: sqrt(v) is
    too small by more than m is, and its first step is about 3 times as long.
    """

    def __init__(
        self,
        learning_rate: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        # Without None, Keras would shrink whole tables by 0 at each step.
        super().__init__("AdamByRow", weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, var_list: list[tf.Variable]) -> None:
        """Makes moments and counts, float32 (rows, 1); called by Keras, at every step."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        slot = self.add_variable_from_reference
        self._momentums = [slot(variable, "m") for variable in var_list]
        self._velocities = [slot(variable, "v") for variable in var_list]
        zeros = [tf.zeros((variable.shape[0], 1), variable.dtype) for variable in var_list]
        self._steps = [
            slot(variable, "steps", initial_value=zero)
            for variable, zero in zip(var_list, zeros, strict=True)
        ]

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one table; called by Keras with de-duplicated sparse gradients."""
        slot = self._index_dict[self._var_key(variable)]
        m, v, steps = self._momentums[slot], self._velocities[slot], self._steps[slot]
        rows, values = _rows_of(gradient, variable)

        steps.scatter_add(tf.IndexedSlices(tf.ones_like(values[:, :1]), rows))
        count, m_rows, v_rows = (tf.gather(state, rows) for state in (steps, m, v))
        m_rows += (1 - self.beta_1) * (values - m_rows)
        v_rows += (1 - self.beta_2) * (tf.square(values) - v_rows)

        correction = tf.sqrt(1 - self.beta_2**count) / (1 - self.beta_1**count)
        step_size = tf.cast(self.learning_rate, variable.dtype) * correction
        change = step_size * m_rows / (tf.sqrt(v_rows) + self.epsilon)

        m.scatter_update(tf.IndexedSlices(m_rows, rows))
        v.scatter_update(tf.IndexedSlices(v_rows, rows))
        variable.scatter_sub(tf.IndexedSlices(change, rows))


def _rows_of(
    gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows that a gradient is of, and their gradients."""
    if isinstance(gradient, tf.IndexedSlices):
        return gradient.indices, gradient.values
    return tf.range(tf.shape(variable)[0]), gradient
