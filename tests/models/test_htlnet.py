"""HTLNet against its equations in NumPy: what is handed on, and where gradients end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment.comparison.cost import cost_of
from lt4rec_tf.models.heads.of_task import loss_of
from lt4rec_tf.models.layers.label_embedding import LabelEmbedding, Temperature
from lt4rec_tf.models.network import TRANSFER as HANDED_ON
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.training.plan import Plan
from tests.support.networks import (
    SAMPLED,
    TRANSFER,
    batch_of_tasks,
    build_model,
    build_small,
    moved,
    read,
    read_variables,
    with_more_tasks,
)
from tests.support.training import (
    Killed,
    KilledProgress,
    random_masks,
    small_settings,
    small_trainer,
)


@pytest.fixture(scope="module")
def tasks(small_schema):
    """ctr, cvr (a ratio), finish, share, like: five in a chain."""
    return with_more_tasks(small_schema)


def relu(x):
    return np.maximum(x, 0)


def fused(values, name, units, fusion):
    """A fusion of units, NumPy."""
    if len(units) == 1:
        return units[0] @ values[f"{name}/kernel"]
    if fusion == "concat":
        return np.concatenate(units, axis=1) @ values[f"{name}/kernel"]
    query, key, value = (
        np.stack([u @ values[f"{name}/{part}_kernel"] for u in units], axis=1)
        for part in ("query", "key", "value")
    )
    weights = softmax((query * key).sum(axis=2) / np.sqrt(value.shape[2]), axis=1)
    return (weights[:, :, None] * value).sum(axis=1)


def forward(values, x, network, transfer, masks):
    """{task: logit} by the model's docstring."""
    logits, representations, labels = {}, [], []
    shared = "tower_0/kernel" in values
    for place, task in enumerate(network.tasks):
        prefix = "" if shared else f"{task}/"
        parts = []
        if place and transfer.representation:
            name = f"{HANDED_ON}{task}/representation"
            parts.append(fused(values, name, representations, transfer.fusion))
        if place and transfer.label_embedding and labels:
            parts.append(fused(values, f"{HANDED_ON}{task}/label", labels, transfer.fusion))
        hidden = x
        for depth in range(3):
            kernel = values[f"{prefix}tower_{depth}/kernel"] * masks[task][f"tower_{depth}"]
            z = hidden @ kernel + values[f"{prefix}tower_{depth}/bias"]
            if depth == 0 and parts:
                z += np.concatenate(parts, axis=1) @ values[f"{HANDED_ON}{task}/input/kernel"]
            hidden = relu(z)
            if depth == 0:
                representations.append(hidden)
        logits[task] = (hidden @ values[f"{task}/head/kernel"] + values[f"{task}/head/bias"])[:, 0]
        table = values.get(f"{HANDED_ON}{task}/label_table")
        if table is not None:
            p = expit(logits[task])[:, None]
            labels.append(p * table[0] + (1 - p) * table[1])
    return logits


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "concat"},
        {"label_embedding": 0},
        {"representation": 0},
        {"label_embedding": 0, "representation": 0},
    ],
)
def test_htlnet_is_its_equations(tasks, changes, separate):
    transfer = dataclasses.replace(TRANSFER, **changes)
    network = moved(build_model("htlnet", tasks, transfer=transfer, separate_towers=separate))
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed, density=0.7))
    features = batch_of_tasks(tasks)["features"]
    values, x = read(network, features)
    masks = {task: network.masks(task) for task in network.tasks}
    expected = forward(values, x, network, transfer, masks)
    answers = network.model(features)
    for task, logit in expected.items():
        assert np.ptp(logit) > 0.1
        np.testing.assert_allclose(answers[task], logit, rtol=2e-4, atol=2e-5, err_msg=task)


def test_what_hands_nothing_on_is_hard_sharing_with_its_draws(small_schema):
    nothing = dataclasses.replace(TRANSFER, label_embedding=0, representation=0)
    network = build_model("htlnet", small_schema, transfer=nothing, hidden_units=(8, 4))
    hard = build_small(small_schema, separate_towers=True, seed=3)
    of_hard = read_variables(hard)
    for name, value in read_variables(network).items():
        if "table" not in name:  # drawn with another deviation there
            np.testing.assert_array_equal(value, of_hard[name])


