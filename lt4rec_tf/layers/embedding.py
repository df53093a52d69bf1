"""Field vectors: all tables in one variable, all features in one lookup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.schema import Feature, Schema


class FieldVectors(keras.layers.Layer):
    """Turns the ids of every feature into one vector a field.

    The tables of the schema lie below each other in one variable, so that a batch costs one
    gather and one sparse update whatever the number of features. Row 0 of a table is its
    missing value. A multi-valued feature is the mean over its real values (ids above 0); one
    without any is the table's missing row. A numeric feature x is x times the vector of its
    table's row 1, or the missing row where x is NaN.

    Args:
        schema: Says which features there are and which tables they share.
        dimension: Length of a field vector.
        initializer: Draws the rows.

    Call:
        ids: {feature: int64 (batch,) or (batch, values); numeric: float32 (batch,)}.
        Returns float32 (batch, fields, dimension), fields in the schema's order.
    """

    def __init__(
        self,
        schema: Schema,
        dimension: int,
        initializer: keras.initializers.Initializer,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.features = schema.features
        self.dimension = dimension
        self.initializer = initializer
        self.first_row = table_offsets(schema)
        self.rows = sum(table.rows for table in schema.tables)

    def build(self, input_shape: Mapping[str, tf.TensorShape]) -> None:
        """Draws the rows of all tables."""
        self.table = self.add_weight(
            name="table", shape=(self.rows, self.dimension), initializer=self.initializer
        )
        super().build(input_shape)

    def call(self, ids: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Looks up and pools; see the class."""
        return look_up(self.table, self.features, self.first_row, ids)


def look_up(
    table: tf.Tensor | tf.Variable,
    features: Sequence[Feature],
    first_row: Mapping[str, int],
    ids: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    """One vector a field, by one gather for all features.

    Args:
        table: All tables below each other, (rows, dimension), of any float dtype.
        features: The fields, in order: all of a schema or some.
        first_row: Of each table, as `table_offsets` says.
        ids: As `FieldVectors` takes them.

    Returns:
        float32 (batch, fields, dimension).
    """
    parts = [_rows_and_pool(run, first_row, ids) for run in _runs(features)]
    rows = [rows for rows, _ in parts]
    # Not `tf.gather`, which would fetch the whole of a table that lies in parts on servers.
    looked_up = tf.nn.embedding_lookup(table, tf.concat(rows, axis=1))
    vectors = tf.cast(looked_up, tf.float32)
    widths = [tf.shape(row)[1] if row.shape[1] is None else row.shape[1] for row in rows]
    pooled = [
        pool(part) for (_, pool), part in zip(parts, tf.split(vectors, widths, axis=1), strict=True)
    ]
    return tf.ensure_shape(tf.concat(pooled, axis=1), (None, len(features), table.shape[1]))


def _runs(features: Sequence[Feature]) -> list[list[Feature]]:
    """Neighbouring features that are looked up alike; one with several values stands alone."""

    def likeness(feature: Feature) -> str:
        return feature.name if feature.multivalued else str(feature.ids.kind == "numeric")

    return [list(run) for _, run in groupby(features, key=likeness)]


def _rows_and_pool(
    run: Sequence[Feature], first_row: Mapping[str, int], ids: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Rows of the table, int64 (batch, rows), and what makes fields of their vectors."""
    offsets = tf.constant([first_row[feature.table] for feature in run], tf.int64)
    if run[0].multivalued:
        values = ids[run[0].name]
        return offsets + values, partial(tf.matmul, mean_weights(values)[:, tf.newaxis, :])
    values = tf.stack([ids[feature.name] for feature in run], axis=1)
    if run[0].ids.kind != "numeric":
        return offsets + values, tf.identity
    known = tf.math.is_finite(values)
    weights = tf.where(known, values, 1.0)[:, :, tf.newaxis]
    return offsets + tf.cast(known, tf.int64), partial(tf.multiply, weights)


def table_offsets(schema: Schema) -> dict[str, int]:
    """The first row of each table in the one variable that holds them all."""
    offsets, first = {}, 0
    for table in schema.tables:
        offsets[table.name] = first
        first += table.rows
    return offsets


def mean_weights(ids: tf.Tensor) -> tf.Tensor:
    """What each value of a multi-valued feature weighs in its mean.

    Args:
        ids: int64 (batch, values), 0 where there is no value.

    Returns:
        float32 (batch, values): 1/n for each of a row's n real values and 0 for padding. A row
        without real values puts weight 1 on its first place, which is the missing row.

    >>> mean_weights(tf.constant([[5, 7, 0], [0, 0, 0]], tf.int64)).numpy().tolist()
    [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    """
    real = tf.cast(ids > 0, tf.float32)
    count = tf.reduce_sum(real, axis=1, keepdims=True)
    first = tf.one_hot(tf.zeros_like(ids[:, 0]), tf.shape(ids)[1])
    return tf.where(count > 0, tf.math.divide_no_nan(real, count), first)
