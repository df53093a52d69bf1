"""Embedding of the label that a classification task predicts, for later tasks to read."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.training_draws import call_counter, seed_of_call


@dataclass(frozen=True)
class Temperature:
    """tau after n calls: max(floor, start * decay^(n // steps)).

    Attributes:
        start: Above 0.
        decay: In (0, 1].
        steps: Training steps between two decays, 1 or more.
        floor: Above 0.
    """

    start: float
    decay: float
    steps: int
    floor: float

    def after(self, calls: tf.Tensor) -> tf.Tensor:
        """Returns tau, float32.

        >>> Temperature(2.0, 0.5, steps=10, floor=0.75).after(tf.constant([0, 9, 10, 20])).numpy()
        array([2.  , 2.  , 1.  , 0.75], dtype=float32)
        """
        decays = tf.cast(calls // self.steps, tf.float32)
        return tf.maximum(self.floor, self.start * self.decay**decays)


class LabelEmbedding(keras.layers.Layer):
    """p E_1 + (1 - p) E_0: the embedding of the label that a task predicts.

    At inference p = sigmoid(l), l the task's logit. In training the label is sampled from the
    prediction, because the label itself is unknown at inference: p = sigmoid((l + g_1 - g_0) / tau)
    with Gumbel noise g, which is the Gumbel-softmax of (log p, log(1 - p)). As tau falls, p
    approaches 0 or 1, and its mean approaches sigmoid(l).

    Sources: the label embedding unit of HTLNet (Tang et al., RecSys 2024, arXiv 2403.17442); Jang
    et al., Categorical Reparameterization with Gumbel-Softmax (arXiv 1611.01144).

    Args:
        dimension: Length of E_0 and E_1.
        initializer: Draws them.
        temperature: tau, by training calls.
        noise: True: there is noise in training. False: training computes what inference does.
        seed: Of the noise, which depends on it and on the number of training calls before.

    Call:
        logits: float32 (batch,).
        training: True in a training call.
        Returns float32 (batch, dimension).
    """

    def __init__(
        self,
        dimension: int,
        initializer: keras.initializers.Initializer,
        *,
        temperature: Temperature,
        noise: bool,
        seed: int,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.dimension, self.initializer = dimension, initializer
        self.temperature, self.noise, self.seed = temperature, noise, seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Draws E, (2, dimension), row 0 for label 1; starts to count training calls."""
        self.table = self.add_weight(
            name="table", shape=(2, self.dimension), initializer=self.initializer
        )
        self.calls = call_counter(self)
        super().build(input_shape)

    def call(self, logits: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embeds; see the class."""
        probabilities = tf.sigmoid(logits)
        if training and self.noise:
            noisy = logits + self._noise(tf.shape(logits))
            probabilities = tf.sigmoid(noisy / self.temperature.after(self.calls))
            self.calls.assign_add(1)

        probabilities = probabilities[:, tf.newaxis]
        return tf.concat([probabilities, 1.0 - probabilities], axis=1) @ self.table

    def _noise(self, shape: tf.Tensor) -> tf.Tensor:
        """Draws g_1 - g_0, which is logistic: log u - log(1 - u) of uniform u."""
        seed = seed_of_call(self.seed, self.calls)
        # Never 0 or 1, where a logarithm would not be finite.
        uniform = tf.random.stateless_uniform(shape, seed, minval=2.0**-24, maxval=1 - 2.0**-24)
        return tf.math.log(uniform) - tf.math.log1p(-uniform)
