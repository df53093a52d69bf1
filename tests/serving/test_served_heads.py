"""Heads as a server answers them: rows, candidates of `rank`, and the duration that one reads."""

from __future__ import annotations

import numpy as np
import pytest

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.models.heads.of_task import prediction, quantile
from lt4rec_tf.serving.durations import duration_input
from lt4rec_tf.serving.quantiles import Quantile, read_quantiles
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.heads import OTHERS, schema_with
from tests.support.networks import build_small
from tests.support.served_networks import answer, keras_outputs, raw_rows, request
from tests.support.training import random_masks


@pytest.fixture(params=OTHERS)
def served(request, tmp_path):
    schema = schema_with(tmp_path, request.param)
    network = build_small(schema)
    rng = np.random.default_rng(4)
    for variable in network.variables.values():
        variable.assign_add(rng.normal(size=variable.shape, scale=0.2).astype(np.float32))
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed, density=0.6))
    return schema, network, ServedModel(network, schema, ranking=Ranking({"ctr": 1.0, "cvr": 1.0}))


def expected_cvr(schema, network, raw):
    outputs = keras_outputs(network, schema, raw)["cvr"]
    return prediction(schema.task("cvr"), outputs, duration_input(schema).of(raw)).numpy()


def usual(schema, raw):
    """Rows without the numbers of a million that other orders of sums round otherwise."""
    lengths = np.resize([10.0, 29.5, 90.0], np.shape(raw["length"])).astype(np.float32)
    return raw | {"length": lengths}


def test_answers_of_rows_are_the_models(served):
    schema, network, model = served
    raw = usual(schema, raw_rows(schema, 40))
    expected = expected_cvr(schema, network, raw)
    answers = answer(model.signatures("serving_default")["serving_default"], raw)
    np.testing.assert_allclose(answers["pcvr"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers["pctcvr"], answers["pctr"] * expected, rtol=1e-5, atol=1e-6)


def test_candidates_are_answered_as_rows(served):
    schema, network, model = served
    sent, rows = request(schema, 3, 7)
    lengths = np.resize([10.0, 29.5, 90.0, 40.0], 21).astype(np.float32)
    sent["length"], rows["length"] = lengths.reshape(3, 7), lengths
    answers = answer(model.signatures("rank")["rank"], sent)
    expected = expected_cvr(schema, network, rows).reshape(3, 7)
    np.testing.assert_allclose(answers["pcvr"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers["score"], answers["pctr"] * expected, rtol=1e-5, atol=1e-6)


def test_a_duration_that_a_head_reads_is_asked_for(tmp_path, monkeypatch):
    for kind, asked in (("d2q", ["user", "length"]), ("wlr", ["user"])):
        schema = schema_with(tmp_path, kind)
        model = ServedModel(build_small(schema), schema, minimal=True)
        monkeypatch.setattr(model.network, "read_features", lambda tasks: {"user"})
        assert model.features(["cvr"]) == asked
        assert model.features(["ctr"]) == ["user"]


def test_quantiles_are_answered_beside_predictions(tmp_path):
    schema = schema_with(tmp_path, "cqe")
    network = build_small(schema)
    quantiles = read_quantiles(["cvr=0.9", "cvr=0.025"], schema)
    assert quantiles == {"cvr_q90": Quantile("cvr", 0.9), "cvr_q2_5": Quantile("cvr", 0.025)}
    model = ServedModel(network, schema, quantiles=quantiles, ranking=Ranking({"ctr": 1.0}))
    signatures = model.signatures()

    raw = usual(schema, raw_rows(schema, 40))
    outputs = keras_outputs(network, schema, raw)["cvr"]
    answers = answer(signatures["serving_default"], raw)
    assert sorted(answers) == ["pctcvr", "pctr", "pcvr", "pcvr_q2_5", "pcvr_q90"]
    for name, (_, level) in quantiles.items():
        expected = quantile(schema.task("cvr"), outputs, level)
        np.testing.assert_allclose(answers[f"p{name}"], expected, rtol=1e-5, atol=1e-6)
        (alone,) = answer(signatures[name], raw).items()
        assert alone[0] == f"p{name}"
        np.testing.assert_array_equal(alone[1], answers[f"p{name}"])
    assert (answers["pcvr_q90"] > answers["pcvr_q2_5"]).all()
    assert answers["pcvr_q90"].max() <= 1
    assert [*answer(signatures["cvr"], raw)] == ["pcvr"]


@pytest.mark.parametrize(
    ("kind", "said", "message"),
    [
        ("cqe", ["cvr"], "--quantiles: found 'cvr', expected task=level, such as cvr=0.9"),
        ("cqe", ["cvr=1"], "expected a level above 0 and below 1"),
        ("cqe", ["cvr=nan"], "expected a level above 0 and below 1"),
        ("cqe", ["ctr=0.9"], "expected a task with the head cqe, here cvr"),
        ("egmn", ["cvr=0.9"], "expected a task with the head cqe, here none"),
        ("cqe", ["cvr=0.9", "cvr=0.90"], "expected each quantile once"),
    ],
)
def test_quantiles_that_cannot_be_are_refused(tmp_path, kind, said, message):
    with pytest.raises(ConfigError, match=message):
        read_quantiles(said, schema_with(tmp_path, kind))
