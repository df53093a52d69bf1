"""A task's mixture of experts."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras


class ExpertMixture(keras.layers.Layer):
    """sum_i g_i e_i with g = softmax(x W): a gate without bias over the experts' outputs.

    Source: MMoE (Ma et al., KDD 2018, doi 10.1145/3219819.3220007),
    section 4.2.

    Args:
        experts: Their number.
        initializer: Draws W.

    Call:
        x: The gate's input, float32 (batch, inputs).
        outputs: The experts' outputs e_i, each float32 (batch, units).
        Returns float32 (batch, units).
    """

    def __init__(
        self, experts: int, initializer: keras.initializers.Initializer, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.experts, self.initializer = experts, initializer

    def build(self, input_shape: tf.TensorShape) -> None:
        """Draws W, float32 (inputs, experts)."""
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.experts), initializer=self.initializer
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, outputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Mixes; see the class."""
        return tf.einsum("be,ebu->bu", self.gates(x), tf.stack(outputs))

    def gates(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the experts' weights for each row: float32 (batch, experts), rows sum to 1."""
        return tf.nn.softmax(tf.matmul(x, self.kernel))