def test_only_classifications_have_labels_to_embed(tasks):
    network = build_model("htlnet", tasks)
    tables = {name for name in network.variables if name.endswith("label_table")}
    assert tables == {f"{HANDED_ON}{task}/label_table" for task in ("ctr", "finish", "share")}
    assert len(network.counters) == 3


def touched_by(network, schema, batch, task):
    """Names of the variables that a task's loss has a gradient other than 0 for."""
    with tf.GradientTape() as tape:
        logits = network.model(batch["features"], training=True)
        loss = loss_of(schema.task(task))(
            logits[task], batch["labels"][task], batch["weights"][task]
        )
    names = list(network.variables)
    gradients = tape.gradient(loss, [network.variables[name] for name in names])
    return {
        name
        for name, g in zip(names, gradients, strict=True)
        if g is not None and np.abs(tf.convert_to_tensor(g)).sum() > 0
    }


def of(network, *prefixes):
    return {name for name in network.variables if name.startswith(prefixes)}


@pytest.mark.parametrize("stop", ["entry", "output", "none"])
def test_where_gradients_end(small_schema, stop):
    more = with_more_tasks(small_schema)
    chain = dataclasses.replace(more, tasks=tuple(more.task(t) for t in ("ctr", "finish", "share")))
    transfer = dataclasses.replace(TRANSFER, transfer_stop=stop)
    network = moved(build_model("htlnet", chain, transfer=transfer))
    batch = batch_of_tasks(chain, rows=64)
    last = touched_by(network, chain, batch, "share")
    own = of(network, "share/") | {f"{HANDED_ON}share/input/kernel"}
    everyone = of(network, "embedding/", "cross/")
    if stop == "entry":
        fusion = of(network, f"{HANDED_ON}share/")
        tables = {f"{HANDED_ON}{task}/label_table" for task in ("ctr", "finish")}
        assert last == own | everyone | fusion | tables
    elif stop == "output":
        assert last == own | everyone
    else:
        assert last == set(network.variables)
    first = touched_by(network, chain, batch, "ctr")
    assert first == everyone | of(network, "ctr/")


def test_label_embeddings_at_inference_are_the_expected_ones():
    layer = LabelEmbedding(
        2, keras.initializers.Identity(), temperature=SAMPLED.temperature, noise=True, seed=7
    )
    found = layer(tf.constant([0.0, np.log(3.0)], tf.float32))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.75, 0.25]], rtol=1e-6)
    assert int(layer.calls) == 0


@given(st.floats(-3, 3), st.floats(0.4, 3))  # beyond, float32 rounds to 1
def test_sampled_labels_follow_the_gumbel_softmax(logit, tau):
    rows = 20_000
    layer = LabelEmbedding(
        2,
        keras.initializers.Identity(),
        temperature=Temperature(tau, 1.0, 1, 0.01),
        noise=True,
        seed=3,
    )
    found = layer(tf.fill([rows], np.float32(logit)), training=True).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
    # p > 1/2 with the chance of the label itself, at every temperature.
    share, expected = (found[:, 0] > 0.5).mean(), expit(logit)
    assert share == pytest.approx(expected, abs=4.5 * np.sqrt(0.25 / rows))
    # The distribution's median is sigmoid(l / tau), since logistic noise has median 0.
    assert (found[:, 0] > expit(logit / tau)).mean() == pytest.approx(0.5, abs=0.02)


def test_noise_differs_between_calls_and_repeats_after_a_reset():
    layer = LabelEmbedding(
        2, keras.initializers.Identity(), temperature=SAMPLED.temperature, noise=True, seed=3
    )
    logits = tf.zeros(8)
    first, second = layer(logits, training=True).numpy(), layer(logits, training=True).numpy()
    assert (first != second).all()
    assert int(layer.calls) == 2
    layer.calls.assign(0)
    np.testing.assert_array_equal(layer(logits, training=True), first)


