"""Feature encoder, with which every model begins: ids -> field vectors -> cross layer."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.cross import CrossNetworkV2, GramCross, NoCross, TriangleCross
from lt4rec_tf.models.layers.dropout import UnitDropout, UnknownDropout
from lt4rec_tf.models.layers.event_attention import EventAttention
from lt4rec_tf.models.layers.event_pooling import EventPooling, EventSizes
from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.table_layout import ONE
from lt4rec_tf.schema.events import EventSequence, sequences_of
from lt4rec_tf.schema.types import Feature, Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket
from lt4rec_tf.tickets.parts import ATTENTION


@dataclass(frozen=True)
class Encoder:
    """Sizes and kind of the layers that turn ids into the towers' input.

    Attributes:
        embedding_dim: Length of a field vector, 1 or more.
        embedding_stddev: Standard deviation of the embedding rows at the start, above 0.
        cross: "gram", "triangle", "dcn_v2" or "none".
        dcn_layers: Number of layers of "dcn_v2".
        tables: Ticket of the embedding tables; None: they are whole.
        field_dropout: Share of field vectors that a training step sets to 0, in [0, 1).
        unknown_dropout: "validation": training takes known values for unknown so that these come
            as often as in validation, see `schema.fitted.with_dropout`; "none": it does not.
        events: Sizes of the layers that pool what users did before.
    """

    embedding_dim: int
    embedding_stddev: float
    cross: str
    dcn_layers: int
    tables: TableTicket | None = None
    field_dropout: float = 0.0
    unknown_dropout: Literal["validation", "none"] = "none"
    events: EventSizes = field(default_factory=EventSizes)


@dataclass(frozen=True)
class Bottom:
    """The part that all tasks share in every model.

    Attributes:
        inputs: {feature: Keras input of its ids}.
        ids: {feature: ids that are looked up}: in training some of them are taken for unknown.
        crossed: Output of the cross layer, float32 (batch, width); none where `by_task` has it.
        variables: The trained variables by name.
        counters: Counters that its layers update in training, by name.
        by_task: Task -> output of the cross layer, where tasks wear masks on the attention.
        attentions: What they wear masks on, by the beginning of its variables' names.
        vectors: Field vectors as the cross layer reads them, float32 (batch, fields, dimension);
            none where `by_task` has its output.
        cross_layer: The cross layer, from these to float32 (batch, width).
    """

    inputs: dict[str, tf.Tensor]
    ids: dict[str, tf.Tensor]
    crossed: tf.Tensor
    variables: dict[str, tf.Variable]
    counters: dict[str, tf.Variable] = field(default_factory=dict)
    by_task: dict[str, tf.Tensor] = field(default_factory=dict)
    attentions: Mapping[str, EventAttention] = field(default_factory=dict)
    vectors: tf.Tensor | None = None
    cross_layer: Any = None

    def crossed_of(self, task: str) -> tf.Tensor:
        """Returns the output of the cross layer that a task reads."""
        return self.by_task[task] if self.by_task else self.crossed


def build_bottom(
    schema: Schema, encoder: Encoder, seed: int, wearers: Sequence[str] = ()
) -> Bottom:
    """Builds embedding and cross layer. Embedding rows are drawn normal, kernels Xavier-normal.

    Args:
        schema: Features and tables.
        encoder: Sizes and kind of the layers.
        seed: Of all draws.
        wearers: Tasks that wear masks on the attention to events.
    """
    # Inputs have their features' names, which hold no dot: layers with one cannot clash with them.
    inputs = {feature.name: _input(feature) for feature in schema.features}
    fields = field_vectors(
        schema,
        encoder.embedding_dim,
        encoder.embedding_stddev,
        seed=seed_of(seed, "embedding"),
        owner="shared",
        ticket=encoder.tables,
        events=encoder.events,
        wearers=wearers,
    )
    ids, counters = _looked_up_ids(schema, encoder, inputs, seed)
    vectors = fields(ids)
    if encoder.field_dropout:
        dropout = UnitDropout(
            encoder.field_dropout, seed_of(seed, "field_dropout"), name="shared.field_dropout"
        )
        vectors = _dropped_alike(dropout, vectors) if wearers else dropout(vectors)
        counters["field_dropout_calls"] = dropout.calls
    cross_layer = _cross_layer(encoder.cross, encoder.dcn_layers, seed)
    by_task = {task: cross_layer(vectors[task]) for task in wearers}
    crossed = None if wearers else cross_layer(vectors)

    variables = trained_variables(fields)
    variables |= {f"cross/{i}": weight for i, weight in enumerate(cross_layer.weights)}
    masked = {_attention_name(pool): pool.attention for pool in fields.pools} if wearers else {}
    shared = None if wearers else vectors
    return Bottom(inputs, ids, crossed, variables, counters, by_task, masked, shared, cross_layer)


def _dropped_alike(dropout: UnitDropout, vectors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Drops the same fields of each row for all tasks, as where these share their vectors."""
    together = dropout(tf.concat([*vectors.values()], axis=2))
    return dict(zip(vectors, tf.split(together, len(vectors), axis=2), strict=True))


