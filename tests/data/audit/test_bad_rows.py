"""The list of rows that cannot be used."""

import dataclasses
import io
import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.bad_rows import SHOWN, BadRow, shown, write
from lt4rec_tf.data.formats.files import stamp_of
from lt4rec_tf.data.formats.lines import read_rows
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.input import scan
from lt4rec_tf.data.input.labels import REASONS, bad_rows
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from tests.support.dirty_files import listed_count
from tests.support.feeds import COLUMNS, audit_of_few, good_row, line, schema, write_lines


def audited(source, count=audit.audit):
    """The audit, and the fields of each line of the list."""
    listed = io.BytesIO()
    found = count(source, listed=listed)
    lines = listed.getvalue().decode().split("\n")
    assert lines.pop() == ""
    return found, [text.split("\t") for text in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1,u1,v1", "1,u1,v1"),
        ("Größe,視頻".encode(), "Größe,視頻"),
        ("Größe".encode("latin-1"), "Gr\\xf6\\xdfe"),
        (b"a\tb\r\n\0", "a\\tb\\r\\n\\x00"),
        (b"C:\\new", "C:\\\\new"),
        ("\u2028\x85\xa0\U000e0001".encode(), "\\u2028\\u0085\\u00a0\\U000e0001"),
        (b"x" * 300, "x" * SHOWN),
        ("視".encode() * 300, "視" * SHOWN),
    ],
)
def test_texts_by_value(text, expected):
    assert shown(text) == expected


@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_one_printable_text(text):
    found = shown(text)
    assert found.isprintable()
    assert len(found.splitlines()) <= 1
    assert "\t" not in found


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_different_bytes_are_shown_differently(first, second):
    assert (shown(first) == shown(second)) == (first == second)


def test_rows_of_a_batch_are_numbered_from_the_first():
    records = tf.constant([b"good", b"bad", b"left out on purpose", b"worse\t"])
    names = ("usable", "columns", "excluded_zero_duration", "bad_label")
    reasons = np.array([REASONS.index(name) for name in names])
    rows = list(bad_rows("log.csv", 11, records, reasons, Layout("csv", ())))
    assert rows == [
        BadRow("log.csv", 12, "columns", "bad"),
        BadRow("log.csv", 14, "bad_label", "worse\\t"),
    ]


def test_a_name_cannot_break_the_list():
    out = io.BytesIO()
    write(out, [BadRow(os.fsdecode(b"a\tb\n\xff.csv"), 3, "columns", "x")])
    assert out.getvalue() == b"a\\tb\\n\\xff.csv\t3\tcolumns\tx\n"


@pytest.mark.parametrize("together", [4096, 3])
def test_all_but_rows_that_the_schema_excludes_are_listed(tmp_path, monkeypatch, together):
    monkeypatch.setattr(scan, "_READ_TOGETHER", together)
    (tmp_path / "a").mkdir()
    rows = [line(good_row(number)) for number in range(8)]
    rows[2], rows[5], rows[6] = b"1,2", line(good_row(5, length="0")), line(good_row(6, click="2"))
    write_lines(tmp_path / "a" / "x.csv", rows)
    write_lines(tmp_path / "b.csv.gz", [rows[6], *rows[:2]])
    made = schema(tmp_path, glob='a/*.csv", "*.csv.gz', zero_duration="exclude")
    found, listed = audited(open_source(made, tmp_path, SplitRule()))
    text = rows[6].decode()
    assert listed == [
        ["a/x.csv", "3", "columns", "1,2"],
        ["a/x.csv", "7", "bad_label", text],
        ["b.csv.gz", "1", "bad_label", text],
    ]
    assert found.unusable["excluded_zero_duration"] == 1
    assert listed_count(found) == 3


JOIN = '[[joins]]\nfile = "users.csv"\nformat = "csv"\nkey = "user"\n'


def test_rows_of_side_tables_are_listed_line_by_line(tmp_path):
    write_lines(tmp_path / "log.csv", [line(good_row(number)) for number in range(8)])
    table = b'user,age\nu0,1\nu1,2,3\nu0,4\n,5\nu3,"6\nu4,7\nu5,"8"\nu6,"9"x\n\nu2,\xff\n'
    (tmp_path / "users.csv").write_bytes(table)
    schema(tmp_path, glob="log.csv")
    path = tmp_path / "small.toml"
    path.write_text(path.read_text() + JOIN)
    found, listed = audited(open_source(load_schema(path), tmp_path, SplitRule()))
    assert listed == [
        ["users.csv", "2", "columns", "u1,2,3"],
        ["users.csv", "3", "duplicate_key", "u0,4"],
        ["users.csv", "4", "missing_key", ",5"],
        ["users.csv", "5", "columns", 'u3,"6'],
        ["users.csv", "8", "columns", 'u6,"9"x'],
    ]
    assert found.join_unusable_rows == {"users.csv": 5}
    assert listed_count(found) == 5


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    write_lines(folder / "log.csv", [line(good_row(1))])
    return open_source(schema(folder), folder, SplitRule("time", 1, 2))


VALUES = st.sampled_from(["", "x", "-1", "nan", "inf", '"', "a,b", "0", "1", "\xff", "\0", "\t"])
ROWS = st.builds(
    lambda number, changes: line(good_row(number) | changes),
    st.integers(0, 29),
    st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=2),
)
LINES = st.lists(ROWS | st.binary(max_size=40), max_size=60)


@settings(max_examples=8, derandomize=True)
@given(LINES)
def test_as_many_lines_are_listed_as_the_audit_counts(source, lines):
    path = source.files[0]
    write_lines(path, lines)
    with path.open("rb") as file:
        records = sum(1 for _ in read_rows(file, source.layout.form)) - 1
    source = dataclasses.replace(source, stamps={path: stamp_of(path)})
    found, listed = audited(source, audit_of_few)
    usable = sum(counts.rows for counts in found.splits.values())
    assert found.rows == records == usable + len(listed)
    assert len(listed) == listed_count(found)
    assert all(len(fields) == 4 for fields in listed)
    assert found.unusable == {r: sum(f[2] == r for f in listed) for r in found.unusable}
