"""Counts of usable and unusable rows, by hand and on damaged logs."""

import dataclasses
import io
import json
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit import audit, checks
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit, Example
from lt4rec_tf.data.audit.task_counts import TaskCounts
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.lines import read_rows
from lt4rec_tf.data.formats.records import is_quarantined, malformed_examples
from lt4rec_tf.data.input import scan
from lt4rec_tf.data.input.even_sample import EvenSample
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.labels import REASONS
from lt4rec_tf.data.input.parsed_rows import examine
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from tests.support.feeds import (
    COLUMNS,
    audit_of_few,
    example,
    good_row,
    line,
    numbers,
    opened,
    schema,
    write_lines,
    write_records,
)

DIRTY = [
    (good_row(1), "usable"),
    (good_row(2, click=""), "missing_label"),
    (good_row(3, play_time="-5"), "negative_play_time"),
    (good_row(4, play_time="nan"), "negative_play_time"),
    (good_row(5, length="0"), "zero_duration"),
    (good_row(6, click="7"), "bad_label"),
    (good_row(7, day="soon"), "bad_time"),
    (good_row(8, number="eight"), "usable"),
]


def dirty_feed(folder, **settings):
    lines = [line(row) for row, _ in DIRTY] + [b"too,few", b"7", b'"']
    write_lines(folder / "a.csv", lines)
    write_lines(folder / "b.csv.gz", [line(good_row(number)) for number in range(30)])
    return schema(folder, **settings)


def test_every_row_is_counted_under_its_reason(tmp_path):
    source, found = opened(dirty_feed(tmp_path), tmp_path, SplitRule("time", 1, 2))
    expected = Counter(reason for _, reason in DIRTY if reason != "usable") + Counter(columns=3)
    assert found.rows == len(DIRTY) + 3 + 30
    assert found.unusable == dict(expected)
    assert list(found.unusable) == [name for name in REASONS if name in expected]
    assert found.unusable_by_file == {"a.csv": dict(expected)}
    assert found.feature_faults == {"number": 1, "video": 0, "tags": 0, "length": 0}
    usable = sum(counts.rows for counts in found.splits.values())
    assert usable + sum(found.unusable.values()) == found.rows
    assert sum(len(numbers(source, split)) for split in found.splits) == usable


@pytest.mark.parametrize("kind", ["csv", "tfrecord"])
def test_a_graph_counts_what_is_counted_without(tmp_path, kind):
    """As tests count few rows: see audit_of_few."""
    if kind == "csv":
        made = dirty_feed(tmp_path)
    else:
        made = schema(tmp_path, kind)
        records = [example(row) for row, _ in DIRTY[:3]] + [b"no example"]
        write_records(tmp_path / "a.tfrecord", records)
    source = open_source(made, tmp_path, SplitRule("user"))
    listed, again = io.BytesIO(), io.BytesIO()
    by_graph = audit.audit(source, listed=listed).to_json()
    assert by_graph == audit_of_few(source, again).to_json()
    assert listed.getvalue() == again.getvalue() != b""


def test_time_is_no_matter_where_rows_do_not_split_by_it(tmp_path):
    found = opened(dirty_feed(tmp_path), tmp_path, SplitRule("user"))[1]
    assert "bad_time" not in found.unusable


