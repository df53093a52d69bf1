"""ESMM, MMoE, PLE and AITM against their equations in NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_expit, softmax

from lt4rec_tf.models.aitm import calibrated_losses, calibrated_pairs
from lt4rec_tf.models.esmm import chain, entire_space_losses, product_logit
from lt4rec_tf.models.layers.attention import UnitAttention
from lt4rec_tf.models.layers.experts import ExpertMixture
from lt4rec_tf.models.losses import LOSSES, cross_entropy
from lt4rec_tf.schema.types import Filter
from tests.support.networks import (
    BUILDERS,
    batch_of_tasks,
    build_model,
    moved,
    read,
    read_variables,
    with_more_tasks,
)

LOGITS = st.floats(-30, 30, width=32)


@pytest.fixture(scope="module")
def tasks(small_schema):
    """CTR, CVR on clicks, two more binary tasks on all rows, one on clicks."""
    return with_more_tasks(small_schema)


def relu_stack(values, prefix, x, depth):
    for i in range(depth):
        x = np.maximum(x @ values[f"{prefix}/{i}/kernel"] + values[f"{prefix}/{i}/bias"], 0)
    return x


def head(values, task, x):
    return (x @ values[f"{task}/head/kernel"] + values[f"{task}/head/bias"])[:, 0]


def mixed(values, prefix, x, outputs):
    gates = softmax(x @ values[f"{prefix}/gate/kernel"], axis=1)
    assert gates.shape[1] == len(outputs)
    return sum(gate[:, np.newaxis] * output for gate, output in zip(gates.T, outputs, strict=True))


def assert_answers(network, features, expected):
    answers = network.model(features)
    assert list(expected) == list(network.tasks)
    for task, logit in expected.items():
        assert np.ptp(logit) > 0.1  # rows that do not differ would prove little
        np.testing.assert_allclose(answers[task], logit, rtol=2e-4, atol=2e-5, err_msg=task)


@pytest.mark.parametrize(("units", "depth"), [((8, 6, 4), 2), ((5,), 1)])
def test_mmoe_is_its_equations(tasks, units, depth):
    network = moved(build_model("mmoe", tasks, hidden_units=units))
    features = batch_of_tasks(tasks)["features"]
    values, x = read(network, features)
    outputs = [relu_stack(values, f"expert_{i}", x, depth) for i in range(3)]
    expected = {}
    for task in network.tasks:
        tower = relu_stack(values, f"{task}/tower", mixed(values, task, x, outputs), 1)
        assert tower.shape[1] == units[-1]
        expected[task] = head(values, task, tower)
    assert_answers(network, features, expected)


def test_one_level_of_ple_is_cgc(small_schema):
    network = moved(build_model("ple", small_schema, levels=1, own_experts=2, shared_experts=3))
    features = batch_of_tasks(small_schema)["features"]
    values, x = read(network, features)
    shared = [relu_stack(values, f"level_0/expert_{i}", x, 1) for i in range(3)]
    expected = {}
    for task in network.tasks:
        own = [relu_stack(values, f"{task}/level_0/expert_{i}", x, 1) for i in range(2)]
        z = mixed(values, f"{task}/level_0", x, own + shared)
        expected[task] = head(values, task, relu_stack(values, f"{task}/tower", z, 1))
    assert_answers(network, features, expected)


def test_ple_is_its_equations(tasks):
    network = moved(build_model("ple", tasks, levels=3))
    features = batch_of_tasks(tasks)["features"]
    values, x = read(network, features)
    inputs, shared = dict.fromkeys(network.tasks, x), x
    for level in range(3):
        name = f"level_{level}"
        of_all = [relu_stack(values, f"{name}/expert_0", shared, 1)]
        of_task = {
            task: [relu_stack(values, f"{task}/{name}/expert_{i}", inputs[task], 1) for i in (0, 1)]
            for task in network.tasks
        }
        inputs = {
            task: mixed(values, f"{task}/{name}", inputs[task], of_task[task] + of_all)
            for task in network.tasks
        }
        if level < 2:
            everyone = [output for own in of_task.values() for output in own] + of_all
            shared = mixed(values, name, shared, everyone)
    towers = {task: relu_stack(values, f"{task}/tower", z, 1) for task, z in inputs.items()}
    assert_answers(
        network, features, {task: head(values, task, tower) for task, tower in towers.items()}
    )


def test_ple_has_no_shared_gate_in_its_last_level(small_schema):
    for levels in (1, 2, 3):
        names = build_model("ple", small_schema, levels=levels).variables
        gates = {name for name in names if name.startswith("level_") and "gate" in name}
        assert gates == {f"level_{level}/gate/kernel" for level in range(levels - 1)}
        for task in ("ctr", "cvr"):
            of_task = {f"{task}/level_{level}/gate/kernel" for level in range(levels)}
            assert of_task <= set(names)


@pytest.mark.parametrize(
    ("units", "widths"), [((8, 6, 4), [8, 6, 6]), ((8, 4), [8, 8, 8]), ((5,), [5, 5, 5])]
)
def test_widths_of_ple_experts(small_schema, units, widths):
    variables = build_model("ple", small_schema, levels=3, hidden_units=units).variables
    for level, width in enumerate(widths):
        for expert in (f"level_{level}/expert_0", f"cvr/level_{level}/expert_1"):
            assert variables[f"{expert}/0/kernel"].shape[1] == width
            assert f"{expert}/1/kernel" not in variables
    assert variables["cvr/tower/0/kernel"].shape == (widths[-1], units[-1])


def test_aitm_is_its_equations(tasks):
    network = moved(build_model("aitm", tasks))
    features = batch_of_tasks(tasks)["features"]
    values, x = read(network, features)
    expected, before = {}, None
    for task in network.tasks:
        z = relu_stack(values, f"{task}/tower", x, 3)
        if before is not None:
            units = [z, relu_stack(values, f"{task}/handed", before, 1)]
            query, key, value = (
                [u @ values[f"{task}/transfer/{part}_kernel"] for u in units]
                for part in ("query", "key", "value")
            )
            products = [(q * k).sum(axis=1) / np.sqrt(4) for q, k in zip(query, key, strict=True)]
            weights = softmax(np.stack(products, axis=1), axis=1)
            z = weights[:, :1] * value[0] + weights[:, 1:] * value[1]
        expected[task] = head(values, task, z)
        before = z
    assert_answers(network, features, expected)


def test_attention_of_two_units_by_hand():
    layer = UnitAttention(4, [keras.initializers.Identity()] * 3)
    own, handed = tf.constant([[1.0, 0.0, 0.0, 0.0]]), tf.constant([[0.0, 2.0, 0.0, 0.0]])
    # <u, u> / sqrt(4) is 1/2 and 2
    weight = expit(0.5 - 2.0)
    z = layer([own, handed])
    np.testing.assert_allclose(z, [[weight, 2 * (1 - weight), 0, 0]], rtol=1e-6)


def test_esmm_towers_see_the_cross_layer_alone(tasks):
    network = moved(build_model("esmm", tasks))
    features = batch_of_tasks(tasks)["features"]
    values, x = read(network, features)
    towers = {task: relu_stack(values, f"{task}/tower", x, 3) for task in network.tasks}
    assert_answers(
        network, features, {task: head(values, task, tower) for task, tower in towers.items()}
    )


@given(st.integers(1, 5), st.floats(0, 1e4), st.integers(0, 100))
def test_gates_sum_to_1(experts, scale, seed):
    layer = ExpertMixture(experts, keras.initializers.GlorotNormal(seed=seed))
    x = np.random.default_rng(seed).normal(scale=scale, size=(7, 3)).astype(np.float32)
    mixture = layer(x, [tf.ones((7, 2))] * experts)
    gates = layer.gates(x).numpy()
    assert gates.shape == (7, experts)
    assert (gates >= 0).all()
    np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(mixture, 1, rtol=1e-5)  # experts that agree are not changed


@given(LOGITS, LOGITS)
def test_the_product_of_probabilities_by_its_logit(first, second):
    logit = product_logit(tf.constant(first), tf.constant(second))
    log_p = log_expit(first) + log_expit(second)
    np.testing.assert_allclose(log_expit(float(logit)), log_p, rtol=1e-5, atol=1e-5)
    log_not_p = np.log(-np.expm1(log_p))
    np.testing.assert_allclose(log_expit(-float(logit)), log_not_p, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", [-1e4, -90.0, 0.0, 90.0, 1e4])
@pytest.mark.parametrize("second", [-1e4, -90.0, 0.0, 90.0, 1e4])
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_the_loss_of_a_product_is_finite_for_any_logits(first, second, label):
    logits = tf.constant([first]), tf.constant([second])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = cross_entropy(product_logit(*logits), tf.constant([label]), tf.ones(1))
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_the_loss_of_esmm_by_hand(small_schema):
    """An impression, two clicks, a click without a known ratio; a row that CTR does not count."""
    chances = {
        "ctr": np.array([0.5, 0.8, 0.4, 0.9, 0.3]),
        "cvr": np.array([0.5, 0.25, 0.6, 0.1, 0.7]),
    }
    logits = {task: tf.constant(np.log(p / (1 - p)), tf.float32) for task, p in chances.items()}
    batch = {
        "labels": {
            "ctr": tf.constant([0.0, 1.0, 1.0, 1.0, 0.0]),
            "cvr": tf.constant([0.0, 0.5, 1.0, 0.0, 0.0]),
        },
        "weights": {
            "ctr": tf.constant([1.0, 1.0, 1.0, 1.0, 0.0]),
            "cvr": tf.constant([0.0, 1.0, 1.0, 0.0, 0.0]),
        },
    }
    losses = entire_space_losses(small_schema)(logits, batch)
    by_row = [
        -np.log(1 - 0.5 * 0.5),
        -0.5 * np.log(0.8 * 0.25) - 0.5 * np.log(1 - 0.8 * 0.25),
        -np.log(0.4 * 0.6),
    ]
    assert list(losses) == ["ctr", "cvr"]
    np.testing.assert_allclose(losses["cvr"], np.mean(by_row), rtol=1e-5)
    ctr = -np.mean([np.log(0.5), np.log(0.8), np.log(0.4), np.log(0.9)])
    np.testing.assert_allclose(losses["ctr"], ctr, rtol=1e-5)


def test_esmm_leaves_tasks_outside_a_chain_their_losses(tasks):
    batch = batch_of_tasks(tasks)
    logits = moved(build_model("esmm", tasks)).model(batch["features"])
    losses = entire_space_losses(tasks)(logits, batch)
    assert chain(tasks) == {"cvr": "ctr", "like": "ctr"}
    for task in tasks.tasks:
        of_task = LOSSES[task.loss](
            logits[task.name], batch["labels"][task.name], batch["weights"][task.name]
        )
        assert (float(losses[task.name]) == float(of_task)) == (task.population is None)


def test_without_a_chain_esmm_has_no_losses_of_its_own(small_schema):
    assert build_model("esmm", small_schema.with_tasks(["ctr"])).own_losses is None
    assert build_model("esmm", small_schema).own_losses is not None


@pytest.mark.parametrize("names", [["cvr"], ["cvr", "finish"]])
def test_esmm_refuses_a_task_whose_first_task_is_not_there(tasks, names):
    message = f"ESMM learns task cvr through .* click: found tasks {', '.join(names)}, expected"
    with pytest.raises(ValueError, match=message):
        build_model("esmm", tasks.with_tasks(names))


def test_esmm_refuses_a_chain_of_three(tasks):
    """The first task must be learned on all rows: a product of two is not all of the way."""
    deep = dataclasses.replace(tasks.task("like"), name="deep", label="deep", population="liked")
    with pytest.raises(ValueError, match="task deep through the probability of liked"):
        chain(dataclasses.replace(tasks, tasks=(*tasks.tasks, deep)))


def in_wifi(task):
    return dataclasses.replace(
        task, name=f"{task.name}_wifi", where=(Filter("network", "==", ("wifi",)),)
    )


def test_esmm_chains_the_tasks_of_one_scenario(small_schema):
    ctr, cvr = small_schema.tasks
    wifi = (in_wifi(ctr), in_wifi(cvr))
    both = dataclasses.replace(small_schema, tasks=(ctr, *wifi, cvr))
    assert chain(both) == {"cvr": "ctr", "cvr_wifi": "ctr_wifi"}
    apart = dataclasses.replace(small_schema, tasks=(ctr, wifi[1]))
    message = 'found tasks ctr, cvr_wifi, expected .* of its scenario network == "wifi"'
    with pytest.raises(ValueError, match=message):
        chain(apart)


def test_aitm_calibrates_events_of_one_scenario(small_schema, tasks):
    events = [tasks.task("finish"), tasks.task("share")]
    wifi = [in_wifi(task) for task in events]
    made = dataclasses.replace(tasks, tasks=(*wifi, *events))
    assert calibrated_pairs(made) == [("finish_wifi", "share_wifi"), ("finish", "share")]


def test_aitm_calibrates_consecutive_events_alone(small_schema, tasks):
    assert calibrated_pairs(tasks) == [("finish", "share")]
    assert calibrated_pairs(small_schema) == []
    assert build_model("aitm", small_schema).own_losses is None
    assert build_model("aitm", tasks).own_losses is not None
    assert calibrated_pairs(tasks.with_tasks(["ctr", "finish", "share"])) == [
        ("ctr", "finish"),
        ("finish", "share"),
    ]


def test_the_calibrator_of_aitm_by_hand(tasks):
    batch = batch_of_tasks(tasks, rows=3)
    logits = {task.name: tf.zeros(3) for task in tasks.tasks}
    above = {"finish": [0.2, 0.5, 0.9], "share": [0.6, 0.4, 0.95]}  # by .4, not, by .05
    for task, p in above.items():
        logits[task] = tf.constant(np.log(np.divide(p, np.subtract(1, p))), tf.float32)
    losses = calibrated_losses(tasks)(logits, batch)
    for task in tasks.tasks:
        labels, weights = batch["labels"][task.name], batch["weights"][task.name]
        expected = float(LOSSES[task.loss](logits[task.name], labels, weights))
        if task.name == "share":
            expected += 0.6 * (0.4 + 0.05) / 3
        np.testing.assert_allclose(losses[task.name], expected, rtol=1e-5, err_msg=task.name)


def losses_of(network, schema, batch):
    logits = network.model(batch["features"], training=True)
    if network.own_losses is not None:
        return network.own_losses(logits, batch)
    return {
        task.name: LOSSES[task.loss](
            logits[task.name], batch["labels"][task.name], batch["weights"][task.name]
        )
        for task in schema.tasks
    }


def touched_by(network, schema, task):
    """The names of the variables that one task's loss has a gradient for."""
    with tf.GradientTape() as tape:
        loss = losses_of(network, schema, batch_of_tasks(schema))[task]
    gradients = tape.gradient(loss, network.variables)
    return {name for name, gradient in gradients.items() if gradient is not None}