def test_as_the_temperature_falls_labels_become_hard():
    def spread(tau):
        layer = LabelEmbedding(
            2, keras.initializers.Identity(), temperature=Temperature(tau, 1.0, 1, 1e-3),
            noise=True, seed=1,
        )  # fmt: skip
        return np.abs(layer(tf.zeros(500), training=True).numpy()[:, 0] - 0.5).mean()

    assert spread(10.0) < 0.1 < spread(1.0) < 0.3 < spread(0.1) < 0.5


def sampling_trainer(schema, progress=None, **changes):
    network = build_model("htlnet", schema, transfer=SAMPLED)
    told = {"schedule": "both"} | ({} if progress is None else {"progress": progress})
    return network, small_trainer(network, schema, **told, **changes)


def test_a_killed_stage_samples_on_as_an_unbroken_one(small_schema, tmp_path):
    network, trainer = sampling_trainer(small_schema)
    trainer.fit(tmp_path / "whole", "stage", Plan(2))
    whole = read_variables(network)
    plan = Plan(2, checkpoint_steps=2)
    _, trainer = sampling_trainer(small_schema, KilledProgress(at=8))
    with pytest.raises(Killed):
        trainer.fit(tmp_path / "killed", "stage", plan)
    network, trainer = sampling_trainer(small_schema)
    trainer.fit(tmp_path / "killed", "stage", plan)
    for name, value in read_variables(network).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


def test_a_second_stage_samples_from_the_start(small_schema, tmp_path):
    network, trainer = sampling_trainer(small_schema)
    start = read_variables(network)
    found = []
    for stage in ("a", "b"):
        for name, variable in network.variables.items():
            variable.assign(start[name])
        trainer.fit(tmp_path / stage, stage, Plan(1))
        found.append(read_variables(network))
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


def test_evaluation_does_not_sample(small_schema):
    network = moved(build_model("htlnet", small_schema, transfer=SAMPLED))
    features = batch_of_tasks(small_schema)["features"]
    first, second = (network.model(features, training=False)["cvr"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    sampled = network.model(features, training=True)["cvr"]
    assert (np.abs(sampled - first) > 1e-6).any()


@pytest.mark.parametrize("wrong", [{"fusion": "sum"}, {"transfer_stop": "middle"}])
def test_what_is_unknown_is_refused(small_schema, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}: found {value!r}, expected"):
        build_model("htlnet", small_schema, transfer=dataclasses.replace(TRANSFER, **wrong))


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("label_embedding=-1", "0 or more"),
        ("representation=-3", "0 or more"),
        ("label_temperature=0", "a number above 0"),
        ("label_temperature_floor=0", "a number above 0"),
        ("label_temperature_decay=1.5", "a factor in"),
        ("label_temperature_steps=0", "1 or more"),
        ("core_clip=0.5", "1 or more"),
        ("core_projection=1.5", "a share in"),
        ("core_relaxation=-0.1", "a share in"),
    ],
)
def test_settings_out_of_range_are_refused(flag, expected):
    with pytest.raises(ConfigError, match=f"--{flag.partition('=')[0]}: found.*{expected}"):
        small_settings(f"--{flag}")


def test_flags_become_the_network(small_schema):
    settings = small_settings("--label_embedding=0", "--representation=7", "--fusion=concat")
    network = network_of(settings, small_schema, "htlnet")
    assert network.variables[f"{HANDED_ON}cvr/representation/kernel"].shape == (8, 7)
    assert not network.counters
    shared = network_of(small_settings(), small_schema, "htlnet_s_weight")
    assert shared.kernels("ctr")["tower_0"] is shared.kernels("cvr")["tower_0"]


def test_the_cost_counts_attention_once_a_unit(tasks):
    network = build_model("htlnet", tasks)
    inputs = network.bottom.output.shape[-1]
    towers = inputs * 8 + 8 * 6 + 6 * 4 + 4
    labels = {"ctr": 0, "cvr": 1, "finish": 1, "share": 2, "like": 3}
    total = 0
    for place, task in enumerate(network.tasks):
        total += towers
        if not place:
            continue
        attention = 1 if place == 1 else 3 * place
        total += attention * 8 * 5
        total += (1 if labels[task] == 1 else 3 * labels[task]) * 3 * 3
        total += (5 + 3) * 8
    assert cost_of(network)["multiply_adds"] == total
