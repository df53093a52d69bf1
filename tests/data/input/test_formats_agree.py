"""The rows of one feed in every format, packing and folder: the same batches, in the same order."""

import bz2
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf

from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.formats import json_lines
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.fingerprints import fingerprint
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.schema.reader import load_schema
from tests.support.conversions import quarantine_of, run
from tests.support.feeds import (
    example,
    good_row,
    line,
    numbers,
    opened,
    schema,
    write_json_lines,
    write_lines,
    write_parquet,
    write_records,
)

ROWS = [good_row(number) for number in range(90)]
ROWS[5] = good_row(5, tags="", user="")
ROWS[8] = good_row(8, video='say "hi", é\r\nand go', tags="a")
DAYS = (ROWS[:40], ROWS[40:60], ROWS[60:])


pytestmark = pytest.mark.slow(minutes=1)


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


def repacked(pack):
    """A writer of text that is packed in two members, as `cat a.gz b.gz` leaves it."""

    def write(path, rows):
        lines = [csv_line(row) for row in rows]
        plain = write_lines(path.with_name("plain.csv"), lines).read_bytes()
        path.with_name("plain.csv").unlink()
        path.write_bytes(pack(plain[:1000]) + pack(plain[1000:]))

    return write


def csv_line(row):
    video = row["video"].replace('"', '""')
    return line(row | {"video": f'"{video}"'})


WRITERS = {
    "csv": ("csv", "csv", lambda path, rows: write_lines(path, [csv_line(row) for row in rows])),
    "csv.bz2": ("csv", "csv.bz2", repacked(bz2.compress)),
    "csv.zst": ("csv", "csv.zst", repacked(zstd)),
    "tfrecord": (
        "tfrecord",
        "tfrecord",
        lambda p, rows: write_records(p, list(map(example, rows))),
    ),
    "parquet": ("parquet", "parquet", write_parquet),
    "jsonl": ("jsonl", "jsonl", write_json_lines),
    "jsonl.gz": ("jsonl", "jsonl.gz", lambda p, rows: packed_json(p, rows, gzip.compress)),
    "json.zst": ("jsonl", "json.zst", lambda p, rows: packed_json(p, rows, zstd)),
}


def packed_json(path, rows, pack):
    path.write_bytes(pack(write_json_lines(path, rows).read_bytes()))


def feed(folder, kind, rule=None):
    """Writes the feed, a file a day, and opens it."""
    file_format, suffix, write = WRITERS[kind]
    for day, rows in enumerate(DAYS):
        write(folder / f"{day}.{suffix}", rows)
    return opened(schema(folder, file_format, f"*.{suffix}"), folder, rule)


def read(source, split="train", **order):
    return [
        tf.nest.map_structure(lambda v: v.numpy().tolist(), batch)
        for batch in batches(source, split, 16, Order(**order))
    ]


def flat(value):
    """A nested structure with NaN as text, which equals itself."""
    return json.dumps(value)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    source, audit = feed(tmp_path_factory.mktemp("csv"), "csv")
    return audit, flat(read(source)), flat(read(source, shuffle_seed=3, epoch=1))


@pytest.mark.parametrize("kind", sorted(set(WRITERS) - {"csv"}))
def test_every_format_gives_the_same_batches(tmp_path, expected, kind):
    audit, in_order, shuffled = expected
    source, found = feed(tmp_path, kind)
    assert (found.rows, found.splits) == (audit.rows, audit.splits)
    assert flat(read(source)) == in_order
    if "." not in kind:  # not packed
        assert flat(read(source, shuffle_seed=3, epoch=1)) == shuffled


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv.zst"])
def test_a_pass_goes_on_in_its_middle(tmp_path, kind):
    source, _ = feed(tmp_path, kind)
    whole = numbers(source, batch_size=8, shuffle_seed=1)
    assert numbers(source, batch_size=8, shuffle_seed=1, skip_batches=4) == whole[32:]
    assert sorted(whole) == list(range(90))
    # A pass that is given up leaves nothing behind.
    next(iter(batches(source, "train", 8, Order(shuffle_seed=1))))
    assert numbers(source, batch_size=8, shuffle_seed=1) == whole


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_rows_are_split_by_time(tmp_path, kind):
    rule = SplitRule("time", validation_from=6.0, test_from=8.0)
    source, audit = feed(tmp_path, kind, rule)
    assert [audit.splits[name].rows for name in ("train", "validation", "test")] == [60, 20, 10]
    assert numbers(source, "test") == list(range(80, 90))


