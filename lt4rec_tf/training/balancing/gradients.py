"""Arithmetic on several tasks' gradients of one variable; those of embeddings stay sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# tf.Tensor or tf.IndexedSlices, which mypy cannot know: TensorFlow has no types.
Gradient: TypeAlias = Any


def inner_products(gradients: Sequence[Gradient | None]) -> tf.Tensor:
    """Computes g_i . g_j of all pairs, float32 (n, n); None stands for zeros.

    >>> once, twice = tf.constant([0, 2]), tf.constant([2, 2])
    >>> g = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), once, (9, 1))
    >>> h = tf.IndexedSlices(tf.constant([[3.0], [4.0]]), twice, (9, 1))
    >>> inner_products([g, h]).numpy().tolist()  # h is 7 in row 2
    [[5.0, 14.0], [14.0, 49.0]]
    """
    values, _ = _stacked(gradients)
    flat = tf.reshape(values, (len(gradients), -1))
    return tf.matmul(flat, flat, transpose_b=True)


def weighted_sum(gradients: Sequence[Gradient | None], weights: tf.Tensor) -> Gradient | None:
    """Computes sum_i w_i g_i, which is sparse if all g_i are, and None if there is none.

    Args:
        gradients: n gradients of one variable.
        weights: float32 (n,).
    """
    if all(gradient is None for gradient in gradients):
        return None
    values, sparse = _stacked(gradients)
    total = tf.tensordot(weights, values, 1)
    if sparse is None:
        return total
    return tf.IndexedSlices(total, sparse.indices, sparse.dense_shape)


def balanced_sum(
    gradients: Sequence[Sequence[Gradient | None]],
    least_owners: int,
    weights_of: Callable[[tf.Tensor], tf.Tensor],
) -> list[Gradient | None]:
    """Sums the tasks' gradients of each variable; those of shared variables are weighed.

    Args:
        gradients: By task, by variable; None where a task has none.
        least_owners: A variable is shared if at least so many tasks have a gradient for it.
        weights_of: The inner products of the tasks' gradients of all shared variables together,
            float32 (tasks, tasks) -> weight of each task's gradient in their sum, (tasks,).

    Returns:
        One gradient a variable, None where no task has one.
    """
    by_variable = list(zip(*gradients, strict=True))
    products = [inner_products(parts) for parts in by_variable if owners(parts) >= least_owners]
    plain = tf.ones(len(gradients))
    weights = weights_of(tf.add_n(products)) if products else plain

    combined = []
    for parts in by_variable:
        shared = owners(parts) >= least_owners
        combined.append(weighted_sum(parts, weights if shared else plain))
    return combined


def owners(parts: Sequence[Gradient | None]) -> int:
    """Returns the number of tasks that have a gradient for a variable."""
    return sum(part is not None for part in parts)


def _stacked(gradients: Sequence[Gradient | None]) -> tuple[tf.Tensor, tf.IndexedSlices | None]:
    """Stacks the gradients over the rows that any of them touches, float32 (n, ...).

    For sparse gradients it also returns the first of them, with each of those rows once.
    """
    present = [gradient for gradient in gradients if gradient is not None]
    if not all(isinstance(gradient, tf.IndexedSlices) for gradient in present):
        zeros = tf.zeros_like(tf.convert_to_tensor(present[0]))
        dense = [zeros if g is None else tf.convert_to_tensor(g) for g in gradients]
        return tf.stack(dense), None

    # A gradient may hold a row several times: its values there are summed.
    indices = tf.concat([gradient.indices for gradient in present], axis=0)
    rows, positions = tf.unique(indices)
    sizes = [tf.shape(gradient.indices)[0] for gradient in present]
    row_count = tf.shape(rows)[0]
    summed = [
        tf.math.unsorted_segment_sum(gradient.values, positions_in_rows, row_count)
        for gradient, positions_in_rows in zip(present, tf.split(positions, sizes), strict=True)
    ]

    zeros = tf.zeros_like(summed[0])
    remaining = iter(summed)
    values = tf.stack([zeros if g is None else next(remaining) for g in gradients])
    return values, tf.IndexedSlices(values[0], rows, present[0].dense_shape)
