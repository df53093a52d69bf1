"""Splits a tower's first layer: one part per request, one part per candidate.

The inputs of the first kernel are the cross layer's products of two fields and the fields
themselves. Those of user and context fields alone are equal for all candidates of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lt4rec_tf.serving.kernels import Kernel, Source, kernel_of
from lt4rec_tf.serving.reads import Crossing, CrossPlaces, Reads, Sides


@dataclass(frozen=True)
class FirstLayer:
    """The meaning of a first kernel's rows.

    Attributes:
        cross: Indices of the cross layer's outputs, which come first.
        sides: Of the fields.
        own: Length of the field vectors that the task alone reads, which come last; 0: none.
    """

    cross: CrossPlaces
    sides: Sides
    own: int

    def rows(self, reads: Reads) -> np.ndarray:
        """Returns the rows of [the cross layer, own vectors of all fields]."""
        return self._among(reads.rows, range(self.cross.fields))

    def asking(self, reads: Reads) -> np.ndarray:
        """Returns the rows of [the cross layer over the asking fields, their own vectors]."""
        return self._among(reads.asking, self.sides.asking)

    def ranked(self, reads: Reads) -> list[list[np.ndarray]]:
        """Returns rows of [products of a ranked and an asking field, `asking` of ranked fields].

        Each part is a list of arrays whose rows are added.
        """
        between = self.cross.between(*reads.between)
        return [between, [self._among(reads.ranked, self.sides.ranked)]]

    def fields_of(self, rows: np.ndarray) -> set[int]:
        """Returns the fields with which some rows are multiplied.

        >>> layer = FirstLayer(CrossPlaces("gram", 3, 2), Sides((0,), (1, 2)), own=1)
        >>> layer.fields_of(np.array([1])), layer.fields_of(np.array([9 + 5, 9 + 6 + 1]))
        ({0, 1}, {1, 2})
        """
        products, vectors = self.cross.read_by(rows)
        own = rows[rows >= self.cross.width] - self.cross.width
        own_fields = {int(row) // self.own for row in own}
        return own_fields | set(np.flatnonzero(products.any(axis=0) | vectors).tolist())

    def _among(self, crossing: Crossing, fields: Sequence[int]) -> np.ndarray:
        own = np.arange(self.cross.fields * self.own).reshape(self.cross.fields, self.own)
        own_rows = self.cross.width + own[list(fields)].reshape(-1)
        return np.concatenate([self.cross.among(crossing), own_rows])


def picked_rows(
    source: Source, inputs: np.ndarray, parts: Sequence[Sequence[np.ndarray]]
) -> tf.Tensor:
    """Picks rows of a first kernel, one part below the other; absent rows are 0.

    Args:
        source: The kernel, (inputs, units).
        inputs: The input index of each of its rows, increasing.
        parts: Input indices; the rows of several arrays in one part are added.
    """
    kernel = kernel_of(source)
    zeros = tf.zeros((1, kernel.shape[1]), kernel.dtype)  # the row of all absent inputs
    kernel = tf.concat([kernel, zeros], axis=0)

    largest = max(int(np.max(indices, initial=0)) for part in parts for indices in part)
    row_of_input = np.full(1 + largest, -1)
    present = inputs[inputs <= largest]
    row_of_input[present] = np.arange(len(present))
    row_of_input[row_of_input < 0] = len(inputs)

    sums = []
    for part in parts:
        # Added in float32 whatever the kernel's precision.
        picked = [tf.cast(tf.gather(kernel, row_of_input[rows]), tf.float32) for rows in part]
        sums.append(tf.add_n(picked))
    return tf.cast(tf.concat(sums, axis=0), kernel.dtype)


class PartedLayer(tf.Module):
    """A first layer, split in two.

    Attributes:
        asking: Kernel of the inputs that are equal for all candidates of a request.
        ranked: Kernel of the inputs that differ between candidates.

    Args:
        source: The layer's kernel.
        inputs: The input index of each of the kernel's rows.
        layer: The meaning of the rows.
        reads: The parts of the cross layer that are computed.
        name: Letters, digits and "_".
    """

    def __init__(
        self, source: Source, inputs: np.ndarray, layer: FirstLayer, reads: Reads, name: str
    ) -> None:
        super().__init__(name=name)

        def asking() -> tf.Tensor:
            return picked_rows(source, inputs, [[layer.asking(reads)]])

        def ranked() -> tf.Tensor:
            return picked_rows(source, inputs, layer.ranked(reads))

        self.asking = Kernel(asking, f"{name}_asking")
        self.ranked = Kernel(ranked, f"{name}_ranked")
