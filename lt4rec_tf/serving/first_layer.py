"""Parts a first layer into what a request says once and what differs between its candidates.

The cross layer hands the first kernel products of two fields and the fields themselves. Of one
request, those of user and context fields alone are the same for all candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lt4rec_tf.serving.kernels import Kernel, Source, kernel_of


@dataclass(frozen=True)
class Sides:
    """Places of the fields in the schema, increasing.

    Attributes:
        asking: User and context fields.
        ranked: Item fields.
    """

    asking: tuple[int, ...]
    ranked: tuple[int, ...]

    @property
    def fields(self) -> int:
        """Their number."""
        return len(self.asking) + len(self.ranked)


@dataclass(frozen=True)
class FirstLayer:
    """What a first kernel's rows are.

    Attributes:
        cross: The cross layer's places; its outputs come first.
        sides: Of the fields.
        own: Length of the field vectors that the task alone reads, which come last; 0: none.
    """

    cross: CrossPlaces
    sides: Sides
    own: int

    def asking(self) -> np.ndarray:
        """Rows for [the cross layer over the asking fields, their own vectors]."""
        return self._among(self.sides.asking)

    def ranked(self) -> list[list[np.ndarray]]:
        """Rows for [products of a ranked and an asking field, then as `asking` for ranked fields].

        Each part is a list of arrays of which the rows are added.
        """
        between = self.cross.between(self.sides.ranked, self.sides.asking)
        return [between, [self._among(self.sides.ranked)]]

    def fields_of(self, rows: np.ndarray) -> set[int]:
        """The fields that some rows are multiplied with.

        >>> layer = FirstLayer(CrossPlaces("gram", 3, 2), Sides((0,), (1, 2)), own=1)
        >>> layer.fields_of(np.array([1])), layer.fields_of(np.array([9 + 5, 9 + 6 + 1]))
        ({0, 1}, {1, 2})
        """
        wanted = set(rows.tolist())
        every = range(self.cross.fields)
        found = {i for i in every if wanted & set(self._among([i]).tolist())}
        for i in every:
            for j in range(i):
                places = {int(place) for part in self.cross.between([i], [j]) for place in part}
                if places & wanted:
                    found |= {i, j}
        return found

    def _among(self, fields: Sequence[int]) -> np.ndarray:
        first = self.cross.pairs + self.cross.fields * self.cross.dimension
        own = np.arange(self.cross.fields * self.own).reshape(self.cross.fields, self.own)
        return np.concatenate([self.cross.among(fields), first + own[list(fields)].reshape(-1)])


def picked_rows(
    source: Source, inputs: np.ndarray, parts: Sequence[Sequence[np.ndarray]]
) -> tf.Tensor:
    """Rows of a first kernel, one part below the other; those of inputs it is not given are 0.

    Args:
        source: The kernel, (inputs, units).
        inputs: The place of each of its rows, increasing.
        parts: Places; of several arrays in one part the rows are added.
    """
    kernel = kernel_of(source)
    nothing = tf.zeros((1, kernel.shape[1]), kernel.dtype)  # the row of what is not given
    kernel = tf.concat([kernel, nothing], axis=0)
    rows = np.full(1 + max(int(np.max(place, initial=0)) for part in parts for place in part), -1)
    here = inputs[inputs < len(rows)]
    rows[here] = np.arange(len(here))
    rows[rows < 0] = len(inputs)
    found = []
    for part in parts:
        # Added in float32 whatever the kernel's precision.
        picked = [tf.cast(tf.gather(kernel, rows[place]), tf.float32) for place in part]
        found.append(tf.add_n(picked))
    return tf.cast(tf.concat(found, axis=0), kernel.dtype)


class PartedLayer(tf.Module):
    """A first layer, parted.

    Attributes:
        asking: Its kernel for what a request says once.
        ranked: Its kernel for what differs between candidates.

    Args:
        source: Its kernel.
        inputs: The place of each of the kernel's rows.
        layer: What the rows are.
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
    """The places of a cross layer's outputs.

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
        """Outputs that are products; the field vectors follow them."""
        if self.cross == "gram":
            return self.fields**2
        return self.fields * (self.fields - 1) // 2

    def among(self, fields: Sequence[int]) -> np.ndarray:
        """Where the outputs of the cross layer over some fields alone stand, in their order.

        >>> CrossPlaces("gram", 3, 1).among([0, 2]).tolist()
        [0, 2, 6, 8, 9, 11]
        >>> CrossPlaces("triangle", 3, 1).among([0, 2]).tolist()
        [1, 3, 5]
        """
        if self.cross == "gram":
            pairs = [i * self.fields + j for i in fields for j in fields]
        else:
            pairs = [self._below(i, j) for place, i in enumerate(fields) for j in fields[:place]]
        vectors = [
            self.pairs + i * self.dimension + part for i in fields for part in range(self.dimension)
        ]
        return np.array([*pairs, *vectors], np.int64)

    def between(self, first: Sequence[int], second: Sequence[int]) -> list[np.ndarray]:
        """Where the products <h_i, h_j> of i in `first` and j in `second` stand, i by i.

        A Gram matrix has each twice: two arrays.

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
