"""Times of rows from numbers and from dates in ISO 8601; splits at dates and at random."""

import io
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.iso_times import iso_times
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule, row_times, split_at_random
from lt4rec_tf.data.input.time_limits import with_dates
from lt4rec_tf.schema.types import TimeColumn
from tests.support.conversions import quarantine_of, records_of, run
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
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READ = tf.function(iso_times, input_signature=[tf.TensorSpec((None,), tf.string)])
ZONES = st.builds(
    lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60)
)
FORMS = st.sampled_from(["iso", "space", "minutes", "date", "slashes", "no colon", "Z"])


def written(moment, form):
    """A moment as a text, and the moment that the text says."""
    if form in ("date", "slashes"):
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
        return f"{day.date()}".replace("-", "/" if form == "slashes" else "-"), day
    if form == "minutes":
        moment = moment.replace(second=0, microsecond=0, tzinfo=UTC)
        return f"{moment.date()} {moment.time().isoformat('minutes')}", moment
    if form == "Z":
        moment = moment.replace(tzinfo=UTC)
        return moment.isoformat().replace("+00:00", "Z"), moment
    if form == "no colon":
        text = moment.isoformat()
        return text[:-3] + text[-2:], moment
    return moment.isoformat(" " if form == "space" else "T"), moment


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES), FORMS),
        min_size=1,
    )
)
def test_dates_are_the_milliseconds_that_python_reads(cases):
    texts, moments = zip(*(written(moment, form) for moment, form in cases), strict=True)
    found, valid = READ(tf.constant(texts))
    assert valid.numpy().all()
    expected = [(moment - EPOCH) // timedelta(milliseconds=1) for moment in moments]
    assert found.numpy().tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?\Z"))
def test_a_text_is_a_date_where_python_finds_one(text):
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S" if " " in text else "%Y-%m-%d")
        expected = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
    except ValueError:
        expected = None
    if text.endswith((":60", ":61")):  # leap seconds, which Python's parser lets through
        expected = None
    (found,), (valid,) = (part.numpy() for part in READ(tf.constant([text])))
    assert (int(found) if valid else None) == expected


def test_what_is_no_time_and_what_is_a_number():
    texts = {
        "2026-02-30": None,
        "2026-13-01": None,
        "2026-11-01 25:00": None,
        "2026-11-01 05:60": None,
        "2026-11-01 05:00+25:00": None,
        "2026-11/01": None,
        "2026-11-01x": None,
        "0000-01-01": None,
        "": None,
        "nan": None,
        "inf": None,
        " 2026-11-01 ": 1793491200000,
        "2026-11-01 05:00:00,250 UTC": 1793509200250,
        "2026-11-01T05:00:00.123456789+08": 1793480400123,
        "20261101": 20261101,
        "1793491200.5": 1793491200.5,
        "1969-12-31 23:59:59.999": -1,
    }
    time = TimeColumn("t")
    expected = [np.nan if number is None else number for number in texts.values()]
    found = row_times(time, tf.constant([*texts]))
    np.testing.assert_array_equal(found.numpy(), np.array(expected, float))
    lists = tf.RaggedTensor.from_row_lengths([*texts], [1] * len(texts))
    np.testing.assert_array_equal(row_times(time, lists).numpy(), found.numpy())
    whole = tf.RaggedTensor.from_row_lengths(tf.constant([7, 8], tf.int64), [1, 1])
    np.testing.assert_array_equal(row_times(time, whole).numpy(), [7.0, 8.0])


def dated(number):
    """Row k of day k // 10 of November 2026."""
    return good_row(number, day=f"2026-11-{1 + number // 10:02d}T{number % 10:02d}:00:00")


def test_rows_of_texts_and_of_timestamps_are_split_alike(tmp_path):
    rows = [dated(number) for number in range(60)]
    (tmp_path / "csv").mkdir()
    write_lines(tmp_path / "csv" / "a.csv", [line(row) for row in rows])
    (tmp_path / "tf").mkdir()
    write_records(tmp_path / "tf" / "a.tfrecord", [example(row) for row in rows])

    columns = {name: [row[name] or None for row in rows] for name in rows[0]}
    for name in ("number", "click"):
        columns[name] = [int(value) for value in columns[name]]
    moments = [datetime.fromisoformat(row["day"]) for row in rows]
    columns["day"] = pa.array(moments, pa.timestamp("us"))
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "parquet" / "a.parquet")

    found = {}
    for folder, file_format in (("csv", "csv"), ("tf", "tfrecord"), ("parquet", "parquet")):
        made = schema(tmp_path / folder, file_format)
        source = open_source(made, tmp_path / folder, SplitRule("time"))
        dates = {"validation_from": "2026-11-05", "test_from": "2026-11-06T02:00+02:00"}
        source = with_dates(source, dates)
        counted = audit.audit(source)
        assert counted.validation_from == 1793836800000
        rows = {split: counts.rows for split, counts in counted.splits.items()}
        found[folder] = rows, numbers(audit.complete(source, counted), "validation")
    assert found["csv"] == ({"train": 40, "validation": 10, "test": 10}, [*range(40, 50)])
    assert found["csv"] == found["tf"] == found["parquet"]


