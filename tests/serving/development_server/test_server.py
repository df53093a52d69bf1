"""The stand-in keeps the rules of TensorFlow Serving's REST interface, rule by rule."""

import json

import pytest

from tests.serving_stand_in.serving_server import post, send
from tests.support.served_models import (
    MODEL,
    ROW,
    SIGNATURES,
    predict,
    refused,
    serve_all,
)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serve_all(tmp_path_factory.mktemp("m")) as address:
        yield address


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:generate"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/3/labels/stable:predict"),
        ("POST", "/v1/models/m/metadata"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/versions/3/metadata/x"),
        ("GET", "/v1/elsewhere"),
        ("PUT", "/v1/models/m:predict"),
    ],
)
def test_malformed_requests(url, method, path):
    status, kind, text = send(url, method, path)
    assert (status, kind) == (400, "application/json")
    assert json.loads(text) == {"error": f"Malformed request: {method} {path}"}


def test_head_is_refused_without_a_body(url):
    assert send(url, "HEAD", MODEL) == (400, "application/json", b"")


@pytest.mark.parametrize("path", ["/", "/v2/models/m", "/v1", "/models/m"])
def test_addresses_elsewhere_answer_html(url, path):
    status, kind, text = send(url, "GET", path)
    assert (status, kind) == (404, "text/html")
    assert text.startswith(b"<html>")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/m:predict",
        "/V1/Models/m:predict",
        "/v1/models/%6D:predict",
        "/v1/models/m/versions/3:predict",
        "/v1/models/m/VERSIONS/003:predict",
        "/v1/models/m/labels/stable:predict",
        "/v1/models/m/labels/%73table:predict",
        "/v1/models/m:predict?key=value",
    ],
)
def test_addresses_of_a_version(url, path):
    status, text = post(url, path, {"instances": [ROW]})
    assert (status, json.loads(text)) == (200, {"predictions": [{"y": 6.0, "word": "é"}]})


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("/v1/models/M:predict", 404, "Servable not found for request: Latest(M)"),
        ("/v1/models/m/versions/2:predict", 404, "Servable not found for request: Specific(m, 2)"),
        ("/v1/models/m/labels/gone:predict", 404, "Servable not found for request: Specific(m, 2)"),
        ("/v1/models/m/labels/x:predict", 400, "Unrecognized servable version label: x"),
        (
            f"/v1/models/m/versions/{2**63}:predict",
            400,
            f"Failed to convert version: {2**63} to numeric.",
        ),
    ],
)
def test_versions_and_models_that_are_not_there(url, path, status, message):
    found, text = post(url, path, {"instances": [ROW]})
    assert (found, json.loads(text)) == (status, {"error": message})


def test_status_of_a_model(url):
    available = {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in (MODEL, f"{MODEL}/versions/3", f"{MODEL}/labels/unknown"):
        status, kind, text = send(url, "GET", path)
        assert (status, kind) == (200, "application/json")
        assert json.loads(text) == {"model_version_status": [available]}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/other", 404, "Could not find any versions of model other"),
        (f"{MODEL}/versions/2", 404, "Could not find version 2 of model m"),
        ("/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        (
            f"{MODEL}/versions/2/metadata",
            404,
            "Servable not found for request: Specific(m, 2)",
        ),
        (f"{MODEL}/labels/x/metadata", 400, "Unrecognized servable version label: x"),
    ],
)
def test_status_and_metadata_of_what_is_not_there(url, path, status, message):
    found, _, text = send(url, "GET", path)
    assert (found, json.loads(text)) == (status, {"error": message})


def test_metadata_lists_the_signatures(url):
    status, _, text = send(url, "GET", f"{MODEL}/metadata")
    content = json.loads(text)
    assert status == 200
    assert content["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    definitions = content["metadata"]["signature_def"]["signature_def"]
    assert set(definitions) == {*SIGNATURES, "__saved_model_init_op"}
    one = definitions["one"]
    assert one["method_name"] == "tensorflow/serving/predict"
    assert one["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert one["inputs"]["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}],
        "unknown_rank": False,
    }
    assert set(one["outputs"]) == {"y"}


@pytest.mark.parametrize(
    "body",
    ["", "  ", "[1]", '"x"', "3", "{", "{'instances': [1]}", '{"instances": [nan]}', "\xff"],
)
def test_bodies_that_are_no_object(url, body):
    for call in ("predict", "regress"):
        status, text = post(url, f"{MODEL}:{call}", body)
        assert status == 400
        assert "JSON" in json.loads(text)["error"]


@pytest.mark.parametrize(
    "body",
    [
        '{"signature_name": "one", "instances": [1.5]} and more',
        '\r\n {"signature_name": "one", "instances": [1.5], "instances": [7], "inputs_": 4}',
        '{"signature_name": "one", "signature_name": 3, "instances": [15e-1]}',
        '{"signature_name": "one", "instances": [{"x": 1.5}]}',
    ],
)
def test_what_json_may_hold_besides(url, body):
    assert post(url, f"{MODEL}:predict", body) == (200, b'{"predictions": [3.0]}')


