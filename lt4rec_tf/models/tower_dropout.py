"""Dropout of the hidden units of a network's towers and experts."""

from __future__ import annotations

import tensorflow as tf

from lt4rec_tf.models.feature_encoder import seed_of
from lt4rec_tf.models.layers.dropout import UnitDropout


class TowerDropout:
    """Puts a dropout behind each hidden layer of a network that is being built.

    Args:
        rate: Share of hidden units that a training step sets to 0, in [0, 1); 0: no layer is added.
        seed: Of the network's draws.

    Attributes:
        counters: Of the layers so far, by name; a checkpoint must hold them.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._rate, self._seed = rate, seed
        self.counters: dict[str, tf.Variable] = {}

    def of(self, hidden: tf.Tensor, name: str) -> tf.Tensor:
        """Returns a layer's output as the layer above reads it, float32 (batch, units).

        Args:
            hidden: The layer's output, float32 (batch, units).
            name: The layer's, with slashes. Each name has draws of its own: tasks that share a
                tower drop other units.
        """
        if not self._rate:
            return hidden
        seed = seed_of(self._seed, f"{name}/dropout")
        # TensorFlow would take slashes for scopes.
        layer = UnitDropout(self._rate, seed, name=f"{name}/dropout".replace("/", "."))
        dropped = layer(hidden)
        self.counters[f"{name}/dropout_calls"] = layer.calls
        return dropped
