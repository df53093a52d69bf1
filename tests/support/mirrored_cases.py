"""Trains small networks on one device and on two, and prints how far they come apart.

A process of its own, because TensorFlow makes its devices once.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.training.balancing.rules import RULES
from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_masked, build_model, build_small, read_variables
from tests.support.schemas import SMALL_SCHEMA, watched_schema
from tests.support.training import neuron_masks, random_masks, small_trainer

ELSEWHERE = ("htlnet", "uncertainty", "metabalance")  # rules of cases with another network
CASES = {
    "alternate, two optimisers": {  # a trainer alternates where a case does not say
        "embedding_optimizer": "rowwise_adagrad",
        "embedding_l2": 0.1,
        "weight_decay": 1.0,
        "clip_norm": 0.1,
        "learning_rate_decay": "linear",
        "weight_average": 0.5,
    },
    **{rule: {"schedule": "both", "balance": rule} for rule in RULES[1:] if rule not in ELSEWHERE},
    # Losses, penalties and networks of their own; mmoe, ple and aitm are trained as towers are.
    "esmm": {"schedule": "both", "model": "esmm"},
    "escm2_dr": {"schedule": "both", "model": "escm2_dr"},
    "mssm, balance metabalance": {"schedule": "both", "model": "mssm", "balance": "metabalance"},
    "htlnet, balanced by its rule": {"schedule": "both", "model": "htlnet", "balance": "htlnet"},
    "attention masked by each task, balance uncertainty": {
        "schedule": "both",
        "model": "masked attention",
        "balance": "uncertainty",
    },
}


def trained(schema, model=None, **changes) -> dict:
    """The variables after an epoch, the last batch of which is short."""
    if model is None:
        network = build_small(schema)
        for seed, task in enumerate(network.tasks):
            masks = neuron_masks if task == "cvr" else random_masks  # of which one is compact
            network.wear(task, masks(network, task, seed))
    elif model == "masked attention":
        with tempfile.TemporaryDirectory() as folder:
            schema = watched_schema(Path(folder))
        network = build_masked(schema)
        for seed, task in enumerate(network.tasks):
            network.wear(task, random_masks(network, task, seed))
    else:
        network = build_model(model, schema)
    with tempfile.TemporaryDirectory() as folder:
        result = small_trainer(network, schema, **changes).fit(Path(folder), "stage", Plan(2))
    losses = result["validation_loss"] | result["history"][-1]["train_loss"]
    return read_variables(network) | {f"loss/{name}": np.array(v) for name, v in losses.items()}


def main() -> None:
    """Prints {case: largest difference of a number}."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.toml"
        path.write_text(SMALL_SCHEMA, encoding="utf-8")
        schema = load_schema(path)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    apart = {}
    for case, changes in CASES.items():
        found = []
        for scope in (contextlib.nullcontext(), strategy.scope()):
            with scope:
                found.append(trained(schema, **changes))
        one, two = found
        apart[case] = max(float(np.abs(one[name] - two[name]).max()) for name in one)
    print(json.dumps(apart))


if __name__ == "__main__":
    main()
