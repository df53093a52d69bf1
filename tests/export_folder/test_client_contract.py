"""Exit codes and messages of the client and the load test, whatever file or server they meet.

Every case runs in this process: an exception that main does not turn into a code fails the test.
"""

import gzip
import importlib
import io
import json
import os
import subprocess
import sys
import time
import zlib

import pytest

from tests.serving_stand_in.canned_server import described
from tests.serving_stand_in.raw_server import http, raw_server, trickle
from tests.support.paths import PROJECT

ROWS = b"user,age,length\nann,7,2.5\nbob,8,3\n"
FLAGS = ("--timeout=5",)
SIGNATURE = described(["user", "age", "length"], ["pctr", "pcvr"])
RANK = {**SIGNATURE, "inputs": SIGNATURE["inputs"] | described(["length"], [], rank=2)["inputs"]}
RANK_OF_TWO = {
    **SIGNATURE,
    "inputs": SIGNATURE["inputs"] | described(["age", "length"], [], rank=2)["inputs"],
}
DEFINITIONS = {
    "serving_default": SIGNATURE,
    "ctr": described(["user", "age", "length"], ["pctr"]),
    "rank": RANK,
    "regress_ctr": described([], ["outputs"])
    | {"inputs": {"inputs": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}}}},
}
GOOD = {"outputs": {"pctr": [0.1, 0.2], "pcvr": [1.0, float("nan")]}}


def metadata(definitions):
    return http({"metadata": {"signature_def": {"signature_def": definitions}}})


class Server:
    """Answers about metadata and about rows, each with bytes or a function of the connection."""

    def __init__(self):
        self.described, self.answer, self.asked = metadata(DEFINITIONS), http(GOOD), []

    def __call__(self, connection, line, headers, body):
        self.asked.append(line)
        reply = self.described if line.startswith("GET") else self.answer
        if callable(reply):
            return reply(connection)
        connection.sendall(reply)
        return b"Content-Length" in reply and b"Connection: close" not in reply


@pytest.fixture(scope="module")
def serving():
    server = Server()
    with raw_server(server) as url:
        server.url = url
        yield server


@pytest.fixture
def server(serving):
    serving.__init__()
    return serving


@pytest.fixture
def run(server, tmp_path, monkeypatch, capsys):
    """Runs a script about a CSV; returns its exit code, output and errors."""
    monkeypatch.syspath_prepend(str(PROJECT / "export"))
    path = tmp_path / "rows.csv"
    path.write_bytes(ROWS)

    def run(script, *flags, csv=path):
        rows = [str(csv)] if script == "client" else [f"--csv={csv}"] if csv else []
        load = [] if script == "client" else ["--warm_up=1", "--max_requests=2", "--json"]
        module = importlib.import_module(script)
        try:
            code = module.main([*rows, *load, f"--url={server.url}", *FLAGS, *flags])
        except SystemExit as end:  # argparse's
            code = end.code
        return code, *capsys.readouterr()

    return run


both = pytest.mark.parametrize("script", ["client", "load_test"])


@both
def test_what_is_right_ends_with_zero(run, server, script):
    code, output, errors = run(script)
    assert (code, errors) == (0, "")
    if script == "client":
        assert output.splitlines() == ["pctr,pcvr", "0.1,1.0", "0.2,nan"]
    else:
        assert json.loads(output)["outcomes"] == {"200": 2}


def compressed(content=ROWS):
    return gzip.compress(content)


