"""Cross layers: products of field vectors, concatenated with the field vectors themselves.

All map float32 (batch, fields, dimension) to (batch, width). The tasks share them. They are never
masked.
"""

from __future__ import annotations

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
