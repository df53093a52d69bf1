"""Field vectors: all tables in one variable, all features in one lookup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import making_tables
from lt4rec_tf.models.layers.piecewise import piecewise_vectors
from lt4rec_tf.models.layers.table_layout import Layout, Tables, layout_of
from lt4rec_tf.schema.types import UNKNOWN_ID, Feature, Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket


class FieldVectors(keras.layers.Layer):
    """Turns the ids of every feature into one vector for each field.

    The tables of the schema are stacked in one variable, so that a batch needs one gather and one
    sparse update, independent of the number of features. Row 0 of a table is its missing value. A
    multi-valued feature is the mean over its real values (ids above 0); one without any is the
    table's missing row. A numeric feature x is x times the vector of its table's row 1, or the
    missing row where x is NaN. A piecewise linear one is a sum of all its table's rows, see
    `piecewise`.

    The row of a fitted vocabulary's unknown values, row 1, is not trained. It stands for values
    that train never had, which are unlike the rare values of train that `min_count` leaves out: a
    row trained on these misleads.

    With a ticket the variables hold the rows and dimensions that it keeps: fewer rows, or one
    variable for each width.

    Args:
        schema: Its features, and the tables that they share.
        dimension: Length of a field vector.
        draw: A variable's name -> what draws its rows.
        ticket: Ticket of the tables; None: they are whole.

    Call:
        ids: {feature: int64 (batch,) or (batch, values); numbers: float32 (batch,)}.
        training: True in a training call.
        Returns float32 (batch, fields, dimension), fields in the schema's order.
    """

    def __init__(
        self,
        schema: Schema,
        dimension: int,
        draw: Callable[[str], keras.initializers.Initializer],
        ticket: TableTicket | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.features = schema.features
        self.dimension = dimension
        self.draw = draw
        self.layout = layout_of(schema, dimension, ticket)

    def build(self, input_shape: Mapping[str, tf.TensorShape]) -> None:
        """Draws the rows of all tables."""
        with making_tables():
            self.parts = {
                part.name: self.add_weight(
                    name=part.name,
                    shape=(part.rows, part.width),
                    initializer=self.draw(part.name),
                )
                for part in self.layout.parts
            }

        layout = self.layout
        self._row_of = None if layout.row_of is None else self._constant("row_of", layout.row_of)
        self._bits = None
        if layout.mask is not None and layout.cuts_numbers:
            self._bits = self._constant("bits", np.packbits(layout.mask, axis=1))

        super().build(input_shape)

    def _constant(self, name: str, values: np.ndarray) -> tf.Variable:
        """Adds a variable of these values, so that no graph and no checkpoint holds them."""

        def initializer(shape: tf.TensorShape, dtype: tf.DType) -> tf.Tensor:
            return tf.constant(values)

        return self.add_weight(
            name=name,
            shape=values.shape,
            dtype=values.dtype,
            initializer=initializer,
            trainable=False,
        )

    def call(self, ids: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Looks up and pools; see the class."""
        tables = Tables(self.layout, self.parts, self._row_of, self._bits)
        return look_up(tables, self.features, ids, training=training)


def look_up(
    tables: Tables,
    features: Sequence[Feature],
    ids: Mapping[str, tf.Tensor],
    *,
    training: bool = False,
) -> tf.Tensor:
    """Looks up one vector for each field, by one gather for all features of a width.

    Args:
        tables: The features' tables.
        features: The fields, in order: all of a schema or some.
        ids: As `FieldVectors` takes them.
        training: Whether a gradient will be taken.

    Returns:
        float32 (batch, fields, dimension).
    """
    layout = tables.layout
    runs = _runs(features, layout)

    rows_of_runs: dict[int, tf.Tensor] = {}
    pools: dict[int, Callable[[tf.Tensor], tf.Tensor]] = {}
    run_indices: dict[str, list[int]] = {}  # part -> indices of the runs that it serves
    fields_of_runs: dict[int, tf.Tensor] = {}
    for index, run in enumerate(runs):
        if run[0].ids.kind == "piecewise_linear":
            fields_of_runs[index] = _piecewise_fields(tables, run, ids)
            continue
        rows_of_runs[index], pools[index] = _rows_and_pool(run, layout.first_row, ids)
        run_indices.setdefault(layout.part_of[run[0].table], []).append(index)

    # One gather for all runs of a part, as each gather has a sparse update of its own.
    for part, indices in run_indices.items():
        rows_of_part = [rows_of_runs[index] for index in indices]
        vectors = tables.rows(part, tf.concat(rows_of_part, axis=1))
        vectors_of_runs = tf.split(vectors, [_length(rows) for rows in rows_of_part], axis=1)
        for index, vectors_of_run in zip(indices, vectors_of_runs, strict=True):
            if training:
                vectors_of_run = _without_unknown(vectors_of_run, runs[index], ids)
            fields_of_runs[index] = pools[index](vectors_of_run)

    fields = tf.concat([fields_of_runs[index] for index in range(len(runs))], axis=1)
    return tf.ensure_shape(fields, (None, len(features), layout.dimension))