@pytest.mark.parametrize("kind", ["csv", "tfrecord", "parquet", "jsonl.gz"])
def test_folders_of_days_are_a_column(tmp_path, kind):
    """As Hive and Spark lay out what they write: time and feature stand in the folder's name."""
    file_format, suffix, write = WRITERS[kind]
    for day, rows in enumerate(DAYS):
        folder = tmp_path / "logs" / f"dt={20 + day}" / "city=Lyon%2C FR"
        folder.mkdir(parents=True)
        write(folder / f"part-0.{suffix}", rows)
    (tmp_path / "logs" / "_SUCCESS").touch()
    (tmp_path / "logs" / "_temporary").mkdir()
    (tmp_path / "logs" / "_temporary" / f"half.{suffix}").write_bytes(b"\0")
    made = schema(tmp_path, file_format, "logs")
    text = made.path.read_text().replace('{ column = "day" }', '{ column = "dt" }')
    made.path.write_text(text.replace('name = "video"', 'name = "video"\ncolumn = "city"'))

    rule = SplitRule("time", validation_from=21, test_from=22)
    source, audit = opened(load_schema(made.path), tmp_path, rule)
    assert [audit.splits[name].rows for name in ("train", "validation", "test")] == [40, 20, 30]
    assert audit.passed_over == ("logs/_SUCCESS", f"logs/_temporary/half.{suffix}")
    ids = {int(i) for batch in batches(source, "test", 50) for i in batch["features"]["video"]}
    assert ids == {int(tf.strings.to_hash_bucket_fast("Lyon, FR", 100)) + 1}
    assert numbers(source, "validation") == list(range(40, 60))


def test_a_partition_that_some_files_lack_is_named(tmp_path):
    (tmp_path / "dt=1").mkdir()
    write_parquet(tmp_path / "dt=1" / "a.parquet", DAYS[0])
    write_parquet(tmp_path / "b.parquet", DAYS[1])
    made = schema(tmp_path, "parquet", "**/*.parquet")
    made.path.write_text(made.path.read_text().replace('{ column = "day" }', '{ column = "dt" }'))
    with pytest.raises(DataError, match="found no column 'dt'"):
        open_source(load_schema(made.path), tmp_path, SplitRule("time"))


def test_columns_that_nobody_asks_for_are_not_read(tmp_path):
    structs = pa.array([{"a": 1}] * len(ROWS))
    write_parquet(tmp_path / "a.parquet", ROWS, request=structs)
    source, audit = opened(schema(tmp_path, "parquet"), tmp_path)
    assert audit.rows == len(ROWS)
    assert "request" not in source.layout.columns


def test_an_id_that_a_double_no_longer_holds_is_a_bad_row(tmp_path):
    """9,007,199,254,740,993 is its neighbour in a double: another user's rows would be hers."""
    users = pa.array([7.0, None, 2.0**53 + 2, 12.0])
    write_parquet(tmp_path / "a.parquet", ROWS[:4])
    columns = pa.parquet.read_table(tmp_path / "a.parquet").set_column(0, "user_", users)
    columns = columns.drop_columns(["user"]).rename_columns({"user_": "user"})
    number = pa.array(list(range(4)))
    pa.parquet.write_table(columns.append_column("number", number), tmp_path / "a.parquet")

    listed = io.BytesIO()
    source = open_source(schema(tmp_path, "parquet"), tmp_path, SplitRule())
    audit = auditing.audit(source, listed=listed)
    assert audit.unusable == {"unparseable": 1}
    file, record, reason, text = listed.getvalue().decode().split("\t")
    assert (file, record, reason) == ("a.parquet", "3", "unparseable")
    assert "user: found 9.007199254740994e+15, which is no exact id" in text
    (batch,) = read(auditing.complete(source, audit))
    assert batch["user"] == [*hashes("7"), NO_USER, *hashes("12")]


