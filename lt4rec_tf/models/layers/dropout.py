"""Dropout of units, which are numbers or whole vectors, and of ids."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.training_draws import call_counter, seed_of_call
from lt4rec_tf.schema.types import FIRST_VALUE_ID, UNKNOWN_ID


class UnitDropout(keras.layers.Layer):
    """Sets each unit to 0 with probability p in training, and divides the others by 1 - p.

    A unit is a number of a hidden layer, or a field's whole vector. A row of a batch then lacks
    some of them, so that none is relied upon alone: of fields neither an id that few rows have, nor
    products of fields that go with few rows. At inference nothing changes. Source: Srivastava et
    al., Dropout (JMLR 2014).

    Args:
        rate: p, in (0, 1).
        seed: Of the draws, which depend on it and on the number of training calls before.

    Call:
        units: float32 (batch, units) or (batch, fields, dimension).
        training: True in a training call.
        Returns float32 of the same shape.
    """

    def __init__(self, rate: float, seed: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: tf.TensorShape) -> None:
        """Starts to count training calls."""
        self.calls = call_counter(self)
        super().build(input_shape)

    def call(self, units: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Drops; see the class."""
        if not training:
            return units
        seed = seed_of_call(self.seed, self.calls)
        drawn = tf.random.stateless_uniform(tf.shape(units)[:2], seed)
        kept = tf.cast(drawn >= self.rate, units.dtype)
        self.calls.assign_add(1)
        if units.shape.rank == 3:
            kept = kept[:, :, tf.newaxis]
        return units * kept / (1.0 - self.rate)


class UnknownDropout(keras.layers.Layer):
    """Takes known values of fitted vocabularies for unknown in training, each with probability p_f.

    Values that train never had have one row, which is not trained. A network that has seen them
    as often as it will meet them does not lean on ids where it knows none. At inference nothing
    changes.

    Args:
        rates: By feature p_f, in (0, 1).
        seed: Of the draws, which depend on it and on the number of training calls before.

    Call:
        ids: {feature of `rates`: int64 (batch,) or (batch, values)}.
        training: True in a training call.
        Returns ids of the same shapes.
    """

    def __init__(self, rates: Mapping[str, float], seed: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rates, self.seed = dict(rates), seed

    def build(self, input_shape: Mapping[str, tf.TensorShape]) -> None:
        """Starts to count training calls."""
        self.calls = call_counter(self)
        super().build(input_shape)

    def call(self, ids: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Drops; see the class."""
        if not training:
            return dict(ids)
        dropped = {}
        for feature, values in ids.items():
            seed = seed_of_call(self.seed + zlib.crc32(feature.encode()), self.calls)
            drawn = tf.random.stateless_uniform(tf.shape(values), seed)
            taken = tf.logical_and(drawn < self.rates[feature], values >= FIRST_VALUE_ID)
            dropped[feature] = tf.where(taken, tf.constant(UNKNOWN_ID, values.dtype), values)
        self.calls.assign_add(1)
        return dropped
