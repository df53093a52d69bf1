"""Random draws of layers in training, the same after a restart.

A draw depends on the layer's seed and on its number of training calls before, which a checkpoint
holds.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


def call_counter(layer: keras.layers.Layer) -> tf.Variable:
    """Adds a count of training calls to a layer, int64 ()."""
    return layer.add_weight(
        name="calls",
        shape=(),
        dtype=tf.int64,
        initializer="zeros",
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def seed_of_call(seed: int, calls: tf.Variable, *, by_replica: bool = True) -> tf.Tensor:
    """Returns the seed of a call's draw, int64 (2,).

    Args:
        seed: The layer's.
        calls: Its training calls before.
        by_replica: Whether each replica draws its own, as for rows of a batch, which it shares with
            no other; False: what belongs to all rows is drawn alike.
    """
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if by_replica and context is not None else 0
    return tf.stack([seed + tf.cast(replica, tf.int64), calls])
