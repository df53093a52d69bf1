"""Logs of every format whose records, or bytes, were changed at random: written and counted.

python -m tests.support.hostile_logs 20000
"""

import bz2
import csv
import gzip
import io
import itertools
import json
import math
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SPLITS, SplitRule
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.reader import load_schema
from tests.support.dirty_files import listed_count
from tests.support.feeds import LABELS, audit_of_few, write_records

FEATURES = {
    "number": ("int64", 'ids = { kind = "integer", minimum = 0, maximum = 99999 }'),
    "user": ("string", 'ids = { kind = "fitted" }'),
    "video": ("string", 'ids = { kind = "hash", buckets = 100 }'),
    "device": ("string", 'ids = { kind = "vocabulary", vocabulary = ["phone", "tv"] }'),
    "tags": ("string", 'ids = { kind = "hash", buckets = 50 }\nmultivalued = true\nmax_values = 3'),
    "spans": ("int64", 'ids = { kind = "fitted" }\nmultivalued = true\nmax_values = 2'),
    "length": ("float32", 'ids = { kind = "standardised", transform = "log1p" }'),
    "price": ("float32", 'ids = { kind = "quantiles", bins = 4 }'),
    "place": ("float32", 'ids = { kind = "piecewise_linear", bins = 4 }'),
    "hour": ("int64", 'ids = { kind = "boundaries", boundaries = [6, 12, 18] }'),
    "score": ("float32", 'ids = { kind = "numeric", mean = 0.5, scale = 2.0 }'),
    "city": ("string", 'ids = { kind = "fitted" }'),  # of the side table
}
MORE = """
[[labels]]
name = "spent"
kind = "amount"
column = "spent"

[[tasks]]
name = "value"
label = "spent"
kind = "amount"
population = "click"
loss = "mse"
metric = "mae"

[[joins]]
file = "users.csv"
format = "csv"
key = "user"

[[filters]]
column = "device"
comparison = "!="
value = "advert"
"""
LISTS = ("tags", "spans")
FLOATS = ("length", "price", "place", "score", "play_time", "spent", "weight")
WHOLE = ("number", "hour", "click", "spans")
COLUMNS = [name for name in FEATURES if name != "city"]
COLUMNS += ["time", "click", "play_time", "spent", "weight"]

ROWS = 2500  # of a log of `main`: to trace the reading of one takes longer than to read many
FORMATS = ("csv", "tsv", "tfrecord", "jsonl", "parquet")
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": lambda content: gzip.compress(content, 1),
    "bz2": bz2.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}
TEXTS = [
    "", "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "9" * 400, "-0", "-1", "0x1F", "1_000",
    " 1 ", "٣", "1,5", "2026-02-30", "99991231", "9223372036854775808", "-9223372036854775809",
    "\0", "a\0b", '"', '""', "'", "\\", "\\N", "NULL", "null", "true", "[1, 2]", '{"a": 1}', "|",
    "||||||||", "\ufeff", "\ud7ff", "\U0001f600", "e\u0301" * 50, "x" * 5000, "=cmd()", "%00", "..",
    "advert",
]  # fmt: skip
NUMBERS = [
    math.nan, math.inf, -math.inf, 0, -0.0, -1, 1e-40, -1e-310, 5e-324, 1e38, 3.5e38, 1e308,
    2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1.5, 99991231,
]  # fmt: skip
BYTES = [
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1a", b"\x7f", b"\x0b",
    b"\x85", b'"', b'""', b"'", b",", b",,", b"\t", b";", b"\n", b"\r", b"\r\n", b"\n\n", b" ",
    b"[" * 3000, b"{" * 40, b'{"number":', b"]", b"}", b"\\u0000", b"\\ud800", b"1e999", b"NaN",
    b"-Infinity", b"9" * 5000, b"\xef\xbb\xbf", b"\xff\xfe",
]  # fmt: skip