def hashes(*texts):
    return fingerprint(tf.constant(texts)).numpy().tolist()


def test_shards_of_json_lines_hold_the_same_rows(tmp_path, expected):
    """A line that is none goes to quarantine, with its text."""
    feed(tmp_path, "jsonl")
    with (tmp_path / "2.jsonl").open("a") as file:
        file.write("no JSON\n")
    flags = [f"--schema={tmp_path}/small.toml", "--max_bad_fraction=0.1"]
    assert run(tmp_path / "*.jsonl", tmp_path / "out", *flags) == 0
    assert [row[:2] for row in quarantine_of(tmp_path / "out")] == [("2.jsonl", "31")]
    source, _ = opened(load_schema(tmp_path / "out" / "schema.toml"), tmp_path / "out")
    assert flat(read(source)) == expected[1]


def test_lines_that_are_no_json_objects_are_bad_rows(tmp_path):
    path = write_json_lines(tmp_path / "a.jsonl", ROWS[:4])
    path.write_bytes(path.read_bytes() + b'{"number": 4\n[1, 2]\n\n{"video": "x", "number": 5}\n')
    source, audit = opened(schema(tmp_path, "jsonl"), tmp_path)
    assert (audit.rows, audit.unusable) == (7, {"unparseable": 2, "missing_label": 1})
    assert [example.text for example in audit.examples if example.reason == "unparseable"] == [
        '"no JSON (Expecting \',\' delimiter: line 2 column 1 (char 13)): {""number"": 4","","",'
        '"","","","","",""'
    ]
    assert numbers(source) == [0, 1, 2, 3]


def test_json_values_are_the_texts_that_they_are(tmp_path):
    rows = [
        {"user": 9223372036854775807, "number": 1.0, "video": "007", "tags": ["a, b", "c|d", None]},
        {"user": "9223372036854775807", "number": 2, "video": True, "tags": "a|b"},
        {"number": None, "video": {"id": 7}, "tags": []},
        {"video": "\ud83d", "tags": [1, 2.5]},
    ]
    usual = {"day": 1, "length": 10, "click": 0, "play_time": 1}
    text = "".join(json.dumps(usual | row) + "\n" for row in rows).replace("2.5]", "2.50]")
    (tmp_path / "a.jsonl").write_text(text)
    source, _ = opened(schema(tmp_path, "jsonl"), tmp_path)
    (batch,) = raw_batches(source, "train", 10)
    assert batch["number"].numpy().tolist() == [1, 2, -1, -1]
    videos = [b"007", b"true", b'{"id": 7}', b"\xed\xa0\xbd"]
    assert batch["video"].numpy().tolist() == videos
    tags = [[b"a, b", b"c|d", b""], [b"a|b", b"", b""], [b"", b"", b""], [b"1", b"2.50", b""]]
    assert batch["tags"].numpy().tolist() == tags
    (whole,) = read(source)
    assert whole["user"] == [*hashes("9223372036854775807") * 2, NO_USER, NO_USER]


def test_a_json_number_with_a_point_is_the_id_that_it_means(tmp_path):
    """pandas writes 7 as 7.0 on a day on which another row has none."""
    texts = ["7", "7.0", '"7"', "9007199254740991.0", "9007199254740992.0", "1e3", "-0.50"]
    usual = '"tags": "a", "day": 1, "length": 10, "click": 0, "play_time": 1'
    lines = [f'{{"user": {text}, "number": {text}, "video": {text}, {usual}}}' for text in texts]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source, audit = opened(schema(tmp_path, "jsonl"), tmp_path)
    assert audit.feature_faults["number"] == 3
    (batch,) = raw_batches(source, "train", 10)
    ids = ["7", "7", "7", "9007199254740991", "9007199254740992.0", "1e3", "-0.50"]
    assert [text.decode() for text in batch["video"].numpy()] == ids
    numbers = [7, 7, 7, 2**53 - 1, -1, -1, -1]
    assert batch["number"].numpy().tolist() == numbers
    (whole,) = read(source)
    assert whole["user"][:4] == hashes("7", "7", "7", "9007199254740991")


