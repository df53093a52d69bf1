"""rank, tf_example and regress_<task> of a published model, by REST from any server."""

import base64
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.serving_stand_in.served_model import assert_same, running_server, usual_row
from tests.serving_stand_in.serving_server import VALUES, WIDTH, as_rows


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("served")) as running:
        yield running


def of_items(server):
    """The inputs of rank that each candidate has for itself."""
    alone = server.inputs("serving_default")
    together = server.inputs("rank")
    return [name for name in together if together[name][1] > alone.get(name, ("", 1))[1]]


def candidates_as_rows(server, columns, request):
    """One request of `rank` as rows of serving_default: its user's features repeated."""
    items = of_items(server)
    return [
        {
            name: columns[name][request][place] if name in items else columns[name][request]
            for name in server.inputs("serving_default")
        }
        for place in range(WIDTH)
    ]


def test_rank_answers_as_each_candidate_alone(server):
    columns = server.random_inputs("rank", 3, seed=5)
    answers = server.columns("rank", columns)
    for request in range(3):
        alone = server.rows("serving_default", candidates_as_rows(server, columns, request))
        for name in set(answers) - {"score"}:
            np.testing.assert_allclose(answers[name][request], alone[name], rtol=0, atol=1e-6)


def test_the_score_of_rank_is_eq_3(server):
    server.version()
    columns = server.random_inputs("rank", 8, seed=6) | {"length": [[0.0, 2.5, 400.0]] * 8}
    answers = server.columns("rank", columns)
    score = answers["pctr"] * np.sqrt(answers["pcvr"]) * np.sqrt(columns["length"])
    np.testing.assert_allclose(answers["score"], score, rtol=1e-5)


def test_scores_alone_are_those_of_rank_and_512_fit_in_16_kib(server):
    columns = server.random_inputs("rank", 1, seed=9)
    many = {
        name: [values[0] * 171] if name in of_items(server) else values
        for name, values in columns.items()
    }
    scores = server.columns("score", many)
    assert scores["score"].shape == (1, 3 * 171)
    np.testing.assert_array_equal(scores["score"], server.columns("rank", many)["score"])

    _, answer = server.call("predict", {"signature_name": "score", "inputs": many})
    assert len(json.dumps(answer)) < 2**14  # what a server writes at once


def test_requests_with_different_numbers_of_candidates_are_padded_by_the_client(server):
    columns = server.random_inputs("rank", 1, seed=7)
    row = as_rows(columns)[0]
    fewer = row | {name: row[name][:2] for name in of_items(server)}
    assert server.refusal("rank", instances=[row, fewer])
    padded = fewer | {name: [*fewer[name], row[name][0]] for name in of_items(server)}
    together, alone = server.rows("rank", [row, padded]), server.rows("rank", [fewer])
    assert_same({name: values[1:, :2] for name, values in together.items()}, alone)


def test_ten_thousand_candidates(server):
    row = as_rows(server.random_inputs("rank", 1, seed=8))[0]
    many = row | {name: (row[name] * 3_334)[:10_000] for name in of_items(server)}
    answers, few = server.rows("rank", [many]), server.rows("rank", [row])
    for name, values in answers.items():
        assert values.shape == (1, 10_000)
        np.testing.assert_allclose(values[0, 9_999], few[name][0, 0], rtol=1e-6, atol=1e-6)


def serialized(example):
    """A tf.Example in base64, as predict takes it."""
    found = tf.train.Example()
    for name, content in example.items():
        feature = found.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            if isinstance(value, str):
                feature.bytes_list.value.append(value.encode())
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            else:
                feature.int64_list.value.append(value)
    return {"b64": base64.b64encode(found.SerializeToString()).decode()}


def test_serialized_examples_answer_as_rows(server):
    columns = server.random_inputs("serving_default", 16, seed=9)
    expected = server.columns("serving_default", columns)
    examples = [serialized(example) for example in as_rows(columns)]
    assert_same(server.columns("tf_example", examples), expected)
    assert_same(server.rows("tf_example", examples), expected)
    assert_same(server.rows("tf_example", [{"examples": e} for e in examples]), expected)


def test_an_example_without_features_has_missing_values(server):
    server.version()
    missing = {"user": "", "video": "", "tags": [""], "source": "-1", "age": float("nan")}
    expected = server.rows("serving_default", [missing | {"hour": -1}])
    assert_same(server.rows("tf_example", [serialized({})]), expected)
    for task in ("ctr", "cvr"):
        request = {"signature_name": f"regress_{task}", "examples": [{}]}
        status, content = server.call("regress", request)
        assert (status, content["results"]) == (200, pytest.approx(expected[f"p{task}"], abs=1e-6))


def test_what_is_no_example_is_refused(server):
    server.inputs("tf_example")
    for text in ("nonsense", {"b64": "////"}):
        assert server.refusal("tf_example", instances=[text])


@pytest.mark.parametrize("task", ["ctr", "cvr"])
def test_regress_answers_as_rows(server, task):
    server.inputs(f"regress_{task}")
    columns = server.random_inputs("serving_default", 16, seed=10)
    expected = server.columns("serving_default", columns)[f"p{task}"]
    request = {"signature_name": f"regress_{task}", "examples": as_rows(columns)}
    status, content = server.call("regress", request)
    assert status == 200, content
    np.testing.assert_allclose(content["results"], expected, rtol=0, atol=1e-6)


def test_whole_numbers_for_float_features_are_refused_by_regress(server):
    kinds = server.inputs("serving_default")
    whole = [name for name, (dtype, _) in kinds.items() if dtype == "DT_FLOAT"]
    for name in whole:
        request = {"signature_name": "regress_ctr", "examples": [{name: 2}]}
        status, content = server.call("regress", request)
        assert (status, "Data types don't match" in content["error"]) == (400, True)
        request = {"signature_name": "regress_ctr", "examples": [{name: 2.0}]}
        assert server.call("regress", request)[0] == 200


def test_context_is_shared_by_the_examples_of_regress(server):
    server.version()
    server.inputs("regress_ctr")
    row = usual_row(server)
    apart = [row | {"video": video} for video in VALUES["DT_STRING"]]
    shared = {name: value for name, value in row.items() if name != "video"}
    requests = [
        {"examples": apart},
        {"context": shared, "examples": [{"video": video} for video in VALUES["DT_STRING"]]},
    ]
    answers = [server.call("regress", {"signature_name": "regress_ctr", **r}) for r in requests]
    assert answers[0][0] == 200
    assert answers[0] == answers[1]


def test_predict_signatures_are_no_regressions(server):
    server.inputs("regress_ctr")
    request = {"signature_name": "serving_default", "examples": [{}]}
    status, content = server.call("regress", request)
    assert (status, content["error"]) == (400, "Expected one input Tensor.")
