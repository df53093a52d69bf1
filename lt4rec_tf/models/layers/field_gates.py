"""A task's gates of the fields: how much of each field's vector it reads, by the vector itself."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


class FieldGates(keras.layers.Layer):
    """[w_1 e_1, ..., w_n e_n] with w_i = relu(tanh(g_i . e_i)): a gate of each field's vector e_i.

    A gate is in [0, 1) and depends on the row's value of the field. About half of them are closed
    at first, as the sign of g_i . e_i says; a closed one is exactly 0.
    Source: MSSM (Ding et al., SIGIR 2021, doi 10.1145/3404835.3463022), field-level sparse
    connection module.

    Args:
        initializer: Draws g.

    Call:
        vectors: float32 (batch, fields, dimension).
        Returns float32 of the same shape.
    """

    def __init__(
        self, initializer: keras.initializers.Initializer, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.initializer = initializer

    def build(self, input_shape: tf.TensorShape) -> None:
        """Draws g, float32 (fields, dimension)."""
        self.directions = self.add_weight(
            name="directions", shape=input_shape[1:], initializer=self.initializer
        )
        super().build(input_shape)

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Gates; see the class."""
        return vectors * self.gates(vectors)[:, :, tf.newaxis]

    def gates(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns w, float32 (batch, fields)."""
        return tf.nn.relu(tf.tanh(tf.reduce_sum(vectors * self.directions, axis=2)))