def test_texts_of_parquet_are_kept_byte_by_byte(tmp_path):
    texts = [b"a\0b", b"\xff\xfe", b"", b'"', b"a,b\nc", b"x" * 100_000]
    rows = [good_row(number) for number in range(len(texts))]
    write_parquet(tmp_path / "a.parquet", rows)
    table = pa.parquet.read_table(tmp_path / "a.parquet")
    table = table.set_column(table.schema.get_field_index("video"), "video", pa.array(texts))
    pair = pa.array(
        [["a", "b"], None, ["c", None], None, ["", "d"], ["e", "f"]], pa.list_(pa.string(), 2)
    )
    table = table.set_column(table.schema.get_field_index("tags"), "tags", pair)
    pa.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    pa.parquet.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    source, audit = opened(schema(tmp_path, "parquet"), tmp_path)
    assert audit.empty_files == ("b.parquet",)
    (batch,) = raw_batches(source, "train", 10)
    assert batch["video"].numpy().tolist() == texts
    tags = [["a", "b", ""], [""] * 3, ["c", "", ""], [""] * 3, ["", "d", ""], ["e", "f", ""]]
    assert [[tag.decode() for tag in row] for row in batch["tags"].numpy().tolist()] == tags


def test_a_list_that_appears_late_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "_PROBED_ROWS", 3)
    rows = [good_row(number, tags="") for number in range(5)]
    write_json_lines(tmp_path / "a.jsonl", [*rows, good_row(5, tags="a|b|c")])
    source, _ = opened(schema(tmp_path, "jsonl"), tmp_path)
    tags = [row for batch in raw_batches(source, "train", 50) for row in batch["tags"].numpy()]
    assert tags[-1].tolist() == [b"a", b"b", b"c"]

    one_value = [json.dumps(json.loads(line) | {"tags": "x"}) for line in lines_of(tmp_path)[:5]]
    (tmp_path / "a.jsonl").write_text("\n".join([*one_value, lines_of(tmp_path)[5]]))
    source, _ = opened(schema(tmp_path, "jsonl"), tmp_path)
    tags = [row for batch in raw_batches(source, "train", 50) for row in batch["tags"].numpy()]
    assert [row.tolist() for row in tags[-2:]] == [[b"x", b"", b""], [b"a", b"b", b"c"]]


def lines_of(folder):
    return (folder / "a.jsonl").read_text().splitlines()


def test_a_key_that_appears_late_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "_PROBED_ROWS", 3)
    rows = [{name: text for name, text in row.items() if name != "tags"} for row in ROWS[:30]]
    write_json_lines(tmp_path / "a.jsonl", [*rows, ROWS[30]])
    source, _ = opened(schema(tmp_path, "jsonl"), tmp_path)
    assert "tags" in source.layout.listed
    tags = [row for batch in raw_batches(source, "train", 50) for row in batch["tags"].numpy()]
    assert tags[-1].tolist() == [b"t0", b"t0", b""]


@pytest.mark.parametrize(
    ("name", "pack"), [("a.csv.bz2", bz2.compress), ("a.csv.zst", zstd), ("a.jsonl.zst", zstd)]
)
def test_a_packed_file_that_was_cut_off_is_refused(tmp_path, name, pack):
    plain = tmp_path / "plain"
    rows = [good_row(number) for number in range(2000)]
    if "json" in name:
        content = write_json_lines(plain, rows).read_bytes()
    else:
        content = write_lines(plain, list(map(line, rows))).read_bytes()
    (tmp_path / name).write_bytes(pack(content)[:-20])
    made = schema(tmp_path, "jsonl" if "json" in name else "csv", name)
    with pytest.raises(DataError, match=name):
        opened(made, tmp_path)


def test_a_list_with_the_mark_between_values_is_refused_not_cut(tmp_path):
    rows = [good_row(0, tags="a\x1fb|c")]
    write_parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(DataError, match=r"a\.parquet: column tags: found a list with U\+001F"):
        opened(schema(tmp_path, "parquet"), tmp_path)