def names_below(network, *prefixes):
    return {name for name in network.variables if name.startswith(prefixes)}


def parts_of(network, task, *others):
    """What only one task computes with, the embedding, and what begins with other prefixes."""
    return names_below(network, f"{task}/", "embedding/", *others)


def test_mmoe_shares_experts_and_nothing_above(small_schema):
    network = build_model("mmoe", small_schema)
    for task in network.tasks:
        assert touched_by(network, small_schema, task) == parts_of(network, task, "expert_")


def test_cgc_keeps_the_experts_of_other_tasks_apart(small_schema):
    network = build_model("ple", small_schema, levels=1)
    for task in network.tasks:
        assert touched_by(network, small_schema, task) == parts_of(network, task, "level_0")


@pytest.mark.parametrize(("task", "other"), [("ctr", "cvr"), ("cvr", "ctr")])
def test_ple_reaches_the_experts_of_other_tasks_through_the_shared_gate(small_schema, task, other):
    network = build_model("ple", small_schema, levels=2)
    expected = parts_of(network, task, "level_", f"{other}/level_0/expert_")
    assert touched_by(network, small_schema, task) == expected


def test_the_later_task_of_aitm_teaches_the_tower_before(small_schema):
    network = build_model("aitm", small_schema)
    assert touched_by(network, small_schema, "ctr") == parts_of(network, "ctr")
    assert touched_by(network, small_schema, "cvr") == parts_of(network, "cvr", "ctr/tower")


