"""Metrics of a split, each on its own population of rows."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from sklearn import metrics as sk

from lt4rec_tf.metrics.calibration import ece
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.schema.types import chained_tasks
from lt4rec_tf.training.evaluation import measure, population_sizes, split_losses, without_user
from lt4rec_tf.training.predictions import Predictions, make_predictor
from tests.support.networks import build_small
from tests.support.training import random_masks, rows_of_tasks

TASKS = ("ctr", "cvr")


@pytest.fixture
def predictions():
    """40 rows of 8 users; in 5 clicked rows the watch ratio is unknown."""
    rng = np.random.default_rng(4)
    click = rng.integers(0, 2, 40).astype(np.float32)
    has_ratio = click.copy()
    has_ratio[np.flatnonzero(click)[:5]] = 0
    ratio = (rng.random(40) * has_ratio).astype(np.float32)
    return Predictions(
        logits={task: rng.normal(size=40).astype(np.float32) for task in TASKS},
        labels={"ctr": click, "cvr": ratio},
        weights={"ctr": np.ones(40, np.float32), "cvr": has_ratio},
        users=rng.integers(0, 8, 40),
    )


def test_ctr_is_measured_on_all_rows(predictions, small_schema):
    metrics = measure(predictions, small_schema, TASKS)["ctr"]
    labels = predictions.labels["ctr"]
    scores = expit(predictions.logits["ctr"].astype(np.float64))
    assert metrics["auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert metrics["log_loss"] == pytest.approx(sk.log_loss(labels, scores), rel=1e-6)
    assert metrics["mse"] == pytest.approx(sk.mean_squared_error(labels, scores), rel=1e-6)
    assert metrics["pcoc"] == pytest.approx(scores.sum() / labels.sum(), rel=1e-6)
    mean = np.full(40, labels.mean())
    expected = sk.log_loss(labels, scores) / sk.log_loss(labels, mean)
    assert metrics["ne"] == pytest.approx(expected, rel=1e-6)
    assert metrics["ece"] == pytest.approx(ece(labels, scores), rel=1e-6)
    won = rows = 0
    for user in range(8):
        of_user = predictions.users == user
        if len(set(labels[of_user])) == 2:
            won += of_user.sum() * sk.roc_auc_score(labels[of_user], scores[of_user])
            rows += of_user.sum()
    assert metrics["gauc"] == pytest.approx(won / rows, abs=1e-12)


def test_gauc_leaves_rows_without_a_user_out(predictions, small_schema):
    anonymous = np.arange(40) % 4 == 0
    users = np.where(anonymous, NO_USER, predictions.users)
    some = dataclasses.replace(predictions, users=users)
    metrics = measure(some, small_schema, TASKS)["ctr"]

    kept = Predictions(
        logits={"ctr": predictions.logits["ctr"][~anonymous]},
        labels={"ctr": predictions.labels["ctr"][~anonymous]},
        weights={"ctr": predictions.weights["ctr"][~anonymous]},
        users=predictions.users[~anonymous],
    )
    assert metrics["gauc"] == measure(kept, small_schema, ["ctr"])["ctr"]["gauc"]
    assert metrics["auc"] == measure(predictions, small_schema, TASKS)["ctr"]["auc"]
    assert without_user(some, small_schema, TASKS) == {"ctr": {"rows": 40, "without_user": 10}}

    nobody = dataclasses.replace(predictions, users=np.full(40, NO_USER))
    assert math.isnan(measure(nobody, small_schema, TASKS)["ctr"]["gauc"])


def test_no_gauc_without_a_column_of_users(predictions, small_schema):
    anonymous = dataclasses.replace(small_schema, user=None)
    nobody = dataclasses.replace(predictions, users=np.full(40, NO_USER))
    metrics = measure(nobody, anonymous, TASKS)["ctr"]
    assert list(metrics) == ["auc", "log_loss", "ne", "mse", "pcoc", "ece"]
    assert without_user(nobody, anonymous, TASKS) == {}


def test_rows_of_each_population_are_counted(predictions):
    known = int((predictions.weights["cvr"] > 0).sum())
    assert population_sizes(predictions, TASKS) == {"ctr": 40, "cvr": known}


def pairwise_agreement(labels, scores):
    """XAUC by all pairs: the share that both order alike; ties in scores count half."""
    wins = pairs = 0.0
    for i in range(len(labels)):
        for j in range(i):
            if labels[i] != labels[j]:
                pairs += 1
                product = (labels[i] - labels[j]) * (scores[i] - scores[j])
                wins += 1.0 if product > 0 else 0.5 if product == 0 else 0.0
    return wins / pairs


def check_continuous(metrics, labels, scores):
    assert metrics["mse"] == pytest.approx(sk.mean_squared_error(labels, scores), rel=1e-5)
    assert metrics["mae"] == pytest.approx(sk.mean_absolute_error(labels, scores), rel=1e-5)
    assert metrics["pcoc"] == pytest.approx(scores.sum() / labels.sum(), rel=1e-5)
    assert metrics["ece"] == pytest.approx(ece(labels, scores), rel=1e-5)
    assert metrics["xauc"] == pytest.approx(pairwise_agreement(labels, scores), abs=1e-12)


def test_cvr_is_measured_on_clicks_with_a_known_ratio(predictions, small_schema):
    metrics = measure(predictions, small_schema, TASKS)["cvr"]
    member = predictions.weights["cvr"] == 1
    assert 0 < member.sum() < predictions.labels["ctr"].sum()
    scores = expit(predictions.logits["cvr"].astype(np.float64))
    check_continuous(metrics, predictions.labels["cvr"][member], scores[member])


def test_ctcvr_is_measured_on_all_rows_whose_product_is_known(predictions, small_schema):
    metrics = measure(predictions, small_schema, TASKS)["ctcvr"]
    clicked, has_ratio = predictions.labels["ctr"] == 1, predictions.weights["cvr"] == 1
    rows = ~clicked | has_ratio
    assert rows.sum() == 35
    product = expit(predictions.logits["ctr"]) * expit(predictions.logits["cvr"])
    seen = predictions.labels["ctr"] * predictions.labels["cvr"]
    check_continuous(metrics, seen[rows], product[rows])


def test_rows_outside_a_population_count_for_nothing(predictions, small_schema):
    expected = measure(predictions, small_schema, TASKS)
    outside = predictions.weights["cvr"] == 0
    moved = {"ctr": predictions.logits["ctr"], "cvr": predictions.logits["cvr"].copy()}
    moved["cvr"][outside] += 3.0
    changed = measure(dataclasses.replace(predictions, logits=moved), small_schema, TASKS)
    assert changed["ctr"] == expected["ctr"]
    assert changed["cvr"] == expected["cvr"]
    assert changed["ctcvr"] != expected["ctcvr"]  # predicted for impressions, not for clicks


def test_tasks_that_are_not_asked_for_are_not_measured(predictions, small_schema):
    assert list(measure(predictions, small_schema, ["cvr"])) == ["cvr"]
    assert list(measure(predictions, small_schema, ["cvr", "ctr"])) == ["cvr", "ctr", "ctcvr"]


def test_chains_are_a_binary_task_and_tasks_on_its_positives(small_schema):
    assert chained_tasks(small_schema, ["cvr", "ctr"]) == [("ctr", "cvr")]
    assert chained_tasks(small_schema, ["cvr"]) == []
    everywhere = dataclasses.replace(small_schema.task("cvr"), population=None)
    schema = dataclasses.replace(small_schema, tasks=(small_schema.task("ctr"), everywhere))
    assert chained_tasks(schema, TASKS) == []


def test_metrics_without_a_meaning_are_nan(predictions, small_schema):
    no_click = {task: np.zeros(40, np.float32) for task in TASKS}
    weights = {"ctr": np.ones(40, np.float32), "cvr": np.zeros(40, np.float32)}
    empty = dataclasses.replace(predictions, labels=no_click, weights=weights)
    metrics = measure(empty, small_schema, TASKS)
    assert math.isnan(metrics["ctr"]["auc"])
    assert math.isfinite(metrics["ctr"]["log_loss"])
    assert all(math.isnan(value) for value in metrics["cvr"].values())


def test_losses_of_a_split_are_means_over_populations(predictions, small_schema):
    losses = split_losses(predictions, small_schema, TASKS)
    scores = {task: expit(predictions.logits[task].astype(np.float64)) for task in TASKS}
    member = predictions.weights["cvr"] == 1
    assert losses["ctr"] == pytest.approx(
        sk.log_loss(predictions.labels["ctr"], scores["ctr"]), rel=1e-5
    )
    assert losses["cvr"] == pytest.approx(
        sk.mean_squared_error(predictions.labels["cvr"][member], scores["cvr"][member]), rel=1e-5
    )


@pytest.mark.parametrize("tasks", [("ctr", "cvr"), ("cvr", "ctr"), ("cvr",)])
def test_predictions_are_all_rows_in_order(small_schema, tasks):
    network = build_small(small_schema)
    network.wear("cvr", random_masks(network, "cvr", seed=0))
    rows = rows_of_tasks(small_schema, 37, seed=0)
    predict = make_predictor(network, tasks)

    for batch_size in (8, 37, 1):
        predictions = predict(tf.data.Dataset.from_tensor_slices(rows).batch(batch_size))
        expected = network.model(rows["features"])
        assert tuple(predictions.logits) == tasks
        for task in tasks:
            # A product of matrices may be summed in another order for another batch size.
            np.testing.assert_allclose(
                predictions.logits[task], expected[task], rtol=1e-4, atol=1e-6
            )
            np.testing.assert_array_equal(predictions.labels[task], rows["labels"][task])
            np.testing.assert_array_equal(predictions.weights[task], rows["weights"][task])
        np.testing.assert_array_equal(predictions.users, rows["user"])


def test_a_predictor_sees_new_weights_and_masks(small_schema):
    network = build_small(small_schema)
    rows = tf.data.Dataset.from_tensor_slices(rows_of_tasks(small_schema, 8, seed=0)).batch(8)
    predict = make_predictor(network, ["ctr"])
    first = predict(rows).logits["ctr"]
    network.wear("ctr", random_masks(network, "ctr", seed=0))
    second = predict(rows).logits["ctr"]
    network.heads["ctr"].bias.assign([3.0])
    third = predict(rows).logits["ctr"]
    assert not np.allclose(first, second)
    np.testing.assert_allclose(third, second + 3.0, rtol=1e-5)


def test_probabilities_are_the_sigmoid(small_schema, predictions):
    np.testing.assert_allclose(
        predictions.of(small_schema.task("cvr")), expit(predictions.logits["cvr"]), rtol=1e-6
    )