def write_schema(folder: Path, file_format: str) -> Path:
    """Writes a schema with every kind of feature and label, a weight, a side table, a filter."""
    lines = ['name = "hostile"', f'format = "{file_format}"', 'files = ["a.*"]']
    lines += ['user = "user"', 'time = { column = "time" }', 'weight = "weight"']
    for name, (dtype, more) in FEATURES.items():
        lines += ["[[features]]", f'name = "{name}"', f'dtype = "{dtype}"', 'side = "item"', more]
        if name in LISTS and file_format in ("csv", "tsv"):
            lines.append('separator = "|"')
    path = folder / "hostile.toml"
    path.write_text("\n".join(lines) + LABELS.format(zero_duration="bad") + MORE, encoding="utf-8")
    users = [b"user,city", *(b"u%d,c%d" % (k, k % 3) for k in range(7))]
    (folder / "users.csv").write_bytes(b"\n".join(users))
    return path


def good_row(number: int) -> dict[str, Any]:
    """A row that every format can hold, usable and left out by no filter."""
    click = number % 2
    return {
        "number": number,
        "user": f"u{number % 7}",
        "video": f"v{number % 11}",
        "device": ("phone", "tv", "watch")[number % 3],
        "tags": [f"t{number % 3}", f"t{number % 5}"],
        "spans": [number % 4, number % 6],
        "length": 100.0 + number % 9,
        "price": (number % 50) / 2,
        "place": (number % 40) / 8,
        "hour": number % 24,
        "score": (number % 8) / 4,
        "time": f"2026-11-{1 + number % 20:02}",
        "click": click,
        "play_time": 25.0 if click else None,
        "spent": 1.5 if click else None,
        "weight": 1.0 + number % 2,
    }


# One record of a format as bytes.


def as_text(row: dict[str, Any], delimiter: str) -> bytes:
    values = []
    for name in COLUMNS:
        value = row[name]
        value = "|".join(map(str, value)) if isinstance(value, list) else value
        values.append("" if value is None else str(value))
    if delimiter == "\t":
        return "\t".join(values).encode()
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue().encode()


def as_json(row: dict[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in row.items() if v is not None}).encode()


def as_example(row: dict[str, Any]) -> bytes:
    made = tf.train.Example()
    for name, value in row.items():
        feature = made.features.feature[name]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                feature.bytes_list.value.append(one.encode("utf-8", "surrogatepass"))
            elif isinstance(one, float):
                feature.float_list.value.append(float(np.clip(one, -3e38, 3e38)))
            elif isinstance(one, int):
                feature.int64_list.value.append(max(-(2**63), min(2**63 - 1, one)))
    return made.SerializeToString(deterministic=True)


SERIAL = {
    "csv": lambda row: as_text(row, ","),
    "tsv": lambda row: as_text(row, "\t"),
    "jsonl": as_json,
    "tfrecord": as_example,
}


# What is changed


