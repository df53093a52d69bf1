"""Servers that give no whole answer in time: exit code 3 of the client and the load test.

Cases run in this process: an exception that main does not turn into a code fails the test.
"""

import importlib
import json
import time

import pytest

from tests.export_folder.strange_server import GOOD
from tests.serving_stand_in.raw_server import http, trickle

both = pytest.mark.parametrize("script", ["client", "load_test"])


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
    timeout = ["--timeout=0.15"] if message in ("timed out", "no answer (") else []
    begun = time.monotonic()
    code, output, errors = run(script, *timeout)
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


def test_a_load_that_is_answered_now_and_then(run, server):
    replies = iter([http(GOOD), b"", http(GOOD), b""])

    def in_turn(connection):
        connection.sendall(next(replies))

    server.answer = in_turn
    code, output, errors = run("load_test", "--warm_up=0")
    assert code == 1
    assert json.loads(output)["outcomes"] == {"200": 1, "no answer": 1}
    assert "first error: 127.0.0.1" in errors
