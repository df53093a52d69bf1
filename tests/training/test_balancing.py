"""Rules that balance tasks: projection, GradNorm, uncertainty, MetaBalance."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.models.losses import LOSSES
from lt4rec_tf.tickets.masks import union
from lt4rec_tf.training.balancing import gradnorm
from lt4rec_tf.training.balancing.gradients import inner_products, weighted_sum
from lt4rec_tf.training.balancing.gradnorm import GradNorm, last_shared_kernel
from lt4rec_tf.training.balancing.pcgrad import PCGrad, projected_weights
from lt4rec_tf.training.balancing.rules import RULES, build_rule
from lt4rec_tf.training.balancing.uncertainty import Uncertainty
from lt4rec_tf.training.plan import Objective, Optimization, Plan
from tests.support.networks import build_small, read_variables
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    quiet_progress,
    random_masks,
    small_feed,
    small_trainer,
)

pytestmark = pytest.mark.slow(minutes=1)

BALANCED = [name for name in RULES if name != "none"]


@pytest.fixture(scope="module")
def three_tasks(small_schema):
    again = dataclasses.replace(small_schema.task("ctr"), name="again", loss="focal")
    return dataclasses.replace(small_schema, tasks=(*small_schema.tasks, again))


def rows_of(indices, values, rows=6):
    return tf.IndexedSlices(
        tf.constant(values, tf.float32), tf.constant(indices, tf.int64), (rows, len(values[0]))
    )


def dense(gradient):
    return tf.convert_to_tensor(gradient).numpy().astype(np.float64)


# Gradients of one variable


SPARSE = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25)
@given(SPARSE, st.lists(st.integers(-3, 3), min_size=3, max_size=3))
def test_sparse_gradients_count_as_the_dense_ones_they_stand_for(tasks, weights):
    gradients = [
        rows_of([row for row, _ in task], [[value, 2.0] for _, value in task]) for task in tasks
    ]
    flat = np.stack([dense(gradient).ravel() for gradient in gradients])
    np.testing.assert_allclose(inner_products(gradients), flat @ flat.T)
    weights = np.array(weights[: len(tasks)], np.float32)
    total = weighted_sum(gradients, tf.constant(weights))
    assert isinstance(total, tf.IndexedSlices)
    np.testing.assert_array_equal(dense(total).ravel(), weights @ flat)
    touched = {row for task in tasks for row, _ in task}
    assert sorted(total.indices.numpy()) == sorted(touched)  # each once, no other


def test_a_task_without_a_gradient_counts_as_zeros():
    kernel = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(inner_products([None, kernel]), [[0, 0], [0, 5]])
    np.testing.assert_array_equal(weighted_sum([None, kernel], tf.constant([7.0, 3.0])), [[3, 6]])
    table = rows_of([1], [[2.0]])
    np.testing.assert_array_equal(inner_products([table, None]), [[4, 0], [0, 0]])
    assert weighted_sum([None, None], tf.ones(2)) is None


# PCGrad


def project(gradients, orders):
    """The paper's Algorithm 1, on the vectors themselves."""
    projected = []
    for i, gradient in enumerate(gradients):
        mine = gradient.copy()
        for j in orders[i]:
            product = mine @ gradients[j]
            if j != i and product < 0:
                mine -= product / (gradients[j] @ gradients[j]) * gradients[j]
        projected.append(mine)
    return projected


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_projection_is_algorithm_1(seed, tasks):
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(tasks, 5))
    orders = np.array([rng.permutation(tasks) for _ in range(tasks)])
    products = tf.constant(gradients @ gradients.T, tf.float32)
    weights = projected_weights(products, tf.constant(orders)).numpy()
    np.testing.assert_allclose(
        weights @ gradients, sum(project(gradients, orders)), rtol=1e-3, atol=1e-4
    )


def test_the_order_matters_from_three_tasks_on():
    gradients = np.array([[1.0, 0.0], [-1.0, 0.5], [-1.0, -1.0]])
    products = tf.constant(gradients @ gradients.T, tf.float32)
    distinct_weights = {
        tuple(np.round(projected_weights(products, tf.constant(list(orders))).numpy(), 4))
        for orders in itertools.product(itertools.permutations(range(3)), repeat=3)
    }
    assert len(distinct_weights) > 1


