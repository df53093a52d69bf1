"""Masks of tasks on the attention to events: what each computes, learns and leaves alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.models.layers.event_attention import EventAttention
from lt4rec_tf.training.plan import Plan
from tests.models.test_event_attention import DIMENSION, draw, pooled
from tests.support.networks import build_masked, read_variables, watched_batch
from tests.support.schemas import POOLINGS, watched_schema
from tests.support.training import random_masks, small_trainer
from tests.training.test_steps import step_of

UNIT = "attention.watched"


@pytest.fixture(scope="module", params=POOLINGS)
def schema(request, tmp_path_factory):
    return watched_schema(tmp_path_factory.mktemp("schema"), request.param)


@pytest.fixture(scope="module")
def attended(tmp_path_factory):
    return watched_schema(tmp_path_factory.mktemp("schema"))


def masked(schema, **changes):
    """A network whose tasks wear a mask each, its vectors long enough to matter."""
    network = build_masked(schema, **changes)
    for place, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed=place))
    return network


class Plain:
    """A unit's parameters as numbers, for the plain computation."""

    def __init__(self, parameters):
        self.parameters = {name: tf.constant(value) for name, value in parameters.items()}


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("units", [(5,), (6, 3)])
def test_a_task_weighs_events_by_what_its_masks_leave(units, softmax):
    layer = EventAttention(
        2, (0,), DIMENSION, units, softmax=softmax, draw=draw, wearers=["ctr", "cvr"]
    )
    rng = np.random.default_rng(1)
    events = rng.normal(size=(3, 2, DIMENSION)).astype(np.float32)
    candidate = rng.normal(size=(1, 1, DIMENSION)).astype(np.float32)
    found = {}
    for task in ("ctr", "cvr"):
        left = {name: variable.numpy() for name, variable in layer.parameters.items()}
        for kernel in layer.masked:
            mask = rng.random(left[kernel].shape) < 0.5
            layer.set_mask(task, kernel, mask)
            left[kernel] = left[kernel] * mask

        expected = pooled(Plain(left), events, candidate[0], softmax)
        of_rows = layer.of_rows(
            tf.constant(events),
            tf.zeros(3, tf.int64),
            tf.ones(3, tf.bool),
            tf.constant(candidate),
            layer.worn_by(task),
        )
        of_candidates = layer.of_candidates(
            tf.constant(events[np.newaxis]),
            tf.ones((1, 3), tf.bool),
            tf.constant(candidate[np.newaxis]),
            layer.worn_by(task),
        )
        np.testing.assert_allclose(of_rows[0], expected, atol=1e-5)
        np.testing.assert_allclose(of_candidates[0, 0], expected, atol=1e-5)
        found[task] = expected
    assert np.abs(found["ctr"] - found["cvr"]).max() > 1e-3
    assert len(layer.masked) == 3 + len(units) - 1


def test_biases_and_the_last_layer_are_not_masked(attended):
    network = build_masked(attended)
    kernels = [name.removeprefix(f"{UNIT}/") for name in network.kernels("ctr")]
    hidden = ["event_kernel", "candidate_kernel", "product_kernel"]
    assert kernels == [*hidden, "tower_0", "tower_1"]


@pytest.mark.parametrize("encoder", [{}, {"field_dropout": 0.5}, {"cross": "dcn_v2"}])
@pytest.mark.parametrize("training", [False, True])
def test_with_masks_of_ones_nothing_changes(schema, encoder, training):
    features = watched_batch()["features"]
    plain = build_masked(schema, mask_attention=False, **encoder)
    ones = build_masked(schema, **encoder)
    assert plain.variables.keys() == ones.variables.keys()
    expected = plain.model(features, training=training)
    for task, logits in ones.model(features, training=training).items():
        np.testing.assert_array_equal(logits, expected[task])


def test_gradients_with_masks_of_ones_are_the_same_but_for_rounding(schema):
    features, found = watched_batch()["features"], {}
    for mask_attention in (False, True):
        network = build_masked(schema, mask_attention=mask_attention)
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(x**2) for x in network.model(features).values())
        gradients = tape.gradient(loss, list(network.variables.values()))
        found[mask_attention] = dict(zip(network.variables, gradients, strict=True))
    for name, expected in found[False].items():
        one, other = map(tf.convert_to_tensor, (found[True][name], expected))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_weight_that_a_task_cuts_has_no_gradient_of_its_loss(schema):
    network, features = masked(schema), watched_batch()["features"]
    for task in network.tasks:
        kernels, masks = network.kernels(task), network.masks(task)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network.task_models[task](features) ** 2)
        for name, gradient in zip(kernels, tape.gradient(loss, [*kernels.values()]), strict=True):
            assert not gradient.numpy()[~masks[name]].any(), name
            assert gradient.numpy()[masks[name]].any(), name


