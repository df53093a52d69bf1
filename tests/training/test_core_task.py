"""Rules in favour of the last task, against a dense reference in NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.models.heads.of_task import loss_of
from lt4rec_tf.training.balancing.core_task import (
    HTLNET_CORE,
    Core,
    HybridTargets,
    MetaBalance,
    adjusted_weights,
)
from lt4rec_tf.training.balancing.rules import WeightedSum
from lt4rec_tf.training.plan import Plan
from tests.support.networks import (
    batch_of_tasks,
    build_model,
    build_small,
    read_variables,
    with_more_tasks,
)
from tests.support.training import random_masks, small_trainer

VECTORS = st.lists(
    st.lists(st.integers(-5, 5), min_size=4, max_size=4), min_size=2, max_size=4
).filter(lambda vectors: any(vectors[-1]))


def adjusted(gradients, core):
    """sum of the adjusted gradients (tasks, numbers), the last the core task's: step by step."""
    g_core = gradients[-1]
    total = g_core.copy()
    for g in gradients[:-1]:
        norm, norm_core = np.linalg.norm(g), np.linalg.norm(g_core)
        projected = g.copy()
        if g @ g_core < 0:
            projected = g - core.projection * (g @ g_core) / norm_core**2 * g_core
        if norm_core > 0:
            ratio = np.clip(norm_core / norm if norm else 0.0, 1 / core.clip, core.clip)
            projected = core.relaxation * ratio * projected + (1 - core.relaxation) * projected
        total += projected
    return total


@given(
    VECTORS,
    st.builds(Core, st.floats(0, 1), st.floats(0, 1), st.floats(1, 20)),
)
def test_the_weights_make_the_sum_of_the_adjusted_gradients(vectors, core):
    gradients = np.array(vectors, np.float64)
    weights = adjusted_weights(tf.constant(gradients @ gradients.T, tf.float32), core).numpy()
    expected = adjusted(gradients, core)
    np.testing.assert_allclose(weights @ gradients, expected, rtol=1e-3, atol=1e-3)


@given(VECTORS)
def test_after_the_whole_projection_nothing_opposes_the_core_task(vectors):
    gradients = np.array(vectors, np.float64)
    core = Core(projection=1.0, relaxation=0.3, clip=5.0)
    update = adjusted(gradients, core)
    weights = adjusted_weights(tf.constant(gradients @ gradients.T, tf.float32), core).numpy()
    assert weights @ gradients @ gradients[-1] >= gradients[-1] @ gradients[-1] - 1e-2
    np.testing.assert_allclose(weights @ gradients, update, rtol=1e-3, atol=1e-3)


def test_the_magnitude_is_clipped_and_relaxed_by_hand():
    # |G_c| / |G_1| = 3 / 0.1 = 30, clipped to 10: .1 * 10 + .9
    products = tf.constant([[0.01, 0.0], [0.0, 9.0]])
    np.testing.assert_allclose(adjusted_weights(products, HTLNET_CORE), [1.9, 1.0], rtol=1e-6)