def test_tasks_that_agree_are_summed():
    products = tf.constant([[1.0, 0.0], [0.0, 4.0]])
    assert projected_weights(products, tf.constant([[0, 1], [1, 0]])).numpy().tolist() == [1, 1]


def test_a_task_without_gradient_is_no_direction_to_project_off():
    products = tf.zeros((2, 2))
    assert projected_weights(products, tf.constant([[0, 1], [1, 0]])).numpy().tolist() == [1, 1]


def test_pcgrad_projects_over_all_shared_parameters_and_leaves_the_others():
    table = [rows_of([0, 2, 2], [[1.0], [2.0], [1.0]]), rows_of([2, 3], [[-2.0], [1.0]])]
    kernel = [tf.constant([[1.0, -1.0]]), tf.constant([[0.5, 1.0]])]
    own = [tf.constant([5.0]), None]
    gradients = [[table[t], kernel[t], own[t], None] for t in range(2)]
    combined = PCGrad(2, seed=0).combine([], gradients, [])
    flat = [np.concatenate([dense(table[t]).ravel(), dense(kernel[t]).ravel()]) for t in range(2)]
    assert flat[0] @ flat[1] < 0
    expected = sum(project(flat, [[0, 1], [1, 0]]))
    assert isinstance(combined[0], tf.IndexedSlices)
    shared_update = np.concatenate([dense(combined[0]).ravel(), dense(combined[1]).ravel()])
    np.testing.assert_allclose(shared_update, expected, rtol=1e-6)
    assert combined[2].numpy().tolist() == [5.0]
    assert combined[3] is None


def test_the_order_is_drawn_anew_each_step_and_again_after_a_reset():
    gradients = np.array([[1.0, 0.0], [-1.0, 0.5], [-1.0, -1.0]], np.float32)

    def steps(rule, count=12):
        parts = [[tf.constant(gradient)] for gradient in gradients]
        return [tuple(rule.combine([], parts, [])[0].numpy().tolist()) for _ in range(count)]

    rule = PCGrad(3, seed=4)
    first = steps(rule)
    assert len(set(first)) > 1
    assert rule.state["step"].numpy() == 12
    rule.reset()
    assert steps(rule) == first == steps(PCGrad(3, seed=4))
    assert steps(PCGrad(3, seed=5)) != first


def task_gradient(network, schema, task, batch, weight):
    with tf.GradientTape() as tape:
        logit = network.task_models[task](batch["features"])
        loss = LOSSES[schema.task(task).loss]
        value = weight * loss(logit, batch["labels"][task], batch["weights"][task])
    parts = tape.gradient(value, network.variables)
    return {name: dense(part) for name, part in parts.items() if part is not None}


def test_a_pcgrad_step_of_the_network_is_algorithm_1_on_weighted_losses(small_schema, tmp_path):
    # Adagrad's first step from accumulator c moves a weight by -lr g / sqrt(c + g^2 + eps).
    rate, loss_weights = 0.1, {"ctr": 1.0, "cvr": 3.0}
    network = build_small(small_schema)
    network.heads["cvr"].kernel.assign(network.heads["ctr"].kernel)  # the tasks disagree then
    feed = dataclasses.replace(small_feed(small_schema), steps_per_epoch=1)
    one_batch = feed.train(0, 0).take(1)
    trainer = small_trainer(
        network,
        small_schema,
        schedule="both",
        loss_weights=loss_weights,
        optimizer="adagrad",
        learning_rate=rate,
        feed=dataclasses.replace(feed, train=lambda epoch, skip: one_batch),
        balance="pcgrad",
    )

    batch = next(iter(one_batch))
    gradients = {
        task: task_gradient(network, small_schema, task, batch, weight)
        for task, weight in loss_weights.items()
    }

    shared = [name for name in gradients["ctr"] if name in gradients["cvr"]]
    assert {"embedding/table", "tower_0/kernel", "tower_1/bias"} <= set(shared)
    flat = [np.concatenate([part[name].ravel() for name in shared]) for part in gradients.values()]
    assert flat[0] @ flat[1] < 0
    summed = sum(project(flat, [[0, 1], [1, 0]]))

    before = read_variables(network)
    trainer.fit(tmp_path, "joint", Plan(epochs=1))
    after = read_variables(network)
    moved = {name: before[name] - value for name, value in after.items()}

    moved_shared = np.concatenate([moved[name].ravel() for name in shared])
    expected = rate * summed / np.sqrt(0.1 + summed**2 + 1e-7)
    np.testing.assert_allclose(moved_shared, expected, rtol=1e-3, atol=1e-6)

    for task, part in gradients.items():
        own = part[f"{task}/head/kernel"]
        expected = rate * own / np.sqrt(0.1 + own**2 + 1e-7)
        np.testing.assert_allclose(moved[f"{task}/head/kernel"], expected, rtol=1e-3, atol=1e-6)