def with_other_value(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Changes a value: another number or text, of another type, many, none."""
    name = rng.choice(COLUMNS)
    one = rng.choice([*TEXTS, *NUMBERS, None])
    value = rng.choice([one, one, one, [one], [one] * rng.randint(2, 9), []])
    return row | {name: value}


def of_its_type(name: str, value: Any) -> Any:
    """Makes a value one that a column of Parquet holds."""
    if name in LISTS:
        values = value if isinstance(value, list) else [value]
        return None if value is None else [_of_type(name, one) for one in values]
    value = value[0] if isinstance(value, list) and value else value
    return None if value == [] else _of_type(name, value)


def _of_type(name: str, value: Any) -> Any:
    if value is None or name not in (*FLOATS, *WHOLE):
        return value if value is None else str(value)
    try:
        number = float(value)
        return number if name in FLOATS else int(np.clip(number, -(2.0**62), 2.0**62))
    except ValueError:
        return None


def with_other_bytes(record: bytes, rng: random.Random) -> bytes:
    """Changes bytes: flipped, gone, doubled, put in, cut off."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randint(0, len(record))
        end = min(len(record), place + rng.randint(1, 12))
        kind = rng.randint(0, 5)
        if kind == 0 and place < len(record):
            flipped = bytes([record[place] ^ 1 << rng.randint(0, 7)])
            record = record[:place] + flipped + record[place + 1 :]
        elif kind == 1:
            record = record[:place] + record[end:]
        elif kind == 2:
            record = record[:end] + record[place:]
        elif kind == 3:
            record = record[:place]
        elif kind == 4:
            record = record[:place] + rng.randbytes(rng.randint(1, 8)) + record[place:]
        else:
            record = record[:place] + rng.choice(BYTES) + record[place:]
    return record


def with_other_columns(table: pa.Table, rng: random.Random) -> pa.Table:
    """Gives a column of a Parquet file another type, takes it out, or adds one of its name."""
    place = rng.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    kind = rng.randint(0, 3)
    if kind == 0:
        return table.remove_column(place)
    if kind == 1:
        return table.append_column(name, column)
    if kind == 2:
        rows = [{"a": 1}] * len(table)
        return table.set_column(place, name, pa.array(rows))
    others = [pa.string(), pa.float64(), pa.int8(), pa.bool_(), pa.binary(), pa.null()]
    other = rng.choice(others)
    try:
        return table.set_column(place, name, column.cast(other))
    except pa.ArrowException:
        return table.set_column(place, name, pa.nulls(len(table), other))


# Files


@dataclass
class File:
    """A file that was written.

    Attributes:
        rows: Its records, where they can be counted: their bounds are whole. None: not known.
        untouched: The numbers of the rows that were not changed, where each is a record still.
        changed: Records that were changed.
    """

    rows: int | None
    untouched: set[int]
    changed: int


def write_log(
    folder: Path, file_format: str, packing: str, count: int, rng: random.Random, *, of_file: bool
) -> File:
    """Writes a log of which about half of the records are changed; or the bytes of the file."""
    rows = [good_row(number) for number in range(count)]
    hit = set() if of_file else {k for k in range(1, count) if rng.random() < 0.5}
    path = folder / f"a.{file_format}{'.' if packing else ''}{packing}"
    if file_format == "parquet":
        rows = [with_other_value(row, rng) if k in hit else row for k, row in enumerate(rows)]
        content = parquet(rows, rng, of_file=of_file)
        whole = True
    else:
        records = [changed_record(row, file_format, rng, k in hit) for k, row in enumerate(rows)]
        content, whole = framed(records, file_format)
        content = PACKED[packing](content)
    if of_file:
        content, whole = with_other_bytes(content, rng), False
    path.write_bytes(content)
    known = count if whole else None
    untouched = set(range(count)) - hit if whole else set()
    return File(known, untouched, len(hit))


def changed_record(row: dict[str, Any], file_format: str, rng: random.Random, hit: bool) -> bytes:
    serial = SERIAL[file_format]
    if not hit:
        return serial(row)
    kind = rng.randint(0, 2)
    row = with_other_value(row, rng) if kind else row
    return with_other_bytes(serial(row), rng) if kind != 1 else serial(row)


def framed(records: list[bytes], file_format: str) -> tuple[bytes, bool]:
    """Joins records to a file, and tells if each of them is a record still."""
    if file_format == "tfrecord":
        with tempfile.TemporaryDirectory() as folder:
            return write_records(Path(folder) / "a.tfrecord", records).read_bytes(), True
    ends = (b"\n",) if file_format == "jsonl" else (b"\n", b"\r", b'"')
    whole = not any(end in r for r in records for end in ends) and all(map(bytes.strip, records))
    if file_format == "jsonl":
        return b"\n".join(records), whole
    header = ("," if file_format == "csv" else "\t").join(COLUMNS).encode()
    return b"\n".join([header, *records]), whole


def parquet(rows: list[dict[str, Any]], rng: random.Random, *, of_file: bool) -> bytes:
    """A Parquet file of small row groups; of every second that is not damaged a column differs."""
    columns = {}
    for name in COLUMNS:
        kind = pa.float32() if name in FLOATS else pa.int64() if name in WHOLE else pa.string()
        kind = pa.list_(kind) if name in LISTS else kind
        columns[name] = pa.array([of_its_type(name, row[name]) for row in rows], kind)
    table = pa.table(columns)
    if not of_file and rng.random() < 0.5:
        table = with_other_columns(table, rng)
    written = io.BytesIO()
    compression = rng.choice(["none", "snappy", "gzip", "zstd", "brotli"])
    pq.write_table(table, written, row_group_size=rng.choice([7, 1000]), compression=compression)
    return written.getvalue()


# What becomes of them


@dataclass
class Tally:
    """What became of logs.

    Attributes:
        changed: Records that were changed.
        files: By what became of them: "read" or "refused".
        rows: By what the audit says of them.
        messages: The beginnings of refusals.
    """

    changed: int = 0
    files: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)


