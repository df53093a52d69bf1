"""Field vectors: all tables in one variable, all features in one lookup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import making_tables
from lt4rec_tf.models.layers.event_fields import Events
from lt4rec_tf.models.layers.event_pooling import (
    UNMASKED,
    EventPooling,
    Wearing,
    pools_of,
    read_besides,
)
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

    Lists to which candidates attend are pooled by `EventPooling`; where a row has no event, each is
    its table's missing row.

    Attributes:
        parts: The tables' variables by name.
        pools: The layers that pool what users did before.
        wearers: Tasks that wear masks on these.

    Args:
        schema: Its features, and the tables that they share.
        dimension: Length of a field vector.
        draw: A variable's name -> what draws its rows.
        ticket: Ticket of the tables; None: they are whole.
        pools: One for each of the schema's sequences.
        wearers: Tasks that wear masks on them.

    Call:
        ids: {feature: int64 (batch,) or (batch, values); numbers: float32 (batch,)}.
        training: True in a training call.
        Returns float32 (batch, fields, dimension), fields in the schema's order; with wearers, that
        by task, each pooled by the task's own kernels.
    """

    def __init__(
        self,
        schema: Schema,
        dimension: int,
        draw: Callable[[str], keras.initializers.Initializer],
        ticket: TableTicket | None = None,
        pools: Sequence[EventPooling] = (),
        wearers: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.pools, self.wearers = list(pools), tuple(wearers)
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

    def call(
        self, ids: Mapping[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor | dict[str, tf.Tensor]:
        """Looks up and pools; see the class."""
        tables = Tables(self.layout, self.parts, self._row_of, self._bits)
        wearings: list[Wearing] = [
            {pool.sequence.name: pool.attention.worn_by(task) for pool in self.pools}
            for task in self.wearers
        ]
        vectors = look_up(
            tables,
            self.features,
            ids,
            training=training,
            pools=self.pools,
            wearings=wearings or [UNMASKED],
        )
        return dict(zip(self.wearers, vectors, strict=True)) if self.wearers else vectors[0]


def look_up(
    tables: Tables,
    features: Sequence[Feature],
    ids: Mapping[str, tf.Tensor],
    *,
    training: bool = False,
    pools: Sequence[EventPooling] = (),
    wearings: Sequence[Wearing] = (UNMASKED,),
) -> list[tf.Tensor]:
    """Looks up one vector for each field, by one gather for all features of a width.

    Args:
        tables: The features' tables.
        features: The fields, in order: all of a schema or some.
        ids: As `FieldVectors` takes them, of these and of what `needed` adds to them.
        training: Whether a gradient will be taken.
        pools: Of the lists to which candidates attend.
        wearings: What these compute with.

    Returns:
        For each wearing, float32 (batch, fields, dimension).
    """
    layout = tables.layout
    pools = pools_of(features, pools)
    runs = _runs(features, layout)
    fields = len(runs)
    runs += _runs(read_besides(features, pools), layout)
    events = {pool: pool.events(ids, partial(look_up_events, tables)) for pool in pools}
    ids = {**ids, **_ids_of_events(events)}

    rows_of_runs: dict[int, tf.Tensor] = {}
    pool_of_runs: dict[int, Callable[[tf.Tensor], tf.Tensor]] = {}
    run_indices: dict[str, list[int]] = {}  # part -> indices of the runs that it serves
    fields_of_runs: dict[int, tf.Tensor] = {}
    for index, run in enumerate(runs):
        if run[0].ids.kind == "piecewise_linear":
            fields_of_runs[index] = _piecewise_fields(tables, run, ids)
            continue
        rows_of_runs[index], pool_of_runs[index] = _rows_and_pool(run, layout.first_row, ids)
        run_indices.setdefault(layout.part_of[run[0].table], []).append(index)

    # One gather for all runs of a part, as each gather has a sparse update of its own.
    for part, indices in run_indices.items():
        of_runs = _gathered(tables, part, [rows_of_runs[index] for index in indices])
        for index, vectors in zip(indices, of_runs, strict=True):
            if training:
                vectors = _without_unknown(vectors, runs[index], ids)
            fields_of_runs[index] = pool_of_runs[index](vectors)

    by_wearing = [fields_of_runs] * len(wearings)
    for pool in pools:
        pooled = _pool_events(pool, events[pool], runs, fields_of_runs, wearings)
        by_wearing = [before | lists for before, lists in zip(by_wearing, pooled, strict=True)]
    shape = (None, len(features), layout.dimension)
    return [
        tf.ensure_shape(tf.concat([worn[index] for index in range(fields)], axis=1), shape)
        for worn in by_wearing
    ]


def look_up_events(tables: Tables, feature: Feature, ids: tf.Tensor) -> tf.Tensor:
    """Looks up a feature's vectors of ids of any shape, float32 (..., dimension).

    No gradient goes to them.
    """
    layout = tables.layout
    rows = tf.reshape(ids + layout.first_row[feature.table], [1, -1])
    vectors = tf.stop_gradient(tables.rows(layout.part_of[feature.table], rows))
    shape = tf.concat([tf.shape(ids), [layout.dimension]], axis=0)
    return tf.ensure_shape(tf.reshape(vectors, shape), [*ids.shape, layout.dimension])


def needed(features: Sequence[Feature], pools: Sequence[EventPooling]) -> list[Feature]:
    """Returns the features whose ids are needed for some fields: theirs, and what pools read."""
    return [*features, *read_besides(features, pools_of(features, pools))]


def _ids_of_events(events: Mapping[EventPooling, Events]) -> dict[str, tf.Tensor]:
    """Returns list -> ids of its events, int64 (events,)."""
    return {
        feature.name: ids
        for pool, of_pool in events.items()
        for feature, ids in zip(pool.sequence.lists, of_pool.ids, strict=True)
    }


def _pool_events(
    pool: EventPooling,
    events: Events,
    runs: Sequence[Sequence[Feature]],
    fields_of_runs: Mapping[int, tf.Tensor],
    wearings: Sequence[Wearing],
) -> list[dict[int, tf.Tensor]]:
    """Pools the vectors of events, (events, dimension), of each run that is a list.

    Returns:
        For each wearing, run -> its field, (batch, 1, dimension).
    """
    places = {f.name: (i, j) for i, run in enumerate(runs) for j, f in enumerate(run)}
    run_of_list = [places[feature.name][0] for feature in pool.sequence.lists]
    candidates = []
    for _, candidate in pool.sequence.compared:
        run, place = places[candidate.name]
        candidates.append(fields_of_runs[run][:, place])

    vectors = [fields_of_runs[run] for run in run_of_list]
    return [
        {run: pooled[:, place : place + 1] for place, run in enumerate(run_of_list)}
        for pooled in pool.of_rows(events, vectors, candidates, wearings)
    ]


def _gathered(tables: Tables, part: str, rows_of_runs: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Looks up the rows of several runs at once, float32 (..., dimension) each.

    Args:
        tables: The tables.
        part: That holds all of them.
        rows_of_runs: int64 (batch, rows), of events (events,).
    """
    # Without events example by example, so that sparse updates add up in the order they always had.
    if all(rows.shape.rank == 2 for rows in rows_of_runs):
        vectors = tables.rows(part, tf.concat(rows_of_runs, axis=1))
        return tf.split(vectors, [_length(rows) for rows in rows_of_runs], axis=1)

    flat = tf.concat([tf.reshape(rows, [-1]) for rows in rows_of_runs], axis=0)
    vectors = tf.split(
        tables.rows(part, flat[tf.newaxis])[0], [tf.size(rows) for rows in rows_of_runs]
    )
    dimension = tables.layout.dimension
    return [
        tf.reshape(v, tf.concat([tf.shape(rows), [dimension]], axis=0))
        if rows.shape.rank == 2
        else v
        for v, rows in zip(vectors, rows_of_runs, strict=True)
    ]


def _without_unknown(
    vectors: tf.Tensor, run: Sequence[Feature], ids: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Returns a run's vectors, without a gradient to the unknown rows of fitted vocabularies."""
    fitted = [feature.ids.kind == "fitted" for feature in run]
    if not any(fitted):
        return vectors
    columns = [ids[feature.name] for feature in run]
    values = columns[0] if run[0].multivalued else tf.stack(columns, axis=1)
    unknown = tf.logical_and(tf.constant(fitted), values == UNKNOWN_ID)[..., tf.newaxis]
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
    """Returns rows of the table, int64 (batch, rows), and a function: their vectors -> fields.

    Of events these are (events,), and the function leaves them as they are.
    """
    offsets = tf.constant([first_row[feature.table] for feature in run], tf.int64)

    if run[0].multivalued:
        values = ids[run[0].name]
        if values.shape.rank == 1:  # of events, which are pooled for candidates
            return offsets + values, tf.identity
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
