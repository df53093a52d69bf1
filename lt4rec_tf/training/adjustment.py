"""What is done to a step's gradients before the optimiser takes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.training.balancing.gradients import Gradient, weighted_sum


@dataclass(frozen=True)
class Adjustment:
    """Zeros where nothing may change, L2 on the rows of a batch, clipping by the norm of all.

    A step's cost does not grow with the tables: rows that the batch did not look up have neither a
    gradient nor L2.

    Attributes:
        tables: `variable.ref()` of each embedding table.
        embedding_l2: lambda of lambda * sum(w^2) over the rows of the batch, each once; 0: none.
        clip_norm: Norm of all gradients together above which they are scaled down to it; 0: never.
        changeable: `variable.ref()` of a dense variable that may change in places alone -> bool of
            its shape, True there.
    """

    tables: Collection[Any] = ()
    embedding_l2: float = 0.0
    clip_norm: float = 0.0
    changeable: Mapping[Any, np.ndarray] = field(default_factory=dict)

    def of(
        self, gradients: Sequence[Gradient | None], variables: Sequence[tf.Variable]
    ) -> list[Gradient | None]:
        """Returns the gradients that the optimiser takes, one a variable."""
        adjusted = list(gradients)
        for i, variable in enumerate(variables):
            places = self.changeable.get(variable.ref())
            if adjusted[i] is not None and places is not None:
                adjusted[i] *= tf.cast(places, variable.dtype)
        if self.embedding_l2:
            for i, variable in enumerate(variables):
                if adjusted[i] is not None and variable.ref() in self.tables:
                    adjusted[i] = _with_l2(adjusted[i], variable, self.embedding_l2)
        return _clipped(adjusted, self.clip_norm) if self.clip_norm else adjusted


NONE = Adjustment()


def summed_rows(gradient: Gradient) -> Gradient:
    """Returns a gradient in which each row stands once; a dense one as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return weighted_sum([gradient], tf.ones(1))


def _with_l2(gradient: Gradient, table: tf.Variable, weight: float) -> Gradient:
    """Adds 2 lambda w to the gradient of each row that has one."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient + 2.0 * weight * table
    once = summed_rows(gradient)
    values = once.values + 2.0 * weight * tf.gather(table, once.indices)
    return tf.IndexedSlices(values, once.indices, once.dense_shape)


def _clipped(gradients: Sequence[Gradient | None], limit: float) -> list[Gradient | None]:
    """Multiplies all gradients by min(1, limit / norm)."""
    # Of a row that stands twice the norm is that of the sum.
    once = [None if gradient is None else summed_rows(gradient) for gradient in gradients]
    norm = tf.linalg.global_norm([gradient for gradient in once if gradient is not None])
    factor = limit / tf.maximum(norm, limit)

    scaled: list[Gradient | None] = []
    for gradient in once:
        if isinstance(gradient, tf.IndexedSlices):
            values = gradient.values * factor
            gradient = tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        elif gradient is not None:
            gradient = gradient * factor
        scaled.append(gradient)
    return scaled
