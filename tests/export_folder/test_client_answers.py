"""Metadata and answers that are none: exit code 1 of the client and the load test, and why.

Cases run in this process: an exception that main does not turn into a code fails the test.
"""

import importlib
import json

import pytest

from tests.export_folder.strange_server import (
    DEFINITIONS,
    GOOD,
    RANK_OF_TWO,
    SIGNATURE,
    compressed,
    metadata,
)
from tests.serving_stand_in.raw_server import http

both = pytest.mark.parametrize("script", ["client", "load_test"])


@both
def test_what_is_right_ends_with_zero(run, server, script):
    code, output, errors = run(script)
    assert (code, errors) == (0, "")
    if script == "client":
        assert output.splitlines() == ["pctr,pcvr", "0.1,1.0", "0.2,nan"]
    else:
        assert json.loads(output)["outcomes"] == {"200": 2}


def changed(**tensor):
    signature = json.loads(json.dumps(SIGNATURE))
    signature["inputs"]["age"] |= tensor
    return {"serving_default": signature}


DESCRIBED = {
    "null": (http(None), 1, "is no TensorFlow Serving: None"),
    "a list": (http([]), 1, "is no TensorFlow Serving: []"),
    "a text": (http("metadata"), 1, "is no TensorFlow Serving: 'metadata'"),
    "a number": (http(3), 1, "is no TensorFlow Serving: 3"),
    "no metadata": (http({"metadata": {}}), 1, "is no TensorFlow Serving"),
    "metadata in a list": (http({"metadata": [1]}), 1, "is no TensorFlow Serving"),
    "signatures null": (metadata(None), 1, "metadata: signatures: found None, expected an object"),
    "signatures in a list": (metadata([1]), 1, "metadata: signatures: found [1]"),
    "no signatures": (metadata({}), 2, "signature serving_default: not found"),
    "a signature null": (
        metadata({"serving_default": None}),
        1,
        "signature serving_default: found",
    ),
    "a signature of nothing": (metadata({"serving_default": {}}), 1, "found no inputs"),
    "no outputs": (metadata({"serving_default": {**SIGNATURE, "outputs": {}}}), 1, "no outputs"),
    "inputs in a list": (metadata({"serving_default": {"inputs": ["age"]}}), 1, "found ['age']"),
    "an input null": (metadata({"serving_default": {"inputs": {"a": None}}}), 1, "input a of"),
    "no dtype": (metadata(changed(dtype=None)), 1, "dtype of input age of signature"),
    "a number for a dtype": (metadata(changed(dtype=9)), 1, "found 9, expected a text"),
    "a dtype that rows have not": (metadata(changed(dtype="DT_HALF")), 2, "is DT_HALF, expected"),
    "a shape in a list": (metadata(changed(tensor_shape=[-1])), 1, "shape of input age"),
    "axes null": (metadata(changed(tensor_shape={"dim": None})), 1, "found None, expected a list"),
    "HTML": (http(b"<html>Hello</html>"), 1, "200, and no JSON: b'<html>Hello</html>'"),
    "nothing": (http(b""), 1, "200, and no JSON: b''"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 1, "204: and no JSON: b''"),
    "not found": (http({"error": "no such model"}, "404 Not Found"), 1, "404: no such model"),
    "half a UTF-8 letter": (http(b'{"error": "\xc3"}', "400 Bad"), 1, "400: \ufffd"),
}


@pytest.mark.parametrize(("reply", "code", "message"), DESCRIBED.values(), ids=DESCRIBED)
@both
def test_metadata_that_is_none(run, server, script, reply, code, message):
    server.described = reply
    found, output, errors = run(script)
    assert (found, output) == (code, ""), errors
    assert message in errors


def outputs(pctr, pcvr=(1.0, 2.0)):
    return http({"outputs": {"pctr": pctr, "pcvr": list(pcvr)}})


