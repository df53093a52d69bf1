"""The shared network with a mask for each task."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import are_tables
from lt4rec_tf.models.feature_encoder import field_vectors
from lt4rec_tf.models.losses import LOSSES
from lt4rec_tf.models.network import CROSSED
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.masks import ones
from tests.support.networks import (
    build_small,
    build_with_own_views,
    load_variables,
    read_variables,
    small_batch,
)
from tests.support.training import random_masks, rows_of_tasks

CROSSES = ["gram", "triangle", "dcn_v2", "none"]


@pytest.fixture(scope="module")
def three_tasks(small_schema) -> Schema:
    finish = dataclasses.replace(small_schema.task("cvr"), name="finish")
    return dataclasses.replace(small_schema, tasks=(*small_schema.tasks, finish))


def test_servers_are_told_which_variables_are_tables(small_schema):
    made = []

    def noting(create, **kwargs):
        variable = create(**kwargs)
        made.append((are_tables(), variable.shape))
        return variable

    with tf.variable_creator_scope(noting):
        table = build_small(small_schema).variables["embedding/table"]
    assert [shape for is_table, shape in made if is_table] == [table.shape]
    assert not are_tables()


def test_shared_towers_are_one_set_of_kernels_and_masks_of_each_task(small_network):
    for name, kernel in small_network.kernels("ctr").items():
        assert small_network.kernels("cvr")[name] is kernel
    for ctr, cvr in zip(*small_network.towers.values(), strict=True):
        assert ctr.shared.bias is cvr.shared.bias
        assert ctr.mask is not cvr.mask
    masks = random_masks(small_network, "ctr", seed=0)
    small_network.wear("ctr", masks)
    for name in masks:
        np.testing.assert_array_equal(small_network.masks("ctr")[name], masks[name])
        assert small_network.masks("cvr")[name].all()


def test_separate_towers_are_drawn_equal_and_lie_apart(small_schema):
    network = build_small(small_schema, separate_towers=True)
    for name, kernel in network.kernels("ctr").items():
        other = network.kernels("cvr")[name]
        assert other is not kernel
        np.testing.assert_array_equal(other.numpy(), kernel.numpy())
    assert len({variable.ref() for variable in network.variables.values()}) == len(
        network.variables
    )


@pytest.mark.parametrize("cross", CROSSES)
def test_theta_0_depends_on_seed_and_name_alone(small_schema, cross):
    shared = read_variables(build_small(small_schema, cross=cross))
    again = read_variables(build_small(small_schema, cross=cross))
    separate = read_variables(build_small(small_schema, cross=cross, separate_towers=True))
    alone = read_variables(build_small(small_schema.with_tasks(["cvr"]), cross=cross))
    turned = read_variables(build_small(small_schema.with_tasks(["cvr", "ctr"]), cross=cross))
    assert set(turned) == set(again) == set(shared)
    assert set(alone) < set(shared)
    for others in (again, alone, turned):
        for name, value in others.items():
            np.testing.assert_array_equal(value, shared[name], err_msg=name)
    for name, value in separate.items():
        rest = name.partition("/")[2]
        twin = rest if rest.startswith("tower_") else name
        np.testing.assert_array_equal(value, shared[twin], err_msg=name)


@pytest.mark.parametrize("seed", [1, 2**32 - 1])
def test_tables_are_drawn_as_keras_draws_them(small_schema, seed):
    drawn = field_vectors(small_schema, 8, 0.02, seed=seed, owner="test").draw("table")
    keras_draw = keras.initializers.RandomNormal(stddev=0.02, seed=seed)
    ours, theirs = drawn((1001, 8), tf.float32), keras_draw((1001, 8), tf.float32)
    np.testing.assert_array_equal(ours, theirs)


def test_another_seed_draws_every_kernel_afresh(small_schema):
    first = read_variables(build_small(small_schema, cross="dcn_v2", seed=1))
    second = read_variables(build_small(small_schema, cross="dcn_v2", seed=2))
    drawn = [name for name, value in first.items() if value.any()]
    assert {"embedding/table", "tower_0/kernel", "tower_1/kernel", "cvr/head/kernel"} <= set(drawn)
    for name in drawn:
        assert (first[name] != second[name]).mean() > 0.9, name


def test_draws_of_different_variables_differ(small_schema):
    values = read_variables(build_small(small_schema, cross="dcn_v2", hidden_units=(8, 8, 8)))
    assert (values["tower_1/kernel"] != values["tower_2/kernel"]).all()
    assert (values["ctr/head/kernel"] != values["cvr/head/kernel"]).all()
    assert (values["cross/0"] != values["cross/1"]).any()


def test_masks_of_ones_share_everything(small_network):
    small_network.wear("cvr", random_masks(small_network, "cvr", seed=0))
    shapes = {name: tuple(kernel.shape) for name, kernel in small_network.kernels("cvr").items()}
    small_network.wear("cvr", ones(shapes))
    features = small_batch()["features"]
    hidden = small_network.bottom(features)
    for layer in small_network.towers["ctr"]:
        hidden = layer.shared(hidden)  # Keras's own Dense, without a mask
    for task, logit in small_network.model(features).items():
        np.testing.assert_array_equal(
            logit, tf.squeeze(small_network.heads[task](hidden), 1), err_msg=task
        )


def test_a_masked_logit_by_hand(small_network):
    masks = random_masks(small_network, "cvr", seed=3)
    small_network.wear("cvr", masks)
    features = small_batch()["features"]
    hidden = small_network.bottom(features).numpy().astype(np.float64)
    for i, layer in enumerate(small_network.towers["cvr"]):
        folded = layer.shared.kernel.numpy() * masks[f"tower_{i}"]
        hidden = np.maximum(hidden @ folded + layer.shared.bias.numpy(), 0)
    head = small_network.heads["cvr"]
    logit = (hidden @ head.kernel.numpy() + head.bias.numpy())[:, 0]
    np.testing.assert_allclose(small_network.model(features)["cvr"], logit, rtol=1e-4, atol=1e-6)


def gradients_of(network, schema, task, batch):
    """Gradients of one task's loss through the model of all tasks, by name; None kept."""
    for layer in network.towers[task]:  # all units alive, so that no gradient is 0 by chance
        layer.shared.bias.assign(tf.ones_like(layer.shared.bias))
    with tf.GradientTape() as tape:
        logits = network.model(batch["features"])
        loss = LOSSES[schema.task(task).loss](
            logits[task], batch["labels"][task], batch["weights"][task]
        )
    return tape.gradient(loss, network.variables)


