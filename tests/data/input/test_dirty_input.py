"""What becomes of dirty files: a row is counted and listed, or the run stops and says why.

Fault x reader -> the reason that a row is listed under, or the message that a file stops with.
"""

import gzip
import io

import pytest

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.formats.bad_rows import shown
from lt4rec_tf.data.formats.example_kinds import example_text
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.public.interactions import read_split
from lt4rec_tf.schema.reader import load_schema
from tests.support import dirty_files
from tests.support.dirty_files import READERS, flip, halve, names_of, recode, replaced
from tests.support.feeds import good_row, line, write_lines, write_records

RULE = SplitRule("time", 1, 2)


def audited(folder, rule=RULE):
    """The audit of a folder's logs, and the fields of each line of its list."""
    source = open_source(load_schema(folder / "small.toml"), folder, rule)
    listed = io.BytesIO()
    found = audit.audit(source, listed=listed)
    return found, [text.split("\t") for text in listed.getvalue().decode().splitlines()]


@pytest.fixture(scope="module")
def of_rows(tmp_path_factory):
    """By reader its bad rows, what the audit found in them, and the list."""
    made = {}
    for reader in READERS:
        folder = tmp_path_factory.mktemp(reader)
        paths = dirty_files.write_feed(folder, reader)
        rows = dirty_files.bad_rows(reader)
        records = [record for record, _ in rows.values()]
        write = write_records if reader == "tfrecord" else write_lines
        write(paths["b"], records)
        made[reader] = (rows, *audited(folder))
    return made


@pytest.mark.parametrize(
    ("reader", "fault"),
    [(reader, fault) for reader in READERS for fault in dirty_files.bad_rows(reader)],
)
def test_a_row_is_used_or_listed_under_its_reason(of_rows, reader, fault):
    rows, _, listed = of_rows[reader]
    record, reason = rows[fault]
    place = [*rows].index(fault) + 1
    found = [fields[1:] for fields in listed if int(fields[1]) == place]
    if reader == "tfrecord":
        record = example_text(record)
    assert found == ([] if reason == "usable" else [[str(place), reason, shown(record)]])


@pytest.mark.parametrize("reader", READERS)
def test_every_row_is_counted_once(of_rows, reader):
    rows, found, listed = of_rows[reader]
    usable = sum(counts.rows for counts in found.splits.values())
    assert found.rows == 20 + len(rows) == usable + len(listed)
    assert usable == 20 + sum(reason == "usable" for _, reason in rows.values())
    assert {fields[0] for fields in listed} == {f"b.{reader}.gz"}


@pytest.mark.parametrize("reader", READERS)
def test_shards_without_rows_are_counted_and_named(tmp_path, reader):
    dirty_files.write_feed(tmp_path, reader)
    names = []
    for letter, content in dirty_files.empty_files(reader).items():
        names.append(f"{letter}.{reader}")
        (tmp_path / names[-1]).write_bytes(content)
    found, listed = audited(tmp_path)
    assert (found.rows, listed) == (40, [])
    assert found.empty_files == tuple(names)
    assert f"files without rows: {len(names)} ({', '.join(names)})" in describe(found)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("csv", r"a\.csv: found 2 files without a byte"),
        ("tsv", r"a\.tsv: found 2 files without a byte"),
        ("tfrecord", r"b\.tfrecord\.gz: found no readable tf\.train\.Example"),
    ],
    ids=READERS,
)
def test_logs_that_are_all_empty_are_refused(tmp_path, reader, message, content):
    paths = dirty_files.write_feed(tmp_path, reader)
    for name in "ab":
        paths[name].write_bytes(content)
    with pytest.raises(DataError, match=message):
        audited(tmp_path)


TEXT = ("csv", "tsv")
COLUMNS = dirty_files.COLUMNS
SWAPPED = (*COLUMNS[:-2], *COLUMNS[:-3:-1])
RENAMED = ("n", *COLUMNS[1:])
SHORTER = COLUMNS[:-1]
# Fault, readers, what is done to the shards, the message.
FILES = [
    ("gzip cut", READERS, lambda f, r: halve(f["b"]), r"b\.{r}\.gz: (found a broken gzip|cannot)"),
    ("gzip damaged", READERS, lambda f, r: flip(f["b"]), r"b\.{r}\.gz: (found a broken gz|cannot)"),
    ("cut", ("tfrecord",), lambda f, r: halve(f["a"]), r"a\.{r}: cannot be read"),
    ("damaged", ("tfrecord",), lambda f, r: flip(f["a"]), r"a\.{r}: cannot be read"),
    ("text", ("tfrecord",), lambda f, r: f["a"].write_text("a,b\n" * 9), r"a\.{r}: cannot be read"),
    ("utf-16", TEXT, lambda f, r: recode(f["a"], "utf-16"), r"a\.{r}: found a byte order mark of"),
    ("utf-16-be", TEXT, lambda f, r: recode(f["a"], "utf-16-be"), r"a\.{r}: found NUL bytes among"),
    (
        "columns in another order",
        TEXT,
        lambda f, r: replaced(f["a"], names_of(r), names_of(r, *SWAPPED)),
        r"b\.{r}\.gz: found the columns number, .*, expected those of .*a\.{r}: number, .*"
        "the same in another order",
    ),
    (
        "a column renamed",
        TEXT,
        lambda f, r: replaced(f["a"], names_of(r), names_of(r, *RENAMED)),
        r"b\.{r}\.gz: found the columns .*; absent: n; not expected: number$",
    ),
    (
        "a column less",
        TEXT,
        lambda f, r: replaced(f["a"], names_of(r), names_of(r, *SHORTER)),
        r"b\.{r}\.gz: found the columns .*; not expected: play_time$",
    ),
    (
        "no header",
        TEXT,
        lambda f, r: replaced(f["a"], names_of(r), b""),
        r"(a\.{r}|b\.{r}\.gz): found the columns .*; none is the same: is the line with the names",
    ),
    (
        "an empty first line",
        TEXT,
        lambda f, r: replaced(f["a"], names_of(r), b"\n" + names_of(r)),
        r"a\.{r}: found an empty first line",
    ),
    (
        "a column twice",
        TEXT,
        lambda f, r: [f[name].write_bytes(names_of(r, "user", *COLUMNS)) for name in "ab"],
        r"a\.{r}: found column 'user' twice",
    ),
]


