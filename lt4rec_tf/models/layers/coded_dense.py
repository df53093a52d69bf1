"""A dense layer whose inputs are switched by coding variables: hard concrete gates."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.training_draws import call_counter, seed_of_call

# The concrete distribution's temperature, and the ends to which it is stretched before it is cut
# off at 0 and 1: those of Louizos et al., section 4.
TEMPERATURE = 2 / 3
LEAST, MOST = -0.1, 1.1
# log alpha is this many times a trained variable. An optimiser with one step size for all weights
# would need thousands of steps from half open to closed: log alpha has to move by units, kernels
# by hundredths.
PACE = 10.0


class CodedDense(keras.layers.Layer):
    """relu((u * m) W + b): each input u_i has a coding variable m_i in [0, 1], 0 switches it off.

    In training m_i is drawn once a call from the hard concrete distribution, whose gradient reaches
    log alpha_i: with x of a uniform draw,

    s = sigmoid((log x - log(1 - x) + log alpha) / beta)
    m = min(1, max(0, s (MOST - LEAST) + LEAST))

    At inference s = sigmoid(log alpha), and m is often exactly 0 or 1.
    Source: Louizos et al. (arXiv 1712.01312), Eq. 10 to 13.

    Args:
        units: Number of outputs.
        initializer: Draws W.
        seed: Of the draws of m, which depend on it and on the number of training calls before.

    Call:
        inputs: u, float32 (batch, inputs).
        training: True in a training call.
        Returns float32 (batch, units).
    """

    def __init__(
        self,
        units: int,
        initializer: keras.initializers.Initializer,
        *,
        seed: int,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.units, self.initializer, self.seed = units, initializer, seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Draws W (inputs, units); b starts at 0, log alpha too: m is then .5 on average."""
        width = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel", shape=(width, self.units), initializer=self.initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.coding = self.add_weight(name="coding", shape=(width,), initializer="zeros")
        self.calls = call_counter(self)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Applies the layer; see the class."""
        gates = self._drawn_gates() if training else self.gates()
        return tf.nn.relu(tf.nn.bias_add(tf.matmul(inputs * gates, self.kernel), self.bias))

    @property
    def log_alpha(self) -> tf.Tensor:
        """Returns log alpha of each input, float32 (inputs,)."""
        return PACE * tf.convert_to_tensor(self.coding)

    def gates(self) -> tf.Tensor:
        """Returns m as inference has it, float32 (inputs,)."""
        return _stretched(tf.sigmoid(self.log_alpha))

    def open_chances(self) -> tf.Tensor:
        """Returns the probability of each m > 0 in training, float32 (inputs,); Eq. 12."""
        return tf.sigmoid(self.log_alpha - TEMPERATURE * math.log(-LEAST / MOST))

    def _drawn_gates(self) -> tf.Tensor:
        seed = seed_of_call(self.seed, self.calls, by_replica=False)
        # Never 0 or 1, where a logarithm would not be finite.
        shape = tf.shape(self.coding)
        drawn = tf.random.stateless_uniform(shape, seed, minval=2.0**-24, maxval=1 - 2.0**-24)
        self.calls.assign_add(1)
        logistic = tf.math.log(drawn) - tf.math.log1p(-drawn)
        return _stretched(tf.sigmoid((logistic + self.log_alpha) / TEMPERATURE))


def _stretched(concrete: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(concrete * (MOST - LEAST) + LEAST, 0.0, 1.0)
