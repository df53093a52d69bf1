"""Computes the inputs of towers' first layers from field vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.cross import GramCross, TriangleCross
from lt4rec_tf.serving.first_layer import FirstLayer
from lt4rec_tf.serving.reads import Crossing, CrossPlaces, Reads, Sides, reads_of

SHARED = "shared"  # owner of the field vectors that all tasks read; others belong to their task
Vectors = Mapping[str, tf.Tensor]  # owner -> float32 (rows, fields, dimension)


class TowerInputs:
    """The cross layer's outputs and the vectors that a task alone reads.

    Of Gram and triangle, whose outputs each read two fields at most, it computes what `keep` is
    told; of others, whose every output reads all fields, everything.

    Attributes:
        splits: Whether the cross layer is one of the former.
        fields: Indices of the fields whose shared vectors are read.

    Args:
        cross: The cross layer.
        sides: Of the fields.
        dimension: Length of a shared field vector.
        own: Task -> length of the field vectors that it alone reads.
    """

    def __init__(
        self, cross: keras.layers.Layer, sides: Sides, dimension: int, own: Mapping[str, int]
    ) -> None:
        self._cross, self._sides, self._dimension, self._own = cross, sides, dimension, own
        self.splits = isinstance(cross, GramCross | TriangleCross)
        kind = "gram" if isinstance(cross, GramCross) else "triangle"
        self._places = CrossPlaces(kind, sides.fields, dimension)
        self.fields = tuple(range(sides.fields))
        self.reads: Reads

    def keep(self, read: np.ndarray) -> None:
        """Leaves out what no task reads.

        Args:
            read: Indices of the inputs that any task reads.
        """
        self.reads = reads_of(self._places, self._sides, read)
        self.fields = self.reads.fields

    def layer(self, task: str) -> FirstLayer:
        """Returns the meaning of a task's first kernel's rows."""
        return FirstLayer(self._places, self._sides, self._own.get(task, 0))

    def of_rows(self, vectors: Vectors) -> tf.Tensor:
        """Returns the cross layer's outputs, (rows, inputs).

        Args:
            vectors: Of the fields that are read, in order.
        """
        if not self.splits:
            return self._cross(vectors[SHARED])
        return tf.concat(self._parts(vectors[SHARED], self.fields, self.reads.rows), axis=1)

    def of_requests(self, asking: Vectors) -> tf.Tensor:
        """Returns the outputs that candidates share, (requests, inputs).

        Args:
            asking: Vectors of the asking fields that are read.
        """
        held = self._held(self._sides.asking)
        return tf.concat(self._parts(asking[SHARED], held, self.reads.asking), axis=1)

    def of_items(self, rows: Vectors) -> list[tf.Tensor]:
        """Returns the outputs over ranked fields alone, in parts, (candidates, ...) each.

        Args:
            rows: Vectors of the ranked fields that are read.
        """
        return self._parts(rows[SHARED], self._held(self._sides.ranked), self.reads.ranked)

    def between(self, asking: Vectors, rows: Vectors, requests: tf.Tensor | int) -> list[tf.Tensor]:
        """Returns [<h_i, h_j> of ranked field i and asking field j, by i, (candidates, pairs)].

        The list is empty where no task reads such a product.

        Args:
            asking: Vectors of the asking fields that are read.
            rows: Vectors of the ranked fields that are read, (candidates of all requests, ...).
            requests: Their number; 1, not a tensor: a single product, faster than a batch of one.
        """
        items, fields = self.reads.between
        if not items:
            return []
        users = picked_fields(asking[SHARED], self._held(self._sides.asking), fields)
        factors = picked_fields(rows[SHARED], self._held(self._sides.ranked), items)

        # One product per request: TensorFlow is slow at many small ones.
        if isinstance(requests, int):
            flat, users = tf.reshape(factors, [-1, self._dimension]), users[0]
        else:
            per_request = tf.shape(factors)[0] * len(items) // tf.maximum(requests, 1)
            flat = tf.reshape(factors, [requests, per_request, self._dimension])
        product = tf.matmul(flat, users, transpose_b=True)
        return [tf.reshape(product, [-1, len(items) * len(fields)])]

    def with_own(self, crossed: tf.Tensor, vectors: Vectors, task: str) -> tf.Tensor:
        """Appends the field vectors that the task alone reads, if it has any."""
        if task not in self._own:
            return crossed
        return tf.concat([crossed, _side_by_side(vectors[task])], axis=1)

    def _held(self, side: Sequence[int]) -> list[int]:
        return [field for field in self.fields if field in side]

    def _parts(
        self, vectors: tf.Tensor, held: Sequence[int], crossing: Crossing
    ) -> list[tf.Tensor]:
        """Computes a cross layer over some fields.

        Parts, as TensorFlow joins nested concatenations on one side of a condition alone.

        Args:
            vectors: float32 (rows, fields held, dimension).
            held: The fields of `vectors`, increasing.
            crossing: Fields among them.

        Returns:
            float32 (rows, ...) each, in the order of `CrossPlaces.among`.
        """
        parts = []
        if crossing.products:
            fields = len(crossing.products)
            factors = picked_fields(vectors, held, crossing.products)
            gram = tf.reshape(tf.matmul(factors, factors, transpose_b=True), [-1, fields**2])
            below = [i * fields + j for i in range(fields) for j in range(i)]
            parts.append(gram if self._places.cross == "gram" else tf.gather(gram, below, axis=1))
        if crossing.vectors:
            parts.append(_side_by_side(picked_fields(vectors, held, crossing.vectors)))
        return parts


def picked_fields(vectors: tf.Tensor, held: Sequence[int], wanted: Sequence[int]) -> tf.Tensor:
    """Picks fields: (rows, fields held, dimension) -> (rows, fields wanted, dimension).

    >>> vectors = tf.constant([[[1.0], [2.0], [4.0]]])
    >>> picked_fields(vectors, (0, 2, 5), (0, 5)).numpy().tolist()
    [[[1.0], [4.0]]]

    Args:
        vectors: float32 (rows, fields held, dimension).
        held: The fields of `vectors`, increasing.
        wanted: Some of them, one or more, increasing.
    """
    indices = np.searchsorted(held, wanted)
    if len(indices) == len(held):
        return vectors
    if len(indices) == 1 + indices[-1] - indices[0]:  # neighbours: a slice takes less
        return vectors[:, indices[0] : indices[-1] + 1]
    return tf.gather(vectors, indices, axis=1)


def by_row(vectors: tf.Tensor) -> tf.Tensor:
    """Flattens (requests, candidates, ...) of field vectors to (requests * candidates, ...)."""
    return tf.reshape(vectors, [-1, *vectors.shape[2:]])


def _side_by_side(vectors: tf.Tensor) -> tf.Tensor:
    _, fields, dimension = vectors.shape
    return tf.reshape(vectors, [-1, fields * dimension])
