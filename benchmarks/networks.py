"""The network that benchmarks have in common, and its training step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from feeds import DIMENSION, UNITS, random_ids, random_labels

from lt4rec_tf.models.feature_encoder import Encoder
from lt4rec_tf.models.lt4rec import build_network
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket
from lt4rec_tf.training.balancing.rules import WeightedSum
from lt4rec_tf.training.optimizers import build_optimizer
from lt4rec_tf.training.plan import Objective
from lt4rec_tf.training.steps import Step, Update, compile_step, loss_sum


def wide_network(
    schema: Schema,
    *,
    dimension: int = DIMENSION,
    stddev: float = 0.001,
    seed: int = 1,
    tables: TableTicket | None = None,
) -> RankingNetwork:
    """Builds sparse sharing at its initialisation: Gram cross layer, 512-256-128, dense masks."""
    return build_network(
        schema,
        Encoder(dimension, stddev, cross="gram", dcn_layers=0, tables=tables),
        separate_towers=False,
        hidden_units=UNITS,
        seed=seed,
    )


def joint_step(network: RankingNetwork, schema: Schema) -> Step:
    """Compiles a step of all tasks on every batch, with equal weights and Adam."""
    variables = list(network.variables.values())
    objective = Objective(network.tasks, "both", dict.fromkeys(network.tasks, 1.0))
    update = Update(WeightedSum(), build_optimizer("adam", 0.001, variables), variables)
    loss_sums = {task: loss_sum() for task in network.tasks}
    return compile_step(network, schema, objective, network.tasks, update, loss_sums)


def random_batches(schema: Schema, rows: int, batch: int, count: int = 8) -> list[dict[str, Any]]:
    """Draws different batches of random ids for a schema of `feeds.wide_schema`."""
    batches = []
    for seed in range(count):
        clicks, ratios = random_labels(batch, seed)
        ids = random_ids(rows, batch, seed).T
        batches.append(
            {
                "features": {f.name: tf.constant(ids[i]) for i, f in enumerate(schema.features)},
                "labels": {"ctr": tf.constant(clicks), "cvr": tf.constant(ratios)},
                "weights": {"ctr": tf.ones(batch), "cvr": tf.constant(clicks)},
                "user": tf.constant(ids[0]),
                "duration": tf.ones(batch),
            }
        )
    return batches
