"""The stand-in reads and writes values, and tf.Examples, as TensorFlow Serving does."""

import json

import pytest

from tests.serving_stand_in.serving_server import post, send
from tests.support.served_models import MODEL, predict, refused, serve_all


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serve_all(tmp_path_factory.mktemp("m")) as address:
        yield address


@pytest.mark.parametrize(
    ("signature", "sent", "expected"),
    [
        ("one", "1e40", "Infinity"),
        ("one", "-Infinity", "-Infinity"),
        ("one", "NaN", "NaN"),
        ("one", "1e-60", "0.0"),
        ("one", str(10**30), "2e+30"),
        ("one", "4500000", "9e+06"),
        ("one", "0.1", "0.2"),
        ("one", "0.16666667", "0.333333343"),
        ("one", "8388609", "16777218.0"),
        ("double", "0.1", "0.1"),
        ("double", "0.3333333333333333", "0.33333333333333331"),
        ("int32", str(-(2**31)), str(-(2**31))),
        ("uint32", str(2**32 - 1), str(2**32 - 1)),
        ("uint64", str(2**64 - 1), str(2**64 - 1)),
        ("int8", "-7", "-7"),
        ("bool", "true", "true"),
        ("text", '"\\u00e9\\n\\""', '"é\\n\\""'),
        ("text", '{"b64": "w6k="}', '"é"'),
        ("bytes", '"é"', '{"b64": "w6k="}'),
    ],
)
def test_values_in_and_out(url, signature, sent, expected):
    for key, answer in (("instances", "predictions"), ("inputs", "outputs")):
        body = f'{{"signature_name": "{signature}", "{key}": [{sent}]}}'
        status, text = post(url, f"{MODEL}:predict", body)
        assert (status, text.decode()) == (200, f'{{"{answer}": [{expected}]}}')


def test_bytes_that_are_no_text_are_written_as_they_are(url):
    body = '{"signature_name": "text", "instances": [{"b64": "/wA="}]}'
    status, text = post(url, f"{MODEL}:predict", body)
    assert (status, text) == (200, b'{"predictions": ["\xff\\u0000"]}')


@pytest.mark.parametrize(
    ("body", "echoed"),
    [
        (
            b'{"signature_name": "\xff\xc3\xa9", "instances": [1]}',
            b'Serving signature name: \\"\xff\xc3\xa9\\" not found',
        ),
        (
            b'{"signature_name": "one", "inputs": ["\xe9t\xe9"]}',
            b'JSON Value: \\"\xe9t\xe9\\" Type: String',
        ),
        (
            b'{"instances": [{"\xff": 1}]}',
            b"key: \xff of",
        ),
        (  # the graph's own refusal: a serialized example that is none
            b'{"signature_name": "regress", "inputs": [{"b64": "//8="}]}',
            b"\xff\xff",
        ),
    ],
)
def test_a_refusal_echoes_the_bytes_of_the_request(url, body, echoed):
    status, text = post(url, f"{MODEL}:predict", body)
    assert status == 400
    assert text.startswith(b'{\n "error": "')
    assert echoed in text


def test_a_refusal_echoes_the_bytes_of_the_address(url):
    status, kind, text = send(url, "GET", "/v1/models/%FF")
    assert (status, kind) == (404, "application/json")
    assert text == b'{\n "error": "Could not find any versions of model \xff"\n}'


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("\\ud83c\\udfac", True),
        ("\\\\ud83c", True),
        ("\\u00e9", True),
        ("\\ud83c", False),
        ("\\udfac", False),
        ("\\ud83cx", False),
        ("\\uDFAC\\uD83C", False),
    ],
)
def test_half_a_surrogate_pair_is_no_json(url, text, fine):
    for signature in ("text", "one"):
        body = f'{{"signature_name": "{signature}", "inputs": ["{text}"]}} "\\ud83c"'
        status, answer = post(url, f"{MODEL}:predict", body)
        assert status == (200 if fine and signature == "text" else 400)
        assert (b"surrogate pair in string is invalid" in answer) != fine


