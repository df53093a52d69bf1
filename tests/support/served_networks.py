"""Networks of every kind that is served, raw rows, and the answers that Keras gives."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf
from scipy.special import expit

from lt4rec_tf.data.input.features import features_to_ids
from tests.support.networks import (
    SAMPLED,
    build_model,
    build_small,
    build_with_own_views,
    build_with_ticket,
)
from tests.support.schemas import HOUR, LENGTH
from tests.support.training import random_masks

# Every rule by which raw values become ids, and every dtype, alone and in lists.
MORE_FEATURES = (
    """
[[features]]
name = "device"
dtype = "string"
side = "user"
ids = { kind = "vocabulary", vocabulary = ["phone", "планшет", "电视"] }
"""
    + HOUR
    + LENGTH
    + """
[[features]]
name = "codes"
dtype = "int64"
multivalued = true
max_values = 4
separator = "|"
missing = 0
side = "item"
ids = { kind = "hash", buckets = 12 }

[[labels]]
name = "like"
kind = "binary"
column = "like"

[[tasks]]
name = "like"
label = "like"
kind = "binary"
population = "click"
loss = "cross_entropy"
metric = "auc"
direction = "max"
"""
)
WORDS = [
    "u1",
    "планшет",
    "电视",
    "phone",
    "",
    "-1",
    "\x00\xff",
    "a" * 300,
    "🎬 кино",
    "nobody saw this",
]
WHOLE = [-1, 0, 7, 23, 24, -(2**63), 2**63 - 1]
REAL = [0.0, 15.0, 60.5, -3.0, 1e4, -1e4, np.nan, np.inf, -np.inf, 300.0, 1e30, -3e38]
# Numbers of a million, which odd rows hold, are rounded otherwise where sums have another order.
OF_LARGE_NUMBERS = 5e-6
TWO, THREE = ["ctr", "cvr"], ["ctr", "cvr", "like"]

# tasks, and what builds their network
NETWORKS = {
    "sparse sharing": (TWO, partial(build_small, seed=3)),
    "separate towers": (TWO, partial(build_small, separate_towers=True, cross="triangle", seed=3)),
    "single task": (["cvr"], partial(build_small, cross="dcn_v2", seed=3)),
    "three tasks": (THREE, partial(build_small, seed=3)),
    "rows cut": (THREE, partial(build_with_ticket, "row")),
    "dimensions cut": (TWO, partial(build_with_ticket, "dimension", separate_towers=True)),
    "numbers cut": (TWO, partial(build_with_ticket, "number")),
    "own views": (THREE, partial(build_with_own_views, {"cvr": 3, "like": 2})),
    "esmm": (THREE, partial(build_model, "esmm")),
    "mmoe": (THREE, partial(build_model, "mmoe")),
    "ple": (TWO, partial(build_model, "ple")),
    "aitm": (THREE, partial(build_model, "aitm")),
    "mssm": (TWO, partial(build_model, "mssm")),
    "htlnet": (THREE, partial(build_model, "htlnet", transfer=SAMPLED)),
    "htlnet, one tower": (
        THREE,
        partial(build_model, "htlnet", transfer=SAMPLED, separate_towers=False),
    ),
}
# Whose versions have all signatures in test_signatures.py; the others one, in test_rank.py.
SAVED_WHOLE = (
    "sparse sharing",
    "separate towers",
    "single task",
    "rows cut",
    "dimensions cut",
    "numbers cut",
    "htlnet",
)


def request(schema, requests, candidates, lists=3, seed=0):
    """(what a client sends to rank, the same as rows of serving_default)."""
    asking = raw_rows(schema, requests, lists, seed)
    ranked = raw_rows(schema, requests * candidates, lists, seed + 1)
    sent, rows = {}, {}
    for feature in schema.features:
        if feature.side == "item":
            values = rows[feature.name] = ranked[feature.name]
            sent[feature.name] = values.reshape(requests, candidates, *values.shape[1:])
        else:
            sent[feature.name] = asking[feature.name]
            rows[feature.name] = np.repeat(asking[feature.name], candidates, axis=0)
    return sent, rows


def raw_rows(schema, rows, lists=3, seed=0):
    """Odd and usual values by feature, as a client sends them."""
    rng = np.random.default_rng(seed)
    values = {"string": [word.encode() for word in WORDS], "int64": WHOLE, "float32": REAL}
    dtypes = {"string": object, "int64": np.int64, "float32": np.float32}
    return {
        feature.name: np.array(values[feature.dtype], dtypes[feature.dtype])[
            rng.integers(
                0,
                len(values[feature.dtype]),
                (rows, lists) if feature.multivalued else rows,
            )
        ]
        for feature in schema.features
    }


def predictions(network, schema, raw):
    """Task -> sigmoid of the Keras model's logit, for rows of any list width."""
    logits = keras_outputs(network, schema, raw)
    return {task: expit(logits[task].numpy()) for task in network.tasks}


def keras_outputs(network, schema, raw):
    """Task -> what the Keras model's head gives, for rows of any list width."""
    padded = {
        feature.name: np.pad(raw[feature.name], [(0, 0), (0, 1)], constant_values=_missing(feature))
        if feature.multivalued
        else raw[feature.name]
        for feature in schema.features
    }
    ids = features_to_ids(schema, {name: tf.constant(rows) for name, rows in padded.items()})
    return network.model(ids, training=False)


def expected_answers(network, schema, raw):
    by_task = predictions(network, schema, raw)
    everything = {f"p{task}": chances for task, chances in by_task.items()}
    if "ctr" in by_task and "cvr" in by_task:
        everything["pctcvr"] = by_task["ctr"] * by_task["cvr"]
    if "ctr" in by_task and "like" in by_task:
        everything["pctr_like"] = by_task["ctr"] * by_task["like"]
    expected = {name.removeprefix("p"): {name: values} for name, values in everything.items()}
    return expected | {"serving_default": everything}


def answer(function, sent):
    """What a signature answers, as arrays."""
    answers = function(**{name: tf.constant(values) for name, values in sent.items()})
    return {name: values.numpy() for name, values in answers.items()}


def assert_ranked_as_rows(network, schema, rank, requests, candidates):
    """Each candidate of `rank` is answered as a row of its own."""
    sent, rows = request(schema, requests, candidates, lists=4, seed=requests + candidates)
    answers = answer(rank, sent)
    for task, chances in predictions(network, schema, rows).items():
        found = answers[f"p{task}"]
        assert found.shape == (requests, candidates)
        np.testing.assert_allclose(found.reshape(-1), chances, rtol=0, atol=OF_LARGE_NUMBERS)


def trained_network(schema, name):
    """A network away from its initialisation, wearing a mask for each task."""
    tasks, build = NETWORKS[name]
    network = build(schema.with_tasks(tasks))
    rng = np.random.default_rng(4)
    for variable in network.variables.values():
        variable.assign_add(rng.normal(size=variable.shape, scale=0.3).astype(np.float32))
    for place, task in enumerate(tasks):
        network.wear(task, random_masks(network, task, seed=place))
    return network


def _missing(feature):
    return feature.missing.encode() if feature.dtype == "string" else feature.missing
