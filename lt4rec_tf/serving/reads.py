"""What towers read of the cross layer, by field: what none of them reads is not computed.

Columns are not picked one by one, which takes TensorFlow longer than multiplying them. What is
left out is whole fields: their products with all others, their vectors, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sides:
    """Indices of the fields in the schema, increasing.

    Attributes:
        asking: User and context fields.
        ranked: Item fields, and lists of the user's past to which candidates attend.
    """

    asking: tuple[int, ...]
    ranked: tuple[int, ...]

    @property
    def fields(self) -> int:
        """Number of fields."""
        return len(self.asking) + len(self.ranked)


@dataclass(frozen=True)
class Crossing:
    """Fields over which a cross layer is computed, increasing.

    Attributes:
        products: Fields whose products with each other are outputs.
        vectors: Fields whose vectors are outputs, behind the products.
    """

    products: tuple[int, ...]
    vectors: tuple[int, ...]


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

    @property
    def width(self) -> int:
        """Number of outputs."""
        return self.pairs + self.fields * self.dimension

    def among(self, crossing: Crossing) -> np.ndarray:
        """Returns the indices of the outputs over some fields, in their order.

        >>> CrossPlaces("gram", 3, 1).among(Crossing((0, 2), (2,))).tolist()
        [0, 2, 6, 8, 11]
        >>> CrossPlaces("triangle", 3, 1).among(Crossing((0, 2), (0, 2))).tolist()
        [1, 3, 5]
        """
        fields = crossing.products
        if self.cross == "gram":
            pairs = [i * self.fields + j for i in fields for j in fields]
        else:
            pairs = [self._below(i, j) for place, i in enumerate(fields) for j in fields[:place]]

        vectors: list[int] = []
        for i in crossing.vectors:
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

    def read_by(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which products and which vectors some outputs are or are part of.

        >>> products, vectors = CrossPlaces("triangle", 3, 2).read_by(np.array([2, 3 + 1]))
        >>> products.astype(int).tolist(), vectors.tolist()
        ([[0, 0, 0], [0, 0, 1], [0, 1, 0]], [True, False, False])

        Args:
            rows: Indices of outputs; larger ones are none of this layer's.

        Returns:
            bool (fields, fields), symmetric, and bool (fields,).
        """
        is_read = np.zeros(self.width, bool)
        is_read[rows[rows < self.width]] = True

        products = np.zeros((self.fields, self.fields), bool)
        if self.cross == "gram":
            products = is_read[: self.pairs].reshape(products.shape)
        else:
            products[np.tril_indices(self.fields, -1)] = is_read[: self.pairs]
        numbers = is_read[self.pairs :].reshape(self.fields, self.dimension)
        vectors: np.ndarray = np.any(numbers, axis=1)
        return products | products.T, vectors

    def _below(self, i: int, j: int) -> int:
        return i * (i - 1) // 2 + j


@dataclass(frozen=True)
class Reads:
    """The parts of the cross layer that are computed: those that some task reads, by field.

    Each crossing has a field, also where no task reads any: a product of width 0 ends the process.

    Attributes:
        rows: Over all fields, for signatures of rows.
        asking: Over the asking fields.
        ranked: Over the ranked fields.
        between: Ranked fields and asking fields whose products with each other are computed.
    """

    rows: Crossing
    asking: Crossing
    ranked: Crossing
    between: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def fields(self) -> tuple[int, ...]:
        """Fields that any part has."""
        parts = (self.rows, self.asking, self.ranked)
        crossed = [field for part in parts for field in part.products + part.vectors]
        return tuple(sorted({*crossed, *self.between[0], *self.between[1]}))


def reads_of(places: CrossPlaces, sides: Sides, rows: np.ndarray) -> Reads:
    """Returns the parts of a cross layer that some tasks read.

    >>> places, sides = CrossPlaces("gram", 3, 1), Sides((0,), (1, 2))
    >>> reads = reads_of(places, sides, np.array([2, 9 + 1]))  # <h_0, h_2> and h_1
    >>> reads.between, reads.ranked, reads.fields
    (((2,), (0,)), Crossing(products=(), vectors=(1,)), (0, 1, 2))

    Args:
        places: Meaning of the outputs.
        sides: Of the fields.
        rows: Indices of the outputs that any task reads.
    """
    products, vectors = places.read_by(rows)

    def crossing(fields: Sequence[int]) -> Crossing:
        crossed = tuple(i for i in fields if products[i, list(fields)].any())
        alone = tuple(i for i in fields if vectors[i])
        return Crossing(crossed, alone if crossed or alone else tuple(fields[:1]))

    first = tuple(i for i in sides.ranked if products[i, list(sides.asking)].any())
    second = tuple(j for j in sides.asking if products[list(sides.ranked), j].any())
    everything = crossing(range(places.fields))
    return Reads(everything, crossing(sides.asking), crossing(sides.ranked), (first, second))


def _turned(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(j, i) for i, j in pairs]
