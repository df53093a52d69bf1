"""Arithmetic of several tasks' gradients for one variable; those of embeddings stay sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# tf.Tensor or tf.IndexedSlices, which mypy cannot know: TensorFlow has no types.
Gradient: TypeAlias = Any


def inner_products(gradients: Sequence[Gradient | None]) -> tf.Tensor:
    """g_i . g_j of all pairs, float32 (n, n); None stands for zeros.

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
    """sum_i w_i g_i, sparse where all of them are; None where there is none.

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
        least_owners: A variable is shared that so many tasks have a gradient for.
        weights_of: The inner products of the tasks' gradients of all shared variables together,
            float32 (tasks, tasks) -> how often each task's gradient is in their sum, (tasks,).

    Returns:
        By variable.
    """
    by_variable = list(zip(*gradients, strict=True))
    shared = [parts for parts in by_variable if owners(parts) >= least_owners]
    plain = tf.ones(len(gradients))
    weights = weights_of(tf.add_n([inner_products(p) for p in shared])) if shared else plain
    return [weighted_sum(p, weights if owners(p) >= least_owners else plain) for p in by_variable]


def owners(parts: Sequence[Gradient | None]) -> int:
    """How many tasks have a gradient for a variable."""
    return sum(part is not None for part in parts)


def _stacked(gradients: Sequence[Gradient | None]) -> tuple[tf.Tensor, tf.IndexedSlices | None]:
    """The gradients side by side, float32 (n, ...), over the rows that any of them touches.

    Of sparse gradients it also gives one that has those rows, each once.
    """
    known = [gradient for gradient in gradients if gradient is not None]
    if not all(isinstance(gradient, tf.IndexedSlices) for gradient in known):
        zeros = tf.zeros_like(tf.convert_to_tensor(known[0]))
        dense = [zeros if g is None else tf.convert_to_tensor(g) for g in gradients]
        return tf.stack(dense), None
    rows, places = tf.unique(tf.concat([gradient.indices for gradient in known], axis=0))
    parts = iter(tf.split(places, [tf.shape(gradient.indices)[0] for gradient in known]))
    touched = tf.shape(rows)[0]
    summed = {
        i: tf.math.unsorted_segment_sum(gradient.values, next(parts), touched)
        for i, gradient in enumerate(gradients)
        if gradient is not None
    }
    zeros = tf.zeros_like(next(iter(summed.values())))
    values = tf.stack([summed.get(i, zeros) for i in range(len(gradients))])
    return values, tf.IndexedSlices(values[0], rows, known[0].dense_shape)