# GradNorm


def softmax(s):
    return np.exp(s) / np.exp(s).sum()


def slope_of_s(s, norms, losses, first):
    """d/ds of sum |G - mean(G) r^1.5| with the right side held, by hand."""
    tasks = len(s)
    share = softmax(s)
    sizes = tasks * share * norms
    relative_losses = losses / first
    wanted = sizes.mean() * (relative_losses / relative_losses.mean()) ** 1.5
    by_weight = np.sign(sizes - wanted) * norms
    return tasks * share * (by_weight - share @ by_weight)


def gradnorm_of(kernel_gradients, start=None):
    """A rule on a 2-d kernel, whose gradient of task t is kernel_gradients[t]."""
    kernel = tf.Variable(tf.zeros((1, 2)))
    rule = GradNorm(len(kernel_gradients), kernel)
    if start is not None:
        rule.state["s"].assign(start)
    gradients = [[tf.constant([g], tf.float32)] for g in kernel_gradients]
    return rule, lambda losses: rule.combine([tf.constant(x) for x in losses], gradients, [kernel])


def test_gradnorm_weighs_by_the_weights_before_its_own_step():
    _, step = gradnorm_of([[3.0, 4.0], [1.0, 0.0]], start=[0.0, 1.0])
    w = 2 * softmax(np.array([0.0, 1.0]))
    (combined,) = step([1.0, 1.0])
    np.testing.assert_allclose(combined.numpy(), [[3 * w[0] + w[1], 4 * w[0]]], rtol=1e-6)


@pytest.mark.parametrize("losses", [[0.5, 0.9], [0.9, 0.2], [0.7, 0.7]])
def test_gradnorm_moves_s_as_adam_moves_down_the_papers_gradient(losses):
    rule, step = gradnorm_of([[3.0, 4.0], [1.0, 0.0]], start=[0.2, -0.1])
    norms, first = np.array([5.0, 1.0]), np.array([1.0, 1.0])
    s, m, v = np.array([0.2, -0.1]), np.zeros(2), np.zeros(2)
    for t, seen in enumerate([first, np.array(losses), np.array(losses)], start=1):
        step(seen.tolist())
        slope = slope_of_s(s, norms, seen, first)
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        corrected = m / (1 - 0.9**t), v / (1 - 0.999**t)
        s = s - gradnorm.LEARNING_RATE * corrected[0] / (np.sqrt(corrected[1]) + 1e-7)
        np.testing.assert_allclose(rule.state["s"].numpy(), s, rtol=1e-4)


def test_gradnorm_brings_the_gradients_to_one_size_where_the_pace_is_one():
    rule, step = gradnorm_of([[4.0, 0.0], [0.0, 1.0]])
    for _ in range(300):
        step([1.0, 1.0])
    w = 2 * softmax(rule.state["s"].numpy())
    assert w.sum() == pytest.approx(2)
    assert w[0] * 4 == pytest.approx(w[1] * 1, rel=0.05)


def test_gradnorm_waits_for_a_task_without_rows():
    rule, step = gradnorm_of([[4.0, 0.0], [0.0, 1.0]])
    step([1.0, 0.0])
    assert rule.state["s"].numpy().tolist() == [0, 0]
    assert rule.state["first_losses"].numpy().tolist() == [1, 0]
    step([0.8, 0.5])
    np.testing.assert_allclose(rule.state["first_losses"].numpy(), [1, 0.5])
    assert (rule.state["s"].numpy() != 0).all()


def test_gradnorm_measures_on_the_last_kernel_that_all_share(small_schema):
    shared = build_small(small_schema, hidden_units=(8, 4))
    assert last_shared_kernel(shared, shared.tasks) is shared.variables["tower_1/kernel"]
    crossed = build_small(small_schema, separate_towers=True, cross="dcn_v2")
    kernel = last_shared_kernel(crossed, crossed.tasks)
    names = [name for name, v in crossed.variables.items() if v is kernel]
    assert names
    assert names[0].startswith("cross/")
    assert len(kernel.shape) == 2