def test_rows_without_a_user_are_counted_per_split_and_task(tmp_path):
    lines = [line(good_row(number, user="" if number < 13 else "u1")) for number in range(30)]
    write_lines(tmp_path / "a.csv", [*lines, line(good_row(31, user="", click="7"))])
    found = opened(schema(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    counted = {split: counts.without_user for split, counts in found.splits.items()}
    assert counted == {"train": 10, "validation": 3, "test": 0}
    assert found.splits["train"].tasks["cvr"].without_user == 5  # the clicks of 10 rows
    assert found.splits["validation"].tasks["cvr"].without_user == 1
    said = [text.split() for text in describe(found).splitlines() if "without a user" in text]
    assert said == [["without", "a", "user", "10"], ["without", "a", "user", "3"]]


def test_gauc_is_no_metric_to_choose_by_where_no_row_has_a_user(tmp_path):
    rows = [good_row(number, user="" if 10 <= number < 20 else "u1") for number in range(30)]
    write_lines(tmp_path / "a.csv", list(map(line, rows)))
    made = schema(tmp_path)
    by_gauc = dataclasses.replace(made.tasks[0], metric="gauc")
    judged = dataclasses.replace(made, tasks=(by_gauc, *made.tasks[1:]))

    found = opened(made, tmp_path, SplitRule("time", 1, 2))[1]
    checks.check_validation(found, made)
    with pytest.raises(DataError, match="validation: found no row with a user in the 10 rows of"):
        checks.check_validation(found, judged)

    found = opened(made, tmp_path, SplitRule("time", 2, 3))[1]  # where they train
    checks.check_validation(found, judged)
    with pytest.raises(DataError, match="found no row with a user"):
        checks.check_validation(found, dataclasses.replace(judged, user=None))


def test_tasks_are_counted_per_split(tmp_path):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(30)])
    found = opened(schema(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    for split in found.splits.values():
        assert split.rows == 10
        assert split.tasks["ctr"] == TaskCounts(10, 0.5, 0.5)
        assert split.tasks["cvr"] == TaskCounts(5, 0.25, 0.0)
    assert (found.validation_from, found.test_from) == (1, 2)


def test_unlabelled_rows_are_kept_and_counted(tmp_path):
    made = dirty_feed(tmp_path, zero_duration="unlabelled")
    found = opened(made, tmp_path)[1]
    assert found.unlabelled == {"click": 0, "watch_ratio": 1}
    assert "zero_duration" not in found.unusable
    assert found.splits["train"].rows == 34  # rows 1, 5, 7 and 8 of DIRTY and 30 of b


@pytest.mark.parametrize("together", [4096, 4])
def test_examples_show_file_record_reason_and_text(tmp_path, monkeypatch, together):
    monkeypatch.setattr(scan, "_READ_TOGETHER", together)
    found = opened(dirty_feed(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    shown = {one.reason: one for one in found.examples}
    assert set(shown) == set(found.unusable)
    assert shown["columns"] == Example("a.csv", 9, "columns", "too,few")
    assert shown["negative_play_time"].record == 3


def test_check_counts_what_is_bad(tmp_path):
    found = opened(dirty_feed(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    assert checks.bad_row_count(found) == 9
    checks.check(found, 9 / found.rows)
    with pytest.raises(DataError) as error:
        checks.check(found, 8.9 / found.rows)
    for part in ("9 unusable rows of 41", "columns 3", "a.csv record 9: columns: 'too,few'"):
        assert part in str(error.value)
    assert "b.csv.gz" not in str(error.value)


def test_rows_that_the_schema_excludes_are_not_bad(tmp_path):
    rows = [line(good_row(number, length="0" if number % 3 else "9")) for number in range(30)]
    write_lines(tmp_path / "a.csv", rows)
    made = schema(tmp_path, zero_duration="exclude")
    found = opened(made, tmp_path, SplitRule("time", 1, 2))[1]
    assert found.unusable == {"excluded_zero_duration": 20}
    checks.check(found, 0.0)
    counted = opened(schema(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    with pytest.raises(DataError, match="20 unusable rows of 30"):
        checks.check(counted, 0.5)


def test_check_refuses_empty_splits_and_populations(tmp_path):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(20)])
    made = schema(tmp_path)
    with pytest.raises(DataError, match="test: found no usable row"):
        checks.check(opened(made, tmp_path, SplitRule("time", 1, 5))[1], 0.0)
    write_lines(tmp_path / "a.csv", [line(good_row(2 * number)) for number in range(20)])
    with pytest.raises(DataError, match="train: found no row in the population of task cvr"):
        checks.check(opened(made, tmp_path, SplitRule("time", 1, 2))[1], 0.0)
    write_lines(tmp_path / "a.csv", [])
    with pytest.raises(DataError, match="no row"):
        checks.check(opened(made, tmp_path)[1], 0.0)
    with pytest.raises(DataError, match="no row"):
        checks.check(opened(made, tmp_path, SplitRule("time"))[1], 0.0)


def test_a_validation_split_must_define_every_metric(tmp_path):
    made = schema(tmp_path)
    rule = SplitRule("time", 1, 2)
    mixed = [line(good_row(number)) for number in range(30)]
    write_lines(tmp_path / "a.csv", mixed)
    checks.check_validation(opened(made, tmp_path, rule)[1], made)
    for clicked in ("0", "1"):
        same = [good_row(number, click=clicked, play_time="25") for number in range(10, 20)]
        write_lines(tmp_path / "a.csv", mixed[:10] + [line(row) for row in same] + mixed[20:])
        with pytest.raises(DataError, match=f"label {clicked} alone in all 10 rows of task ctr"):
            checks.check_validation(opened(made, tmp_path, rule)[1], made)


def test_describe_says_what_was_found(tmp_path):
    found = opened(dirty_feed(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    text = describe(found)
    for part in ("41 records, 9 without use", "zero_duration", "feature number: 1", "label mean"):
        assert part in text
    assert "test from 2" in text


@pytest.mark.parametrize("kept", [20, -8])
@pytest.mark.parametrize("kind", ["csv", "tfrecord"])
def test_a_file_that_was_cut_off_is_named(tmp_path, kind, kept):
    rows = [good_row(number) for number in range(300)]
    path = tmp_path / f"log.{kind}.gz"
    if kind == "csv":
        write_lines(path, [line(row) for row in rows])
    else:
        write_records(path, [example(row) for row in rows])
    whole = path.read_bytes()
    made = schema(tmp_path, kind)
    source = open_source(made, tmp_path, SplitRule())
    path.write_bytes(whole[:kept])
    with pytest.raises(DataError, match=rf"log\.{kind}\.gz: found a broken gzip file"):
        audit.audit(source)


def test_a_damaged_tfrecord_file_is_named(tmp_path):
    path = write_records(tmp_path / "log.tfrecord", [example(good_row(n)) for n in range(300)])
    whole = bytearray(path.read_bytes())
    source = open_source(schema(tmp_path, "tfrecord"), tmp_path, SplitRule())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"log\.tfrecord: cannot be read past record \d+"):
        audit.audit(source)


def test_progress_is_told(tmp_path):
    seen = []
    source = open_source(dirty_feed(tmp_path), tmp_path, SplitRule())
    audit.audit(source, lambda file, rows: seen.append((file, rows)))
    assert seen == [("a.csv", 11), ("b.csv.gz", 41)]


def test_malformed_examples_are_counted_and_left_out_of_training(tmp_path):
    records = [example(good_row(number)) for number in range(20)]
    records[3] = b"\x80"  # its error message is no UTF-8
    records[17] = records[17][:-1]
    write_records(tmp_path / "log.tfrecord", records)
    source, found = opened(schema(tmp_path, "tfrecord"), tmp_path)
    assert found.unusable == {"unparseable": 2}
    assert len(found.quarantine) == 2
    assert numbers(source) == [number for number in range(20) if number not in (3, 17)]


def test_an_even_sample_is_exact_until_full_and_then_uniform():
    times = np.arange(900.0)
    small = EvenSample(1000)
    small.add(times)
    np.testing.assert_array_equal(small.numbers, times)
    many = EvenSample(1000)
    for part in np.split(np.arange(100_000.0), 50):
        many.add(part)
    assert len(many.numbers) == 1000
    assert abs(many.numbers.mean() - 50_000) < 5 * 100_000 / np.sqrt(12 * 1000)


def random_lines(count):
    """Lines from nearly right to random bytes, none of which holds a line end."""
    rng = np.random.default_rng(0)
    odd = ["", "x", "-1", "nan", '"', "a,b", "0", "1", "inf", "\xff", '"q,q"', "2" * 30]
    for number in range(count):
        if number % 5 == 0:
            yield rng.bytes(rng.integers(1, 40)).replace(b"\n", b".").replace(b"\r", b".")
        else:
            row = good_row(number % 30)
            for name in rng.choice(COLUMNS, number % 5 - 1):
                row[name] = str(rng.choice(odd))
            yield line(row)


@pytest.mark.parametrize("rule", [SplitRule("time", 1, 2), SplitRule("user")])
def test_every_row_of_a_dirty_log_is_counted_once_and_the_usable_ones_are_read(tmp_path, rule):
    write_lines(tmp_path / "log.csv", list(random_lines(3000)))
    source, found = opened(schema(tmp_path), tmp_path, rule)
    with (tmp_path / "log.csv").open("rb") as file:  # a quote may make one row of two lines
        rows_of_lines = list(read_rows(file, source.layout.form))[1:]
    assert sum(row.lines for row in rows_of_lines) == 3000
    usable = {split: counts.rows for split, counts in found.splits.items()}
    assert found.rows == len(rows_of_lines) == sum(usable.values()) + sum(found.unusable.values())
    expected = {"columns", "missing_label", "bad_label", "negative_play_time", "zero_duration"}
    assert expected <= set(found.unusable)
    for split, rows in usable.items():
        assert rows > 0
        assert len(numbers(source, split, batch_size=64, shuffle_seed=1)) == rows


def test_every_record_of_a_dirty_log_is_counted_once_and_the_usable_ones_are_read(tmp_path):
    rng = np.random.default_rng(0)
    whole = [example(good_row(number)) for number in range(300)]
    cut = [record[: rng.integers(0, len(record))] for record in whole]
    noise = [rng.bytes(rng.integers(0, 40)) for _ in range(300)]
    records = [record for three in zip(whole, cut, noise, strict=True) for record in three]
    write_records(tmp_path / "log.tfrecord", records)
    source, found = opened(schema(tmp_path, "tfrecord"), tmp_path)
    usable = found.splits["train"].rows
    assert usable >= 300
    assert found.rows == 900 == usable + sum(found.unusable.values())
    assert found.unusable["unparseable"] > 0
    assert len(numbers(source, batch_size=64, shuffle_seed=2)) == usable


@pytest.fixture(scope="module", params=["csv", "tfrecord"])
def examiner(request, tmp_path_factory):
    """The graph that takes any records apart, traced once."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "csv":
        write_lines(folder / "log.csv", [line(good_row(1))])
    else:
        write_records(folder / "log.tfrecord", [example(good_row(1))])
    source = open_source(schema(folder, request.param), folder, SplitRule("user"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.bool)])
    def step(records, unparseable):
        rows = examine(source, records, unparseable)
        return rows.labels.reasons, features_to_ids(source.schema, rows.raw)

    def examined(records):
        records = tf.constant(records, tf.string)
        bad = ()
        if source.layout.format == "tfrecord":
            bad = tuple(malformed_examples(source.layout, records, source.columns))
        return step(records, is_quarantined(records, bad))

    return source.schema, examined


RECORDS = st.binary(max_size=60) | st.integers(0, 300)


@given(parts=st.lists(RECORDS, min_size=1, max_size=30), at=st.integers(0, 30))
def test_random_bytes_never_make_the_parser_fail_nor_harm_other_rows(examiner, parts, at):
    schema_, examined = examiner
    whole = {"csv": line, "tfrecord": example}[schema_.format](good_row(5))
    records = [whole[:part] if isinstance(part, int) else part for part in parts]
    records.insert(at, whole)
    reasons, ids = examined(records)
    assert ((reasons.numpy() >= 0) & (reasons.numpy() < len(REASONS))).all()
    place = min(at, len(parts))
    assert reasons[place] == 0
    assert ids["number"][place] == 5 + 2
    for feature in schema_.features:
        if feature.ids.kind != "numeric":
            found = ids[feature.name].numpy()
            assert ((found >= 0) & (found < feature.ids.rows)).all()


def test_audits_survive_json(tmp_path):
    source = open_source(dirty_feed(tmp_path), tmp_path, SplitRule("time"))
    found = audit.audit(source)
    assert Audit.from_json(json.loads(json.dumps(found.to_json()))) == found


def bad_in_all_ways(number):
    """Rows whose clicks, watch times, lengths and days cannot be used, in turn."""
    ways = [{"click": "yes"}, {"click": ""}, {"play_time": "-1"}, {"length": "0"}, {"day": "soon"}]
    return good_row(number, **ways[number % 5])


@pytest.mark.parametrize("rule", [SplitRule("time"), SplitRule("time", 1, 2), SplitRule("user")])
def test_all_rows_are_bad(tmp_path, rule):
    lines = [line(bad_in_all_ways(number)) for number in range(20)]
    write_lines(tmp_path / "a.csv", lines)
    listed = io.BytesIO()
    source = open_source(schema(tmp_path), tmp_path, rule)
    found = Audit.from_json(json.loads(json.dumps(audit.audit(source, None, listed).to_json())))

    by_time = rule.kind == "time"
    bad = 20 if by_time else 16
    assert sum(found.unusable.values()) == bad
    assert len(listed.getvalue().splitlines()) == bad
    where = {
        "missing_label": {"click: column click": 4},
        "bad_label": {"click: column click": 4},
        "negative_play_time": {"watch_ratio: column play_time": 4},
        "zero_duration": {"watch_ratio: column length": 4},
    }
    assert found.unusable_where == ({"bad_time": {"column day": 4}} if by_time else {}) | where

    with pytest.raises(DataError, match=f"found {bad} unusable rows of 20") as caught:
        checks.check(found, 0.01)
    message = str(caught.value)
    assert "bad_label 4 (click: column click)" in message
    assert "zero_duration 4 (watch_ratio: column length)" in message
    assert by_time == ("bad_time 4 (column day)" in message)
    said = describe(found).splitlines()
    assert "  negative_play_time                 4  watch_ratio: column play_time" in said


def test_a_reason_of_several_labels_is_counted_for_each(tmp_path):
    """Of several labels that are at fault in one row the first is named."""
    lines = [line(good_row(number, click="1", play_time="long")) for number in range(3)]
    lines += [line(good_row(number, click="7", play_time="long")) for number in range(2)]
    write_lines(tmp_path / "a.csv", lines)
    found = opened(schema(tmp_path), tmp_path)[1]
    at_fault = {"click: column click": 2, "watch_ratio: columns play_time, length": 3}
    assert found.unusable_where == {"bad_label": at_fault}
    with pytest.raises(DataError, match=r"bad_label 5 .click: column click 2; watch_ratio: col"):
        checks.check(found, 0.0)