def test_without_a_core_gradient_the_others_stay():
    products = tf.constant([[4.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(adjusted_weights(products, HTLNET_CORE), [1.0, 1.0])


@pytest.fixture(scope="module")
def chain(small_schema):
    more = with_more_tasks(small_schema)
    return dataclasses.replace(more, tasks=tuple(more.task(t) for t in ("ctr", "finish", "cvr")))


def networks(schema):
    masked = build_small(schema)
    for seed, task in enumerate(masked.tasks):
        masked.wear(task, random_masks(masked, task, seed))
    return {
        "s_weight": masked,
        **{name: build_model(name, schema) for name in ("mmoe", "ple", "aitm", "htlnet")},
    }


def gradients_of(network, schema, batch):
    variables = list(network.variables.values())
    with tf.GradientTape(persistent=True) as tape:
        logits = network.model(batch["features"], training=True)
        losses = [
            loss_of(task)(
                logits[task.name], batch["labels"][task.name], batch["weights"][task.name]
            )
            for task in schema.tasks
        ]
    return losses, [tape.gradient(loss, variables) for loss in losses], variables


def dense(gradient, like):
    if gradient is None:
        return np.zeros(like.shape)
    return tf.convert_to_tensor(gradient).numpy().astype(np.float64)


@pytest.mark.parametrize("name", ["s_weight", "mmoe", "ple", "aitm", "htlnet"])
def test_sparse_gradients_are_adjusted_as_their_dense_ones(chain, name):
    network = networks(chain)[name]
    losses, gradients, variables = gradients_of(network, chain, batch_of_tasks(chain, rows=48))
    combined = HybridTargets(HTLNET_CORE).combine(losses, gradients, variables)

    shared = [all(of_task[i] is not None for of_task in gradients) for i in range(len(variables))]
    assert any(shared)
    wide = [[dense(g, v) for g, v in zip(of_task, variables, strict=True)] for of_task in gradients]
    flat = np.stack([
        np.concatenate([g.ravel() for g, s in zip(of_task, shared, strict=True) if s])
        for of_task in wide
    ])  # fmt: skip

    expected = adjusted(flat, HTLNET_CORE)
    assert not np.allclose(expected, flat.sum(axis=0), rtol=1e-3)  # the rule does something

    start = 0
    for i, (variable, gradient) in enumerate(zip(variables, combined, strict=True)):
        size = int(np.prod(variable.shape))
        if shared[i]:
            wanted = expected[start : start + size].reshape(variable.shape)
            start += size
        else:
            wanted = sum(of_task[i] for of_task in wide)
        np.testing.assert_allclose(dense(gradient, variable), wanted, rtol=2e-3, atol=1e-6)

    table = list(network.variables).index("embedding/table")
    assert isinstance(combined[table], tf.IndexedSlices)


def test_only_what_every_task_reads_is_shared(chain):
    network = networks(chain)["htlnet"]
    _, gradients, _ = gradients_of(network, chain, batch_of_tasks(chain, rows=48))
    shared = {
        name
        for i, name in enumerate(network.variables)
        if all(of_task[i] is not None for of_task in gradients)
    }
    assert shared == {"embedding/table"}  # a Gram matrix has no kernel


def test_metabalance_is_its_algorithm():
    rule = MetaBalance(tasks=2, tensors=2)
    variables = [tf.Variable(tf.zeros(2)), tf.Variable(tf.zeros(1))]
    norms = np.zeros((2, 2))
    rng = np.random.default_rng(0)
    for _ in range(3):
        g = rng.normal(size=(2, 3)).astype(np.float32)
        gradients = [[tf.constant(row[:2]), tf.constant(row[2:])] for row in g]
        combined = rule.combine([tf.constant(1.0)] * 2, gradients, variables)
        for tensor, part in enumerate((slice(0, 2), slice(2, 3))):
            norms[tensor] = 0.9 * norms[tensor] + 0.1 * np.linalg.norm(g[:, part], axis=1)
            weight = 0.7 * norms[tensor, 1] / norms[tensor] + 0.3
            np.testing.assert_allclose(combined[tensor], weight @ g[:, part], rtol=1e-4)
    rule.reset()
    assert not rule.state["norms"].numpy().any()


def test_metabalance_leaves_what_one_task_alone_trains():
    rule = MetaBalance(tasks=2, tensors=1)
    gradients = [[tf.constant([3.0])], [None]]
    (combined,) = rule.combine([tf.constant(1.0)] * 2, gradients, [tf.Variable([0.0])])
    np.testing.assert_array_equal(combined, [3.0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s_weight", "mmoe", "ple", "htlnet"])
def test_models_learn_by_the_rule(small_schema, tmp_path, name):
    network = networks(small_schema)[name]
    trainer = small_trainer(network, small_schema, schedule="both", balance="htlnet")
    before = read_variables(network)
    result = trainer.fit(tmp_path, name, Plan(6))
    losses = [record["train_loss"] for record in result["history"]]
    assert losses[-1]["ctr"] < losses[0]["ctr"]
    assert any((value != before[key]).any() for key, value in read_variables(network).items())


def test_no_projection_and_no_scaling_is_the_sum(chain):
    network = networks(chain)["mmoe"]
    losses, gradients, variables = gradients_of(network, chain, batch_of_tasks(chain, rows=48))
    nothing = HybridTargets(Core(projection=0.0, relaxation=0.0, clip=1.0))
    combined = nothing.combine(losses, gradients, variables)

    with tf.GradientTape() as tape:
        logits = network.model(batch_of_tasks(chain, rows=48)["features"], training=True)
        batch = batch_of_tasks(chain, rows=48)
        total = WeightedSum().targets([
            loss_of(t)(logits[t.name], batch["labels"][t.name], batch["weights"][t.name])
            for t in chain.tasks
        ])[0]  # fmt: skip

    for gradient, summed, variable in zip(
        combined, tape.gradient(total, variables), variables, strict=True
    ):
        np.testing.assert_allclose(
            dense(gradient, variable), dense(summed, variable), rtol=1e-3, atol=1e-6
        )
