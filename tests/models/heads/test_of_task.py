"""Losses, targets and predictions of tasks by their heads, in networks and over whole splits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.models.heads import d2q
from lt4rec_tf.models.heads.of_task import (
    loss_of,
    outputs_of,
    prediction,
    targets,
    with_targets,
)
from lt4rec_tf.training.evaluation import measure, split_losses
from lt4rec_tf.training.predictions import Predictions, predictor_of
from tests.support.heads import OTHERS, QUANTILES, schema_with
from tests.support.networks import BUILDERS, build_model, build_small, small_batch


def batch_with(rows=12):
    batch = small_batch(rows)
    batch["features"]["length"] = tf.constant(np.resize([1, 2, 3, 0], rows), tf.int64)
    durations = tf.constant(np.resize([10.0, 90.0, np.nan], rows), tf.float32)
    return batch | {"duration": durations}


@pytest.fixture(params=OTHERS)
def schema(request, tmp_path):
    return schema_with(tmp_path, request.param)


def test_a_prediction_is_a_ratio_whatever_the_outputs(schema):
    task = schema.task("cvr")
    count = outputs_of(task)
    draws = np.random.default_rng(1).normal(size=(50, count))
    for scale in (1.0, 30.0):
        outputs = (scale * draws).astype(np.float32)
        found = prediction(task, outputs if count > 1 else outputs[:, 0], tf.fill(50, 40.0)).numpy()
        assert found.shape == (50,)
        assert ((found >= 0) & (found <= 1)).all()
        assert scale > 1 or np.ptp(found) > 0.1


def test_a_network_learns_by_it(schema):
    network, batch = build_small(schema), batch_with()
    task = schema.task("cvr")
    compared = targets(with_targets(batch, schema.tasks))["cvr"]
    with tf.GradientTape() as tape:
        outputs = network.task_models["cvr"](batch["features"], training=True)
        loss = loss_of(task)(outputs, compared, batch["weights"]["cvr"])
    gradients = tape.gradient(loss, network.trained_by("cvr"))
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)
    assert outputs.shape[1:] == (() if outputs_of(task) == 1 else (outputs_of(task),))
    nothing = loss_of(task)(outputs, compared, tf.zeros_like(compared))
    assert float(nothing) == 0.0


def test_a_split_is_predicted_and_measured_by_it(schema):
    network, batch = build_small(schema), batch_with()
    predictions = predictor_of(network, schema)([batch])
    outputs = network.task_models["cvr"](batch["features"], training=False)
    expected = prediction(schema.task("cvr"), outputs, batch["duration"])
    np.testing.assert_allclose(predictions.of(schema.task("cvr")), expected, rtol=1e-5, atol=1e-7)
    assert (predictions.durations is not None) == schema.task("cvr").reads_duration

    losses = split_losses(predictions, schema, ["cvr"])
    compared = targets(with_targets(batch, schema.tasks))["cvr"]
    loss = loss_of(schema.task("cvr"))(outputs, compared, batch["weights"]["cvr"])
    assert losses["cvr"] == pytest.approx(float(loss), rel=1e-5)
    assert 0 <= measure(predictions, schema, ["cvr"])["cvr"]["mse"] < 1


def test_d2q_learns_the_share_of_its_group(tmp_path):
    schema = schema_with(tmp_path, "d2q")
    batch = batch_with()
    labels = batch["labels"]["cvr"]
    found = targets(with_targets(batch, schema.tasks))
    expected = d2q.quantile_of(QUANTILES, labels, batch["duration"])
    np.testing.assert_array_equal(found["cvr"], expected)
    np.testing.assert_array_equal(found["ctr"], batch["labels"]["ctr"])
    assert (
        with_targets({"labels": {"ctr": labels}}, [schema.task("ctr")])["targets"]["ctr"] is labels
    )


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_every_model_takes_a_head_or_says_why_not(tmp_path, name):
    schema = schema_with(tmp_path, "cread")
    if name in ("esmm", "escm2_ips", "escm2_dr", "dcmt"):
        expected = r"(ESMM|ESCM2|DCMT) learns task cvr .* found head cread"
        with pytest.raises(UnfitError, match=expected):
            build_model(name, schema)
        return
    network = build_model(name, schema)
    outputs = network.model(batch_with()["features"], training=False)["cvr"]
    assert outputs.shape == (12, 32)


@pytest.mark.parametrize("kind", OTHERS)
def test_quantiles_that_no_audit_found_are_asked_for(tmp_path, kind):
    task = dataclasses.replace(schema_with(tmp_path, kind).task("cvr"), quantiles=None)
    outputs = tf.zeros((2, outputs_of(task)))
    with pytest.raises(ValueError, match="cvr: found no quantiles"):
        prediction(task, outputs)


def test_predictions_without_durations_take_the_curve_of_all_rows(tmp_path):
    task = schema_with(tmp_path, "d2q").task("cvr")
    outputs = np.linspace(-3, 3, 5).astype(np.float32)
    nothing = np.zeros(5, np.float32)
    predictions = Predictions({"cvr": outputs}, {"cvr": nothing}, {"cvr": nothing}, np.arange(5))
    expected = d2q.prediction(QUANTILES, outputs, None)
    np.testing.assert_allclose(predictions.of(task), expected)


def test_outputs_of_0_stand_for_what_train_holds(schema):
    task = schema.task("cvr")
    count = outputs_of(task)
    found = float(prediction(task, tf.zeros((1, count) if count > 1 else 1), tf.constant([9.0]))[0])
    mean = QUANTILES.means()[1]
    expected = {"d2q": QUANTILES.at(np.array([0.5]))[0]}.get(task.head.kind, mean)
    # CREAD's sum leaves out the last bin, and a mixture of five knows no more than the mean.
    within = {"cread": 0.03, "cqe": 0.02, "egmn": 0.05}.get(task.head.kind, 1e-3)
    assert found == pytest.approx(expected, abs=within)