@pytest.mark.parametrize(
    ("reader", "harm", "message"),
    [
        (reader, harm, message.replace("{r}", reader))
        for _, readers, harm, message in FILES
        for reader in readers
    ],
    ids=[f"{fault}-{reader}" for fault, readers, _, _ in FILES for reader in readers],
)
def test_a_file_that_cannot_be_used_stops_the_run_by_name(tmp_path, reader, harm, message):
    paths = dirty_files.write_feed(tmp_path, reader)
    harm(paths, reader)
    with pytest.raises(DataError, match=message):
        audited(tmp_path)


def test_the_header_that_differs_from_most_is_the_one_named(tmp_path):
    dirty_files.write_feed(tmp_path, "csv")
    write_lines(tmp_path / "c.csv", [line(good_row(1))])
    replaced(tmp_path / "a.csv", b"video", b"item")
    with pytest.raises(DataError, match=r"a\.csv: found .*; absent: video; not expected: item"):
        audited(tmp_path)


def test_a_mark_of_utf_16_is_seen_in_logs_without_a_header(tmp_path):
    paths = dirty_files.write_feed(tmp_path, "csv")
    text = paths["schema"].read_text()
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    paths["schema"].write_text(text.replace("user =", f"columns = [{names}]\nuser =", 1))
    recode(paths["a"], "utf-16")
    with pytest.raises(DataError, match=r"a\.csv: found a byte order mark of UTF-16 \(ff fe\)"):
        audited(tmp_path)


def test_a_column_that_examples_of_a_file_lack_is_named(tmp_path):
    paths = dirty_files.write_feed(tmp_path, "tfrecord")
    rows = [good_row(number) for number in range(20)]
    renamed = [{"film" if name == "video" else name: row[name] for name in row} for row in rows]
    write_records(paths["b"], [dirty_files.example(row) for row in renamed])
    found = audited(tmp_path)[0]
    assert found.features_absent_in == {"video": ("b.tfrecord.gz",)}
    assert "feature video: no value in any record of b.tfrecord.gz" in describe(found)


SIDE_TABLES = [
    ("empty", b"", r"users\.csv: found an empty file"),
    ("header only", b"user,age\n", r"users\.csv: found no usable row"),
    ("another header", b"id,age\n1,2\n", r"users\.csv: found no column 'user'"),
    ("empty first line", b"\nuser,age\n", r"users\.csv: found an empty first line"),
    ("utf-16", "user,age\nu0,7\n".encode("utf-16"), r"users\.csv: found a byte order mark"),
    ("utf-16-le", "user,age\nu0,7\n".encode("utf-16-le"), r"users\.csv: found NUL bytes"),
    ("gzip cut", gzip.compress(b"user,age\n" + b"u0,7\n" * 99)[:-9], r"users\.csv: cannot be read"),
    ("gzip cut early", gzip.compress(b"user,age\n")[:9], r"users\.csv: cannot be read"),
]


@pytest.mark.parametrize(
    ("content", "message"), [case[1:] for case in SIDE_TABLES], ids=[c[0] for c in SIDE_TABLES]
)
def test_a_side_table_that_cannot_be_used_stops_the_run_by_name(tmp_path, content, message):
    dirty_files.write_feed(tmp_path, "csv", join=True)
    (tmp_path / "users.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        audited(tmp_path)


INTERACTIONS = [
    ("empty", b"", "found no pair of user and item to train on"),
    ("utf-16", "0 1\n".encode("utf-16"), r"train\.txt: found a byte order mark of UTF-16"),
    ("utf-16-le", "0 1\n".encode("utf-16-le"), r"train\.txt, line 1: found '0\\x00'"),
    ("nul", b"0 1\n1 \0\n", r"train\.txt, line 2: found"),
    ("latin-1", b"0 1\n1 \xe9\n", r"train\.txt, line 2: found '\\\\xe9'"),
    ("nan", b"0 1\n1 nan\n", r"train\.txt, line 2: found 'nan'"),
    ("negative", b"0 1\n-1 2\n", r"train\.txt, line 2: found '-1'"),
    ("header", b"user items\n0 1\n", r"train\.txt, line 1: found 'user'"),
    ("gzip cut", gzip.compress(b"0 1 2\n" * 99)[:-9], r"train\.txt: cannot be read"),
    ("gzip cut early", gzip.compress(b"0 1\n")[:9], r"train\.txt: cannot be read"),
]


@pytest.mark.parametrize(
    ("content", "message"), [case[1:] for case in INTERACTIONS], ids=[c[0] for c in INTERACTIONS]
)
def test_interactions_that_cannot_be_understood_are_refused(tmp_path, content, message):
    (tmp_path / "train.txt").write_bytes(content)
    (tmp_path / "test.txt").write_text("0 2\n")
    with pytest.raises(DataError, match=message):
        read_split(tmp_path)