def test_the_product_of_esmm_teaches_both_towers(small_schema):
    network = build_model("esmm", small_schema)
    assert touched_by(network, small_schema, "ctr") == parts_of(network, "ctr")
    assert touched_by(network, small_schema, "cvr") == set(network.variables)


@pytest.mark.parametrize("name", BUILDERS)
def test_one_step_changes_every_variable(name, tasks):
    network = moved(build_model(name, tasks))
    batch = batch_of_tasks(tasks, rows=64)
    before = read_variables(network)
    with tf.GradientTape() as tape:
        total = tf.add_n(list(losses_of(network, tasks, batch).values()))
    variables = list(network.variables.values())
    keras.optimizers.Adam(0.01).apply_gradients(
        zip(tape.gradient(total, variables), variables, strict=True)
    )
    for variable, value in read_variables(network).items():
        assert (value != before[variable]).any(), variable


@pytest.mark.parametrize("name", BUILDERS)
def test_draws_depend_on_seed_and_name_alone(name, tasks):
    first = read_variables(build_model(name, tasks))
    again = read_variables(build_model(name, tasks))
    fewer = read_variables(build_model(name, tasks.with_tasks(["ctr", "cvr"])))
    other = read_variables(build_model(name, tasks, seed=4))
    assert list(again) == list(first)
    assert set(fewer) < set(first)
    for variable, value in first.items():
        np.testing.assert_array_equal(again[variable], value)
        # A gate has a column for each expert it mixes: their number depends on that of the tasks.
        if variable in fewer and fewer[variable].shape == value.shape:
            np.testing.assert_array_equal(fewer[variable], value)
        drawn = not variable.endswith(("bias", "coding"))
        assert value.any() == drawn, variable
        if drawn:
            assert (other[variable] != value).mean() > 0.9, variable


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "htlnet"])
def test_one_task_alone_and_no_masks(name, small_schema):
    network = build_model(name, small_schema.with_tasks(["ctr"]))
    assert network.tasks == ("ctr",)
    assert network.masks("ctr") == network.kernels("ctr") == {}
    features = batch_of_tasks(small_schema, rows=3)["features"]
    logits = network.model(features)
    assert {task: tuple(logit.shape) for task, logit in logits.items()} == {"ctr": (3,)}
    np.testing.assert_array_equal(network.task_models["ctr"](features), logits["ctr"])
