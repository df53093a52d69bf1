"""Dropout of whole vectors."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.training_draws import call_counter, seed_of_call


class VectorDropout(keras.layers.Layer):
    """Sets each vector to 0 with probability p in training, and divides the others by 1 - p.

    A row of a batch then lacks some of its fields, so that no field is relied upon alone: neither
    an id that few rows have, nor products of fields that go with few rows. At inference nothing
    changes. Source: Srivastava et al., Dropout (JMLR 2014), with whole vectors as its units.

    Args:
        rate: p, in (0, 1).
        seed: Of the draws, which depend on it and on the number of training calls before.

    Call:
        vectors: float32 (batch, fields, dimension).
        training: True in a training call.
        Returns float32 (batch, fields, dimension).
    """

    def __init__(self, rate: float, seed: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Starts to count training calls."""
        self.calls = call_counter(self)
        super().build(input_shape)

    def call(self, vectors: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops; see the class."""
        if not training:
            return vectors
        seed = seed_of_call(self.seed, self.calls)
        drawn = tf.random.stateless_uniform(tf.shape(vectors)[:2], seed)
        kept = tf.cast(drawn >= self.rate, vectors.dtype)[:, :, tf.newaxis]
        self.calls.assign_add(1)
        return vectors * kept / (1.0 - self.rate)