def test_a_task_does_not_depend_on_the_masks_of_another(schema):
    network, features = masked(schema), watched_batch()["features"]
    before = network.model(features)
    network.wear("cvr", random_masks(network, "cvr", seed=9))
    after = network.model(features)
    np.testing.assert_array_equal(before["ctr"], after["ctr"])
    assert np.abs(before["cvr"] - after["cvr"]).max() > 1e-5


def test_a_part_of_the_rows_is_answered_as_all_of_them(schema):
    """Training computes a task's tower for its population alone, on what the task itself pools."""
    network, features = masked(schema), watched_batch()["features"]
    crossed = network.crossed(features, training=False)
    assert np.abs(crossed["ctr"] - crossed["cvr"]).max() > 1e-5
    for task, logits in network.model(features).items():
        (name,) = network.tops[task].input
        found = network.tops[task]({name: crossed[task][3:7]})
        np.testing.assert_allclose(found, logits[3:7], atol=1e-6)


def test_tables_are_read_once_for_all_tasks(attended):
    features = watched_batch()["features"]
    specs = {
        name: tf.TensorSpec([None] * ids.shape.rank, ids.dtype) for name, ids in features.items()
    }

    def reads(mask_attention):
        model = build_masked(attended, mask_attention=mask_attention).model
        graph = tf.function(model).get_concrete_function(specs).graph
        return [op.type for op in graph.get_operations()].count("ResourceGather")

    assert reads(True) == reads(False) > 0


def test_what_is_worn_is_read_back(attended):
    network = build_masked(attended)
    worn = {task: random_masks(network, task, seed=ord(task[1])) for task in network.tasks}
    for task, masks in worn.items():
        network.wear(task, masks)
    for task, masks in worn.items():
        found = network.masks(task)
        assert list(found) == list(masks) == list(network.kernel_shapes(task))
        for name, mask in masks.items():
            assert np.array_equal(found[name], mask)


@pytest.mark.parametrize("wrong", [np.ones((2, 2), bool), np.full((8, 36), 0.5)])
def test_what_is_no_mask_is_refused(attended, wrong):
    network = build_masked(attended)
    with pytest.raises(ValueError, match=r"event_kernel: .*mask"):
        network.wear("ctr", network.masks("ctr") | {f"{UNIT}/event_kernel": wrong})


def test_a_ticket_without_the_attention_is_refused(attended):
    network = build_masked(attended)
    towers = {n: m for n, m in network.masks("ctr").items() if n.startswith("tower_")}
    with pytest.raises(ValueError, match="task ctr: masks for"):
        network.wear("ctr", towers)


def test_training_leaves_weights_alone_that_no_task_wears(schema, tmp_path):
    check_what_training_changes(schema, tmp_path, "both")


def test_training_in_turn_leaves_weights_alone_that_no_task_wears(attended, tmp_path):
    check_what_training_changes(attended, tmp_path, "alternate")


def check_what_training_changes(schema, tmp_path, schedule):
    network = masked(schema)
    before = read_variables(network)
    worn = {
        name: network.masks("ctr")[name] | network.masks("cvr")[name]
        for name in network.kernels("ctr")
        if name.startswith(UNIT)
    }
    trainer = small_trainer(network, schema, schedule=schedule, weight_decay=0.01)
    trainer.fit(tmp_path, "joint", Plan(epochs=1, keep_last=True))
    after = read_variables(network)
    for name, mask in worn.items():
        assert after[name][~mask].tobytes() == before[name][~mask].tobytes()
        assert (after[name][mask] != before[name][mask]).all()


def test_a_step_on_a_population_alone_is_that_on_all_rows(attended):
    """CVR learns from clicked rows: its tower is computed for these, on what CVR itself pools."""
    batch, found = watched_batch(), []
    for of_all_rows in (False, True):
        network = masked(attended)
        if of_all_rows:
            network = dataclasses.replace(network, tops={})
        losses = step_of(network, attended, network.tasks)(batch)
        found.append(read_variables(network) | {t: loss.numpy() for t, loss in losses.items()})
    for name, values in found[0].items():
        np.testing.assert_allclose(values, found[1][name], atol=1e-5, err_msg=name)