def tried(
    folder: Path,
    case: tuple[str, str, bool],
    rows: int,
    seed: object,
    tally: Tally,
    *,
    reading: bool = True,
) -> None:
    """Writes a log, audits it and reads its rows: all add up, or it is refused by its name.

    Args:
        folder: An empty one.
        case: Format, packing, and if the bytes of the file are changed in place of records.
        rows: Of the log.
        seed: Of what is changed.
        tally: Gets what became of the log.
        reading: Reads the rows too, as training does, whose graph takes seconds to trace.
    """
    file_format, packing, of_file = case
    rng = random.Random(f"{seed}/{case}")
    schema = load_schema(write_schema(folder, file_format))
    file = write_log(folder, file_format, packing, rows, rng, of_file=of_file)
    tally.changed += file.changed
    listed = io.BytesIO()
    try:
        source = open_source(schema, folder, SplitRule("random"))
        found = audit_of_few(source, listed)
    except InputError as error:
        message = str(error)
    else:
        tally.files["read"] += 1
        check_counts(found, file, tally)
        if reading:
            check_models(auditing.complete(source, found), found, file)
        assert len(listed.getvalue().splitlines()) == listed_count(found)
        return
    assert str(folder) in message
    tally.files["refused"] += 1
    tally.messages[message.replace(str(folder), "")[:60]] += 1


def check_counts(found: Audit, file: File, tally: Tally) -> None:
    """Compares an audit with the log."""
    usable = sum(counts.rows for counts in found.splits.values())
    left_out = sum(one.rows for one in found.filtered.values())
    assert found.rows == usable + sum(found.unusable.values()) + left_out
    assert file.rows in (None, found.rows)
    tally.rows.update({"usable": usable, "left out": left_out, **found.unusable})


def check_models(source: Source, found: Audit, file: File) -> None:
    """Compares what training reads with an audit, and with the rows that were not changed."""
    numbers: set[int] = set()
    for split in SPLITS:
        delivered = [*read(source, split)]
        assert len(delivered) == found.splits[split].rows
        numbers.update(delivered)
    assert file.untouched <= numbers


def read(source: Source, split: str) -> Iterator[int]:
    """Reads a split as training does: finite numbers; yields those of the column "number"."""
    for batch in batches(source, split, 256):
        for values in tf.nest.flatten([batch["labels"], batch["weights"]]):
            assert np.all(np.isfinite(values.numpy()))
        for values in tf.nest.flatten(batch["features"]):
            assert not np.any(np.isinf(tf.cast(values, tf.float64).numpy()))
        yield from (batch["features"]["number"].numpy() - 2).tolist()


CASES = [
    (file_format, packing, of_file)
    for file_format in FORMATS
    for packing in PACKED
    for of_file in (False, True)
    if not (file_format == "parquet" and packing)  # which packs its own pages
]


def main() -> None:
    """Tries logs until so many records are changed; prints a table and every fault."""
    tallies = {case: Tally() for case in CASES}
    for seed in itertools.count():
        if sum(tally.changed for tally in tallies.values()) >= int(sys.argv[1]):
            break
        for case, tally in tallies.items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    tried(Path(folder), case, ROWS, seed, tally)
                except Exception:
                    print(f"FAULT of {case}, seed {seed}\n{traceback.format_exc()}", flush=True)
        print(f"{seed}: {sum(tally.changed for tally in tallies.values())}", flush=True)

    lines = []
    for (file_format, packing, of_file), tally in tallies.items():
        bad = sum(n for why, n in tally.rows.items() if why not in ("usable", "left out"))
        name = f"{file_format}{'.' if packing else ''}{packing}"
        counts = [tally.changed, tally.files["read"], tally.files["refused"]]
        counts += [tally.rows["usable"], bad, tally.rows["left out"]]
        lines.append([name, "file" if of_file else "records", *map(str, counts)])
    header = ["log", "changed", "records changed", "read", "refused", "usable", "bad", "left out"]
    print(markdown_table(header, lines, texts=2))
    print(sum((tally.messages for tally in tallies.values()), Counter()).most_common(30))


if __name__ == "__main__":
    main()