@pytest.mark.parametrize("task", ["ctr", "cvr"])
def test_gradients_touch_only_what_a_task_owns(small_network, small_schema, task):
    masks = {
        name: random_masks(small_network, name, seed=i)
        for i, name in enumerate(small_network.tasks)
    }
    for name, worn in masks.items():
        small_network.wear(name, worn)
    gradients = gradients_of(small_network, small_schema, task, small_batch(rows=64))
    for name, gradient in gradients.items():
        owned = "/head/" not in name or name.startswith(f"{task}/")
        assert (gradient is not None) == owned, name
    for name, mask in masks[task].items():
        gradient = gradients[f"{name}/kernel"].numpy()
        assert not gradient[~mask].any()
        assert gradient[mask].any()


@pytest.mark.parametrize("task", ["ctr", "cvr"])
def test_separate_towers_get_no_gradient_from_the_other_task(small_schema, task):
    network = build_small(small_schema, separate_towers=True)
    gradients = gradients_of(network, small_schema, task, small_batch())
    touched = {name for name, gradient in gradients.items() if gradient is not None}
    parts = ["tower_0/kernel", "tower_0/bias", "tower_1/kernel", "tower_1/bias"]
    parts += ["head/kernel", "head/bias"]
    assert touched == {"embedding/table", *(f"{task}/{part}" for part in parts)}


def test_trained_by_is_what_has_a_gradient(small_schema, small_network):
    for network in (small_network, build_small(small_schema, separate_towers=True)):
        for task in network.tasks:
            gradients = gradients_of(network, small_schema, task, small_batch())
            touched = {network.variables[n].ref() for n, g in gradients.items() if g is not None}
            assert {variable.ref() for variable in network.trained_by(task)} == touched


def test_task_models_are_parts_of_the_one_model(small_network):
    small_network.wear("ctr", random_masks(small_network, "ctr", seed=0))
    features = small_batch()["features"]
    whole = small_network.model(features)
    for task, model in small_network.task_models.items():
        np.testing.assert_array_equal(model(features), whole[task])
    small_network.heads["ctr"].bias.assign([5.0])
    moved = small_network.task_models["ctr"](features)
    np.testing.assert_allclose(moved, whole["ctr"] + 5.0, rtol=1e-5)
    np.testing.assert_array_equal(small_network.task_models["cvr"](features), whole["cvr"])