def test_gradnorm_refuses_a_network_that_shares_embeddings_alone(small_schema):
    network = build_small(small_schema, separate_towers=True)
    with pytest.raises(ValueError, match="no kernel that ctr, cvr share beside embeddings"):
        small_trainer(network, small_schema, schedule="both", balance="gradnorm")


# Uncertainty


def test_uncertainty_descends_its_papers_loss():
    rule = Uncertainty([False, True], "adagrad", 0.1)
    rule.state["s"].assign([0.4, -0.3])
    w = tf.Variable([1.0, 2.0])
    with tf.GradientTape(persistent=True) as tape:
        losses = [w[0] ** 2, 3.0 * w[0] * w[1]]
        (target,) = rule.targets(losses)
    (combined,) = rule.combine(losses, [[tape.gradient(target, w)]], [w])

    s = tf.Variable([0.4, -0.3])
    with tf.GradientTape() as tape:
        a, b = w[0] ** 2, 3.0 * w[0] * w[1]
        whole = tf.exp(-s[0]) * a + s[0] / 2 + b / (2 * tf.exp(s[1])) + s[1] / 2
    by_w, by_s = tape.gradient(whole, [w, s])

    np.testing.assert_allclose(combined.numpy(), dense(by_w), rtol=1e-6)
    expected = s.numpy() - 0.1 * dense(by_s) / np.sqrt(0.1 + dense(by_s) ** 2 + 1e-7)
    np.testing.assert_allclose(rule.state["s"].numpy(), expected, rtol=1e-5)


def test_uncertainty_learns_the_noise():
    # d/ds: h exp(-s) L = 1/2, so s ends at log(2 h L).
    rule = Uncertainty([False, True], "adam", 0.05)
    losses = [tf.constant(0.6), tf.constant(0.2)]
    assert rule.state["s"].numpy().tolist() == [-0.5, -0.5]
    for _ in range(600):
        rule.combine(losses, [[]], [])
    np.testing.assert_allclose(rule.state["s"].numpy(), np.log([1.2, 0.2]), atol=0.02)


def test_a_batch_without_rows_tells_nothing_of_the_noise():
    rule = Uncertainty([True, True], "adagrad", 0.1)
    rule.combine([tf.constant(0.6), tf.constant(0.0)], [[]], [])
    s = rule.state["s"].numpy()
    assert s[0] != -0.5
    assert s[1] == -0.5


def test_a_likelihood_below_0_tells_of_the_noise_too():
    rule = Uncertainty([False, True], "adagrad", 0.1)
    rule.combine([tf.constant(-0.6), tf.constant(0.0)], [[]], [])
    s = rule.state["s"].numpy()
    assert s[0] < -0.5
    assert s[1] == -0.5


def test_squared_errors_are_those_of_the_schema(small_schema, small_network):
    weights = {"cvr": 1.0, "ctr": 1.0}
    objective = Objective(("cvr", "ctr"), "both", weights, balance="uncertainty")
    optimization = Optimization(optimizer="adam", learning_rate=0.1)
    rule = build_rule(small_network, small_schema, objective, optimization, tensors=1)
    (target,) = rule.targets([tf.constant(1.0), tf.constant(0.0)])
    assert float(target) == pytest.approx(0.5 * np.exp(0.5))
    (target,) = rule.targets([tf.constant(0.0), tf.constant(1.0)])
    assert float(target) == pytest.approx(np.exp(0.5))


@pytest.mark.parametrize("name", RULES)
def test_one_task_with_rows_needs_no_balance(small_schema, small_network, name):
    weights = {"cvr": 1.0, "ctr": 1.0}
    objective = Objective(("cvr", "ctr"), "both", weights, balance=name, absent=("cvr",))
    assert objective.task_groups == [("ctr",)]
    optimization = Optimization(optimizer="adam", learning_rate=0.1)
    rule = build_rule(small_network, small_schema, objective, optimization, tensors=1)
    (target,) = rule.targets([tf.constant(3.0)])
    assert float(target) == 3.0


# In the trainer


def trained_in_tickets(schema, folder, balance):
    """A network and its variables before it was trained."""
    network = build_small(schema)
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed))
    before = read_variables(network)
    trainer = small_trainer(network, schema, schedule="both", balance=balance)
    trainer.fit(folder, "joint", Plan(epochs=3, keep_last=True))
    return network, before


