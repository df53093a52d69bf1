"""The LT4REC network: single task, hard sharing and sparse sharing in one functional model.

ids -> field vectors -> cross layer -> per task: MaskedDense x depth -> head -> logit.

With shared towers every depth has one kernel, to which each task applies its own mask: sparse
sharing, and with masks of ones a fully shared bottom. With separate towers every task has kernels
of its own: hard sharing of embeddings and cross layer only. One task alone is the single-task
model. Source: LT4REC (arXiv 2008.09872), figures 1 to 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.feature_encoder import (
    Bottom,
    Encoder,
    build_bottom,
    field_vectors,
    seed_of,
    trained_variables,
)
from lt4rec_tf.models.layers.masked_dense import MaskedDense, link_tower
from lt4rec_tf.models.network import CROSSED, RankingNetwork, add_head, assemble
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.types import Schema


def build_network(
    schema: Schema,
    encoder: Encoder,
    *,
    separate_towers: bool,
    hidden_units: Sequence[int],
    seed: int,
    own_embedding: Mapping[str, int] | None = None,
    tower_dropout: float = 0.0,
    mask_attention: bool = False,
) -> RankingNetwork:
    """Builds the network for the schema's tasks.

    Embedding rows are drawn normal, kernels Xavier-normal, biases start at 0. Each variable's
    draw depends on the seed and the variable's name alone, and the towers of separate tasks have
    the draws of the shared tower: networks with different sharing start from the same theta_0.

    A task with an embedding of its own reads a second vector per field, which no other task reads.
    Its first layer is relu(x (W * M) + o V + b) with o these vectors and V a kernel of its own.
    This equals concatenating o to x, with kernel rows that are never masked (LT4REC's "multiview").

    Args:
        schema: Features, tables and tasks.
        encoder: Embedding and cross layer.
        separate_towers: True: each task has kernels of its own.
        hidden_units: Widths of the masked layers, from the bottom up.
        seed: Of all draws.
        own_embedding: Task -> length of the field vectors that it alone reads.
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).
            Each task draws its own.
        mask_attention: Whether tasks wear masks on the attention to events too: each then pools
            with kernels of its own, cut out of those that all tasks train.
    """
    masked = mask_attention and sequences_of(schema)
    wearers = [task.name for task in schema.tasks] if masked else []
    bottom = build_bottom(schema, encoder, seed, wearers)
    dropout = TowerDropout(tower_dropout, seed)
    variables = dict(bottom.variables)

    shared: list[keras.layers.Dense] = []
    towers, heads, logits, tops = {}, {}, {}, {}
    for task in schema.tasks:
        name, crossed = task.name, bottom.crossed_of(task.name)
        if separate_towers or not shared:
            prefix = f"{name}/" if separate_towers else ""
            shared = build_tower(crossed.shape[-1], hidden_units, prefix, seed, variables)
        towers[name] = [MaskedDense(d, name=f"{name}.masked_{i}") for i, d in enumerate(shared)]

        own = None
        if own_embedding and name in own_embedding:
            own = _own_view(
                schema,
                bottom,
                name,
                own_embedding[name],
                encoder,
                hidden_units[0],
                seed,
                variables,
            )
        if own is None and not tower_dropout:
            link_tower(towers[name], name)
        hidden = dropout.of(towers[name][0](crossed, addend=own), f"{name}/tower_0")
        for depth, layer in enumerate(towers[name][1:], 1):
            hidden = dropout.of(layer(hidden), f"{name}/tower_{depth}")
        heads[name], logits[name] = add_head(hidden, task, seed, variables)

        # Only a task with an embedding of its own reads ids beside the cross layer's output.
        top_inputs = {CROSSED: crossed} | (bottom.inputs if own is not None else {})
        tops[name] = keras.Model(top_inputs, logits[name])
    return assemble(
        bottom, logits, heads, variables, towers=towers, tops=tops, counters=dropout.counters
    )


def _own_view(
    schema: Schema,
    bottom: Bottom,
    task: str,
    dimension: int,
    encoder: Encoder,
    units: int,
    seed: int,
    variables: dict[str, tf.Variable],
) -> tf.Tensor:
    """Returns the addend of a task's own field vectors to its first layer, float32 (batch, units).

    Args:
        schema: Features and tables.
        bottom: Its ids are read.
        task: The task's name.
        dimension: Length of the field vectors.
        encoder: Of the network.
        units: Width of the task's first layer.
        seed: Of all draws.
        variables: Gets the embedding's variables and "<task>/own/kernel".
    """
    fields = field_vectors(
        schema,
        dimension,
        encoder.embedding_stddev,
        seed=seed_of(seed, f"{task}/embedding"),
        owner=task,
        events=encoder.events,
    )

    draw = keras.initializers.GlorotNormal(seed=seed_of(seed, f"{task}/own"))
    own = keras.layers.Dense(units, use_bias=False, kernel_initializer=draw, name=f"{task}.own")
    flat = keras.layers.Reshape((len(schema.features) * dimension,), name=f"{task}.own_fields")
    addend = own(flat(fields(bottom.ids)))

    variables.update(trained_variables(fields, f"{task}/"))
    variables[f"{task}/own/kernel"] = own.kernel
    return addend


def build_tower(
    width: int,
    hidden_units: Sequence[int],
    prefix: str,
    seed: int,
    variables: dict[str, tf.Variable],
) -> list[keras.layers.Dense]:
    """Builds the Dense layers that tasks mask; towers of equal shape have equal draws.

    Args:
        width: Of the first layer's input.
        hidden_units: Widths from the bottom up.
        prefix: Of the variables' names: "<task>/", or "" where tasks share the tower.
        seed: Of all draws.
        variables: Gets "<prefix>tower_<depth>/kernel" and "<prefix>tower_<depth>/bias".
    """
    tower = []
    for depth, units in enumerate(hidden_units):
        name = f"tower_{depth}"
        draw = keras.initializers.GlorotNormal(seed=seed_of(seed, name))
        dense = keras.layers.Dense(units, activation="relu", kernel_initializer=draw, name=name)
        dense.build((None, width))
        variables[f"{prefix}{name}/kernel"] = dense.kernel
        variables[f"{prefix}{name}/bias"] = dense.bias
        tower.append(dense)
        width = units
    return tower


def shared_name(name: str, tasks: Sequence[str]) -> str:
    """Returns the shared network's name for a variable of a network with separate towers.

    >>> shared_name("cvr/tower_0/kernel", ["ctr", "cvr"]), shared_name("cvr/head/bias", ["cvr"])
    ('tower_0/kernel', 'cvr/head/bias')
    """
    task, _, rest = name.partition("/")
    return rest if task in tasks and rest.startswith("tower_") else name
