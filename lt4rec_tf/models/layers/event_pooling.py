"""Pools a user's past for candidates: search of the nearest events, transformer, attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.event_attention import EventAttention, Parameters, leading
from lt4rec_tf.models.layers.event_fields import (
    Events,
    aligned_ids,
    are_real,
    events_of,
    hash_planes,
    nearest,
    same_value,
)
from lt4rec_tf.models.layers.event_parameters import Draw, is_hidden_kernel, parameter_shapes
from lt4rec_tf.models.layers.event_transformer import EventTransformer
from lt4rec_tf.schema.events import EventSequence
from lt4rec_tf.schema.sequences import BY_HASH
from lt4rec_tf.schema.types import Feature

_HASH_BITS = 32

# (feature, ids of any shape) -> float32 vectors, (..., dimension)
LookUp = Callable[[Feature, tf.Tensor], tf.Tensor]
# What attention computes with, by the name of a sequence; of others, their parameters as they are.
Wearing = Mapping[str, Parameters]
UNMASKED: Wearing = {}


@dataclass(frozen=True)
class EventSizes:
    """Sizes of the layers that pool events.

    Attributes:
        attention_units: Widths of the hidden layers of the activation unit, one or more.
        transformer_blocks: Blocks of a transformer, 1 or more.
        transformer_heads: Heads of each block; a divisor of lists times dimension.
    """

    attention_units: tuple[int, ...] = (36,)
    transformer_blocks: int = 1
    transformer_heads: int = 2


class EventPooling(keras.layers.Layer):
    """The layers of one sequence.

    Attributes:
        sequence: The sequence.

    Args:
        sequence: Its lists and how they are pooled.
        dimension: Length of a vector.
        sizes: Of the layers.
        draw: A variable's name -> what draws it.
        wearers: Tasks that wear masks on its attention.
    """

    def __init__(
        self,
        sequence: EventSequence,
        dimension: int,
        sizes: EventSizes,
        draw: Draw,
        wearers: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.sequence, self._dimension = sequence, dimension
        lists = len(sequence.lists)
        self._compared = [place for place, _ in sequence.compared]
        self.attention = EventAttention(
            lists,
            self._compared,
            dimension,
            sizes.attention_units,
            softmax=sequence.pooling == "softmax_attention",
            draw=draw,
            wearers=wearers,
        )
        self.transformer: EventTransformer | None = None
        if sequence.pooling == "transformer":
            self.transformer = EventTransformer(
                lists * dimension,
                sequence.max_values,
                sizes.transformer_blocks,
                sizes.transformer_heads,
                draw,
            )

    @property
    def trained(self) -> dict[str, tf.Variable]:
        """Returns its variables by name."""
        of_transformer = self.transformer.parameters if self.transformer is not None else {}
        return {**self.attention.parameters, **of_transformer}

    @property
    def reads(self) -> tuple[Feature, ...]:
        """Returns the features that it reads: the lists, and what they are compared with."""
        return (*self.sequence.lists, *(other for _, other in self.sequence.compared))

    def events(self, ids: Mapping[str, tf.Tensor], look_up: LookUp) -> Events:
        """Returns the events to which each row's one candidate attends.

        Args:
            ids: Of the lists, (rows, positions) each, and of their candidates, (rows,) each.
            look_up: Gives vectors to which no gradient goes.
        """
        lists = aligned_ids(self.sequence, ids)
        if not self.sequence.nearest:
            return events_of(lists)

        if self.sequence.search == BY_HASH:
            likeness = self._likeness_of_rows(lists, ids, look_up)[:, tf.newaxis]
        else:
            compared, candidate = self._searched()
            likeness = same_value(lists[compared], ids[candidate][:, tf.newaxis])
        return events_of([kept[:, 0] for kept in nearest(self.sequence.nearest, lists, likeness)])

    def of_rows(
        self,
        events: Events,
        vectors: Sequence[tf.Tensor],
        candidates: Sequence[tf.Tensor],
        wearings: Sequence[Wearing],
    ) -> list[tf.Tensor]:
        """Pools each row's events, float32 (rows, lists, dimension) for each wearing.

        Args:
            events: Of all rows.
            vectors: By list, float32 (events, dimension).
            candidates: By compared list, float32 (rows, dimension).
            wearings: What attention computes with.
        """
        stacked = tf.stack(vectors, axis=1)
        if self.transformer is not None:
            stacked = self._seen_of_rows(events, stacked)
        candidate = tf.stack(candidates, axis=1)
        return [
            self.attention.of_rows(stacked, events.rows, events.real, candidate, worn)
            for worn in self._worn(wearings)
        ]

    def of_candidates(
        self, ids: Mapping[str, tf.Tensor], look_up: LookUp, wearings: Sequence[Wearing]
    ) -> list[tf.Tensor]:
        """Pools each request's events for all its candidates.

        Args:
            ids: By list, int64 (requests, positions); by candidate feature, int64 (requests,
                candidates).
            look_up: Gives vectors.
            wearings: What attention computes with.

        Returns:
            For each wearing, float32 (requests, candidates, lists, dimension).
        """
        sequence, lists = self.sequence, aligned_ids(self.sequence, ids)
        vectors = [look_up(other, ids[other.name]) for _, other in sequence.compared]
        candidates = tf.stack(vectors, axis=2)
        if sequence.nearest:
            return self._of_nearest(lists, ids, candidates, look_up, wearings)

        real = are_real(lists)
        of_lists = [look_up(f, values) for f, values in zip(sequence.lists, lists, strict=True)]
        events = tf.stack(of_lists, axis=2)
        if self.transformer is not None:
            events = self._seen(events, real)
        return [
            self.attention.of_candidates(events, real, candidates, worn)
            for worn in self._worn(wearings)
        ]

    def _of_nearest(
        self,
        lists: Sequence[tf.Tensor],
        ids: Mapping[str, tf.Tensor],
        candidates: tf.Tensor,
        look_up: LookUp,
        wearings: Sequence[Wearing],
    ) -> list[tf.Tensor]:
        """Pools the events nearest to each candidate, which are other ones for each."""
        sequence = self.sequence
        if sequence.search == BY_HASH:
            compared = [look_up(sequence.lists[i], lists[i]) for i in self._compared]
            codes = _hashes(tf.concat(compared, axis=-1))
            width = candidates.shape[2] * candidates.shape[3]
            wanted = _hashes(tf.reshape(candidates, [*leading(candidates), width]))
            likeness = _likeness(tf.matmul(wanted, codes, transpose_b=True))
        else:
            place, candidate = self._searched()
            likeness = same_value(lists[place], ids[candidate])

        kept = nearest(sequence.nearest, lists, likeness)
        events = events_of([tf.reshape(of_list, [-1, tf.shape(of_list)[2]]) for of_list in kept])
        read = zip(sequence.lists, events.ids, strict=True)
        vectors = [look_up(feature, of_list) for feature, of_list in read]
        by_row = tf.reshape(candidates, [-1, *candidates.shape[2:]])
        stacked = tf.stack(vectors, axis=1)
        of_wearings = []
        for worn in self._worn(wearings):
            pooled = self.attention.of_rows(stacked, events.rows, events.real, by_row, worn)
            shape = [*leading(candidates), *pooled.shape[1:]]
            of_wearings.append(tf.reshape(pooled, shape))
        return of_wearings

    def _worn(self, wearings: Sequence[Wearing]) -> list[Parameters | None]:
        return [wearing.get(self.sequence.name) for wearing in wearings]

    def _searched(self) -> tuple[int, str]:
        """Returns the place of the list whose values are searched, and its candidate's name."""
        for place, candidate in self.sequence.compared:
            if self.sequence.lists[place].name == self.sequence.search:
                return place, candidate.name
        raise ValueError(f"search: found {self.sequence.search!r}, expected a compared list")

    def _likeness_of_rows(
        self, lists: Sequence[tf.Tensor], ids: Mapping[str, tf.Tensor], look_up: LookUp
    ) -> tf.Tensor:
        """Returns how like each row's events are to its candidate, float32 (rows, positions)."""
        events, compared = events_of(lists), self.sequence.compared
        vectors = [look_up(self.sequence.lists[i], events.ids[i]) for i, _ in compared]
        candidates = [look_up(other, ids[other.name]) for _, other in compared]
        code = tf.gather(_hashes(tf.concat(candidates, axis=-1)), events.rows)
        products = tf.reduce_sum(_hashes(tf.concat(vectors, axis=-1)) * code, axis=1)
        return tf.scatter_nd(
            events.places, _likeness(products), tf.shape(lists[0], out_type=tf.int64)
        )

    def _seen_of_rows(self, events: Events, stacked: tf.Tensor) -> tf.Tensor:
        """Returns vectors of the events after these have seen each other, in the same shape."""
        whole = tf.concat([events.shape, tf.shape(stacked, out_type=tf.int64)[1:]], axis=0)
        padded = tf.ensure_shape(
            tf.scatter_nd(events.places, stacked, whole), [None, None, *stacked.shape[1:]]
        )
        real = tf.scatter_nd(events.places, tf.cast(events.real, tf.int32), events.shape) > 0
        return tf.gather_nd(self._seen(padded, real), events.places)

    def _seen(self, events: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Returns events after they have seen each other; what is none stays as it is.

        Args:
            events: float32 (rows, positions, lists, dimension).
            real: bool (rows, positions).
        """
        assert self.transformer is not None
        width = events.shape[2] * events.shape[3]
        seen = self.transformer.of_rows(tf.reshape(events, [*leading(events), width]), real)
        seen = tf.reshape(seen, tf.shape(events))
        return tf.where(real[:, :, tf.newaxis, tf.newaxis], seen, events)


def attention_shapes(
    sequence: EventSequence, dimension: int, units: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the kernels on which tasks may wear masks, by name.

    Args:
        sequence: Its lists, and what they are compared with.
        dimension: Length of a vector.
        units: Widths of the hidden layers of the activation unit.
    """
    shapes = parameter_shapes(len(sequence.lists), len(sequence.compared), dimension, units)
    return {name: shape for name, shape in shapes.items() if is_hidden_kernel(name)}


def _hashes(vectors: tf.Tensor) -> tf.Tensor:
    """Returns the bits of vectors' hashes as 1 and -1, float32 (..., bits)."""
    planes = tf.constant(hash_planes(vectors.shape[-1], _HASH_BITS))
    return tf.sign(tf.tensordot(vectors, planes, axes=1))


def _likeness(products: tf.Tensor) -> tf.Tensor:
    """Returns the share of bits that agree, from products of hashes."""
    return (products / _HASH_BITS + 1.0) / 2.0


def pools_of(features: Sequence[Feature], pools: Sequence[EventPooling]) -> list[EventPooling]:
    """Returns those of some layers that pool any of some features."""
    names = {feature.name for feature in features}
    return [pool for pool in pools if any(f.name in names for f in pool.sequence.lists)]


def read_besides(features: Sequence[Feature], pools: Sequence[EventPooling]) -> list[Feature]:
    """Returns the features that layers read beside some features, each once, in their order."""
    names = {feature.name for feature in features}
    read = {feature.name: feature for pool in pools for feature in pool.reads}
    return [feature for name, feature in read.items() if name not in names]
