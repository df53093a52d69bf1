"""Optimisers of a stage: built for its variables, saved by name, slowed down, begun anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import parts_of
from lt4rec_tf.training.lazy_adam import LazyAdam
from lt4rec_tf.training.plan import Optimization
from lt4rec_tf.training.row_optimizers import AdamByRow, RowwiseAdagrad
from lt4rec_tf.training.two_optimizers import TwoOptimizers

ADAGRAD_EPSILON = 1e-7  # Keras's; added to the sum of squares
# Root of Adagrad's sum of squares for tables at the start, times the batch size: about the gradient
# of a single look-up. Keras's .1 lies orders above a row's squared gradients, and rows would hardly
# move; at 0 a row's first step would be as large as any, however small its gradient.
TABLE_START = 0.5
# What an optimiser keeps of each variable, by the attribute that lists it.
_SLOTS = {
    "momentum": "_momentums",
    "velocity": "_velocities",
    "accumulator": "_accumulators",
    "steps": "_steps",
}
Optimizer: TypeAlias = keras.optimizers.Optimizer | TwoOptimizers


def of_stage(
    optimization: Optimization, variables: Sequence[tf.Variable], table_refs: Collection[Any]
) -> Optimizer:
    """Builds the optimiser of the variables: one, or two if tables have one of their own.

    Args:
        optimization: Names and step sizes.
        variables: All that will be trained.
        table_refs: `variable.ref()` of each embedding table, or of its parts on servers.
    """
    of_others = (optimization.optimizer, optimization.learning_rate)
    decay = optimization.weight_decay
    if optimization.of_tables == of_others:
        return build_optimizer(*of_others, [*variables], decay=decay)

    tables = [variable for variable in variables if variable.ref() in table_refs]
    others = [variable for variable in variables if variable.ref() not in table_refs]
    first_squares = (TABLE_START / optimization.batch_size) ** 2
    return TwoOptimizers(
        build_optimizer(*optimization.of_tables, tables, first_squares=first_squares),
        build_optimizer(*of_others, others, decay=decay),
        table_refs,
    )


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
    state = {"iterations": optimizer.iterations}
    for kind, attribute in _SLOTS.items():
        kind_slots = getattr(optimizer, attribute, None)
        if kind_slots is None:
            continue
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
