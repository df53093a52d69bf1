"""A network as a server computes it: ids in, logits out, for rows and for requests that rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.event_pooling import UNMASKED, Wearing, pools_of
from lt4rec_tf.models.layers.field_vectors import look_up, look_up_events, needed
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Feature, Schema
from lt4rec_tf.serving.embedding_tables import ServedTables, embedding_layers
from lt4rec_tf.serving.folded import FoldedKernels
from lt4rec_tf.serving.rank import sides_of
from lt4rec_tf.serving.tower_inputs import SHARED, Vectors, by_row
from lt4rec_tf.serving.towers import ServedTowers
from lt4rec_tf.serving.worn_attention import WornAttention

EMBEDDING = ".embedding"  # ends the names of layers that look up field vectors


class ServedNetwork(tf.Module):
    """Embedding tables, and the layers above them.

    LT4REC's towers are computed as `ServedTowers` does; other models as Keras has them, with masks
    folded into kernels.

    Attributes:
        looked_up: Names of the features whose ids are read.

    Args:
        network: With its masks.
        schema: Features.
        dtype: Of towers' kernels: tf.float32 or tf.bfloat16.
        table_dtype: Of tables: one of these or tf.int8.
    """

    def __init__(
        self, network: RankingNetwork, schema: Schema, dtype: tf.DType, table_dtype: tf.DType
    ) -> None:
        super().__init__(name="network")
        self._schema, self._sides = schema, sides_of(schema)
        layers = embedding_layers(network)
        owners = [layer.name.removesuffix(EMBEDDING) for layer in layers]
        of_owner = dict(zip(owners, layers, strict=True))
        self.tables = {o: ServedTables(layer, table_dtype, o) for o, layer in of_owner.items()}
        # A function, as a module would store the layers of a dict, masks included.
        self._pools = {owner: tuple(layer.pools) for owner, layer in of_owner.items()}.__getitem__
        self.worn = WornAttention(network)
        self.attention = [
            variable
            for layer in layers
            for pool in layer.pools
            for name, variable in pool.trained.items()
            if name not in pool.attention.masked  # which `worn` holds
        ]

        self.cross = [v for name, v in network.variables.items() if name.startswith("cross/")]
        self.towers: ServedTowers | None = None
        self.other: list[tf.Variable] = []
        if network.tops:
            self.towers = ServedTowers(network, self._sides, dtype)
        else:
            above = _above(network, layers, owners)
            if any(network.towers.values()):
                self.folded = FoldedKernels(network, dtype)
                above = self.folded.in_place(above)
            # In a closure, so that saving stores no Keras objects.
            self._keras_logits = _logits_of(above)
            stored = [table for layer in layers for table in layer.parts.values()]
            stored += [
                kernel for task in network.tasks for kernel in network.kernels(task).values()
            ]
            references = {variable.ref() for variable in stored}
            self.other = [v for v in network.predicting().values() if v.ref() not in references]

        # A task with tables of its own reads all of these.
        every = range(len(schema.features))
        places = every if len(self.tables) > 1 else self._read_places(every)
        self.looked_up = self._needed([schema.features[place] for place in places])

    def vectors(self, ids: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns owner or view -> field vectors, float32 (rows, fields, dimension).

        Args:
            ids: Of every feature that is looked up, from `features_to_ids`.
        """
        return self._vectors(ids, range(len(self._schema.features)))

    def logits(self, vectors: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Returns task -> logits, float32 (rows,) or (rows, outputs).

        Args:
            vectors: From `vectors`.
            tasks: Whose logits are computed.
        """
        if not self.towers:
            return self._keras_logits(vectors, tasks)
        logits: dict[str, tf.Tensor] = {}
        for view, of_view in self.worn.tasks_by_view(tasks).items():
            logits |= self.towers.logits({**vectors, SHARED: vectors[view]}, of_view)
        return {task: logits[task] for task in tasks}

    def rank(self, ids: Mapping[str, tf.Tensor], tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Returns task -> float32 (requests, candidates) or (requests, candidates, outputs).

        Args:
            ids: Of every feature that is looked up; those of items with a dimension of candidates
                after the first.
            tasks: Whose logits are computed.
        """
        items = [f for f in self._schema.features if f.side == "item" and f.name in self.looked_up]
        shape = tf.shape(ids[items[0].name])[:2]
        asking = self._vectors(ids, self._sides.asking)
        candidates: dict[str, tf.Tensor] = {}
        for owner in self.tables:
            candidates |= self._candidate_vectors(owner, ids, shape)

        if self.towers and self.towers.is_parted:
            logits: dict[str, tf.Tensor] = {}
            for view, of_view in self.worn.tasks_by_view(tasks).items():
                ranked = {**candidates, SHARED: candidates[view]}
                logits |= self.towers.rank(asking, ranked, of_view)
        else:
            logits = self.logits(self._repeated(asking, candidates), tasks)
        return {
            task: tf.reshape(logit, tf.concat([shape, logit.shape[1:]], axis=0))
            for task, logit in logits.items()
        }

    def read_features(self, tasks: Sequence[str]) -> set[str]:
        """Returns the features on which some tasks' outputs depend."""
        features = self._schema.features
        read = self.towers.read_fields(tasks) if self.towers else range(len(features))
        return self._needed([features[place] for place in read])

    def _repeated(self, asking: Vectors, ranked: Vectors) -> dict[str, tf.Tensor]:
        """Repeats the asking fields per candidate: (requests * candidates, fields, dimension)."""
        order = np.argsort([*self._sides.asking, *self._sides.ranked])  # the schema's
        whole = {}
        for owner, vectors in ranked.items():
            repeated = tf.repeat(asking[owner], tf.shape(vectors)[1], axis=0)
            fields = tf.concat([repeated, by_row(vectors)], axis=1)
            whole[owner] = tf.gather(fields, order, axis=1)
        return whole

    def _vectors(self, ids: Mapping[str, tf.Tensor], places: Sequence[int]) -> dict[str, tf.Tensor]:
        vectors: dict[str, tf.Tensor] = {}
        for owner, tables in self.tables.items():
            read, views = self._read_features(owner, places), self._views(owner)
            wearings = [*views.values()]
            pools = self._pools(owner)
            of_views = look_up(tables.tables(), read, ids, pools=pools, wearings=wearings)
            vectors |= dict(zip(views, of_views, strict=True))
        return vectors

    def _views(self, owner: str) -> dict[str, Wearing]:
        """Returns what pools the events of an owner's fields, by the name of the vectors."""
        return self.worn.views if owner == SHARED else {owner: UNMASKED}

    def _candidate_vectors(
        self, owner: str, ids: Mapping[str, tf.Tensor], shape: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns vectors of ranked fields, (requests, candidates, fields, dimension) by view.

        Args:
            owner: Of the tables.
            ids: As `rank` takes them.
            shape: [requests, candidates].
        """
        tables, views = self.tables[owner].tables(), self._views(owner)
        read = self._read_features(owner, self._sides.ranked)
        items = [feature for feature in read if feature.side == "item"]

        vector_of: dict[str, tf.Tensor] = {}
        if items:
            rows = {feature.name: _flat(feature, ids[feature.name]) for feature in items}
            (of_items,) = look_up(tables, items, rows)
            of_items = tf.reshape(of_items, tf.concat([shape, of_items.shape[1:]], axis=0))
            if len(items) == len(read):
                return dict.fromkeys(views, of_items)
            names = [feature.name for feature in items]
            vector_of = dict(zip(names, tf.unstack(of_items, axis=2), strict=True))
        vectors_by_view = {view: dict(vector_of) for view in views}
        for pool in pools_of(read, self._pools(owner)):
            names = [events.name for events in pool.sequence.lists]
            events = partial(look_up_events, tables)
            of_views = pool.of_candidates(ids, events, [*views.values()])
            for view, pooled in zip(views, of_views, strict=True):
                vectors_by_view[view] |= dict(zip(names, tf.unstack(pooled, axis=2), strict=True))
        return {
            view: tf.stack([vector_of[feature.name] for feature in read], axis=2)
            for view, vector_of in vectors_by_view.items()
        }

    def _read_features(self, owner: str, places: Sequence[int]) -> list[Feature]:
        """Returns those of some fields whose vectors of an owner are read."""
        # A task reads all of its own.
        read = self._read_places(places) if owner == SHARED else places
        return [self._schema.features[place] for place in read]

    def _needed(self, features: Sequence[Feature]) -> set[str]:
        """Returns the names of the features whose ids are needed for some fields."""
        pools = [pool for owner in self.tables for pool in self._pools(owner)]
        return {feature.name for feature in needed(features, pools)}

    def _read_places(self, places: Sequence[int]) -> list[int]:
        """Returns those of some fields whose shared vectors are read."""
        return [place for place in places if not self.towers or place in self.towers.inputs.fields]


def _flat(feature: Feature, ids: tf.Tensor) -> tf.Tensor:
    """Flattens (requests, candidates) or (requests, candidates, values) to a row per candidate."""
    return tf.reshape(ids, [-1, tf.shape(ids)[2]] if feature.multivalued else [-1])


def _above(
    network: RankingNetwork, layers: Sequence[keras.layers.Layer], owners: Sequence[str]
) -> keras.Model:
    """Returns the part of a model above its field vectors: {owner: vectors} -> {task: logit}."""
    vectors = {owner: layer.output for owner, layer in zip(owners, layers, strict=True)}
    return keras.Model(vectors, {task: network.model.output[task] for task in network.tasks})


def _logits_of(
    above: keras.Model,
) -> Callable[[Vectors, Sequence[str]], dict[str, tf.Tensor]]:
    """Returns a function (field vectors, tasks) -> logits that applies Keras's layers."""

    def logits(vectors: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        of_tasks = keras.Model(above.input, {task: above.output[task] for task in tasks})
        return of_tasks(dict(vectors), training=False)

    return logits