def test_nothing_after_numbers_too_big_is_guessed(url):
    status, _ = post(url, f"{MODEL}:predict", '{"signature_name": "one", "instances": [1e999]}')
    assert status == 400


@pytest.mark.parametrize("request_", [{}, {"signature_name": ""}])
def test_no_signature_name_is_serving_default(url, request_):
    status, text = post(url, f"{MODEL}:predict", request_ | {"instances": [ROW]})
    assert (status, json.loads(text)["predictions"][0]["y"]) == (200, 6.0)


def test_signature_names_that_are_refused(url):
    assert refused(url, "x", instances=[1]) == (
        'Serving signature name: "x" not found in signature def'
    )
    assert "__saved" in refused(url, "__saved_model_init_op", instances=[1])
    for name in (3, None, ["one"]):
        assert "'signature_name' key must be a string" in refused(url, name, instances=[1])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, "only one of"),
        ({"instances": []}, "No values in 'instances'"),
        ({"instances": {"x": 1}}, "to be an list"),
        ({"instances": None}, "to be an list"),
    ],
)
def test_exactly_one_of_rows_and_columns(url, request_, message):
    assert message in refused(url, "one", **request_)


def test_rows_name_each_input_and_no_other(url):
    without = {name: value for name, value in ROW.items() if name != "n"}
    assert "keys must be equal to: n,s,x" in refused(url, "", instances=[ROW, without])
    extra = refused(url, "", instances=[ROW | {"z": 1}])
    assert extra == (
        "Failed to process element: 0 key: z of 'instances' list. "
        "Error: INVALID_ARGUMENT: JSON object: does not have named input: z"
    )
    assert "plain list" in refused(url, "", instances=[1.5])
    assert "Expecting object but got list at item 1" in refused(url, "", instances=[ROW, 1.5])
    mixed = refused(url, "one", instances=[1.5, {"x": 1}])
    assert "Expecting value/list but got object at item 1" in mixed


def test_rows_have_one_shape(url):
    assert "Expecting tensor size: 2 but got: 1" in refused(url, "lists", instances=[[1, 2], [3]])
    shapes = refused(url, "lists", instances=[[[1, 2]], [[1], [2]]])
    assert "Expecting shape [1, 2] but got: [2, 1]" in shapes
    assert "level" in refused(url, "lists", instances=[[1, [2]]])
    assert "size" in refused(url, "lists", instances=[[[1, 2], [3]]])


def test_columns_name_each_input_and_may_name_others(url):
    status, content = predict(url, "", inputs={"x": [1.5], "n": [3], "s": ["é"], "z": None})
    assert (status, content) == (200, {"outputs": {"y": [6.0], "word": ["é"]}})
    assert refused(url, "", inputs={"x": [1.5], "s": ["a"]}) == (
        "Missing named input: n in 'inputs' object."
    )
    assert "plain value/list" in refused(url, "", inputs=[1.5])


def test_one_output_is_bare(url):
    assert predict(url, "one", instances=[1, 2.5]) == (200, {"predictions": [2.0, 5.0]})
    assert predict(url, "one", inputs=[1, 2.5]) == (200, {"outputs": [2.0, 5.0]})
    assert predict(url, "one", inputs={"x": [1]}) == (200, {"outputs": [2.0]})
    assert predict(url, "same", instances=[[1, 2]]) == (200, {"predictions": [[1.0, 2.0]]})


def test_no_rows_are_answered_by_none_in_columns(url):
    assert predict(url, "one", inputs=[]) == (200, {"outputs": []})
    assert predict(url, "same", inputs=[[], []]) == (200, {"outputs": [[], []]})
    assert predict(url, "lists", instances=[[], []]) == (200, {"predictions": [0.0, 0.0]})


def test_a_scalar_output_makes_rows_fail_and_columns_not(url):
    message = refused(url, "mean", instances=[1, 2])
    assert message == "Tensor name: mean has no shape information "
    assert predict(url, "mean", inputs=[1, 2]) == (200, {"outputs": {"y": [1, 2], "mean": 1.5}})


def test_outputs_of_different_length_make_rows_fail_and_columns_not(url):
    assert "inconsistent batch size" in refused(url, "longer", instances=[1])
    assert predict(url, "longer", inputs=[1]) == (200, {"outputs": {"y": [1.0], "z": [1.0, 1.0]}})


def test_shapes_are_not_held_against_the_signature(url):
    assert predict(url, "one", instances=[[0.5], [1.5]]) == (200, {"predictions": [[1.0], [3.0]]})


def test_what_the_graph_refuses_is_a_bad_request(url):
    assert "x must be above 0" in refused(url, "checked", instances=[1, -1])
    assert refused(url, "lists", instances=[1, 2])  # a sum over an axis that is not there
    assert predict(url, "checked", instances=[1]) == (200, {"predictions": [1.0]})