FILES = {
    "cut gzip": ("rows.csv.gz", compressed()[:-9], "cannot be read as CSV"),
    "gzip without its end": ("rows.csv.gz", compressed()[:-8], "end-of-stream marker"),
    "gzip with something behind": ("rows.csv.gz", compressed() + b"more", "Not a gzipped"),
    "gzip of other sums": ("rows.csv.gz", compressed()[:-8] + bytes(8), "CRC check failed"),
    "gzip with a broken block": (
        "rows.csv.gz",
        compressed()[:10] + b"\xff" * 20,
        "Error -3 while decompressing",
    ),
    "no gzip": ("rows.csv.gz", ROWS, "Not a gzipped file"),
    "nothing in gzip": ("rows.csv.gz", b"", "no column age, length, user; found none"),
    "gzip named csv": ("rows.csv", compressed(), "'utf-8' codec can't decode"),
    "zlib alone": ("rows.csv.gz", zlib.compress(ROWS), "Not a gzipped file"),
    "nothing": ("rows.csv", b"", "no column age, length, user; found none"),
    "only NULs": ("rows.csv", bytes(100), "no column age, length, user"),
    "NUL in a number": ("rows.csv", ROWS.replace(b"8", b"8\0"), "rows.csv:3, column age: found"),
    "UTF-16": ("rows.csv", ROWS.decode().encode("utf-16"), "codec can't decode byte 0xff"),
    "not UTF-8 further on": (
        "rows.csv",
        ROWS + b"\xff,1,2\n",
        "can't decode byte 0xff",
    ),
    "a field too long": ("rows.csv", ROWS + b"x" * 140_000, "field limit (131072); after line 3)"),
    "an open quote": ("rows.csv", ROWS + b'"ann,7,2.5\n', "unexpected end of data"),
    "a quote within": ("rows.csv", ROWS + b'"ann"a,7,2.5\n', "expected after"),
    "a digit of another script": ("rows.csv", ROWS + "a,٣,1\n".encode(), "rows.csv:4, column age"),
    "a float of another script": ("rows.csv", ROWS + "a,3,٣\n".encode(), "column length: found"),
    "a float as Python writes it": ("rows.csv", ROWS + b"a,3,1_000\n", "expected float32"),
    "digits without end": ("rows.csv", ROWS + b"a," + b"9" * 5000 + b",1\n", "expected int64"),
    "no cells": ("rows.csv", ROWS + b"a\n", "rows.csv:4: 1 cells, expected 3"),
    "too many cells": ("rows.csv", ROWS + b"," * 3 + b"\n", "rows.csv:4: 4 cells, expected 3"),
    "a column twice": ("rows.csv", b"user,user,age,length\n", "columns named twice: user"),
}