@pytest.mark.parametrize(
    ("signature", "value", "kind"),
    [
        ("one", "1", "String"),
        ("one", True, "True"),
        ("one", None, "Null"),
        ("one", {"a": 1}, ""),
        ("int32", 1.0, "Number"),
        ("int32", 2**31, "Number"),
        ("int8", 2**31, "Number"),
        ("uint32", -1, "Number"),
        ("uint64", -1, "Number"),
        ("uint64", 2**64, "Number"),
        ("bool", 1, "Number"),
        ("text", 1, "Number"),
        ("text", None, "Null"),
        ("text", {"b64": 3}, ""),
        ("text", {"b64": "w6k=", "x": 1}, ""),
        ("text", {"b64": "not base64!"}, ""),
    ],
)
def test_values_of_another_type(url, signature, value, kind):
    for request_ in ({"instances": [value]}, {"inputs": [value]}):
        message = refused(url, signature, **request_)
        assert not kind or f"Type: {kind} is not of expected type: " in message


def test_half_comes_neither_in_nor_out(url):
    status, content = predict(url, "half", inputs=[1.0])
    assert (status, content["error"]) == (501, "Conversion of JSON Value: 1.0 to type: half")
    # A row's error is wrapped, and is a bad request whatever it was.
    assert "Conversion of JSON Value" in refused(url, "half", instances=[1.0])
    message = refused(url, "to_half", instances=[1.0])
    assert message == "Failed to write JSON value for tensor type: half"


def regression(url, signature, call="regress", **request):
    status, text = post(url, f"{MODEL}:{call}", {"signature_name": signature} | request)
    return status, json.loads(text)


@pytest.mark.parametrize("signature", ["regress", "regress_column"])
def test_regress_answers_one_number_an_example(url, signature):
    examples = [
        {"price": 1.5, "count": 3, "word": "ab"},
        {"price": [2.0], "count": True, "word": {"b64": "w6k="}},
        {"price": 0.25, "word": []},
    ]
    expected = {"results": [231.5, 212.0, 0.25]}
    assert regression(url, signature, examples=examples) == (200, expected)


def test_the_context_of_examples_is_shared_and_overridden(url):
    examples = [{}, {"count": 1}]
    context = {"price": 0.5, "count": 2}
    answer = regression(url, "regress", context=context, examples=examples)
    assert answer == (200, {"results": [20.5, 10.5]})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "'examples'"),
        ({"examples": {"price": 1.0}}, "to be an list"),
        ({"examples": []}, "empty array"),
        ({"examples": [3]}, "must be JSON object but got JSON Number"),
        ({"examples": [{"price": None}]}, "unexpected JSON type: Null"),
        ({"examples": [{"price": [[1.0]]}]}, "unexpected JSON type: Array"),
        ({"examples": [{"price": {"x": 1}}]}, "unexpected JSON type: Object"),
        ({"examples": [{"price": [1.0, 2]}]}, "expecting type: float"),
        ({"examples": [{"price": 1.0, "count": 2**63}]}, "Only int64 is supported"),
        ({"examples": [{"price": 2}]}, "Data types don't match"),
        ({"examples": [{"count": 2}]}, "Feature: price"),
        ({"context": 3, "examples": [{"price": 1.0}]}, "must be JSON object"),
    ],
)
def test_examples_that_are_refused(url, request_, message):
    status, content = regression(url, "regress", **request_)
    assert status == 400
    assert message in content["error"]


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("x", "No signature was found with the name: x"),
        ("serving_default", "Expected one input Tensor."),
        ("classify", "Expected one output Tensor."),
        ("one", "No inputs found"),
        ("scores", "No regression outputs"),
        ("regress_wide", "but got [1, 2]"),
        ("regress_fewer", "Input batch size did not match output batch size: 1 vs. 0"),
    ],
)
def test_signatures_that_do_not_regress(url, signature, message):
    status, content = regression(url, signature, examples=[{"price": 1.0}])
    assert status == 400
    assert message in content["error"]


def test_classify_answers_labels_and_scores(url):
    examples = [{"price": 0.25}, {"price": 1.0}]
    for signature, labels in (("classify", ("yes", "no")), ("scores", ("", ""))):
        status, content = regression(url, signature, "classify", examples=examples)
        rows = [list(zip(labels, scores, strict=True)) for scores in ((0.25, 0.75), (1, 0))]
        assert status == 200
        assert content == {"results": [[list(pair) for pair in row] for row in rows]}
    status, content = regression(url, "regress", "classify", examples=examples)
    assert (status, "classes or scores" in content["error"]) == (400, True)
