"""Attention over the outputs of a few tasks, by which earlier tasks inform later ones."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras


class UnitAttention(keras.layers.Layer):
    """sum_u w_u u W_3 with w = softmax_u(<u W_1, u W_2> / sqrt(width)).

    Sources: AITM (Xi et al., KDD 2021, arXiv 2105.08489), section 3, no biases, as in its authors'
    code; the information fusion unit of HTLNet (Tang et al., RecSys 2024, arXiv 2403.17442).

    Args:
        width: Of u W_i, and of the result.
        initializers: Draw W_1 (query), W_2 (key) and W_3 (value).

    Call:
        units: Two or more, each float32 (batch, inputs).
        Returns float32 (batch, width).
    """

    def __init__(
        self,
        width: int,
        initializers: Sequence[keras.initializers.Initializer],
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.width, self.initializers = width, list(initializers)
        self.kernels: dict[str, tf.Variable] = {}

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Draws the kernels, (inputs, width) each."""
        names = ("query", "key", "value")
        shape = (input_shape[0][-1], self.width)
        for name, draw in zip(names, self.initializers, strict=True):
            self.kernels[name] = self.add_weight(name=name, shape=shape, initializer=draw)
        super().build(input_shape)

    def call(self, units: Sequence[tf.Tensor]) -> tf.Tensor:
        """Attends; see the class."""
        # One matrix product for all rows: with three dimensions `@` would compute one product for
        # each row, and as many gradients of the kernel.
        rows = tf.reshape(tf.stack(units, axis=1), [-1, units[0].shape[-1]])
        query, key, value = (
            tf.reshape(rows @ self.kernels[name], [-1, len(units), self.width])
            for name in ("query", "key", "value")
        )

        weights = tf.nn.softmax(tf.reduce_sum(query * key, axis=2) / self.width**0.5)
        return tf.einsum("bu,buk->bk", weights, value)
