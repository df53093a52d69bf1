"""Sampled negatives: corrected predictions, and metrics of the log before it was sampled."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logit
from sklearn import metrics as sk

from lt4rec_tf.experiment.comparison import tested
from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.predictions import Predictions, predictor_of
from tests.support.networks import batch_of_tasks, build_small
from tests.training.test_steps import step_of

SHARE = 0.1


def kept_at(schema, share, column=None):
    ctr = dataclasses.replace(schema.task("ctr"), negatives_kept=share, kept_column=column)
    return dataclasses.replace(schema, tasks=(ctr, schema.task("cvr")))


def sampled_log(seed=0, rows=200_000):
    """Clicks by known rates, and which rows are left when a tenth of the others is kept."""
    rng = np.random.default_rng(seed)
    rates = rng.choice([0.005, 0.02, 0.08, 0.3], rows)
    clicks = (rng.random(rows) < rates).astype(np.float32)
    is_kept = (clicks == 1) | (rng.random(rows) < SHARE)
    return rates, clicks, is_kept


def of_ctr(logits, clicks, **kept):
    ones = np.ones(len(clicks), np.float32)
    return Predictions(
        logits={"ctr": logits.astype(np.float32)},
        labels={"ctr": clicks},
        weights={"ctr": ones},
        users=np.arange(len(clicks)) % 50,
        kept=kept,
    )


def test_a_prediction_is_corrected_as_he_et_al_have_it(small_schema):
    outputs = np.linspace(-6, 6, 50).astype(np.float32)
    p = expit(outputs.astype(np.float64))
    task = kept_at(small_schema, SHARE).task("ctr")
    expected = p / (p + (1 - p) / SHARE)
    np.testing.assert_allclose(prediction(task, tf.constant(outputs)), expected, rtol=1e-5)
    np.testing.assert_allclose(tested._predicted(task, {"0/ctr": outputs}), expected, rtol=1e-12)
    all_kept = kept_at(small_schema, 1.0).task("ctr")
    np.testing.assert_array_equal(prediction(all_kept, outputs), tf.sigmoid(outputs))


def test_what_is_fitted_on_a_sampled_log_is_calibrated_on_the_log_before(small_schema):
    rates, clicks, is_kept = sampled_log()
    # A model of each of the four groups, fitted to the rows that are left.
    logits = np.zeros(len(rates))
    for rate in np.unique(rates):
        group = rates == rate
        logits[group] = logit(clicks[group & is_kept].mean())
    before, after = (kept_at(small_schema, share) for share in (1.0, SHARE))

    # On all rows that there were.
    uncorrected = measure(of_ctr(logits, clicks), before, ["ctr"])["ctr"]
    corrected = expit(logits + np.log(SHARE))
    assert uncorrected["pcoc"] > 3  # a rate of .005 becomes .048, and one of .3 becomes .81
    assert corrected.mean() / clicks.mean() == pytest.approx(1, abs=0.03)

    # The same from the rows that are left, of which nobody knows the others.
    left = of_ctr(logits[is_kept], clicks[is_kept])
    metrics = measure(left, after, ["ctr"])["ctr"]
    assert metrics["pcoc"] == pytest.approx(1, abs=0.03)
    assert metrics["log_loss"] == pytest.approx(sk.log_loss(clicks, corrected), rel=0.02)
    assert metrics["mse"] == pytest.approx(sk.brier_score_loss(clicks, corrected), rel=0.02)
    assert metrics["auc"] == pytest.approx(sk.roc_auc_score(clicks, corrected), abs=0.01)


def test_a_rare_class_promises_ten_times_too_much_without_correction(small_schema):
    rng = np.random.default_rng(1)
    clicks = (rng.random(100_000) < 0.01).astype(np.float32)
    is_kept = (clicks == 1) | (rng.random(100_000) < SHARE)
    constant = np.full(100_000, logit(clicks[is_kept].mean()))
    uncorrected = measure(of_ctr(constant, clicks), small_schema, ["ctr"])["ctr"]["pcoc"]
    assert 8.5 < uncorrected < 10
    left = of_ctr(constant[is_kept], clicks[is_kept])
    metrics = measure(left, kept_at(small_schema, SHARE), ["ctr"])["ctr"]
    assert metrics["pcoc"] == pytest.approx(1, abs=0.03)


def test_a_column_weighs_each_negative_by_its_own_share(small_schema):
    clicks = np.array([1, 0, 0, 1, 0], np.float32)
    shares = np.array([1, 0.5, 0.1, 1, 1], np.float32)
    logits = np.array([1.0, -1.0, 0.5, 2.0, 0.0])
    schema = kept_at(small_schema, 0.25, "share")
    predictions = of_ctr(logits, clicks, ctr=shares)
    weights = [1, 2, 10, 1, 1]
    np.testing.assert_allclose(predictions.measured_weights(schema.task("ctr")), weights)
    metrics = measure(predictions, schema, ["ctr"])["ctr"]
    scores = expit(logits + np.log(0.25))  # of the whole log: rows to be served have no share
    expected = sk.log_loss(clicks, scores, sample_weight=weights)
    assert metrics["log_loss"] == pytest.approx(expected, rel=1e-6)
    assert metrics["auc"] == pytest.approx(sk.roc_auc_score(clicks, scores, sample_weight=weights))
    assert metrics["pcoc"] == pytest.approx(scores @ weights / 2, rel=1e-6)


def test_a_product_is_measured_on_the_log_before(small_schema):
    schema = kept_at(small_schema, 0.5)
    clicks = np.array([1, 0, 0, 1], np.float32)
    both = Predictions(
        logits={task: np.array([0.5, -0.5, 1.0, 0.0], np.float32) for task in ("ctr", "cvr")},
        labels={"ctr": clicks, "cvr": np.array([0.5, 0, 0, 0], np.float32)},
        weights={"ctr": np.ones(4, np.float32), "cvr": np.array([1, 0, 0, 0], np.float32)},
        users=np.arange(4),
    )
    product = expit(both.logits["ctr"] + np.log(0.5)) * expit(both.logits["cvr"])
    # Each row without a click stands for two; the watch ratio of the last click is unknown.
    expected = np.average((product - [0.5, 0, 0, 0]) ** 2, weights=[1, 2, 2, 0])
    assert measure(both, schema, ["ctr", "cvr"])["ctcvr"]["mse"] == pytest.approx(expected)


def test_training_and_predicting_read_batches_with_the_column(small_schema):
    schema = kept_at(small_schema, 0.25, "share")
    network = build_small(schema)
    batch = batch_of_tasks(schema)
    shares = np.random.default_rng(0).random(32).astype(np.float32)
    batch |= {"negatives_kept": {"ctr": tf.constant(shares)}}
    predictions = predictor_of(network, schema)([batch, batch])
    np.testing.assert_array_equal(predictions.kept["ctr"], np.tile(shares, 2))

    losses = step_of(network, schema, ["ctr", "cvr"])(batch)
    plain = {name: part for name, part in batch.items() if name != "negatives_kept"}
    other = build_small(small_schema)
    expected = step_of(other, small_schema, ["ctr", "cvr"])(plain)
    assert float(losses["ctr"]) == float(expected["ctr"])  # training is on the log as it is
