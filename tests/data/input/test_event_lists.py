"""Lists of what users did before, in every format: nulls keep their place, unequal lists count."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf

from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.formats.values import list_lengths
from lt4rec_tf.data.input.pipeline import batches, request_rows
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.reader import load_schema
from tests.support.schemas import SMALL_SCHEMA, WATCHED

ROWS = [
    (["v1", "v2", "v3"], [5.0, 90.0, 4000.0]),
    (["v4", None, "v5"], [5.0, 90.0, None]),  # a null keeps its place
    ([], []),
    (["v6", "v7"], [5.0]),  # which event the one age belongs to is not known
    (["v1", "v1", "v2", "v3", "v4", "v5"], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),  # of more than 4
    (None, None),
]


def columns():
    """The logs column by column."""
    count = 40 * len(ROWS)
    rows = ROWS * 40
    return {
        "user": [f"u{i % 7}" for i in range(count)],
        "video": [f"v{i % 9}" for i in range(count)],
        "tags": ["a"] * count,
        "source": ["v2"] * count,
        "age": [30.0] * count,
        "click": [i % 2 for i in range(count)],
        "watch_ratio": [0.5] * count,
        "watched": [watched for watched, _ in rows],
        "ago": [ago for _, ago in rows],
    }


def text(values):
    return "|".join("" if value is None else str(value) for value in values or [])


def write_csv(path, table):
    rows = zip(*table.values(), strict=True)
    lines = [
        ",".join(text(v) if isinstance(v, list) or v is None else str(v) for v in r) for r in rows
    ]
    path.write_text("\n".join([",".join(table), *lines]) + "\n", encoding="utf-8")


def write_jsonl(path, table):
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def write_parquet(path, table):
    pyarrow.parquet.write_table(pa.table(table), path)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


def opened(folder, file_format, text=SMALL_SCHEMA + WATCHED):
    """(the audited source, its audit) of logs in a format."""
    WRITERS[file_format](folder / f"log.{file_format}", columns())
    schema = text.replace('"csv"', f'"{file_format}"')
    path = folder / "schema.toml"
    path.write_text(schema.replace("*.csv", f"*.{file_format}"), encoding="utf-8")
    source = open_source(load_schema(path), folder, SplitRule("none"))
    audit = auditing.audit(source)
    return auditing.complete(source, audit), audit


# Which positions hold a video, and the ids of how long ago it was.
PATTERNS = {
    ((1, 1, 1, 0), (1, 2, 3, 0)),
    ((1, 0, 1, 0), (1, 2, 0, 0)),
    ((0, 0, 0, 0), (0, 0, 0, 0)),
    ((1, 1, 1, 1), (1, 1, 1, 1)),
}


def events_by_pattern(source):
    """Pattern -> a row's videos; rows come in any order."""
    found = {}
    for batch in batches(source, "train", 16):
        lists = (batch["features"][name].numpy().tolist() for name in ("watched", "ago"))
        for watched, ago in zip(*lists, strict=True):
            found[tuple(np.sign(watched).tolist()), tuple(ago)] = watched
    return found


def patterns(source):
    return set(events_by_pattern(source))


@pytest.mark.parametrize("file_format", WRITERS)
def test_events_are_read_by_place(tmp_path, file_format):
    source, audit = opened(tmp_path, file_format)
    assert audit.unequal_lists == {"watched": 40}
    assert "feature watched: 40 records in which lists that are aligned" in describe(audit)
    assert audit.feature_faults["watched"] == audit.feature_faults["ago"] == 0

    found = events_by_pattern(source)
    assert set(found) == PATTERNS
    repeated = found[(1, 1, 1, 1), (1, 1, 1, 1)]
    assert repeated[0] == repeated[1] != repeated[2]  # an event that comes again counts again


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_shards_hold_the_same_events(tmp_path, file_format):
    """Nulls keep their place there too: an int64 in a list cannot be null."""
    logs, shards = tmp_path / "logs", tmp_path / "shards"
    logs.mkdir()
    ago = 'dtype = "float32"\nmultivalued'
    whole = (SMALL_SCHEMA + WATCHED).replace(ago, 'dtype = "int64"\nmultivalued')
    source, _ = opened(logs, file_format, whole)
    flags = [f"--files={logs}/log.{file_format}", f"--schema={logs}/schema.toml"]
    assert convert.main(["convert", *flags, f"--output_dir={shards}"]) == 0
    shards_schema = load_schema(shards / "schema.toml")
    assert [sequence.name for sequence in sequences_of(shards_schema)] == ["watched"]
    other = open_source(shards_schema, shards, SplitRule("none"))
    other = auditing.complete(other, auditing.audit(other))
    assert patterns(other) == patterns(source) == PATTERNS


def test_a_client_sends_whole_lists(tmp_path):
    source, _ = opened(tmp_path, "csv")
    assert request_rows(source, "train", 30)["watched"].shape[1] == 6


def test_lists_are_as_long_as_they_are_written():
    ragged = tf.ragged.constant([["a", "b"], [], ["c"]])
    assert list_lengths(ragged, "").numpy().tolist() == [2, 0, 1]
    cut = tf.ragged.constant([["a|b"], ["c"]])
    assert list_lengths(cut, "|").numpy().tolist() == [2, 1]
    assert list_lengths(tf.constant(["[1, null]", "[]", ""]), "json").numpy().tolist() == [2, 0, 0]
