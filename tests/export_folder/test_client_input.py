"""Files, flags and outputs that the client and the load test cannot use: exit code 2, and why.

Cases run in this process: an exception that main does not turn into a code fails the test.
"""

import io
import os
import subprocess
import sys
import zlib

import pytest

from tests.export_folder.strange_server import ROWS, compressed, metadata
from tests.serving_stand_in.canned_server import described
from tests.support.paths import PROJECT

both = pytest.mark.parametrize("script", ["client", "load_test"])


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


def test_an_output_that_cannot_hold_a_letter(run, monkeypatch, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(ROWS.replace(b"bob", "bø".encode()))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    code, _, errors = run("client", "--keep=user", csv=path)
    assert code == 2
    assert "output: cannot be written ('ascii' codec can't encode" in errors


@both
@pytest.mark.parametrize(
    ("end", "code"), [(">/dev/full", "2"), (">&-", "2"), ("| true", "0"), ("2>&1 | true", "0")]
)
def test_an_output_that_cannot_be_written(server, tmp_path, script, end, code):
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
    assert lines[-1] == code, done.stderr
    assert len(lines) == (2 if code == "2" else 1)
    if code == "2":
        assert lines[0].startswith("error: output: cannot be written (")
