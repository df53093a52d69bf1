"""The published models over a small schema, and a batch for tasks of every kind."""

import dataclasses

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.aitm import build_aitm
from lt4rec_tf.models.dcmt import build_dcmt
from lt4rec_tf.models.escm2 import build_escm2
from lt4rec_tf.models.esmm import build_esmm
from lt4rec_tf.models.feature_encoder import Encoder, build_bottom
from lt4rec_tf.models.htlnet import Transfer, build_htlnet
from lt4rec_tf.models.layers.label_embedding import Temperature
from lt4rec_tf.models.lt4rec import build_network, shared_name
from lt4rec_tf.models.mmoe import build_mmoe
from lt4rec_tf.models.mssm import build_mssm
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.ple import build_ple
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket, whole

ENCODER = Encoder(embedding_dim=4, embedding_stddev=0.3, cross="gram", dcn_layers=1)
TRANSFER = Transfer(
    label_embedding=3,
    representation=5,
    fusion="attention",
    transfer_stop="entry",
    label_noise=False,
    temperature=Temperature(start=2.0, decay=0.5, steps=3, floor=0.5),
)
SAMPLED = dataclasses.replace(TRANSFER, label_noise=True)
BUILDERS = {
    "esmm": (build_esmm, {}),
    "escm2_ips": (build_escm2, {"doubly_robust": False, "counterfactual_share": 0.5}),
    "escm2_dr": (build_escm2, {"doubly_robust": True, "counterfactual_share": 0.5}),
    "dcmt": (build_dcmt, {}),
    "mmoe": (build_mmoe, {"experts": 3}),
    "ple": (build_ple, {"levels": 2, "own_experts": 2, "shared_experts": 1}),
    "aitm": (build_aitm, {}),
    "mssm": (build_mssm, {"mask_penalty": 0.1}),
    "htlnet": (build_htlnet, {"separate_towers": True, "transfer": TRANSFER}),
}


def build_model(
    name: str, schema: Schema, *, hidden_units=(8, 6, 4), seed=3, **changes
) -> RankingNetwork:
    builder, arguments = BUILDERS[name]
    bottom = build_bottom(schema, ENCODER, seed)
    return builder(schema, bottom, hidden_units=hidden_units, seed=seed, **(arguments | changes))


def build_with_own_views(lengths: dict[str, int], schema: Schema) -> RankingNetwork:
    return build_network(
        schema,
        ENCODER,
        separate_towers=False,
        hidden_units=(8, 4),
        seed=3,
        own_embedding=lengths,
    )


def build_masked(
    schema: Schema, *, separate_towers=False, mask_attention=True, **encoder
) -> RankingNetwork:
    """A network whose tasks wear masks on the attention too, unless it says otherwise."""
    return build_network(
        schema,
        dataclasses.replace(ENCODER, **encoder),
        separate_towers=separate_towers,
        hidden_units=(8, 4),
        seed=3,
        mask_attention=mask_attention,
    )


def random_ticket(unit: str, schema: Schema, dimension: int, seed: int = 0) -> TableTicket:
    """Half of everything; the first table whole, the last one of one dimension or row."""
    rng = np.random.default_rng(seed)
    rows = schema.table_rows
    masks = whole(unit, rows, dimension).masks
    for place, (name, mask) in enumerate(masks.items()):
        if unit == "dimension":
            masks[name] = np.arange(dimension) < max(1, dimension - place)
        elif place:
            masks[name] = rng.random(mask.shape) < 0.5
    last = list(masks)[-1]
    masks[last] = np.arange(masks[last].size).reshape(masks[last].shape) < 1
    return TableTicket(unit, masks)


def build_with_ticket(unit: str, schema: Schema, *, separate_towers=False) -> RankingNetwork:
    ticket = random_ticket(unit, schema, ENCODER.embedding_dim)
    return build_network(
        schema,
        dataclasses.replace(ENCODER, tables=ticket),
        separate_towers=separate_towers,
        hidden_units=(8, 4),
        seed=3,
    )


