"""Optimisers that update only the weights and embedding rows that a step involves.

They have two properties that Keras's Adam lacks:

* Lazy rows: a step's cost does not grow with the embedding tables. Moments of rows that the
  batch did not look up are neither decayed nor applied.
* Strict updates: a weight outside the current task's mask stays bit-identical. Its gradient is 0,
  but with shared moments Adam would still move it by momentum left over from the other task.

Keras's Adagrad has both already: a gradient of 0 changes nothing, and it updates rows sparsely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import by_parameter_server, parts_of
from lt4rec_tf.training.row_optimizers import AdamByRow, RowwiseAdagrad
from lt4rec_tf.training.two_optimizers import TwoOptimizers

ADAGRAD_EPSILON = 1e-7  # Keras's; added to the sum of squares
Optimizer: TypeAlias = keras.optimizers.Optimizer | TwoOptimizers


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
        alpha = self._step_size(variable.dtype)
        m.assign_add(mask * (1 - self.beta_1) * (gradient - m))
        v.assign_add(mask * (1 - self.beta_2) * (tf.square(gradient) - v))
        variable.assign_sub(mask * alpha * m / (tf.sqrt(v) + self.epsilon))

    def _step_size(self, dtype: tf.DType) -> tf.Tensor:
        """Returns the factor lr sqrt(1 - b2^t) / (1 - b1^t)."""
        step = tf.cast(self.iterations + 1, dtype)
        return self.learning_rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)

    def _update_rows_in_place(
        self, gradient: tf.IndexedSlices, weights: Sequence[tf.Variable]
    ) -> None:
        """Updates rows that other workers may update at the same time; only moments can be lost."""
        variable, m, v = weights
        rows, values = gradient.indices, gradient.values

        m_rows, v_rows = tf.gather(m, rows), tf.gather(v, rows)
        m_rows += (1 - self.beta_1) * (values - m_rows)
        v_rows += (1 - self.beta_2) * (tf.square(values) - v_rows)
        change = self._step_size(variable.dtype) * m_rows / (tf.sqrt(v_rows) + self.epsilon)

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


def build_optimizer(
    name: str,
    learning_rate: float,
    variables: list[tf.Variable],
    *,
    first_squares: float = 0.1,
    decay: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Builds an optimiser with its slots for the given variables.

    Args:
        name: "adam", "adagrad", or for tables "rowwise_adagrad" or "adam_by_row".
        learning_rate: Step size, above 0.
        variables: Those that it will update.
        first_squares: Of "adagrad": the sum of squared gradients at the start.
        decay: Of "adam": see `LazyAdam`.

    Raises:
        ValueError: The name is another.
    """
    if name == "adam":
        optimizer = LazyAdam(learning_rate, decay)
    elif name == "adagrad":
        optimizer = keras.optimizers.Adagrad(
            learning_rate, first_squares, epsilon=ADAGRAD_EPSILON, jit_compile=False
        )
    elif name == "rowwise_adagrad":
        optimizer = RowwiseAdagrad(learning_rate)
    elif name == "adam_by_row":
        optimizer = AdamByRow(learning_rate)
    else:
        expected = "'adam', 'adagrad', 'rowwise_adagrad' or 'adam_by_row'"
        raise ValueError(f"optimizer: found {name!r}, expected {expected}")
    optimizer.build(variables)
    return optimizer


def slots(
    optimizer: Optimizer, names: Sequence[str], variables: Sequence[tf.Variable]
) -> dict[str, tf.Variable]:
    """Returns an optimiser's state by names that do not depend on the order of its variables.

    Args:
        optimizer: From `build_optimizer`, or two of them.
        names: Of the variables.
        variables: That it was built for, in order.

    Returns:
        "<slot>/<variable>" -> the slot, such as "momentum/tower_0/kernel", and "iterations"; with
        an optimiser of the tables' own "tables/iterations" too.
    """
    named = dict(zip(names, variables, strict=True))
    if not isinstance(optimizer, TwoOptimizers):
        return _slots(optimizer, named)

    tables = {name: v for name, v in named.items() if optimizer.is_table(v)}
    others = {name: v for name, v in named.items() if name not in tables}
    of_tables = _slots(optimizer.tables, tables)
    of_tables["tables/iterations"] = of_tables.pop("iterations")
    return _slots(optimizer.others, others) | of_tables


def _slots(
    optimizer: keras.optimizers.Optimizer, variables: Mapping[str, tf.Variable]
) -> dict[str, tf.Variable]:
    if isinstance(optimizer, keras.optimizers.Adam | AdamByRow):
        slots_by_kind = {"momentum": optimizer._momentums, "velocity": optimizer._velocities}
        if isinstance(optimizer, AdamByRow):
            slots_by_kind["steps"] = optimizer._steps
    else:
        slots_by_kind = {"accumulator": optimizer._accumulators}

    state = {"iterations": optimizer.iterations}
    for kind, kind_slots in slots_by_kind.items():
        for name, variable in variables.items():
            index = optimizer._index_dict[optimizer._var_key(variable)]
            state[f"{kind}/{name}"] = kind_slots[index]
    return state


def decays(optimizer: Optimizer) -> bool:
    """Tells if an optimiser shrinks kernels beside following their gradients."""
    kernels = optimizer.others if isinstance(optimizer, TwoOptimizers) else optimizer
    return getattr(kernels, "kernel_decay", 0.0) > 0


def scale_steps(optimizer: Optimizer, rates: Sequence[float], factor: float) -> None:
    """Sets the step sizes of the next step.

    Args:
        optimizer: From `build_optimizer`, or two of them.
        rates: Step sizes at a factor of 1: of the tables, of all other weights.
        factor: What they are multiplied by.
    """
    of_tables, of_others = rates
    if isinstance(optimizer, TwoOptimizers):
        optimizer.tables.learning_rate = factor * of_tables
        optimizer.others.learning_rate = factor * of_others
    else:
        optimizer.learning_rate = factor * of_others


def reset(optimizer: Optimizer) -> None:
    """Sets an optimiser's state to that before its first step."""
    if isinstance(optimizer, TwoOptimizers):
        reset(optimizer.tables)
        reset(optimizer.others)
        return
    accumulator = getattr(optimizer, "initial_accumulator_value", 0.0)
    for variable in chain(*map(parts_of, optimizer.variables)):
        start = accumulator if variable.dtype.is_floating else 0
        with tf.device(variable.device):  # so that a server's table is not sent
            variable.assign(tf.fill(variable.shape, tf.cast(start, variable.dtype)))
