"""One compiled step: which rows it computes with."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.models.losses import LOSSES
from lt4rec_tf.models.network import CROSSED
from lt4rec_tf.schema.types import Filter
from lt4rec_tf.training.balancing.rules import WeightedSum
from lt4rec_tf.training.optimizers import build_optimizer
from lt4rec_tf.training.plan import Objective
from lt4rec_tf.training.steps import Update, compile_step
from tests.support.networks import build_small, small_batch
from tests.support.training import random_masks


def step_of(network, schema, tasks):
    variables = list(network.variables.values())
    objective = Objective(tuple(tasks), "both", dict.fromkeys(tasks, 1.0))
    update = Update(WeightedSum(), build_optimizer("adam", 0.01, variables), variables)
    loss_sums = {task: tf.Variable([0.0, 0.0], dtype=tf.float64) for task in tasks}
    return compile_step(network, schema, objective, tasks, update, loss_sums)


class Watched:
    """A task's top that notes how many rows it was asked about."""

    def __init__(self, top):
        self.top, self.input, self.rows = top, top.input, tf.Variable(-1)

    def __call__(self, inputs, training):
        self.rows.assign(tf.shape(inputs[CROSSED])[0])
        return self.top(inputs, training=training)


@pytest.mark.parametrize("tasks", [["cvr"], ["ctr", "cvr"]])
def test_a_tower_is_computed_for_its_population_alone(small_schema, tasks):
    network = build_small(small_schema)
    network.wear("cvr", random_masks(network, "cvr", seed=1))
    batch = small_batch()
    clicked = batch["weights"]["cvr"].numpy() > 0
    assert 0 < clicked.sum() < len(clicked)

    expected = LOSSES["mse"](
        tf.boolean_mask(network.task_models["cvr"](batch["features"]), clicked),
        tf.boolean_mask(batch["labels"]["cvr"], clicked),
        tf.ones(clicked.sum()),
    )

    network.tops.update({task: Watched(top) for task, top in network.tops.items()})
    losses = step_of(network, small_schema, tasks)(batch)

    assert float(losses["cvr"]) == pytest.approx(float(expected), rel=1e-5)
    assert network.tops["cvr"].rows.numpy() == clicked.sum()
    assert network.tops["ctr"].rows.numpy() == (len(clicked) if "ctr" in tasks else -1)


def test_a_tower_is_computed_for_the_rows_of_its_scenario_alone(small_schema):
    ctr = dataclasses.replace(small_schema.task("ctr"), where=(Filter("x", "==", (1,)),))
    made = dataclasses.replace(small_schema, tasks=(ctr, small_schema.task("cvr")))
    network = build_small(made)
    batch = small_batch()
    inside = np.arange(len(batch["weights"]["ctr"])) % 3 == 0
    batch["weights"]["ctr"] *= tf.constant(inside, tf.float32)
    network.tops.update({task: Watched(top) for task, top in network.tops.items()})
    losses = step_of(network, made, ["ctr"])(batch)
    assert network.tops["ctr"].rows.numpy() == inside.sum()
    assert np.isfinite(float(losses["ctr"]))


@pytest.mark.parametrize("tasks", [["cvr"], ["ctr", "cvr"]])
def test_a_batch_without_clicks_teaches_cvr_nothing(small_schema, tasks):
    network = build_small(small_schema)
    before = {name: value.numpy() for name, value in network.variables.items()}
    batch = small_batch()
    none = batch | {"weights": batch["weights"] | {"cvr": tf.zeros(16)}}
    losses = step_of(network, small_schema, tasks)(none)
    assert float(losses["cvr"]) == 0
    for part in ("kernel", "bias"):
        name = f"cvr/head/{part}"
        np.testing.assert_array_equal(network.variables[name].numpy(), before[name])
    assert all(np.isfinite(value.numpy()).all() for value in network.variables.values())