ANSWERS = {
    "null": (http(None), "found None, expected an object with outputs"),
    "a list": (http([]), "found [], expected an object with outputs"),
    "an empty object": (http({}), "found {}, expected an object with outputs"),
    "a number": (http(3), "found 3, expected an object with outputs"),
    "a text": (http("outputs"), "found 'outputs', expected an object with outputs"),
    "an error that is none": (http({"error": "no"}), "found {'error': 'no'}, expected"),
    "row form": (http({"predictions": []}), "found {'predictions': []}, expected"),
    "outputs null": (http({"outputs": None}), "outputs: found None, expected an object of pctr"),
    "outputs in a list": (http({"outputs": [1, 2]}), "outputs: found [1, 2], expected an object"),
    "an output absent": (http({"outputs": {"pctr": [1.0, 2.0]}}), "output pcvr: found pctr"),
    "an output null": (outputs(None), "pctr: found None, expected a list of 2, one a row"),
    "an output of one number": (outputs(1.0), "pctr: found 1.0, expected a list of 2"),
    "an output in an object": (outputs({"0": 1.0}), "pctr: found {'0': 1.0}, expected a list"),
    "too few": (outputs([0.1]), "pctr: found a list of 1, expected a list of 2"),
    "too many": (outputs([0.1] * 3), "pctr: found a list of 3, expected a list of 2"),
    "none": (outputs([]), "pctr: found a list of 0, expected a list of 2"),
    "texts": (outputs([0.1, "0.2"]), "line 3: pctr: found '0.2', expected a number"),
    "a text NaN": (outputs(["NaN", 0.2]), "line 2: pctr: found 'NaN', expected a number"),
    "booleans": (outputs([True, 0.2]), "line 2: pctr: found True, expected a number"),
    "nulls": (outputs([None, 0.2]), "line 2: pctr: found None, expected a number"),
    "objects": (outputs([{}, 0.2]), "line 2: pctr: found {}, expected a number"),
    "lists": (outputs([[0.1], [0.2]]), "line 2: pctr: found [0.1], expected a number"),
    "ragged": (outputs([0.1, [0.2]]), "line 3: pctr: found [0.2], expected a number"),
    "a whole number of 300 digits": (outputs([10**300, 0.2]), "expected a number"),
    "digits without end": (http(b'{"outputs": ' + b"9" * 5000 + b"}"), "and no JSON"),
    "beyond a double": (http(b'{"outputs": 1e999}'), "'1e999' is beyond a double"),
    "HTML": (http(b"<html>" + b"x" * 10_000), "200, and no JSON: b'<html>x"),
    "half of JSON": (http(b'{"outputs": {"pctr": [0.1'), "and no JSON"),
    "nothing": (http(b""), "200, and no JSON: b''"),
    "zeros": (http(bytes(100)), "and no JSON"),
    "deep lists": (http(b"[" * 100_000), "200, and no JSON: b'[[["),
    "rather deep lists": (outputs([json.loads("[" * 600 + "]" * 600), 0.2]), "expected a number"),
    "a length too small": (http(GOOD, length=5), """no JSON: b'{"out'"""),
    "moved": (http(b"", "301 Moved", "Location: http://127.0.0.1:1/"), "301: and no JSON"),
    "a page about an error": (http(b"<h1>Oh</h1>", "500 Oh"), "500: and no JSON: b'<h1>Oh</h1>'"),
    "an error's text": (http({"error": "graph"}, "400 Bad"), "400: graph"),
    "an error in a list": (http(["graph"], "400 Bad"), "400: ['graph']"),
    "an error of bytes": (http(b'{"error": "\xff\xfe"}', "400 Bad"), "400: \ufffd\ufffd"),
    "an error without end": (http({"error": "x" * 10**6}, "400 Bad"), "400: xxx"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "204: and no JSON: b''"),
    "overloaded": (http({"error": "wait"}, "503 Unavailable"), "503: wait"),
    "gzip": (http(compressed(b"{}"), "200 OK", "Content-Encoding: gzip"), "and no JSON"),
}


@pytest.mark.parametrize(("reply", "message"), ANSWERS.values(), ids=ANSWERS)
@both
def test_an_answer_that_is_none(run, server, script, reply, message):
    server.answer = reply
    code, output, errors = run(script)
    assert code == 1, errors
    assert message in errors
    assert len(errors) < 5000
    if script == "client":
        assert output == ""
        assert "rows.csv:2-3: " in errors


OF_OTHER_SIGNATURES = {
    "one output, none": ("ctr", {"outputs": None}, "pctr: found None, expected a list of 2"),
    "one output, named": ("ctr", {"outputs": {"pctr": [1.0, 2.0]}}, "pctr: found {'pctr'"),
    "regress": ("regress_ctr", {"outputs": [1.0, 2.0]}, "expected an object with results"),
    "regress in lists": ("regress_ctr", {"results": [[1.0], [2.0]]}, "found [1.0], expected a"),
    "regress in one": ("regress_ctr", {"results": 0.5}, "outputs: found 0.5, expected a list"),
    "rank without its axis": (
        "rank",
        {"outputs": {"pctr": [1.0, 2.0], "pcvr": [1.0, 2.0]}},
        "pctr: found a list of 2, expected a list of 1, one a request",
    ),
    "rank of too many": (
        "rank",
        {"outputs": {"pctr": [[1.0, 2.0]], "pcvr": [[1.0]]}},
        "pctr: found a list of 2, expected a list of 1, one a candidate",
    ),
    "rank of null": ("rank", {"outputs": {"pctr": [None], "pcvr": [None]}}, "found None, expected"),
}


