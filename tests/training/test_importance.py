"""Importance of neurons and inputs, against gates that are moved by hand."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.models.heads.of_task import loss_of, targets, with_targets
from lt4rec_tf.training import importance
from lt4rec_tf.training.importance import gate_gradients, importance_of
from tests.support.heads import schema_with
from tests.support.networks import build_small, small_batch
from tests.support.training import small_feed

STEP = 1e-3


@pytest.fixture(scope="module")
def trained_a_little(small_schema):
    """A network whose head is no draw of nothing: larger weights, so that gates matter."""
    network = build_small(small_schema, seed=3)
    for name, variable in network.variables.items():
        if "kernel" in name or "embedding" in name:
            variable.assign(variable * 2.0)
    return network


def loss(network, schema, task, batch):
    logits = network.task_models[task](batch["features"], training=False)
    return float(loss_of(schema.task(task))(logits, batch["labels"][task], batch["weights"][task]))


def slope(network, schema, task, batch, kernel, rows):
    """dL/dg of a gate on some rows of a kernel, by central differences."""
    whole = kernel.numpy()
    losses = []
    for gate in (1.0 + STEP, 1.0 - STEP):
        moved = whole.copy()
        moved[rows] *= gate
        kernel.assign(moved)
        losses.append(loss(network, schema, task, batch))
    kernel.assign(whole)
    return (losses[0] - losses[1]) / (2 * STEP)


@pytest.mark.parametrize("task", ["ctr", "cvr"])
def test_importance_is_the_mean_square_of_the_loss_s_slope_along_a_gate(
    small_schema, trained_a_little, task
):
    network, batches = trained_a_little, [*small_feed(small_schema).train(0, 0)]
    inputs = network.kernel_shapes(task)["tower_0"][0]
    groups = np.array_split(np.arange(inputs), 6)
    found = importance_of(gate_gradients(network, small_schema, task), groups, batches)

    kernels = [*network.kernels(task).values(), network.heads[task].kernel]
    pieces = [(kernels[0], places) for places in groups]
    pieces += [(kernel, [j]) for kernel in kernels[1:] for j in range(kernel.shape[0])]
    slopes = [
        [slope(network, small_schema, task, batch, *piece) for piece in pieces] for batch in batches
    ]
    expected = np.mean(np.square(slopes), axis=0)
    computed = np.concatenate([found.groups, *found.units])
    assert computed.max() > 1e-5
    assert computed == pytest.approx(expected, rel=0.05, abs=1e-6)


def test_what_is_cut_has_no_importance_from_the_next_call_on(small_schema):
    network = build_small(small_schema, seed=3)
    masks = network.masks("ctr")
    groups = np.split(np.arange(len(masks["tower_0"])), [4])
    gradients, batches = gate_gradients(network, small_schema, "ctr"), small_feed(small_schema)
    before = importance_of(gradients, groups, batches.train(0, 0))
    assert (before.groups > 0).all()

    masks["tower_0"][:, 1] = False
    masks["tower_1"][1] = False
    masks["tower_0"][:4] = False
    network.wear("ctr", masks)
    found = importance_of(gradients, groups, batches.train(0, 0))
    assert found.groups[0] == found.units[0][1] == 0.0
    assert found.groups[1] > 0
    assert (found.units[0] > 0).any()


def test_a_large_log_is_measured_by_its_first_batches(small_schema, monkeypatch):
    network = build_small(small_schema, seed=3)
    groups = [np.arange(network.kernel_shapes("ctr")["tower_0"][0])]
    batches = [*small_feed(small_schema).train(0, 0)]
    gradients = gate_gradients(network, small_schema, "ctr")
    monkeypatch.setattr(importance, "MOST_BATCHES", 2)
    found = importance_of(gradients, groups, batches)
    expected = importance_of(gradients, groups, batches[:2])
    assert found.groups.tolist() == expected.groups.tolist()


def test_a_head_s_own_target_is_what_the_loss_is_taken_of(tmp_path):
    schema, plain = schema_with(tmp_path, "d2q"), schema_with(tmp_path, "plain")
    network, batch = build_small(schema), small_batch()
    batch["features"]["length"] = tf.ones(16, tf.int64)
    shares = targets(with_targets(batch, schema.tasks))["cvr"]
    relabelled = batch | {"labels": batch["labels"] | {"cvr": shares}}
    found = gate_gradients(network, schema, "cvr")(batch)
    expected = gate_gradients(network, plain, "cvr")(relabelled)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-8)
    assert max(np.abs(gradient).max() for gradient in found) > 0