def with_more_tasks(schema: Schema) -> Schema:
    """CTR and CVR, then a second binary task on all rows and one on clicks."""
    ctr = schema.task("ctr")
    finish = dataclasses.replace(ctr, name="finish", label="finished")
    share = dataclasses.replace(finish, name="share", label="shared")
    like = dataclasses.replace(ctr, name="like", label="liked", population="click")
    return dataclasses.replace(schema, tasks=(*schema.tasks, finish, share, like))


def batch_of_tasks(schema: Schema, rows: int = 32, seed: int = 0) -> dict:
    """`small_batch` with labels for tasks of any label."""
    batch = small_batch(rows, seed)
    rng = np.random.default_rng(seed)
    click = batch["labels"]["ctr"]
    for task in schema.tasks:
        if task.name in ("ctr", "cvr"):
            continue
        member = tf.ones(rows) if task.population is None else click
        batch["labels"][task.name] = member * rng.integers(0, 2, rows)
        batch["weights"][task.name] = member
    for kind in ("labels", "weights"):
        batch[kind] = {task.name: batch[kind][task.name] for task in schema.tasks}
    return batch


def moved(network, seed=5):
    """The network away from its initialisation, with all units alive."""
    rng = np.random.default_rng(seed)
    for name, variable in network.variables.items():
        variable.assign_add(rng.normal(size=variable.shape, scale=0.1).astype(np.float32))
        if name.endswith("/bias"):
            variable.assign_add(tf.ones_like(variable))
    return network


def read(network, features):
    """The variables and the cross layer's output, float64."""
    values = {name: v.astype(np.float64) for name, v in read_variables(network).items()}
    return values, network.bottom(features).numpy().astype(np.float64)


def build_small(
    schema,
    *,
    separate_towers=False,
    seed=1,
    cross="gram",
    hidden_units=(8, 4),
    own_embedding=None,
    tower_dropout=0.0,
    **dropout,
):
    return build_network(
        schema,
        Encoder(4, embedding_stddev=0.05, cross=cross, dcn_layers=2, **dropout),
        separate_towers=separate_towers,
        hidden_units=hidden_units,
        seed=seed,
        own_embedding=own_embedding,
        tower_dropout=tower_dropout,
    )


def small_batch(rows=16, seed=0):
    """Random ids and labels that fit the small schema, as the pipeline gives them."""
    rng = np.random.default_rng(seed)
    click = rng.integers(0, 2, rows).astype(np.float32)
    features = {
        "user": rng.integers(0, 21, rows),
        "video": rng.integers(0, 31, rows),
        "tags": rng.integers(0, 11, (rows, 3)),
        "source": rng.integers(0, 31, rows),
    }
    features = {name: tf.constant(ids, tf.int64) for name, ids in features.items()}
    features["age"] = tf.constant(rng.normal(size=rows), tf.float32)
    ratio = (rng.random(rows) * click).astype(np.float32)
    duration = rng.choice([30.0, 90.0, np.nan], rows)
    return {
        "features": features,
        "labels": {"ctr": tf.constant(click), "cvr": tf.constant(ratio)},
        "weights": {"ctr": tf.ones(rows), "cvr": tf.constant(click)},
        "user": features["user"],
        "duration": tf.constant(duration, tf.float32),
    }


def watched_batch(rows=16, seed=0):
    """`small_batch` with the lists of the schema of what users watched, some of them empty."""
    batch, rng = small_batch(rows, seed), np.random.default_rng(seed)
    is_event = np.arange(4) < rng.integers(0, 5, (rows, 1))
    for name, ids in (("watched", 31), ("ago", 5)):
        values = rng.integers(1, ids, (rows, 4)) * is_event
        batch["features"][name] = tf.constant(values, tf.int64)
    return batch


def read_variables(network):
    """Returns the values of all trained variables by name."""
    return {name: variable.numpy() for name, variable in network.variables.items()}


def load_variables(network, values):
    """Sets all trained variables; separate towers take the shared tower's values if need be.

    Raises:
        ValueError: A variable has no value, or one of another shape.
    """
    for name, variable in network.variables.items():
        value = values.get(name, values.get(shared_name(name, network.tasks)))
        if value is None:
            raise ValueError(f"no value for the variable {name}")
        if tuple(value.shape) != tuple(variable.shape):
            raise ValueError(
                f"{name}: value has shape {tuple(value.shape)}, variable {tuple(variable.shape)}"
            )
        variable.assign(value)
