"""Filters: which rows they leave out, in every format, and that nothing counts those."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.audit import audit, checks
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.filtered import FilteredRows
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.marginals import count
from lt4rec_tf.data.audit.warnings import warnings_of
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.filters import left_out
from lt4rec_tf.data.input.pipeline import raw_batches, request_rows
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Filter
from tests.support.conversions import assert_same_rows, quarantine_of, run
from tests.support.feeds import (
    example,
    filtered_schema,
    good_row,
    line,
    numbers,
    opened,
    write_json_lines,
    write_lines,
    write_parquet,
    write_records,
)


def kept(rule, column):
    """The rows that a filter keeps, and those that it cannot compare."""
    size = len(column) if isinstance(column, list) else column.shape[0]
    raw = tf.constant(column) if isinstance(column, list) else column
    found = left_out([rule], {"x": raw}, tf.zeros(size, tf.bool))
    by, unreadable = found.by.numpy(), found.unreadable.numpy()
    return np.flatnonzero(by < 0).tolist(), np.flatnonzero(unreadable).tolist()


TEXTS = ["5", "5.0", " 5 ", "4.9", "-7", "true", "", "nan", "five", "5e0"]
TESTED = [
    ("==", (5,), [0, 1, 2, 9]),
    ("!=", (5,), [3, 4, 5, 6, 7]),
    ("<", (5,), [3, 4, 5]),
    ("<=", (5,), [0, 1, 2, 3, 4, 5, 9]),
    (">", (1,), [0, 1, 2, 3, 9]),
    (">=", (1,), [0, 1, 2, 3, 5, 9]),
    ("in", (1, 4.9), [3, 5]),
    ("not_in", (1, 4.9), [0, 1, 2, 4, 6, 7, 9]),
]


@pytest.mark.parametrize(("comparison", "values", "expected"), TESTED)
def test_numbers_compare_as_numbers(comparison, values, expected):
    assert kept(Filter("x", comparison, values), TEXTS) == (expected, [8])


@pytest.mark.parametrize(
    ("comparison", "values", "expected"),
    [
        ("==", ("5",), [0, 1]),
        ("==", ("5.0",), [0, 1]),
        ("!=", ("5",), [2, 3, 4, 5, 6, 7, 8, 9]),
        ("in", ("five", "true"), [5, 8]),
        ("not_in", ("five", "true"), [0, 1, 2, 3, 4, 6, 7, 9]),
    ],
)
def test_texts_compare_as_ids_do(comparison, values, expected):
    assert kept(Filter("x", comparison, values), TEXTS) == (expected, [])


def test_columns_of_tfrecords_compare_by_their_own_numbers():
    whole = tf.ragged.constant([[5], [], [2**60 + 1]], dtype=tf.int64)
    assert kept(Filter("x", "==", (5,)), whole) == ([0], [])
    assert kept(Filter("x", "!=", (5,)), whole) == ([1, 2], [])
    assert kept(Filter("x", "==", (str(2**60 + 1),)), whole) == ([2], [])

    tenths = tf.ragged.constant([[0.1], [0.3], [], [np.nan]], dtype=tf.float32)
    assert kept(Filter("x", "==", (0.1,)), tenths) == ([0], [])
    assert kept(Filter("x", "<=", (0.1,)), tenths) == ([0], [])
    assert kept(Filter("x", "!=", (0.3,)), tenths) == ([0, 2, 3], [])


NUMBERS = st.floats(-9, 9, allow_nan=False, allow_subnormal=False) | st.integers(-9, 9)
PYTHON = {
    "==": lambda a, b: a == b[0],
    "!=": lambda a, b: a != b[0],
    "<": lambda a, b: a < b[0],
    "<=": lambda a, b: a <= b[0],
    ">": lambda a, b: a > b[0],
    ">=": lambda a, b: a >= b[0],
    "in": lambda a, b: a in b,
    "not_in": lambda a, b: a not in b,
}


@settings(max_examples=60, deadline=None)
@given(
    column=st.lists(NUMBERS, min_size=1, max_size=9),
    comparison=st.sampled_from(sorted(PYTHON)),
    data=st.data(),
)
def test_they_compare_as_python_does(column, comparison, data):
    most = 3 if comparison in ("in", "not_in") else 1
    others = st.sampled_from(column) | NUMBERS
    values = tuple(data.draw(st.lists(others, min_size=1, max_size=most)))
    expected = [i for i, a in enumerate(column) if PYTHON[comparison](a, values)]
    assert kept(Filter("x", comparison, values), [repr(a) for a in column]) == (expected, [])


# Adverts have neither a label nor a time nor a user, and lengths of another kind.
ADVERT = {"click": "", "day": "soon", "user": "", "length": "long", "number": "advert"}
ROWS = [good_row(number, video="ad" if number % 4 == 0 else "v1") for number in range(40)]
for position, row in enumerate(ROWS):
    row |= {"length": str(position)} if row["video"] == "v1" else ADVERT
RULES = (("video", "!=", "value = 'ad'"), ("length", ">=", "value = 11"))
KEPT = [n for n in range(40) if n % 4 and n >= 11]


def feed(folder):
    lines = [line(row) for row in ROWS]
    write_lines(folder / "a.csv", [*lines, b"too,few", line(good_row(41, length="?"))])
    return filtered_schema(folder, *RULES)


def test_rows_left_out_are_counted_by_filter_and_are_not_bad(tmp_path):
    source, found = opened(feed(tmp_path), tmp_path, SplitRule("time", 2, 3))
    assert (found.rows, found.unusable) == (42, {"columns": 1})
    assert found.filtered == {
        'video != "ad"': FilteredRows(10, 0),
        "length >= 11": FilteredRows(9, 1),  # 1, 2, 3, 5, 6, 7, 9, 10 and the "?"
    }
    assert found.left_out + sum(found.unusable.values()) + len(KEPT) == found.rows
    assert [one.reason for one in found.examples] == ["columns"]
    assert found.unusable_by_file == {"a.csv": {"columns": 1}}
    assert set(found.feature_faults.values()) == {0}

    assert [n for split in found.splits for n in numbers(source, split)] == KEPT
    counts = found.splits["train"]
    assert counts.rows == len([n for n in KEPT if n < 20])
    assert counts.tasks["ctr"].label_mean == pytest.approx(np.mean([n % 2 for n in KEPT if n < 20]))
    assert found.files["train"] == {"a.csv": counts.rows}

    said = describe(found)
    for part in (
        "42 records, 1 without use",
        "19 records left out by filters",
        'video != "ad"                     10\n',
        "length >= 11                       9  1 of them cannot be compared",
    ):
        assert part in said


def test_requests_publishing_checks_and_marginals_have_the_kept_rows_alone(tmp_path):
    source, _ = opened(feed(tmp_path), tmp_path)
    assert request_rows(source, "train", 99)["number"].tolist() == KEPT
    (raw,) = raw_batches(source, "train", 99)
    assert raw["number"].numpy().tolist() == KEPT
    assert count(source).rows == len(KEPT)


def test_a_feature_that_only_adverts_have_is_absent(tmp_path):
    rows = [good_row(n, tags="" if n % 4 else "t1", video="v" if n % 4 else "ad") for n in range(8)]
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    found = opened(filtered_schema(tmp_path, RULES[0]), tmp_path)[1]
    assert found.features_absent_in == {"tags": ("a.csv",)}


def test_the_boundaries_of_a_split_by_time_are_those_of_kept_rows(tmp_path):
    rows = [good_row(n, day=str(n), video="v" if n < 20 else "ad") for n in range(40)]
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    rule = SplitRule("time")
    found = opened(filtered_schema(tmp_path, RULES[0]), tmp_path, rule)[1]
    write_lines(tmp_path / "a.csv", [line(row) for row in rows[:20]])
    alone = opened(filtered_schema(tmp_path), tmp_path, rule)[1]
    assert (found.validation_from, found.test_from) == (alone.validation_from, alone.test_from)
    assert found.splits == alone.splits


def test_shares_of_bad_rows_are_of_the_kept_ones(tmp_path):
    rows = [good_row(n, video="ad") for n in range(90)] + [good_row(n) for n in range(10)]
    rows[-1]["click"] = "7"
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    found = opened(filtered_schema(tmp_path, RULES[0]), tmp_path, SplitRule("none"))[1]
    checks.check(found, 0.1, splits=("train",))
    with pytest.raises(DataError, match="found 1 unusable rows of 10 "):
        checks.check(found, 0.09, splits=("train",))

    everything = filtered_schema(tmp_path, ("number", "<", "value = 0"), ("day", "!=", "value = 0"))
    with pytest.raises(DataError, match=r"100 rows, all of them left out by filters \(number < 0"):
        checks.check(opened(everything, tmp_path, SplitRule("none"))[1], 1.0)


def test_an_audit_of_an_earlier_version_has_no_filters(tmp_path):
    stored = json.loads(
        json.dumps(audit.audit(open_source(feed(tmp_path), tmp_path, SplitRule())).to_json())
    )
    del stored["filtered"]
    assert Audit.from_json(stored).left_out == 0


def test_a_filter_may_name_a_column_of_a_side_table(tmp_path):
    (tmp_path / "videos.tsv").write_text("video\tkind\nv1\tfilm\nv2\tNULL\nv3\tad\n")
    path = filtered_schema(tmp_path, ("kind", "!=", "value = 'ad'"), nulls=("NULL",)).path
    path.write_text(
        path.read_text() + '[[joins]]\nfile = "videos.tsv"\nformat = "tsv"\nkey = "video"\n'
    )
    write_lines(tmp_path / "a.csv", [line(good_row(n, video=f"v{n % 5}")) for n in range(20)])
    source, found = opened(load_schema(path), tmp_path)
    assert numbers(source) == [n for n in range(20) if n % 5 != 3]
    assert found.join_misses == {"videos.tsv": 8}  # v0 and v4: the kind of these is absent


def test_a_side_table_that_matches_no_kept_row_is_warned_of(tmp_path):
    (tmp_path / "videos.tsv").write_text("video\tkind\nad\tad\n")
    path = filtered_schema(tmp_path, ("kind", "!=", "value = 'ad'")).path
    join = '\n[[joins]]\nfile = "videos.tsv"\nformat = "tsv"\nkey = "video"\n'
    path.write_text(path.read_text() + join)
    rows = [good_row(n, video="ad" if n < 15 else f"v{n}") for n in range(20)]
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    found = opened(load_schema(path), tmp_path)[1]
    assert found.join_misses == {"videos.tsv": 5}
    (warning,) = [
        text for text in warnings_of(found, load_schema(path), "none") if "videos" in text
    ]
    assert "100.0 % of the rows have no row there" in warning


def test_tfrecords_and_shards_leave_out_the_same_rows(tmp_path):
    rows = [row for row in ROWS if row["video"] != "ad"] + [good_row(99, video="ad")]
    write_records(tmp_path / "a.tfrecord", [example(row) for row in rows])
    made = filtered_schema(tmp_path, *RULES, file_format="tfrecord")
    assert numbers(opened(made, tmp_path)[0]) == KEPT

    logs = tmp_path / "logs"
    logs.mkdir()
    made = feed(logs)
    write_lines(logs / "a.csv", [line(row) for row in ROWS])
    assert run(logs / "a.csv", logs / "out", f"--schema={made.path}") == 0
    assert quarantine_of(logs / "out") == []
    assert_same_rows(dataclasses.replace(made, files=("a.csv",)), logs, logs / "out")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_formats_with_types_compare_by_them(tmp_path, kind):
    rows = [good_row(number, video="ad" if number % 4 == 0 else "v1") for number in range(40)]
    flags = [(None, True, False)[number % 3] for number in range(40)]
    if kind == "parquet":
        write_parquet(tmp_path / "a.parquet", rows, flag=pa.array(flags))
    else:
        path = write_json_lines(tmp_path / "a.jsonl", rows)
        read = [json.loads(text) for text in path.read_text().splitlines()]
        made = [json.dumps(row | {"flag": flag}) for row, flag in zip(read, flags, strict=True)]
        path.write_text("\n".join(made) + "\n")

    rules = [*RULES[:1], ("number", ">=", "value = 11"), ("flag", "!=", "value = true")]
    source, found = opened(filtered_schema(tmp_path, *rules, file_format=kind), tmp_path)
    assert numbers(source) == [n for n in range(11, 40) if n % 4 and n % 3 != 1]
    assert {counts.unreadable for counts in found.filtered.values()} == {0}