def _without_unknown(
    vectors: tf.Tensor, run: Sequence[Feature], ids: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Returns a run's vectors, without a gradient to the unknown rows of fitted vocabularies."""
    fitted = [feature.ids.kind == "fitted" for feature in run]
    if not any(fitted):
        return vectors
    columns = [ids[feature.name] for feature in run]
    values = columns[0] if run[0].multivalued else tf.stack(columns, axis=1)
    unknown = tf.logical_and(tf.constant(fitted), values == UNKNOWN_ID)[:, :, tf.newaxis]
    return tf.where(unknown, tf.stop_gradient(vectors), vectors)


def _length(rows: tf.Tensor) -> int | tf.Tensor:
    """Returns the rows of one example; a tensor where the length of lists varies by batch."""
    return tf.shape(rows)[1] if rows.shape[1] is None else rows.shape[1]


def _runs(features: Sequence[Feature], layout: Layout) -> list[list[Feature]]:
    """Groups neighbouring features that are looked up alike; multi-valued ones stay alone."""

    def lookup_kind(feature: Feature) -> tuple[str, str]:
        kind = feature.name if feature.multivalued else str(feature.ids.gives_numbers)
        if feature.ids.kind == "piecewise_linear":
            kind = f"{feature.ids.bins} bins"
        return kind, layout.part_of[feature.table]

    return [list(run) for _, run in groupby(features, key=lookup_kind)]


def _piecewise_fields(
    tables: Tables, run: Sequence[Feature], ids: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Returns the fields of features with equally many bins, float32 (batch, fields, dimension).

    Every example reads all rows of these few tables: they are looked up once a batch.
    """
    rows_of_table = run[0].ids.rows
    first_rows = [tables.layout.first_row[feature.table] for feature in run]
    rows = np.concatenate([first + np.arange(rows_of_table) for first in first_rows])
    part = tables.layout.part_of[run[0].table]
    vectors = tables.rows(part, tf.constant(rows[np.newaxis], tf.int64))

    by_field = tf.reshape(vectors, [len(run), rows_of_table, tables.layout.dimension])

    # Fields first, as a product for each field takes them.
    positions = tf.stack([ids[feature.name] for feature in run])
    return tf.transpose(piecewise_vectors(positions, by_field), [1, 0, 2])


def _rows_and_pool(
    run: Sequence[Feature], first_row: Mapping[str, int], ids: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns rows of the table, int64 (batch, rows), and a function: their vectors -> fields."""
    offsets = tf.constant([first_row[feature.table] for feature in run], tf.int64)

    if run[0].multivalued:
        values = ids[run[0].name]
        return offsets + values, partial(tf.matmul, mean_weights(values)[:, tf.newaxis, :])

    values = tf.stack([ids[feature.name] for feature in run], axis=1)
    if not run[0].ids.gives_numbers:
        return offsets + values, tf.identity

    # Row 1 is the numeric field's vector, row 0 its missing row.
    is_number = tf.math.is_finite(values)
    weights = tf.where(is_number, values, 1.0)[:, :, tf.newaxis]
    return offsets + tf.cast(is_number, tf.int64), partial(tf.multiply, weights)


def mean_weights(ids: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each value of a multi-valued feature in its mean.

    Args:
        ids: int64 (batch, values), 0 where there is no value.

    Returns:
        float32 (batch, values): 1/n for each of an example's n real values and 0 for padding. An
        example without real values has weight 1 on its first value, which is the missing row.

    >>> mean_weights(tf.constant([[5, 7, 0], [0, 0, 0]], tf.int64)).numpy().tolist()
    [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    """
    real = tf.cast(ids > 0, tf.float32)
    count = tf.reduce_sum(real, axis=1, keepdims=True)
    first = tf.one_hot(tf.zeros_like(ids[:, 0]), tf.shape(ids)[1])
    return tf.where(count > 0, tf.math.divide_no_nan(real, count), first)