@pytest.mark.parametrize(
    ("day", "date", "expected"),
    [
        (
            lambda n: f"{n // 10}",
            "2026-11-05",
            r"--test_from: found the date '2026-11-05', expected"
            r" a number: column day holds no dates .*\(0, 0, 0\)",
        ),
        (lambda n: "soon", "2026-11-05", r"\(no time\)"),
        (
            lambda n: f"2026110{1 + n // 10}",
            "2026-11-05T12:00",
            "finer than YYYYMMDD, expected a"
            r" date as column day has them, such as 20261101 \(2026-11-01\)",
        ),
    ],
)
def test_dates_that_cannot_be_are_refused(tmp_path, day, date, expected):
    write_lines(tmp_path / "a.csv", [line(good_row(n, day=day(n))) for n in range(60)])
    source = open_source(schema(tmp_path), tmp_path, SplitRule("time", 1.0))
    with pytest.raises(DataError, match=expected):
        with_dates(source, {"test_from": date})


def test_dates_in_the_wrong_order_are_refused(tmp_path):
    write_lines(tmp_path / "a.csv", [line(dated(number)) for number in range(60)])
    source = open_source(schema(tmp_path), tmp_path, SplitRule("time"))
    with pytest.raises(DataError, match="--test_from: found '2026-11-03', expected it not before"):
        with_dates(source, {"validation_from": "2026-11-04", "test_from": "2026-11-03"})


def test_a_random_split_is_seeded_and_has_its_shares():
    records = tf.constant([f"row {number}" for number in range(20_000)])
    rule = SplitRule("random", validation_fraction=0.2, test_fraction=0.1)
    first, again = (split_at_random(rule, records).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    shares = np.bincount(first, minlength=3) / len(first)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=5 * np.sqrt(0.25 / 20_000))

    # Another seed splits as if independently.
    other = split_at_random(SplitRule("random", split_seed=2, test_fraction=0.1), records).numpy()
    assert np.mean(other[first == 2] == 2) == pytest.approx(0.1, abs=0.05)


def test_equal_rows_fall_together_and_the_rows_read_are_those_counted(tmp_path):
    made = schema(tmp_path)
    lines = [line(good_row(number % 150)) for number in range(300)]
    write_lines(tmp_path / "a.csv", lines)
    write_lines(tmp_path / "b.csv", lines[:150])
    source, found = opened(made, tmp_path, SplitRule("random"))
    read = {split: Counter(numbers(source, split)) for split in found.splits}
    assert {split: sum(rows.values()) for split, rows in read.items()} == {
        split: counts.rows for split, counts in found.splits.items()
    }
    assert all(set(rows.values()) == {3} for rows in read.values())
    assert sum(map(len, read.values())) == 150


@pytest.mark.parametrize(
    ("rule", "day", "far", "shown"),
    [
        (SplitRule("time"), "{}", "99991231", 99991231),
        (SplitRule("time", 1793664e6, 1793836.8e6), "2026-11-0{}", "9999-12-31", 253402214400000),
    ],
)
def test_a_far_time_is_a_bad_row_of_a_split_by_time(tmp_path, rule, day, far, shown):
    rows = [good_row(n, day=day.format(1 + n // 10)) for n in range(60)]
    clean, _ = tmp_path / "clean", tmp_path.joinpath("clean").mkdir()
    write_lines(clean / "a.csv", [line(row) for row in rows])
    _, expected = opened(schema(clean), clean, rule)

    write_lines(tmp_path / "a.csv", [line(row) for row in rows[:30]])
    write_lines(tmp_path / "b.csv", [line(row) for row in [*rows[30:], good_row(60, day=far)]])
    listed = io.BytesIO()
    source = open_source(schema(tmp_path, glob="?.csv"), tmp_path, rule)
    found = audit.audit(source, None, listed)
    assert found.unusable == {"far_time": 1}
    assert found.unusable_where == {"far_time": {"column day": 1}}
    assert (found.validation_from, found.test_from) == (
        expected.validation_from,
        expected.test_from,
    )
    assert found.splits == expected.splits
    assert listed.getvalue().startswith(b"b.csv\t31\tfar_time\t60,")
    assert (found.times.last, found.times.far) == (expected.times.last, 1)
    assert found.times.first_far.time == shown
    read = audit.complete(source, found)
    assert sum(len(numbers(read, split)) for split in found.splits) == 60


def test_given_boundaries_need_no_pass_and_files_may_come_in_any_order(tmp_path):
    for name, year in (("a", 2015), ("b", 1996), ("c", 1970)):
        rows = [good_row(n, day=f"{year}-01-{1 + n // 10:02d}") for n in range(60)]
        write_lines(tmp_path / f"{name}.csv", [line(row) for row in rows])
    rule = SplitRule("time", 1420329600000.0, 1420416000000.0)  # 2015-01-04 and the day after
    _, found = opened(schema(tmp_path), tmp_path, rule)
    assert found.unusable == {"far_time": 60}
    assert {split: counts.rows for split, counts in found.splits.items()} == {
        "train": 90,
        "validation": 10,
        "test": 20,
    }


def test_shards_hold_dates_as_the_logs_do(tmp_path):
    logs, shards = tmp_path / "logs", tmp_path / "shards"
    logs.mkdir()
    rows = [dated(number) for number in range(60)]
    rows[7] |= {"day": "soon"}
    write_lines(logs / "a.csv", [line(row) for row in rows])
    made = schema(logs)
    files = str(logs / "*.csv")
    assert run(files, shards, f"--schema={made.path}", "--max_bad_fraction=0.5") == 0
    assert [row[1:3] for row in quarantine_of(shards)] == [
        ("8", "day: found 'soon', expected time")
    ]

    texts = [row["day"][1] for row in records_of(shards)]
    assert texts == [[row["day"].encode()] for row in rows if row["day"] != "soon"]