def _looked_up_ids(
    schema: Schema, encoder: Encoder, inputs: dict[str, tf.Tensor], seed: int
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Variable]]:
    """Returns the ids that are looked up, and the counters of the layer that drops some of them."""
    rates = {
        feature.name: feature.ids.fitted.dropout[feature.name]
        for feature in schema.features
        if feature.ids.fitted is not None and feature.name in feature.ids.fitted.dropout
    }
    if not rates or encoder.unknown_dropout == "none":
        return inputs, {}

    name = "unknown_dropout"
    dropout = UnknownDropout(rates, seed_of(seed, name), name=f"shared.{name}")
    dropped = dropout({feature: inputs[feature] for feature in rates})
    return inputs | dropped, {f"{name}_calls": dropout.calls}


def field_vectors(
    schema: Schema,
    dimension: int,
    stddev: float,
    *,
    seed: int,
    owner: str,
    ticket: TableTicket | None = None,
    events: EventSizes | None = None,
    wearers: Sequence[str] = (),
) -> FieldVectors:
    """Returns an embedding of all the schema's features, whose rows are drawn normal.

    Args:
        schema: Features and tables.
        dimension: Length of a field vector.
        stddev: Standard deviation of the rows at the start.
        seed: Of the draw.
        owner: Begins the layer's name: "shared" or a task.
        ticket: Ticket of the tables; None: they are whole.
        events: Sizes of the layers that pool what users did before; None: the usual ones.
        wearers: Tasks that wear masks on these.
    """

    def draw(part: str) -> keras.initializers.Initializer:
        # Of one seed, tables of several widths would draw the same numbers.
        own_seed = seed if part == ONE else seed_of(seed, part)
        return _NormalRows(stddev=stddev, seed=own_seed)

    def pool_of(sequence: EventSequence) -> EventPooling:
        def draw_kernel(name: str) -> keras.initializers.Initializer:
            return keras.initializers.GlorotNormal(seed=seed_of(seed, f"{sequence.name}/{name}"))

        name = f"{owner}.attention.{sequence.name}"
        sizes = events or EventSizes()
        return EventPooling(sequence, dimension, sizes, draw_kernel, wearers, name=name)

    pools = [pool_of(sequence) for sequence in sequences_of(schema)]
    name = f"{owner}.embedding"
    return FieldVectors(schema, dimension, draw, ticket, pools, wearers, name=name)


def trained_variables(fields: FieldVectors, prefix: str = "") -> dict[str, tf.Variable]:
    """Returns the variables of an embedding by name: its tables, and what pools events.

    Args:
        fields: The layer.
        prefix: Of the names: "<task>/" where a task alone reads it.
    """
    variables = {f"{prefix}embedding/{name}": part for name, part in fields.parts.items()}
    for pool in fields.pools:
        for name, variable in pool.trained.items():
            variables[f"{prefix}{_attention_name(pool)}/{name}"] = variable
    return variables


def _attention_name(pool: EventPooling) -> str:
    return f"{ATTENTION}{pool.sequence.name}"


class _NormalRows(keras.initializers.RandomNormal):
    """Keras's normal draw, the same numbers, without copies of the table beside it."""

    def __call__(self, shape: Any, dtype: Any = None, **placement: Any) -> tf.Tensor:
        """Draws; see Keras."""
        if placement or dtype != tf.float32:  # such as a part of a table on a server
            return super().__call__(shape, dtype, **placement)
        seed = self._random_generator.make_seed_for_stateless_op()
        return _drawn(
            tf.constant(seed, tf.int64), tf.constant(shape, tf.int32), tf.constant(self.stddev)
        )


# In a graph TensorFlow scales the numbers where they lie; one operation after another copies. All
# that decides them are arguments: of constants, TensorFlow would draw them once more to simplify.
@tf.function(
    input_signature=[
        tf.TensorSpec((2,), tf.int64),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((), tf.float32),
    ],
    autograph=False,
)
def _drawn(seed: tf.Tensor, shape: tf.Tensor, stddev: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed, 0.0, stddev)


def is_table(name: str) -> bool:
    """Tells if a network's variable of this name holds embedding tables.

    >>> is_table("embedding/table"), is_table("cvr/embedding/table_8"), is_table("head/kernel")
    (True, True, False)
    """
    return name.rpartition("/")[0].split("/")[-1] == "embedding"


def is_attention(name: str) -> bool:
    """Tells if a network's variable of this name pools what users did before.

    >>> is_attention("attention.watched/bias_0"), is_attention("attention/head/kernel")
    (True, False)
    """
    return name.rpartition("/")[0].split("/")[-1].startswith(ATTENTION)


def seed_of(seed: int, name: str) -> int:
    """Returns a seed for one variable, so that draws do not depend on the order of building."""
    return zlib.crc32(f"{seed}/{name}".encode())


def _input(feature: Feature) -> tf.Tensor:
    if feature.ids.gives_numbers:
        return keras.Input((), name=feature.name, dtype=tf.float32)
    # Lists are padded to the longest of a batch or request.
    shape = (None,) if feature.multivalued else ()
    return keras.Input(shape, name=feature.name, dtype=tf.int64)


def _cross_layer(cross: str, dcn_layers: int, seed: int) -> keras.layers.Layer:
    if cross == "gram":
        return GramCross(name="shared.cross")
    if cross == "triangle":
        return TriangleCross(name="shared.cross")
    if cross == "dcn_v2":
        draws = [
            keras.initializers.GlorotNormal(seed=seed_of(seed, f"cross_{depth}"))
            for depth in range(dcn_layers)
        ]
        return CrossNetworkV2(draws, name="shared.cross")
    if cross == "none":
        return NoCross(name="shared.cross")
    expected = "'gram', 'triangle', 'dcn_v2' or 'none'"
    raise ValueError(f"cross: found {cross!r}, expected {expected}")
