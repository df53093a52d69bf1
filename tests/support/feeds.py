"""A small hand-made feed for the data room's tests: schema, rows, files."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input import scan
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema

COLUMNS = ("number", "user", "video", "tags", "day", "length", "click", "play_time")
LABELS = """
[[labels]]
name = "click"
kind = "binary"
column = "click"

[[labels]]
name = "watch_ratio"
kind = "ratio"
play_time = "play_time"
duration = "length"
play_time_unit = "s"
duration_unit = "s"
zero_duration = "{zero_duration}"

[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"

[[tasks]]
name = "cvr"
label = "watch_ratio"
kind = "continuous"
population = "click"
loss = "mse"
metric = "mse"
"""
SCHEMA = (
    """
name = "small"
format = "{format}"
files = ["{glob}"]
user = "user"
time = {{ column = "day" }}

[[features]]
name = "number"
dtype = "int64"
side = "context"
ids = {{ kind = "integer", minimum = 0, maximum = 99999 }}

[[features]]
name = "video"
dtype = "string"
side = "item"
ids = {{ kind = "hash", buckets = 100 }}

[[features]]
name = "tags"
dtype = "string"
multivalued = true
max_values = 3
{separator}
side = "item"
ids = {{ kind = "hash", buckets = 50 }}

[[features]]
name = "length"
dtype = "float32"
side = "item"
ids = {{ kind = "numeric", transform = "log1p" }}
"""
    + LABELS
)


def schema(folder: Path, file_format: str = "csv", glob: str = "", **settings: str) -> Schema:
    path = folder / "small.toml"
    separator = 'separator = "|"' if file_format in ("csv", "tsv") else ""
    settings = {"zero_duration": "bad", "separator": separator, **settings}
    settings |= {"format": file_format, "glob": glob or f"*.{file_format}*"}
    path.write_text(SCHEMA.format(**settings))
    return load_schema(path)


def filtered_schema(
    folder: Path,
    *rules: tuple[str, str, str],
    nulls: tuple[str, ...] = (),
    file_format: str = "csv",
) -> Schema:
    """The small schema with filters: column, comparison, and the line of the value or values."""
    path = schema(folder, file_format).path
    first = f"nulls = {json.dumps(nulls)}\n" if nulls else ""
    tables = ""
    for column, comparison, value in rules:
        tables += f'\n[[filters]]\ncolumn = "{column}"\ncomparison = "{comparison}"\n{value}\n'
    path.write_text(first + path.read_text() + tables, encoding="utf-8")
    return load_schema(path)


def good_row(number: int, /, **changes: str) -> dict[str, str]:
    """Row k: user k % 7, day k // 10, every second one clicked, watched for a quarter."""
    row = {
        "number": str(number),
        "user": f"u{number % 7}",
        "video": f"v{number % 11}",
        "tags": f"t{number % 3}|t{number % 5}",
        "day": str(number // 10),
        "length": "100",
        "click": str(number % 2),
        "play_time": "25" if number % 2 else "",
    }
    return row | changes


def line(row: dict[str, str], delimiter: str = ",") -> bytes:
    return delimiter.join(row[name] for name in COLUMNS).encode()


def write_lines(path: Path, lines: list[bytes], header: bool = True, end: bytes = b"\n") -> Path:
    delimiter = "\t" if ".tsv" in path.name else ","
    first = [delimiter.join(COLUMNS).encode()] if header else []
    content = b"".join(text + end for text in [*first, *lines])
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def example(row: dict[str, str]) -> bytes:
    """Row as a tf.train.Example with bytes, int64 and float columns; empty values are absent."""
    made = tf.train.Example()
    for name, text in row.items():
        feature = made.features.feature[name]
        if not text:
            continue
        if name in ("number", "click"):
            feature.int64_list.value.append(int(text))
        elif name in ("length", "play_time"):
            feature.float_list.value.append(float(text))
        else:
            values = text.split("|") if name == "tags" else [text]
            feature.bytes_list.value.extend(value.encode() for value in values)
    return made.SerializeToString()


def write_records(path: Path, records: list[bytes]) -> Path:
    options = tf.io.TFRecordOptions("GZIP" if path.suffix == ".gz" else "")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return path


def value(name: str, text: str) -> object:
    """What a row's text is in a format that has types; None for an empty one."""
    if name == "tags":
        return text.split("|") if text else None
    if not text:
        return None
    if name in ("length", "play_time"):
        return float(text)
    return text if name in ("user", "video") else int(text)


def write_parquet(path: Path, rows: list[dict[str, str]], **columns: pa.Array) -> Path:
    """Writes rows with columns of their types, and any others."""
    typed = {name: [value(name, row[name]) for row in rows] for name in COLUMNS}
    pq.write_table(pa.table({**typed, **columns}), path)
    return path


def write_json_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    """Writes rows as JSON objects, without the keys that have no value."""
    lines = []
    for row in rows:
        typed = {name: value(name, text) for name, text in row.items()}
        present = {name: v for name, v in typed.items() if v is not None}
        lines.append(json.dumps(present).encode() + b"\n")
    path.write_bytes(b"".join(lines))
    return path


def opened(made: Schema, folder: Path, rule: SplitRule | None = None) -> tuple[Source, Audit]:
    """Opens and audits; the audit goes through JSON, as it does in a run's folder."""
    source = open_source(made, folder, rule or SplitRule())
    counted = audit_of_few(source)
    found = Audit.from_json(json.loads(json.dumps(counted.to_json())))
    found = dataclasses.replace(found, vocabularies=counted.vocabularies, numbers=counted.numbers)
    return audit.complete(source, found), found


def audit_of_few(source: Source, listed: BinaryIO | None = None) -> Audit:
    """An audit without a graph, whose tracing takes five times as long as to count some rows.

    `batches` traces the same reading of rows, audits of runs and test_audit.py what they count.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_traced", lambda step: step)
        return audit.audit(source, listed=listed)


def numbers(source: Source, split: str = "train", batch_size: int = 7, **order: int) -> list[int]:
    """The column "number" of a split's rows, in order."""
    read = batches(source, split, batch_size, Order(**order))
    ids = [batch["features"]["number"].numpy() for batch in read]
    return (np.concatenate(ids) - 2).tolist() if ids else []


FUNNEL = """
[[labels]]
name = "conv"
kind = "binary"
column = "conv"

[[labels]]
name = "refund"
kind = "binary"
column = "refund"

[[tasks]]
name = "conv"
label = "conv"
kind = "binary"
population = "click"
loss = "cross_entropy"
metric = "auc"

[[tasks]]
name = "refund"
label = "refund"
kind = "binary"
population = "conv"
loss = "cross_entropy"
metric = "auc"
"""


def funnel_schema(folder: Path) -> Schema:
    """The small schema with conversions among clicks and refunds among conversions."""
    path = schema(folder).path
    path.write_text(path.read_text() + FUNNEL)
    return load_schema(path)


def scenario_schema(
    folder: Path, file_format: str = "csv", more: str = "", glob: str = "", **wheres: str
) -> Schema:
    """The small schema with the `where` of some of its tasks, as TOML, and more TOML behind."""
    path = schema(folder, file_format, glob).path
    text = path.read_text() + more
    for task, where in wheres.items():
        head = f'[[tasks]]\nname = "{task}"\n'
        assert head in text
        text = text.replace(head, f"{head}where = {where}\n")
    path.write_text(text, encoding="utf-8")
    return load_schema(path)
