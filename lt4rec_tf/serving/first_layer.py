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


@dataclass(frozen=True)
class Sides:
    """Indices of the fields in the schema, increasing.

    Attributes:
        asking: User and context fields.
        ranked: Item fields.
    """

    asking: tuple[int, ...]
    ranked: tuple[int, ...]

    @property
    def fields(self) -> int:
        """Number of fields."""
        return len(self.asking) + len(self.ranked)


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

    def asking(self) -> np.ndarray:
        """Returns the rows of [the cross layer over the asking fields, their own vectors]."""
        return self._among(self.sides.asking)

    def ranked(self) -> list[list[np.ndarray]]:
        """Returns rows of [products of a ranked and an asking field, `asking` of ranked fields].

        Each part is a list of arrays whose rows are added.
        """
        between = self.cross.between(self.sides.ranked, self.sides.asking)
        return [between, [self._among(self.sides.ranked)]]

    def fields_of(self, rows: np.ndarray) -> set[int]:
        """Returns the fields with which some rows are multiplied.

        >>> layer = FirstLayer(CrossPlaces("gram", 3, 2), Sides((0,), (1, 2)), own=1)
        >>> layer.fields_of(np.array([1])), layer.fields_of(np.array([9 + 5, 9 + 6 + 1]))
        ({0, 1}, {1, 2})
        """
        wanted = set(rows.tolist())
        fields = set()
        for i in range(self.cross.fields):
            if wanted & set(self._among([i]).tolist()):
                fields.add(i)
            for j in range(i):
                products = np.concatenate(self.cross.between([i], [j]))
                if wanted & set(products.tolist()):
                    fields |= {i, j}
        return fields

    def _among(self, fields: Sequence[int]) -> np.ndarray:
        first = self.cross.pairs + self.cross.fields * self.cross.dimension
        own = np.arange(self.cross.fields * self.own).reshape(self.cross.fields, self.own)
        return np.concatenate([self.cross.among(fields), first + own[list(fields)].reshape(-1)])


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
        name: Letters, digits and "_".
    """

    def __init__(self, source: Source, inputs: np.ndarray, layer: FirstLayer, name: str) -> None:
        super().__init__(name=name)

        def asking() -> tf.Tensor:
            return picked_rows(source, inputs, [[layer.asking()]])

        def ranked() -> tf.Tensor:
            return picked_rows(source, inputs, layer.ranked())

        self.asking = Kernel(asking, f"{name}_asking")
        self.ranked = Kernel(ranked, f"{name}_ranked")


@dataclass(frozen=True)
class CrossPlaces:
    """Indices of a cross layer's outputs.

    Attributes:
        cross: "gram" or "triangle": each of their outputs depends on two fields or one.
        fields: Their number.
        dimension: Length of a field vector.
    """

    cross: str
    fields: int
    dimension: int

    @property
    def pairs(self) -> int:
        """Number of outputs that are products; the field vectors follow them."""
        if self.cross == "gram":
            return self.fields**2
        return self.fields * (self.fields - 1) // 2

    def among(self, fields: Sequence[int]) -> np.ndarray:
        """Returns the indices of the outputs that read some fields alone, in their order.

        >>> CrossPlaces("gram", 3, 1).among([0, 2]).tolist()
        [0, 2, 6, 8, 9, 11]
        >>> CrossPlaces("triangle", 3, 1).among([0, 2]).tolist()
        [1, 3, 5]
        """
        if self.cross == "gram":
            pairs = [i * self.fields + j for i in fields for j in fields]
        else:
            pairs = [self._below(i, j) for place, i in enumerate(fields) for j in fields[:place]]

        vectors: list[int] = []
        for i in fields:
            first = self.pairs + i * self.dimension
            vectors.extend(range(first, first + self.dimension))
        return np.array([*pairs, *vectors], np.int64)

    def between(self, first: Sequence[int], second: Sequence[int]) -> list[np.ndarray]:
        """Returns the indices of <h_i, h_j> of i in `first` and j in `second`, ordered by i.

        A Gram matrix has each product twice, hence two arrays.

        >>> [places.tolist() for places in CrossPlaces("gram", 3, 1).between([1], [0, 2])]
        [[3, 5], [1, 7]]
        >>> [places.tolist() for places in CrossPlaces("triangle", 3, 1).between([1], [0, 2])]
        [[0, 2]]
        """
        pairs = [(i, j) for i in first for j in second]
        if self.cross == "gram":
            once, again = ([i * self.fields + j for i, j in p] for p in (pairs, _turned(pairs)))
            return [np.array(once, np.int64), np.array(again, np.int64)]
        return [np.array([self._below(max(pair), min(pair)) for pair in pairs], np.int64)]

    def _below(self, i: int, j: int) -> int:
        return i * (i - 1) // 2 + j


def _turned(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(j, i) for i, j in pairs]