@pytest.mark.parametrize(
    "build",
    [
        build_small,
        partial(build_small, separate_towers=True),
        partial(build_with_own_views, {"cvr": 3}),
    ],
    ids=["shared", "separate", "own views"],
)
def test_tops_are_what_stands_on_the_bottom(small_schema, build):
    network = build(small_schema)
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed))
    features = small_batch()["features"]
    whole = {CROSSED: network.bottom(features)} | features
    assert list(network.tops) == list(network.tasks)
    for task, top in network.tops.items():
        logit = top({name: whole[name] for name in top.input})
        np.testing.assert_array_equal(logit, network.task_models[task](features))


@pytest.mark.parametrize("names", [["tower_0"], ["tower_0", "tower_1", "tower_2"], []])
def test_masks_of_other_kernels_are_refused(small_network, names):
    with pytest.raises(ValueError, match=r"task ctr: masks for .*tower_0', 'tower_1'\]"):
        small_network.wear("ctr", {name: np.ones((2, 2), bool) for name in names})


def test_masks_of_other_shapes_are_refused(small_network):
    masks = random_masks(small_network, "ctr", seed=0)
    masks["tower_1"] = masks["tower_1"].T
    with pytest.raises(ValueError, match=r"ctr\.masked_1"):
        small_network.wear("ctr", masks)


@pytest.mark.parametrize("cross", CROSSES)
@pytest.mark.parametrize("separate_towers", [False, True])
def test_every_trained_variable_has_a_name(small_schema, cross, separate_towers):
    network = build_small(small_schema, cross=cross, separate_towers=separate_towers)
    trained = {variable.ref() for variable in network.model.trainable_variables}
    assert {variable.ref() for variable in network.variables.values()} == trained
    logits = network.model(small_batch(rows=3)["features"])
    assert {task: tuple(logit.shape) for task, logit in logits.items()} == {
        "ctr": (3,),
        "cvr": (3,),
    }


@pytest.mark.parametrize("name", ["ctr", "cvr_head", "ctr_masked_0", "cross", "embedding"])
def test_features_may_have_the_name_of_a_task_or_of_a_part(small_schema, name):
    renamed = [
        dataclasses.replace(feature, name=name) if feature.name == "source" else feature
        for feature in small_schema.features
    ]
    features = small_batch()["features"]
    expected = build_small(small_schema).model(features)
    features[name] = features.pop("source")
    network = build_small(dataclasses.replace(small_schema, features=tuple(renamed)))
    found = network.model(features)
    assert set(found) == {"ctr", "cvr"}
    for task, logit in expected.items():
        np.testing.assert_array_equal(found[task], logit)


def test_unknown_cross_layers_are_refused(small_schema):
    with pytest.raises(
        ValueError, match="found 'product', expected 'gram', 'triangle', 'dcn_v2' or"
    ):
        build_small(small_schema, cross="product")


def test_one_row_and_lists_of_any_length_are_taken(small_network):
    features = small_batch(rows=1)["features"]
    features["tags"] = tf.constant([[1, 2, 3, 4, 5]], tf.int64)
    assert small_network.model(features)["ctr"].shape == (1,)


@pytest.mark.parametrize("separate_towers", [False, True])
def test_three_tasks(three_tasks, separate_towers):
    network = build_small(three_tasks, separate_towers=separate_towers)
    assert network.tasks == ("ctr", "cvr", "finish")
    network.wear("finish", random_masks(network, "finish", seed=0))
    logits = network.model(small_batch()["features"])
    assert len(logits) == 3
    gradients = gradients_of(network, three_tasks, "finish", rows_of_tasks(three_tasks, 16, 0))
    heads = {name for name, g in gradients.items() if "/head/" in name and g is not None}
    assert heads == {"finish/head/kernel", "finish/head/bias"}
    kernels = {
        variable.ref() for task in network.tasks for variable in network.kernels(task).values()
    }
    assert len(kernels) == (6 if separate_towers else 2)


def test_values_of_shared_towers_fit_separate_ones(small_schema, small_network):
    rng = np.random.default_rng(0)
    values = {
        name: rng.normal(size=variable.shape) for name, variable in small_network.variables.items()
    }
    separate = build_small(small_schema, separate_towers=True, seed=9)
    load_variables(small_network, values)
    load_variables(separate, values)
    features = small_batch()["features"]
    for task, logit in small_network.model(features).items():
        np.testing.assert_array_equal(separate.model(features)[task], logit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("ctr/head/bias"), "no value for the variable ctr/head/bias"),
        (
            lambda values: values.update({"tower_0/bias": np.zeros(3)}),
            r"tower_0/bias: value has shape \(3,\), variable \(8,\)",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(small_network, change, message):
    values = read_variables(small_network)
    change(values)
    with pytest.raises(ValueError, match=message):
        load_variables(small_network, values)