@pytest.fixture(scope="module")
def unbalanced(small_schema, tmp_path_factory):
    network, _ = trained_in_tickets(small_schema, tmp_path_factory.mktemp("none"), "none")
    return network.variables["embedding/table"].numpy()


@pytest.mark.parametrize("balance", BALANCED)
def test_a_rule_changes_what_is_learned_and_moves_no_weight_that_is_cut_for_all(
    small_schema, unbalanced, tmp_path, balance
):
    network, before = trained_in_tickets(small_schema, tmp_path, balance)
    learned = network.variables["embedding/table"].numpy()
    assert np.isfinite(learned).all()
    assert not np.array_equal(learned, unbalanced)
    union_masks = union([network.masks(task) for task in network.tasks])
    for name, mask in union_masks.items():
        kernel, old = network.variables[f"{name}/kernel"].numpy(), before[f"{name}/kernel"]
        assert kernel[~mask].tobytes() == old[~mask].tobytes()
        assert (kernel[mask] != old[mask]).mean() > 0.5


def begin_again(network, schema):
    again = build_small(schema)
    for name, variable in network.variables.items():
        variable.assign(again.variables[name])


@pytest.mark.parametrize("balance", BALANCED)
def test_a_killed_stage_ends_as_an_unbroken_one(three_tasks, tmp_path, balance):
    plan = Plan(epochs=2, checkpoint_steps=2, keep_last=True)

    def trainer():
        network = build_small(three_tasks)
        made = small_trainer(network, three_tasks, schedule="both", balance=balance, seed=3)
        return made, network

    unbroken, expected = trainer()
    whole = unbroken.fit(tmp_path / "unbroken", "joint", plan)
    state = {name: v.numpy() for name, v in unbroken._rule.state.items()}

    # The process that is killed is one whose rule has a past.
    begin_again(expected, three_tasks)
    unbroken.progress = KilledProgress(STEPS + 4)
    with pytest.raises(Killed):
        unbroken.fit(tmp_path / "killed", "joint", plan)
    unbroken.progress = quiet_progress()
    resumed, network = trainer()
    for variable in network.variables.values():
        variable.assign(tf.zeros_like(variable))
    result = resumed.fit(tmp_path / "killed", "joint", plan)
    assert result["history"] == whole["history"]
    for name, variable in resumed._rule.state.items():
        assert variable.numpy().tobytes() == state[name].tobytes(), name

    begin_again(expected, three_tasks)
    assert unbroken.fit(tmp_path / "again", "joint", plan)["history"] == whole["history"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balance": "pcgrad", "schedule": "alternate"}, "pcgrad: found schedule 'alternate'"),
        ({"balance": "gradnorm", "tasks": ["cvr"]}, "gradnorm: found cvr alone"),
        ({"balance": "dwa"}, "found 'dwa', expected one of none, pcgrad, gradnorm, uncertainty"),
    ],
)
def test_what_a_rule_needs(small_schema, small_network, changes, message):
    with pytest.raises(ValueError, match=message):
        small_trainer(small_network, small_schema, **({"schedule": "both"} | changes))


@pytest.mark.parametrize("schedule", ["both", "alternate"])
def test_a_network_with_losses_of_its_own_is_trained_by_them(small_schema, tmp_path, schedule):
    def own_losses(logits, batch):
        assert set(logits) == {"ctr", "cvr"}
        drift = tf.reduce_mean(batch["weights"]["cvr"])
        return {"cvr": 2.0 + drift * tf.reduce_mean(logits["cvr"] ** 2), "ctr": 7.0 + 0 * drift}

    network = dataclasses.replace(build_small(small_schema), own_losses=own_losses)
    before = read_variables(network)
    trainer = small_trainer(network, small_schema, schedule=schedule, learning_rate=1e-6)
    (record,) = trainer.fit(tmp_path, "joint", Plan(epochs=1))["history"]
    assert record["train_loss"]["ctr"] == 7.0
    assert record["train_loss"]["cvr"] == pytest.approx(2.0, abs=0.5)
    after = read_variables(network)
    assert np.array_equal(after["ctr/head/kernel"], before["ctr/head/kernel"])
    assert not np.array_equal(after["cvr/head/kernel"], before["cvr/head/kernel"])
