"""Optimisers that touch only what a step is about.

Two properties that Keras's Adam lacks:

* Lazy rows: a step's cost does not grow with the embedding tables. Moments of rows that the
  batch did not look up are neither decayed nor applied.
* Strict updates: a weight outside the current task's mask stays bit-identical. Its gradient is 0,
  but with shared moments Adam would still move it by momentum left over from the other task.

Keras's Adagrad has both already: a gradient of 0 changes nothing, and it updates rows sparsely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras


class LazyAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba, arXiv 1412.6980) with lazy rows and strict updates.

    m <- m + M (1 - b1) (g - m);  v <- v + M (1 - b2) (g^2 - v);
    w <- w - M lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

    with M the update mask of the weight (1 without one) and, for looked-up rows, the rows alone.
    t counts all steps of the optimiser, those in which a weight took no part included.

    Attributes:
        update_masks: variable.ref() -> 0/1 tensor of the variable's shape, for the step at hand.
    """

    def __init__(self, learning_rate: float, **kwargs: Any) -> None:
        super().__init__(learning_rate, jit_compile=False, **kwargs)
        self.update_masks: Mapping[Any, tf.Tensor] = {}

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one variable; called by Keras with de-duplicated sparse gradients."""
        step = tf.cast(self.iterations + 1, variable.dtype)
        alpha = self.learning_rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        slot = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[slot], self._velocities[slot]
        if isinstance(gradient, tf.IndexedSlices):
            self._update_rows(gradient, variable, m, v, alpha)
            return
        mask = self.update_masks.get(variable.ref(), 1.0)
        m.assign_add(mask * (1 - self.beta_1) * (gradient - m))
        v.assign_add(mask * (1 - self.beta_2) * (tf.square(gradient) - v))
        variable.assign_sub(mask * alpha * m / (tf.sqrt(v) + self.epsilon))

    def _update_rows(
        self,
        gradient: tf.IndexedSlices,
        variable: tf.Variable,
        m: tf.Variable,
        v: tf.Variable,
        alpha: tf.Tensor,
    ) -> None:
        rows, values = gradient.indices, gradient.values
        m_rows = tf.gather(m, rows)
        v_rows = tf.gather(v, rows)
        m_rows += (1 - self.beta_1) * (values - m_rows)
        v_rows += (1 - self.beta_2) * (tf.square(values) - v_rows)
        m.scatter_update(tf.IndexedSlices(m_rows, rows))
        v.scatter_update(tf.IndexedSlices(v_rows, rows))
        change = alpha * m_rows / (tf.sqrt(v_rows) + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(change, rows))


def build_optimizer(
    name: str, learning_rate: float, variables: list[tf.Variable]
) -> keras.optimizers.Optimizer:
    """An optimiser with its slots for the given variables.

    Args:
        name: "adam" or "adagrad".
        learning_rate: Step size, above 0.
        variables: What it will update.
    """
    if name == "adam":
        optimizer = LazyAdam(learning_rate)
    elif name == "adagrad":
        optimizer = keras.optimizers.Adagrad(learning_rate, jit_compile=False)
    else:
        raise ValueError(f"optimizer: found {name!r}, expected 'adam' or 'adagrad'")
    optimizer.build(variables)
    return optimizer


def reset(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimiser as it was before its first step."""
    accumulator = getattr(optimizer, "initial_accumulator_value", 0.0)
    for variable in optimizer.variables:
        start = accumulator if variable.dtype.is_floating else 0
        variable.assign(tf.fill(tf.shape(variable), tf.cast(start, variable.dtype)))
