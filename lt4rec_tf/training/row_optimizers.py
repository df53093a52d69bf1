"""Optimisers of embedding tables that keep a number of their own for each row.

A step reads and writes the rows that it looked up, and no others.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.training.lazy_adam import LazyAdam


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
        self._accumulators = [_one_a_row(self, variable, "accumulator") for variable in var_list]

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one table; called by Keras with de-duplicated sparse gradients."""
        accumulator = self._accumulators[self._index_dict[self._var_key(variable)]]
        rows, values = _rows_of(gradient, variable)

        squares = tf.reduce_mean(tf.square(values), axis=1, keepdims=True)
        accumulator.scatter_add(tf.IndexedSlices(squares, rows))
        sizes = tf.sqrt(tf.gather(accumulator, rows)) + self.epsilon
        change = tf.cast(self.learning_rate, variable.dtype) * values / sizes
        variable.scatter_sub(tf.IndexedSlices(change, rows))


class AdamByRow(LazyAdam):
    """Adam of tables whose bias correction counts each row's own steps.

    As `LazyAdam`, with t the steps that looked the row up, this one included. With the count of all
    steps in its place a row that is looked up late begins with moments near 0 that nothing
    corrects: sqrt(v) is too small by more than m is, and its first step is about 3 times as long.
    """

    def build(self, var_list: list[tf.Variable]) -> None:
        """Makes moments and counts, float32 (rows, 1); called by Keras, at every step."""
        super().build(var_list)
        if not hasattr(self, "_steps"):
            self._steps = [_one_a_row(self, variable, "steps") for variable in var_list]

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one table; called by Keras with de-duplicated sparse gradients."""
        slot = self._index_dict[self._var_key(variable)]
        steps, rows, values = self._steps[slot], *_rows_of(gradient, variable)
        steps.scatter_add(tf.IndexedSlices(tf.ones_like(values[:, :1]), rows))

        weights = [variable, self._momentums[slot], self._velocities[slot]]
        self.update_in_place(rows, values, weights, self.step_size(tf.gather(steps, rows)))


def _one_a_row(optimizer: keras.optimizers.Optimizer, table: tf.Variable, name: str) -> tf.Variable:
    """Makes a slot of one number a row, 0 at the start, float32 (rows, 1)."""
    zeros = tf.zeros((table.shape[0], 1), table.dtype)
    return optimizer.add_variable_from_reference(table, name, initial_value=zeros)


def _rows_of(
    gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rows that a gradient is of, and their gradients."""
    if isinstance(gradient, tf.IndexedSlices):
        return gradient.indices, gradient.values
    return tf.range(tf.shape(variable)[0]), gradient
