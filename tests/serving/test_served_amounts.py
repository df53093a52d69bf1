"""Amounts as a server answers them: in their own unit, whatever the loss and the model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.serving.expression import parse_expression
from lt4rec_tf.serving.publish import publish
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.amounts import standardised
from tests.support.networks import SAMPLED, build_model, build_small
from tests.support.served_networks import predictions, raw_rows, request
from tests.support.training import random_masks
from tests.support.versions import session_answers

pytestmark = pytest.mark.slow(minutes=1)

EXPRESSION = "ctr * log1p(max(watch, 0)) + 0.25 * watch"
MODELS = {
    "towers": build_small,
    "htlnet": lambda schema: build_model("htlnet", schema, transfer=SAMPLED),
}


@pytest.fixture(params=[(model, loss) for model in MODELS for loss in ("mse", "ziln")])
def served(request, tmp_path):
    model, loss = request.param
    schema = standardised(tmp_path, loss)
    network = MODELS[model](schema)
    rng = np.random.default_rng(4)
    for variable in network.variables.values():
        variable.assign_add(rng.normal(size=variable.shape, scale=0.2).astype(np.float32))
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed, density=0.6))
    ranking = Ranking({}, expression=parse_expression(EXPRESSION, list(network.tasks)))
    return schema, network, ServedModel(network, schema, ranking=ranking)


def in_own_unit(schema, network, raw):
    """Task -> what the Keras model predicts, by the logits that the sigmoids came from."""
    chances = predictions(network, schema, raw)
    ids = features_to_ids(schema, {name: tf.constant(values) for name, values in raw.items()})
    outputs = network.model(ids, training=False)["watch"]
    watch = np.asarray(prediction(schema.task("watch"), outputs))
    return {"ctr": chances["ctr"], "cvr": chances["cvr"], "watch": watch}


def test_answers_are_the_models(served):
    schema, network, model = served
    raw = raw_rows(schema, 40)
    signatures = model.signatures("serving_default", "watch")
    sent = {name: tf.constant(values) for name, values in raw.items()}
    expected = in_own_unit(schema, network, raw)
    answers = signatures["serving_default"](**sent)
    assert np.ptp(expected["watch"]) > 0.1
    for task, values in expected.items():
        np.testing.assert_allclose(answers[f"p{task}"], values, rtol=1e-5, atol=1e-6)
    product = expected["ctr"] * expected["watch"]
    np.testing.assert_allclose(answers["pctr_watch"], product, rtol=1e-5, atol=1e-6)
    alone = signatures["watch"](**sent)["pwatch"]
    np.testing.assert_allclose(alone, expected["watch"], rtol=1e-5, atol=1e-6)


def test_rank_scores_by_the_expression(served):
    schema, network, model = served
    candidates = 7
    sent, rows = request(schema, 3, candidates)
    rank = model.signatures("rank")["rank"]
    answers = rank(**{name: tf.constant(values) for name, values in sent.items()})
    expected = {
        task: values.reshape(3, candidates)
        for task, values in in_own_unit(schema, network, rows).items()
    }
    for task, values in expected.items():
        np.testing.assert_allclose(answers[f"p{task}"], values, rtol=1e-5, atol=1e-6)
    watch = expected["watch"]
    score = expected["ctr"] * np.log1p(np.maximum(watch, 0)) + 0.25 * watch
    np.testing.assert_allclose(answers["score"], score, rtol=1e-5, atol=1e-6)


def test_a_published_version_answers_the_same(served, tmp_path):
    schema, network, model = served
    signatures = model.signatures("serving_default")
    raw = raw_rows(schema, 20)
    expected = in_own_unit(schema, network, raw)
    answers = {f"p{task}": values.astype(np.float32) for task, values in expected.items()}
    for first, second in (("ctr", "cvr"), ("ctr", "watch")):
        name = "pctcvr" if second == "cvr" else f"p{first}_{second}"
        answers[name] = answers[f"p{first}"] * answers[f"p{second}"]
    version = publish(
        model, signatures, tmp_path / "feed", {"serving_default": raw}, {"serving_default": answers}
    )
    found = session_answers(version, "serving_default", raw)
    np.testing.assert_allclose(found["pwatch"], expected["watch"], rtol=1e-5, atol=1e-6)


def test_where_nothing_reaches_the_head_its_bias_is_answered(tmp_path):
    schema = standardised(tmp_path, "ziln")
    network = build_small(schema)
    nothing = {
        name: np.zeros(shape, bool) for name, shape in network.kernel_shapes("watch").items()
    }
    network.wear("watch", nothing)
    network.heads["watch"].bias.assign([0.3, -0.2, 0.1])
    for layer in network.towers["watch"]:
        layer.shared.bias.assign(tf.zeros_like(layer.shared.bias))
    model = ServedModel(network, schema)
    raw = {name: tf.constant(values) for name, values in raw_rows(schema, 3).items()}
    found = model.signatures("watch")["watch"](**raw)["pwatch"]
    expected = prediction(schema.task("watch"), tf.constant([[0.3, -0.2, 0.1]] * 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