@pytest.mark.parametrize(
    ("signature", "answer", "message"), OF_OTHER_SIGNATURES.values(), ids=OF_OTHER_SIGNATURES
)
@both
def test_an_answer_of_another_signature_that_is_none(
    run, server, script, signature, answer, message
):
    server.answer = http(answer)
    code, _, errors = run(script, f"--signature={signature}", "--request_column=user")
    assert code == 1, errors
    assert message in errors


def test_answers_of_any_dtype_and_shape(run, server):
    axes = {"dim": [{"size": "-1"}, {"size": "2"}]}
    signature = {
        "inputs": SIGNATURE["inputs"],
        "outputs": {
            "name": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}},
            "vector": {"dtype": "DT_FLOAT", "tensor_shape": axes},
            "whole": {"dtype": "DT_INT64", "tensor_shape": {"unknown_rank": True}},
        },
    }
    server.described = metadata({"serving_default": signature})
    good = {"name": ["bø", ""], "vector": [[0.5, float("nan")], [1.0, 2.0]], "whole": [1, 2]}
    server.answer = http({"outputs": good})
    assert run("client", "--output=jsonl")[:2] == (
        0,
        '{"name": "bø", "vector": [0.5, null], "whole": 1}\n'
        '{"name": "", "vector": [1.0, 2.0], "whole": 2}\n',
    )
    for name, values, message in (
        ("name", ["a", 1], "line 3: name: found 1, expected a text"),
        ("vector", [[0.5], [1.0, 2.0]], "line 3: vector: found shape (2,), expected (1,) as in"),
        ("vector", [[0.5, [1.0]], [1.0, 2.0]], "line 2: vector: found [0.5, [1.0]], expected"),
        ("vector", [0.5, 1.0], "line 2: vector: found 0.5, expected a number in 1 lists"),
        ("whole", [1, "2"], "line 3: whole: found '2', expected a number"),
    ):
        server.answer = http({"outputs": good | {name: values}})
        code, _, errors = run("client")
        assert code == 1
        assert message in errors


def test_a_load_test_of_a_folder_and_of_a_page(run, server, tmp_path):
    assert run("load_test", f"--requests={tmp_path}", csv="")[0] == 2
    server.answer = http(b"<html>")
    (tmp_path / "requests.json").write_text("{}", encoding="utf-8")
    code, output, errors = run("load_test", f"--requests={tmp_path / 'requests.json'}", csv="")
    assert (code, output) == (1, "")
    assert "200, and no JSON: b'<html>'" in errors


def test_lists_of_candidates_that_disagree_in_length_are_not_sent(run):
    request, rows, signature = map(importlib.import_module, ("request", "rows", "signature"))
    rank = signature.read_signature(DEFINITIONS | {"rank": RANK_OF_TWO}, "rank")
    lines = tuple(rows.Row(line, {}, {}) for line in (2, 3))
    inputs = {"user": ["ann"], "age": [[7, 8]], "length": [[2.5, 3.0]]}
    request.check_candidates(rank, request.Request(lines, inputs, candidates=2), "rows.csv")
    for wrong in ([[2.5]], [[2.5, 3.0, 3.0]], [[2.5], [3.0]], []):
        made = request.Request(lines, inputs | {"length": wrong}, candidates=2)
        with pytest.raises(request.InputError, match=r"rows\.csv:2-3: length: found .* candidates"):
            request.check_candidates(rank, made, "rows.csv")


def test_answers_about_filled_up_candidates_are_cut_to_the_rows(run):
    names = ("answers", "request", "rows", "signature")
    answers, request, rows, signature = map(importlib.import_module, names)
    rank = signature.read_signature(DEFINITIONS, "rank")
    lines = tuple(rows.Row(line, {}, {}) for line in (2, 3))
    asked = request.Request(lines, {}, candidates=4)
    given = {"pctr": [[0.1, 0.2, 0.2, 0.2]], "pcvr": [[1.0, 2.0, 2.0, 2.0]]}
    assert answers.check(rank, asked, given) == {"pctr": [0.1, 0.2], "pcvr": [1.0, 2.0]}
