"""Logs that only Python reads as they are: every row is trained on, beside files of other kinds."""

import gzip

import pytest

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.experiment.feed import _parts_of
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import (
    example,
    good_row,
    line,
    numbers,
    opened,
    schema,
    write_lines,
    write_records,
)

pytestmark = pytest.mark.slow(minutes=1)

ROWS = 60
EMPTY = gzip.compress(b"")


def rows(first, last, **changes):
    return [good_row(number, **changes) for number in range(first, last)]


@pytest.fixture(scope="module", params=["csv", "tsv", "tfrecord"])
def feed(request, tmp_path_factory):
    """60 rows in four files: one plain, one with empty gzip members, two that differ by format."""
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    first, second, third, last = (rows(start, start + 15) for start in range(0, ROWS, 15))
    if kind == "tfrecord":
        parts = (first, second, third, last)
        for name, part in zip("abcd", parts, strict=True):
            write_records(folder / f"{name}.tfrecord", [example(row) for row in part])
        for name in "bd":
            content = (folder / f"{name}.tfrecord").read_bytes()
            members = [EMPTY, gzip.compress(content), b"\0" * 512]
            (folder / f"{name}.tfrecord").write_bytes(b"".join(members))
        return opened(schema(folder, kind), folder)

    mark = "\t" if kind == "tsv" else ","
    write_lines(folder / f"a.{kind}", [line(row, mark) for row in first] + [b"", b""])
    write_lines(folder / f"b.{kind}", [line(row, mark) for row in second], end=b"\r")
    write_lines(folder / f"c.{kind}", [line(row, mark) for row in third])
    content = (folder / f"c.{kind}").read_bytes()
    cut = content.index(b"\n") + 1
    members = [content[:cut], b"", content[cut:]]
    (folder / f"c.{kind}").write_bytes(b"".join(map(gzip.compress, members)))
    for row in last:
        row["video"] = "v\rv" if kind == "tsv" else '"v\nv"'
    write_lines(folder / f"d.{kind}", [line(row, mark) for row in last])
    return opened(schema(folder, kind), folder)


def test_every_row_is_counted_and_read(feed):
    source, audit = feed
    assert audit.rows == ROWS == audit.splits["train"].rows
    assert audit.unusable == {}
    odd = "bd" if source.schema.format == "tfrecord" else "bcd"
    assert [name[0] for name in audit.odd_files] == list(odd)
    assert numbers(source, batch_size=7) == list(range(ROWS))
    shuffled = numbers(source, batch_size=7, shuffle_seed=3)
    assert sorted(shuffled) == list(range(ROWS)) != shuffled
    assert shuffled == numbers(source, batch_size=7, shuffle_seed=3)


def test_a_pass_goes_on_where_it_was_left(feed):
    source, _ = feed
    whole = numbers(source, batch_size=7, shuffle_seed=3)
    assert numbers(source, batch_size=7, shuffle_seed=3, skip_batches=4) == whole[28:]


def test_values_are_those_of_the_log(feed):
    source, _ = feed
    videos = []
    for batch in raw_batches(source, "train", 16):
        videos += batch["video"].numpy().tolist()
    text = {"csv": b"v\nv", "tsv": b"v\rv", "tfrecord": None}[source.schema.format]
    expected = [f"v{number % 11}".encode() for number in range(ROWS)]
    assert videos == (expected[:45] + [text] * 15 if text else expected)


def test_parameter_servers_refuse_what_their_workers_cannot_read(feed):
    source, _ = feed
    with pytest.raises(DataError, match=r"b\.\w+: found a file that TensorFlow cannot read"):
        _parts_of(source, "train")


def test_a_file_that_comes_to_hold_other_rows_is_still_noticed(tmp_path):
    path = write_lines(tmp_path / "a.csv", [line(row) for row in rows(0, 20)], end=b"\r")
    source, _ = opened(schema(tmp_path), tmp_path, SplitRule())
    path.write_bytes(path.read_bytes() + line(good_row(20)) + b"\r")
    with pytest.raises(DataError, match="found it changed since the run began"):
        list(batches(source, "train", 7))


def with_city(folder):
    """The small schema of log.csv, with a city that users.csv holds."""
    path = schema(folder, glob="log.csv").path
    join = '\n[[joins]]\nfile = "users.csv"\nformat = "csv"\nkey = "user"\n'
    feature = '\n[[features]]\nname = "city"\ndtype = "string"\nside = "user"\n'
    feature += 'ids = { kind = "hash", buckets = 9 }\n'
    path.write_text(path.read_text() + join + feature)
    return load_schema(path)


def test_side_tables_hold_values_with_line_breaks(tmp_path):
    write_lines(tmp_path / "log.csv", [line(row) for row in rows(0, 14)])
    users = "user,city\n" + "".join(f'u{number},"a\nb"\n' for number in range(7))
    (tmp_path / "users.csv").write_text(users)
    source, audit = opened(with_city(tmp_path), tmp_path, SplitRule())
    assert audit.join_unusable_rows == {"users.csv": 0}
    (batch,) = raw_batches(source, "train", 20)
    assert set(batch["city"].numpy().tolist()) == {b"a\nb"}


def test_a_user_is_one_beside_a_null_and_without(tmp_path):
    users = ["7", "7.0", "8.", "8", "7.5", "u7"]
    lines = [line(good_row(number, user=user)) for number, user in enumerate(users)]
    write_lines(tmp_path / "log.csv", lines)
    (tmp_path / "users.csv").write_text("user,city\n7.0,a\n8,b\n7.5,c\nu7,d\n")
    source, _ = opened(with_city(tmp_path), tmp_path, SplitRule())
    (batch,) = batches(source, "train", 10)
    ids = batch["user"].numpy().tolist()
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert len(set(ids)) == 4
    (raw,) = raw_batches(source, "train", 10)
    assert raw["city"].numpy().tolist() == [b"a", b"a", b"b", b"b", b"c", b"d"]
