"""Lines and records that are too long: found with their places, in bounded memory."""

import codecs
import gzip
import io
import struct

import pytest

from lt4rec_tf.data.formats import long_lines
from lt4rec_tf.data.formats.column_batches import read_batches
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.json_lines import read_lines
from lt4rec_tf.data.formats.lines import TextForm, read_rows
from lt4rec_tf.data.formats.odd_files import oddity, read_records
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.formats.text_rows import named_rows

CSV = TextForm(",", quoted=True, columns=2)


@pytest.fixture
def short_limit(monkeypatch):
    """Lines of more than 20 bytes are too long."""
    monkeypatch.setattr(long_lines, "MOST", 20)
    monkeypatch.setattr(long_lines, "_CHUNK", 4)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("length", [20, 21, 1000])
def test_a_long_line_is_a_row_that_no_form_takes(short_limit, end, length):
    long = b"4,".ljust(length - len(end), b"x")
    rows = list(read_rows(io.BytesIO(end.join([b"1,a", long, b"2,b", b""])), CSV))
    assert [(row.line, row.lines) for row in rows] == [(1, 1), (2, 1), (3, 1)]
    assert [rows[0].text, rows[2].text] == [b"1,a", b"2,b"]
    assert CSV.is_row(rows[1].text) == (length <= 20)
    assert (rows[1].text == long) == (length <= 20)
    assert rows[1].text.startswith(b"4" if length <= 20 else b"longer than")


def test_lines_are_those_of_the_file_at_any_chunk(monkeypatch):
    content = b'1,a\r\n\r\n"2\r3",b\n\n\r\r4,c\r'
    for chunk in range(1, len(content) + 1):
        monkeypatch.setattr(long_lines, "_CHUNK", chunk)
        lines = long_lines.lines_of_rows(io.BytesIO(content))
        assert list(lines) == content.splitlines(keepends=True)
        lines = long_lines.lines_of_json(io.BytesIO(content))
        assert list(lines) == io.BytesIO(content).readlines()


def test_a_long_line_of_json_is_a_row_with_a_fault(tmp_path, short_limit):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "%s"}\n{"a": 2}\n' % (b"x" * 100))
    lines = [line for some in read_lines(path, ["a"], [], 10) for line in some]
    assert [lines[0], lines[2]] == [b'"","1"', b'"","2"']
    assert b"longer than" in lines[1]


@pytest.mark.parametrize("packed", [False, True])
def test_a_long_line_of_a_public_archive_is_named(tmp_path, short_limit, packed):
    path = tmp_path / "users.csv"
    content = codecs.BOM_UTF8 + b"user,age\r\nu1,7\nu2,%s\n" % (b"x" * 100)
    path.write_bytes(gzip.compress(content) if packed else content)
    rows = named_rows(path)
    assert next(rows) == (1, {"user": "u1", "age": "7"})
    with pytest.raises(DataError, match=r"users\.csv: line 3: found one longer than 0 MiB, exp"):
        next(rows)


def test_records_together_hold_little(monkeypatch):
    monkeypatch.setattr(long_lines, "_MOST_TOGETHER", 10)
    records = iter([b"1234"] * 7)
    assert [len(some) for some in long_lines.together(records, 100)] == [3, 3, 1]


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_of_many_chunks_is_one_bad_row(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(long_lines, "MOST", 2 << 20)
    path = tmp_path / "log.csv"
    content = b"user,click\n1,0\n" + bytes(5 << 20) + b"\n2,1\n"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    layout = Layout("csv", ("user", "click"), quoted=True, header_lines=1)

    assert oddity(path, layout.form) == "a line longer than 1 MiB"
    (batch,) = read_batches(path, layout, 10)
    assert batch.broken.tolist() == [False, True, False]
    assert batch.text(1).startswith(r"longer than 2 MiB: \x00")


@pytest.mark.parametrize("packed", [False, True])
def test_a_record_of_a_false_length_is_refused_by_its_number(tmp_path, packed):
    path = tmp_path / "log.tfrecord"
    content = struct.pack("<QI", 5, 0) + b"first" + bytes(4) + struct.pack("<QI", 1 << 40, 0)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = r"log.tfrecord: .* past record 1 \(found a record of 1099511627776 bytes"
    with pytest.raises(DataError, match=found):
        oddity(path, None)
    with pytest.raises(DataError, match=found):
        list(read_records(path, None, 0))