@pytest.mark.parametrize(("name", "content", "message"), FILES.values(), ids=FILES)
@both
def test_a_file_that_cannot_be_used(run, tmp_path, script, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    code, _, errors = run(script, csv=path)
    assert code == 2, errors
    assert message in errors
    assert str(path) in errors


@both
def test_no_file_a_folder_and_a_file_that_cannot_be_read(run, tmp_path, script):
    for path in (tmp_path / "absent.csv", tmp_path, "/proc/self/mem", tmp_path / ("n" * 300)):
        code, _, errors = run(script, csv=path)
        assert code == 2
        assert f"{path}: cannot be read as CSV (" in errors


def test_a_file_with_a_byte_order_mark_is_read(run, tmp_path):
    path = tmp_path / "marked.csv"
    path.write_bytes(b"\xef\xbb\xbf" + ROWS)
    assert run("client", csv=path)[0] == 0


@pytest.mark.parametrize("cell", ['["\\ud800"]', "[" * 100_000, '[["a"]]', '{"a": 1}', "NaN"])
def test_a_list_in_json_that_is_none(run, server, tmp_path, cell):
    listed = described(["user"], ["pctr"], rank=2)
    server.described = metadata({"serving_default": listed})
    path = tmp_path / "lists.csv"
    path.write_text('user,n\n"' + cell.replace('"', '""') + '",1\n', encoding="utf-8")
    code, output, errors = run("client", "--list_separator=json", csv=path)
    assert (code, output) == (2, "")
    assert "lists.csv:2, column user: found" in errors
    assert len(errors) < 1000


FLAGS_THAT_CANNOT_BE = {
    "port": ("--url=http://127.0.0.1:99999", "--url: found http://127.0.0.1:99999"),
    "port 0": ("--url=http://127.0.0.1:0", "--url: found"),
    "word for a port": ("--url=http://127.0.0.1:x", "--url: found"),
    "open bracket": ("--url=http://[::1", "--url: found http://[::1"),
    "no address in brackets": ("--url=http://[zz]:1", "--url: found http://[zz]:1"),
    "blank in the host": ("--url=http://a b:80", "--url: found http://a b:80"),
    "host too long": (f"--url=http://{'a' * 70}", "--url: found"),
    "host with a hole": ("--url=http://a..b", "--url: found http://a..b"),
    "blank in the path": ("--url=http://localhost/a b", "--url: found"),
    "letters of a path": ("--url=http://localhost/ø", "expected a path of visible ASCII"),
    "query": ("--url=http://localhost/?a=1", "expected no user, query or fragment"),
    "user": ("--url=http://me:secret@localhost", "expected no user, query or fragment"),
    "scheme": ("--url=ftp://localhost", "expected http://host:port"),
    "digits of a version": ("--version=٣", "--version: found ٣, expected a version's number"),
    "version too large": (f"--version={2**63}", "--version: found"),
    "bytes of a model": ("--model=\udcff", "--model: found '\\udcff', expected UTF-8"),
    "no model": ("--model=", "--model: found nothing"),
    "header of two lines": ("--header=A: b\r\nC: d", "--header: A: found 'b\\r\\nC: d'"),
    "header's end": ("--header=A: b\n", "--header: A: found 'b\\n'"),
    "name of a header": ("--header=A B: c", "--header: found the name 'A B'"),
    "header beyond Latin-1": ("--header=A: ☃", "expected one line of Latin-1"),
    "header of the body": ("--header=Content-Length: 3", "--header: found the name"),
    "header with gRPC": ("--grpc=localhost:1 --header=A:b", "--header and --grpc: found both"),
    "gRPC without a port": ("--grpc=localhost", "--grpc: found localhost, expected host:port"),
    "gRPC with a scheme": ("--grpc=http://localhost:1", "--grpc: found http://localhost:1"),
    "timeout without end": ("--timeout=inf", "--timeout: found inf"),
    "timeout of ages": ("--timeout=1e300", "--timeout: found 1e+300"),
    "no timeout": ("--timeout=nan", "--timeout: found nan"),
    "rows": (f"--batch_size={10**30}", "--batch_size: found 1000"),
    "digits of rows": (f"--batch_size={'9' * 5000}", "--batch_size: invalid int value"),
    "places": ("--list_width=1000000000000", "--list_width: found 1000000000000"),
    "candidates": ("--candidates=64,x", "--candidates: found 64,x"),
    "missing bytes": ("--missing=user=\udcff", "--missing: found user=\\udcff, expected string"),
}


@pytest.mark.parametrize(
    ("flags", "message"), FLAGS_THAT_CANNOT_BE.values(), ids=FLAGS_THAT_CANNOT_BE
)
@both
def test_a_flag_that_cannot_be(run, script, flags, message):
    given = flags.split(" --") if flags.startswith("--grpc") else [flags]
    code, output, errors = run(script, given[0], *(f"--{flag}" for flag in given[1:]))
    assert (code, output) == (2, "")
    assert message in errors


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


BODIES = {
    "half a pair": (b'[{"instances": ["\\ud800"]}]', "surrogates not allowed"),
    "byte order mark": (b'\xef\xbb\xbf{"instances": [1]}', "Unexpected UTF-8 BOM"),
    "deep": (b"[" * 100_000, "maximum recursion depth"),
    "not UTF-8": (b'{"instances": ["\xff"]}', "can't decode byte 0xff"),
    "nothing": (b"", "Expecting value"),
    "digits without end": (b"9" * 5000, "integer string conversion"),
}


@pytest.mark.parametrize(("content", "message"), BODIES.values(), ids=BODIES)
def test_bodies_of_a_load_test_that_cannot_be_used(run, tmp_path, content, message):
    path = tmp_path / "requests.json"
    path.write_bytes(content)
    code, output, errors = run("load_test", f"--requests={path}", csv="")
    assert (code, output) == (2, "")
    assert f"{path}: cannot be read as JSON (" in errors
    assert message in errors


def test_a_load_test_of_a_folder_and_of_a_page(run, server, tmp_path):
    assert run("load_test", f"--requests={tmp_path}", csv="")[0] == 2
    server.answer = http(b"<html>")
    code, output, errors = run("load_test", csv="")
    assert (code, output) == (1, "")
    assert "200, and no JSON: b'<html>'" in errors


def cut(connection):
    connection.sendall(http(GOOD)[:-10])


def silent(connection):
    time.sleep(0.3)


def trickled(head=b""):
    def send(connection):
        connection.sendall(head)
        trickle(connection, http(GOOD)[len(head) :], seconds=0.05, stop_after=0.4)

    return send


def without_end(piece, head=b"HTTP/1.1 200 OK\r\n"):
    def send(connection):
        connection.sendall(head)
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            connection.sendall(piece)

    return send


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_ANSWERS = {
    "closed at once": (lambda connection: None, "Remote end closed connection"),
    "silence": (silent, "timed out"),
    "a trickle": (trickled(), "timed out"),
    "a body that trickles": (trickled(http(GOOD)[:40]), "timed out"),
    "headers without end": (without_end(b"X: y\r\n"), "got more than 100 headers"),
    "a header without end": (without_end(b"x" * 1000), "got more than 65536 bytes"),
    "continue without end": (without_end(b"\r\n\r\n", b"HTTP/1.1 100 Continue"), "no answer ("),
    "chunks without end": (without_end(b"1\r\nx\r\n", CHUNKED), "timed out"),
    "no HTTP": (b"hello\r\n\r\n", "hello"),
    "gRPC": (b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0", "no answer ("),
    "another HTTP": (b"HTTP/3.0 200 OK\r\n\r\n", "HTTP/3.0"),
    "a status of letters": (b"HTTP/1.1 OK\r\n\r\n", "no answer ("),
    "cut in the body": (cut, "IncompleteRead("),
    "a length too large": (http(GOOD, "200 OK", "Connection: close", length=9999), "Incomplete"),
    "a length beyond memory": (
        http(GOOD, "200 OK", "Connection: close", length=10**15),
        "more expected",
    ),
    "cut chunks": (CHUNKED + b"10\r\nabc", "IncompleteRead("),
    "a chunk of letters": (CHUNKED + b"size\r\nabc\r\n0\r\n\r\n", "IncompleteRead("),
    "a chunk below 0": (CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n", "no answer ("),
    "a chunk beyond memory": (CHUNKED + b"f" * 12 + b"\r\nabc", "IncompleteRead("),
}


@pytest.mark.parametrize(("reply", "message"), NO_ANSWERS.values(), ids=NO_ANSWERS)
@both
def test_no_whole_answer(run, server, script, reply, message):
    server.answer = reply
    begun = time.monotonic()
    code, output, errors = run(script, "--timeout=0.15")
    assert (code, output) == (3, ""), errors
    assert f"{server.url.removeprefix('http://')}: no answer (" in errors
    assert message in errors
    assert time.monotonic() - begun < 2


@both
def test_no_whole_metadata(run, server, script):
    server.described = trickled()
    code, output, errors = run(script, "--timeout=0.15")
    assert (code, output) == (3, "")
    assert "no answer (timed out)" in errors


@both
def test_an_address_that_is_ipv6_and_nobody_there(run, script):
    code, output, errors = run(script, "--url=http://[::1]:9")
    assert (code, output) == (3, "")
    assert "::1:9: no answer (" in errors


def test_a_day_to_answer(run):
    assert run("client", "--timeout=86400")[0] == 0


def test_an_endless_body_ends(run, server, monkeypatch):
    monkeypatch.setattr(importlib.import_module("http_connection"), "MOST_BYTES", 10_000)
    server.answer = without_end(b"x" * 4096, b"HTTP/1.1 200 OK\r\n\r\n")
    code, _, errors = run("client")
    assert (code, "no answer (longer than 10000 bytes)" in errors) == (3, True)


def test_a_column_that_is_an_answer_too(run, tmp_path):
    path = tmp_path / "named.csv"
    path.write_bytes(b"pctr,user,age,length\n1,ann,7,2.5\n0,bob,8,3\n")
    code, output, errors = run("client", "--keep=pctr", "--output=jsonl", csv=path)
    assert (code, output) == (2, "")
    assert "--keep: found pctr, which is an answer" in errors
    assert run("client", "--keep=pctr", csv=path)[1].splitlines()[1] == "1,0.1,1.0"


def test_the_rows_before_a_refusal_are_printed(run, server):
    replies = iter([http({"outputs": [0.5]}), http({"error": "no"}, "400 Bad")])

    def in_turn(connection):
        connection.sendall(next(replies))
        return True

    server.answer = in_turn
    code, output, errors = run("client", "--batch_size=1", "--signature=ctr")
    assert (code, output) == (1, "pctr\n0.5\n")
    assert "rows.csv:3-3: POST" in errors


def test_an_output_that_cannot_hold_a_letter(run, monkeypatch, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(ROWS.replace(b"bob", "bø".encode()))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    code, _, errors = run("client", "--keep=user", csv=path)
    assert code == 2
    assert "output: cannot be written ('ascii' codec can't encode" in errors


def test_a_load_that_is_answered_now_and_then(run, server):
    replies = iter([http(GOOD), b"", http(GOOD), b""])

    def in_turn(connection):
        connection.sendall(next(replies))

    server.answer = in_turn
    code, output, errors = run("load_test", "--warm_up=0")
    assert code == 1
    assert json.loads(output)["outcomes"] == {"200": 1, "no answer": 1}
    assert "first error: 127.0.0.1" in errors


@both
@pytest.mark.parametrize("end", [">/dev/full", ">&-", "| true", "2>&1 | true"])
def test_an_output_that_cannot_be_written(server, tmp_path, script, end):
    path = tmp_path / "rows.csv"
    path.write_bytes(ROWS)
    rows = [path] if script == "client" else [f"--csv={path}", "--max_requests=1"]
    command = [sys.executable, "-S", PROJECT / "export" / f"{script}.py", *rows, "--timeout=5"]
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    shell = f'"$@" {end}; echo "${{PIPESTATUS[0]}}" >&2'
    done = subprocess.run(
        ["bash", "-c", shell, "-", *map(str, command), f"--url={server.url}"],
        capture_output=True,
        text=True,
        timeout=20,
        env=buffered,
    )
    lines = done.stderr.splitlines()
    assert lines[-1] == "2", done.stderr
    if "2>&1" not in end:
        assert len(lines) == 2
        assert lines[0].startswith("error: output: cannot be written (")
