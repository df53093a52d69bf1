"""Cross layers: products of field vectors, concatenated with the field vectors themselves.

All map float32 (batch, fields, dimension) to (batch, width). The tasks share them. They are never
masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import tensorflow as tf
import tf_keras as keras


def crossed_width(cross: str, fields: int, dimension: int) -> int:
    """Returns the width of a cross layer's output.

    >>> [crossed_width(cross, 5, 4) for cross in ("gram", "triangle", "dcn_v2", "none")]
    [45, 30, 40, 20]

    Args:
        cross: "gram", "triangle", "dcn_v2" or "none".
        fields: Number of field vectors.
        dimension: Their length.
    """
    products = {
        "gram": fields**2,
        "triangle": fields * (fields - 1) // 2,
        "dcn_v2": fields * dimension,
        "none": 0,
    }
    return products[cross] + fields * dimension


def input_groups(cross: str, fields: Sequence[str], dimension: int) -> dict[str, np.ndarray]:
    """Names the parts of a cross layer's output that a task reads as a whole or not at all.

    They are the vector of each field, and the product of each pair of fields, in all its places;
    of "dcn_v2" the crossed vector of each field.

    >>> groups = input_groups("gram", ["user", "video"], dimension=1)
    >>> {name: places.tolist() for name, places in groups.items()}
    {'user': [4], 'video': [5], 'user x user': [0], 'user x video': [1, 2], 'video x video': [3]}

    Args:
        cross: "gram", "triangle", "dcn_v2" or "none".
        fields: Names of the field vectors, in their order.
        dimension: Length of a field vector.

    Returns:
        Name -> indices among the outputs, int64; every output is in one of them.
    """
    count = len(fields)
    first = crossed_width(cross, count, dimension) - count * dimension
    vectors = np.arange(first, first + count * dimension).reshape(count, dimension)
    groups = dict(zip(fields, vectors, strict=True))

    if cross == "gram":
        for i, j in combinations_with_replacement(range(count), 2):
            groups[f"{fields[i]} x {fields[j]}"] = np.unique([i * count + j, j * count + i])
    elif cross == "triangle":
        below = [(i, j) for i in range(count) for j in range(i)]
        for place, (i, j) in enumerate(below):
            groups[f"{fields[j]} x {fields[i]}"] = np.array([place])
    elif cross == "dcn_v2":
        for field, places in zip(fields, vectors - first, strict=True):
            groups[f"{field}, crossed"] = places
    return groups


class NoCross(keras.layers.Layer):
    """The field vectors alone: width = fields * dimension. Products are left to the towers."""

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Flattens; see the class."""
        _, fields, dimension = vectors.shape
        return tf.reshape(vectors, [-1, fields * dimension])


class GramCross(keras.layers.Layer):
    """The full Gram matrix of the field vectors, and the vectors: [vec(H H^T), vec(H)].

    Both triangles and the diagonal are kept: width = fields**2 + fields * dimension.
    Source: LT4REC (arXiv 2008.09872), section 2.1 and the authors' code.
    """

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Crosses; see the class."""
        _, fields, dimension = vectors.shape
        gram = tf.matmul(vectors, vectors, transpose_b=True)
        return tf.concat(
            [
                tf.reshape(gram, [-1, fields * fields]),
                tf.reshape(vectors, [-1, fields * dimension]),
            ],
            axis=1,
        )


class TriangleCross(keras.layers.Layer):
    """The products <h_i, h_j> for i > j, and the field vectors.

    width = fields * (fields - 1) / 2 + fields * dimension.
    Source: DLRM (Naumov et al., arXiv 1906.00091), section 2.1.4, without self-interaction.
    """

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Crosses; see the class."""
        _, fields, dimension = vectors.shape
        gram = tf.reshape(tf.matmul(vectors, vectors, transpose_b=True), [-1, fields * fields])
        below = [i * fields + j for i in range(fields) for j in range(i)]
        return tf.concat(
            [
                tf.gather(gram, tf.constant(below, tf.int32), axis=1),
                tf.reshape(vectors, [-1, fields * dimension]),
            ],
            axis=1,
        )


class CrossNetworkV2(keras.layers.Layer):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, with x_0 the flattened field vectors.

    The output is [x_L, x_0]: width = 2 * fields * dimension.
    Source: DCN V2 (Wang et al., arXiv 2008.13535), Eq. 1.

    Args:
        initializers: One for each W_l; their number is L.
    """

    def __init__(
        self, initializers: list[keras.initializers.Initializer], name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.initializers = initializers

    def build(self, input_shape: tf.TensorShape) -> None:
        """Draws W_l; b_l starts at 0."""
        width = input_shape[1] * input_shape[2]
        self.kernels = [
            self.add_weight(name=f"kernel_{depth}", shape=(width, width), initializer=draw)
            for depth, draw in enumerate(self.initializers)
        ]
        self.biases = [
            self.add_weight(name=f"bias_{depth}", shape=(width,), initializer="zeros")
            for depth in range(len(self.initializers))
        ]
        super().build(input_shape)

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Crosses; see the class."""
        _, fields, dimension = vectors.shape
        start = tf.reshape(vectors, [-1, fields * dimension])
        crossed = start
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            crossed = start * (tf.matmul(crossed, kernel) + bias) + crossed
        return tf.concat([crossed, start], axis=1)
