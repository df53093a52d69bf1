"""ESCM2's losses against NumPy, what they have no gradient for, and what they are unbiased for."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logit

from lt4rec_tf.models.escm2 import LEAST_PROPENSITY, doubly_robust_risk, inverse_propensity_risk
from lt4rec_tf.models.esmm import product_loss
from lt4rec_tf.serving.served_network import ServedNetwork
from tests.support.networks import (
    BUILDERS,
    batch_of_tasks,
    build_model,
    moved,
    read_variables,
)

TASKS = ("ctr", "cvr")
IMPUTED = "cvr.auxiliary"
# An impression; three clicks, one of a small chance; a click without a known ratio; a row of weight
# 0; a click of weight 2; one more impression.
CHANCES = {
    "ctr": np.array([0.5, 0.8, 0.4, 0.002, 0.9, 0.3, 0.25, 0.1]),
    "cvr": np.array([0.5, 0.25, 0.6, 0.7, 0.1, 0.7, 0.8, 0.35]),
}
IMPUTATION = np.array([0.1, -0.3, 0.4, 1.2, -0.7, 2.0, 0.0, -0.2])
CLICK = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0])
RATIO = np.array([0.0, 0.5, 1.0, 0.2, 0.0, 0.0, 0.4, 0.0])
CTR_WEIGHTS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 1.0])
CVR_WEIGHTS = np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0])
COUNTED = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 2.0, 1.0])  # in the entire space
RISKS = {"escm2_ips": inverse_propensity_risk, "escm2_dr": doubly_robust_risk}
LOSSES = {  # by the schema's name; of a ratio r and its label
    "mse": lambda r, label: (r - label) ** 2,
    "soft_cross_entropy": lambda r, label: -label * np.log(r) - (1 - label) * np.log(1 - r),
}


def tensors(arrays):
    return {name: tf.constant(values, tf.float32) for name, values in arrays.items()}


def by_hand():
    """(logits, batch) of the rows above."""
    logits = tensors({task: logit(p) for task, p in CHANCES.items()} | {IMPUTED: IMPUTATION})
    batch = {
        "labels": tensors({"ctr": CLICK, "cvr": RATIO}),
        "weights": tensors({"ctr": CTR_WEIGHTS, "cvr": CVR_WEIGHTS}),
    }
    return logits, batch


def expected_risk(name, loss, imputation=IMPUTATION):
    inverse = CLICK / np.maximum(CHANCES["ctr"], LEAST_PROPENSITY)
    losses = LOSSES[loss](CHANCES["cvr"], RATIO)
    if name == "escm2_ips":
        by_row = inverse * losses
    else:
        imputed = np.log1p(np.exp(imputation))
        by_row = imputed + inverse * (losses - imputed) + inverse * (losses - imputed) ** 2
    return (COUNTED * by_row).sum() / COUNTED.sum()


def with_loss(task, loss):
    return dataclasses.replace(task, loss=loss)


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_risk_by_hand(small_schema, name, loss):
    logits, batch = by_hand()
    task = with_loss(small_schema.task("cvr"), loss)
    found = RISKS[name](task, "ctr", logits, batch)
    np.testing.assert_allclose(found, expected_risk(name, loss), rtol=1e-5)


@pytest.mark.parametrize("name", RISKS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_task_on_clicks_learns_by_the_risk_and_the_product(small_schema, name, share):
    logits, batch = by_hand()
    network = build_model(name, small_schema, counterfactual_share=share)
    losses = network.own_losses(logits, batch)
    task = small_schema.task("cvr")
    product = product_loss(task, "ctr", logits, batch)
    expected = share * expected_risk(name, task.loss) + (1 - share) * float(product)
    np.testing.assert_allclose(losses["cvr"], expected, rtol=1e-5)
    ctr = -(CTR_WEIGHTS * np.log(np.where(CLICK, CHANCES["ctr"], 1 - CHANCES["ctr"]))).sum()
    np.testing.assert_allclose(losses["ctr"], ctr / CTR_WEIGHTS.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", RISKS)
def test_propensities_have_no_gradient(small_schema, name):
    logits, batch = by_hand()
    with tf.GradientTape() as tape:
        tape.watch(logits)
        risk = RISKS[name](small_schema.task("cvr"), "ctr", logits, batch)
    gradients = tape.gradient(risk, logits)
    assert gradients["ctr"] is None
    # (r - z)^2 has the slope 2 (r - z) r (1 - r) along the logit.
    r, inverse = CHANCES["cvr"], CLICK / np.maximum(CHANCES["ctr"], LEAST_PROPENSITY)
    expected = COUNTED * inverse * 2 * (r - RATIO) * r * (1 - r) / COUNTED.sum()
    np.testing.assert_allclose(gradients["cvr"], expected, rtol=1e-4, atol=1e-8)
    if name == "escm2_dr":  # the imputed loss, whose tower is taught both to be unbiased and near
        imputed = np.log1p(np.exp(IMPUTATION))
        apart = imputed - (r - RATIO) ** 2
        slope = 1 - inverse + 2 * inverse * apart
        expected = COUNTED * slope * expit(IMPUTATION) / COUNTED.sum()
        np.testing.assert_allclose(gradients[IMPUTED], expected, rtol=1e-4, atol=1e-6)


def all_draws(chances):
    """Every way in which impressions may be clicked -> its probability."""
    for drawn in itertools.product([0.0, 1.0], repeat=len(chances)):
        click = np.array(drawn)
        yield click, np.prod(np.where(click, chances, 1 - chances))


@pytest.mark.parametrize("name", RISKS)
def test_with_true_propensities_the_risk_is_that_of_all_impressions(small_schema, name):
    """IPS: on average over the clicks drawn. DR: whatever is imputed, and without its fit."""
    rng = np.random.default_rng(0)
    chances, ratios = np.array([0.05, 0.2, 0.5, 0.7, 0.95]), rng.random(5)
    predicted, imputation = rng.normal(size=5), rng.normal(size=5)
    imputed = np.log1p(np.exp(imputation))
    logits = tensors({"ctr": logit(chances), "cvr": predicted, IMPUTED: imputation})
    losses = (expit(predicted) - ratios) ** 2

    mean, clicks_alone = 0.0, 0.0
    for click, probability in all_draws(chances):
        batch = {
            "labels": tensors({"ctr": click, "cvr": click * ratios}),
            "weights": tensors({"ctr": np.ones(5), "cvr": click}),
        }
        risk = float(RISKS[name](small_schema.task("cvr"), "ctr", logits, batch))
        if name == "escm2_dr":  # less the imputation's own loss
            risk -= (click / chances * (losses - imputed) ** 2).mean()
        mean += probability * risk
        clicks_alone += probability * (click * losses).sum() / max(click.sum(), 1)
    np.testing.assert_allclose(mean, losses.mean(), rtol=1e-5)
    assert abs(clicks_alone - losses.mean()) > 0.02


@pytest.mark.parametrize("name", [*RISKS, "dcmt"])
@pytest.mark.parametrize("loss", ["mse", "soft_cross_entropy", "focal"])
def test_losses_are_finite_for_any_logits(small_schema, name, loss):
    values = [-1e4, -90.0, 0.0, 90.0, 1e4]
    rows = np.array([*itertools.product(values, values, values, [0.0, 1.0])])
    logits = tensors({"ctr": rows[:, 0], "cvr": rows[:, 1], IMPUTED: rows[:, 2]})
    batch = {
        "labels": tensors({"ctr": rows[:, 3], "cvr": 0.3 * rows[:, 3]}),
        "weights": tensors({"ctr": np.ones(len(rows)), "cvr": rows[:, 3]}),
    }
    cvr = with_loss(small_schema.task("cvr"), loss)
    schema = dataclasses.replace(small_schema, tasks=(small_schema.task("ctr"), cvr))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.add_n([*build_model(name, schema).own_losses(logits, batch).values()])
    assert np.isfinite(total)
    for gradient in tape.gradient(total, logits, unconnected_gradients="zero").values():
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", RISKS)
def test_a_batch_without_clicks_teaches_the_tower_of_clicks_nothing_by_the_risk(small_schema, name):
    network = moved(build_model(name, small_schema, counterfactual_share=1.0))
    batch = batch_of_tasks(small_schema)
    nothing = tf.zeros(32)
    batch["labels"] = dict.fromkeys(("ctr", "cvr"), nothing)
    batch["weights"] = {"ctr": tf.ones(32), "cvr": nothing}
    of_tower = [v for n, v in network.variables.items() if n.startswith(("cvr/tower", "cvr/head"))]
    with tf.GradientTape() as tape:
        loss = network.own_losses(network.model(batch["features"]), batch)["cvr"]
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, of_tower):
        assert not np.any(gradient)


def test_no_row_counts_where_all_weights_are_0(small_schema):
    logits, batch = by_hand()
    batch["weights"] = tensors({"ctr": np.zeros(8), "cvr": np.zeros(8)})
    for name in (*RISKS, "dcmt"):
        losses = build_model(name, small_schema).own_losses(logits, batch)
        assert {task: float(loss) for task, loss in losses.items()} == {"ctr": 0.0, "cvr": 0.0}


@pytest.mark.parametrize("name", [*RISKS, "dcmt"])
def test_what_a_loss_alone_reads_is_trained_and_read_by_no_prediction(small_schema, name):
    network = build_model(name, small_schema)
    beside = {n for n in network.variables if "imputation" in n or "counterfactual" in n}
    assert bool(beside) == (name != "escm2_ips")
    assert set(network.variables) - set(network.predicting()) == beside
    trained = {variable.ref() for variable in network.trained_by("cvr")}
    assert all(network.variables[name].ref() in trained for name in beside)
    assert network.tasks == ("ctr", "cvr")


def test_a_version_answers_and_holds_nothing_that_a_loss_alone_reads(small_schema):
    features, shapes = batch_of_tasks(small_schema)["features"], []
    for name in ("esmm", *RISKS, "dcmt"):
        network = moved(build_model(name, small_schema))
        served = ServedNetwork(network, small_schema, tf.float32, tf.float32)
        shapes.append(sorted(tuple(variable.shape) for variable in served.variables))
        answers, expected = served.logits(served.vectors(features), TASKS), network.model(features)
        for task in TASKS:
            np.testing.assert_allclose(answers[task], expected[task], rtol=1e-5, atol=1e-6)
    assert all(of_model == shapes[0] for of_model in shapes)


@pytest.mark.parametrize("name", RISKS)
def test_a_task_alone_is_refused_by_the_models_name(small_schema, name):
    with pytest.raises(ValueError, match="ESCM2 learns task cvr through the probability of click"):
        build_model(name, small_schema.with_tasks(["cvr"]))


def test_begins_as_esmm_does(small_schema):
    """Draws are by name: comparisons differ in losses, not in where towers begin."""
    esmm = read_variables(build_model("esmm", small_schema))
    for name in (*RISKS, "dcmt"):
        assert name in BUILDERS
        drawn = read_variables(build_model(name, small_schema))
        for variable, value in esmm.items():
            np.testing.assert_array_equal(drawn[variable], value)
