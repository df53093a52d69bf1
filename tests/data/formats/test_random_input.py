"""Random bytes given to every reader: counts that add up, or a DataError; never anything else."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.formats.files import DataError, stamp_of
from lt4rec_tf.data.formats.lines import TextForm, read_rows
from lt4rec_tf.data.input.side_tables import load_side_table
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.public.interactions import read_split
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Join
from tests.support import dirty_files
from tests.support.dirty_files import READERS
from tests.support.feeds import audit_of_few, write_records

GOOD = {reader: dirty_files.row_of(reader) for reader in READERS}
BYTES = st.binary(max_size=60)


def records_of(reader: str) -> st.SearchStrategy[list[bytes]]:
    """Whole records, beginnings of them, some with a byte changed, and noise."""
    whole = GOOD[reader]
    places = st.integers(0, len(whole) - 1)
    cut = places.map(lambda place: whole[:place])
    changed = st.builds(
        lambda place, byte: whole[:place] + bytes([byte]) + whole[place + 1 :],
        places,
        st.integers(0, 255),
    )
    return st.lists(st.just(whole) | cut | changed | BYTES, max_size=60)


def outcome(act: Callable[[], Any]) -> tuple[Any, str]:
    """What came of it, and the message where it was refused; any other error is one of the test."""
    try:
        return act(), ""
    except DataError as error:
        return None, str(error)


def check_counts(source, path: Path) -> None:
    listed = io.BytesIO()
    source = dataclasses.replace(source, stamps=source.stamps | {path: stamp_of(path)})
    found, message = outcome(lambda: audit_of_few(source, listed))
    if message:
        assert path.name in message
        return
    usable = sum(counts.rows for counts in found.splits.values())
    assert found.rows == usable + sum(found.unusable.values())
    lines = listed.getvalue().decode().splitlines()
    assert len(lines) == dirty_files.listed_count(found) == sum(found.unusable.values())


def write_content(path: Path, reader: str, records: list[bytes]) -> None:
    if reader == "tfrecord":
        write_records(path, records)
    else:
        lines = b"".join(record + b"\n" for record in records)
        path.write_bytes(dirty_files.names_of(reader) + lines)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """By reader a source with one plain file that may be written anew, and that file."""
    made = {}
    for reader in READERS:
        folder = tmp_path_factory.mktemp(reader)
        paths = dirty_files.write_feed(folder, reader)
        paths["b"].unlink()
        schema = load_schema(paths["schema"])
        made[reader] = open_source(schema, folder, SplitRule("time", 1, 2)), paths["a"]
    return made


@pytest.mark.parametrize("reader", READERS)
def test_records_of_random_bytes_are_counted(sources, reader):
    source, path = sources[reader]

    @settings(max_examples=5, derandomize=True)
    @given(records_of(reader))
    def counted(records):
        write_content(path, reader, records)
        check_counts(source, path)

    counted()


@settings(max_examples=10, derandomize=True)
@given(st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0"]), st.binary(max_size=200))
def test_files_of_random_bytes_are_counted_or_refused(sources, start, content):
    for source, path in sources.values():
        path.write_bytes(start + content)
        arguments = source.schema, source.data_dir, source.split
        opened, message = outcome(lambda arguments=arguments: open_source(*arguments))
        assert str(source.data_dir) in message or not message
        if not message:
            check_counts(opened, path)
        if source.layout.format == "tfrecord":  # whose first records were good
            check_counts(source, path)


@settings(max_examples=25, derandomize=True)
@given(st.integers(0, 300), st.integers(0, 255))
def test_a_tfrecord_file_with_one_byte_changed_is_counted_or_refused(sources, place, byte):
    source, path = sources["tfrecord"]
    write_records(path, [GOOD["tfrecord"], GOOD["tfrecord"][:-4]])
    content = bytearray(path.read_bytes())
    same = content[place] == byte
    content[place] = byte
    path.write_bytes(bytes(content))
    if same:
        return
    with pytest.raises(DataError, match=r"a\.tfrecord: cannot be read past record"):
        audit_of_few(source)


TABLE = st.lists(st.just(b"u1,7") | st.builds(lambda n: b"k%d,x" % n, st.integers(0, 9)) | BYTES)


@settings(max_examples=100, derandomize=True)
@given(TABLE, st.sampled_from(["csv", "tsv"]))
def test_lines_of_side_tables_are_used_or_listed(tmp_path_factory, lines, kind):
    folder = tmp_path_factory.mktemp("side")
    mark = b"," if kind == "csv" else b"\t"
    content = b"\n".join([b"user,age", *lines]).replace(b",", mark)
    (folder / "users").write_bytes(content)
    form = TextForm(mark.decode(), quoted=kind == "csv", columns=2)
    present = sum(1 for _ in read_rows(io.BytesIO(content), form)) - 1
    join = Join("users", kind, "user")
    side, message = outcome(lambda: load_side_table(folder, join, {"age"}))
    if message:
        assert "users: found no usable row" in message
        return
    assert len(side.keys) + len(side.left_out) == present
    assert [row.record for row in side.left_out] == sorted({row.record for row in side.left_out})


@settings(max_examples=50, derandomize=True)
@given(BYTES, BYTES)
def test_interactions_of_random_bytes_are_read_or_refused(tmp_path_factory, train, test):
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "train.txt").write_bytes(train)
    (folder / "test.txt").write_bytes(test)
    split, message = outcome(lambda: read_split(folder))
    assert str(folder) in message if message else len(split.train.item_ids) > 0
