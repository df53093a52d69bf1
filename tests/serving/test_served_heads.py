"""Heads as a server answers them: rows, candidates of `rank`, and the duration that one reads."""

from __future__ import annotations

import numpy as np
import pytest

from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.serving.durations import duration_input
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
