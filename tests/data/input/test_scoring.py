"""Rows to be scored: which columns they need, what is their fault, what a table in memory adds."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.scan import read_with
from lt4rec_tf.data.input.scoring import find_logs, opened_frame, opened_logs, scoring_schema
from lt4rec_tf.data.input.scoring_step import (
    BROKEN,
    GOOD,
    fault_names,
    reasons_of,
    scoring_step,
)
from lt4rec_tf.schema.types import Join, needed_columns
from tests.support import feeds
from tests.support.feeds import good_row, write_records

KEPT = ("number", "video", "tags", "length")


@pytest.fixture
def scored(tmp_path):
    return scoring_schema(feeds.schema(tmp_path), durations=False)


def write(path, rows, names=KEPT):
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def step_of(schema, path, records, carried=(), *, as_missing=False):
    """What one step makes of lines of a file whose header is there; answers are the ids of one."""
    logs = find_logs(schema, [str(path)], path.parent, carried=carried)
    source = opened_logs(logs)

    def answer(ids, seconds):
        found = {"number": ids["number"]}
        return found if seconds is None else found | {"seconds": seconds}

    step = scoring_step(source, answer, carried, as_missing=as_missing)
    records = tf.constant([record.encode() for record in records])
    values = step(records, tf.zeros(len(records), tf.bool))
    return source, records, tf.nest.map_structure(lambda value: value.numpy(), values)


def test_rows_need_what_features_are_made_of_and_durations_where_they_are_read(tmp_path):
    schema = feeds.schema(tmp_path)
    assert needed_columns(scoring_schema(schema, durations=False)) == {*KEPT}
    assert scoring_schema(schema, durations=True).labels[0].duration == "length"
    other = dataclasses.replace(schema, features=schema.features[:1])
    assert needed_columns(scoring_schema(other, durations=True)) == {"number", "length"}


def test_a_row_has_the_first_of_its_faults_and_says_it(scored, tmp_path):
    path = write(tmp_path / "a.csv", [good_row(0)])
    lines = ["7,v1,t1|t2,9", "x,v1,t1,far", "7,v1,t1,far", "7,v1", ",,,"]
    source, records, values = step_of(scored, path, lines, ("video",))
    names = fault_names(source.schema)
    number, length = names.index("number"), names.index("length")
    assert values["first_fault"].tolist() == [GOOD, number, length, BROKEN, GOOD]
    assert values["answers"]["number"].tolist() == [9, 0, 9, 0, 0]
    assert values["carried"]["video"]["values"].tolist() == [b"v1", b"v1", b"v1", b"", b""]
    bad = [1, 2, 3]
    assert reasons_of(source, tf.gather(records, bad), values["first_fault"][bad]) == [
        "number: found 'x', expected int64",
        "length: found 'far', expected float32",
        "columns",
    ]


def test_bad_values_may_be_missing_as_in_training(scored, tmp_path):
    path = write(tmp_path / "a.csv", [good_row(0)])
    _, _, values = step_of(scored, path, ["x,v1,t1,9", "7,v1"], as_missing=True)
    assert values["first_fault"].tolist() == [GOOD, BROKEN]


def test_durations_are_seconds_and_unknown_ones_nan(tmp_path):
    schema = scoring_schema(feeds.schema(tmp_path), durations=True)
    path = write(tmp_path / "a.csv", [good_row(0)])
    _, _, values = step_of(schema, path, ["1,v,t,9.5", "1,v,t,", "1,v,t,0"])
    np.testing.assert_array_equal(values["answers"]["seconds"], [9.5, np.nan, np.nan])


def test_columns_of_side_tables_are_looked_up_unless_the_rows_hold_them(scored, tmp_path):
    (tmp_path / "videos.csv").write_text("video,length\nv1,9\n")
    joined = dataclasses.replace(scored, joins=(Join("videos.csv", "csv", "video"),))
    path = write(tmp_path / "a.csv", [good_row(0)], ("number", "video", "tags"))
    source, _, values = step_of(joined, path, ["1,v1,t", "1,v2,t"])
    assert source.columns == ("number", "tags", "video")
    assert values["misses"] == {"videos.csv": 1}
    frame = pa.table({name: ["1"] for name in KEPT})
    assert opened_frame(joined, frame.schema, "nowhere").side_tables == ()
    with pytest.raises(DataError, match=r"nowhere/videos\.csv: found no file"):
        opened_frame(joined, frame.drop_columns("length").schema, "nowhere")


def test_texts_are_no_lists_where_the_run_had_lists(tmp_path):
    schema = scoring_schema(feeds.schema(tmp_path, "parquet"), durations=False)
    path = write(tmp_path / "a.csv", [good_row(0)])
    with pytest.raises(DataError, match="column tags: found texts, expected lists, as in the parq"):
        find_logs(schema, [str(path)], tmp_path)
    frame = pa.table({name: ["1"] for name in KEPT})
    with pytest.raises(DataError, match="frame: column tags: found texts, expected lists"):
        opened_frame(schema, frame.schema, tmp_path)
    opened_frame(schema, frame.set_column(2, "tags", pa.array([["t1", "t2"]])).schema, tmp_path)


def test_lists_that_are_cut_already_are_not_cut_again(scored, tmp_path):
    row = feeds.example({name: good_row(0)[name] for name in KEPT})
    path = write_records(tmp_path / "a.tfrecord", [row])
    logs = find_logs(scored, [str(path)], tmp_path)
    assert {feature.separator for feature in logs.schema.features} == {""}


@pytest.mark.parametrize("skip", [0, 3, 4, 9, 10])
def test_rows_are_read_behind_those_that_were_scored_before(scored, tmp_path, monkeypatch, skip):
    monkeypatch.setattr("lt4rec_tf.data.input.scan._READ_TOGETHER", 4)
    path = write(tmp_path / "a.csv", [good_row(number) for number in range(10)])
    source = opened_logs(find_logs(scored, [str(path)], tmp_path))
    read = read_with(source, lambda records, _: {"records": records}, set(), skip=skip)
    lines = [line for _, _, values in read for line in values["records"].tolist()]
    assert [int(line.split(b",")[0]) for line in lines] == list(range(skip, 10))


def test_a_line_of_json_that_is_no_row_says_why(scored, tmp_path):
    path = feeds.write_json_lines(tmp_path / "a.jsonl", [good_row(0)])
    path.write_bytes(path.read_bytes() + b"[1]\n")
    source = opened_logs(find_logs(scored, [str(path)], tmp_path))
    step = scoring_step(source, lambda ids, seconds: {})
    ((_, records, values),) = read_with(source, step, set())
    assert values["first_fault"].tolist() == [GOOD, BROKEN]
    assert reasons_of(source, records[1:], values["first_fault"][1:]) == ["no JSON object: [1]"]


def test_a_history_is_not_made_here_which_is_said(scored, tmp_path):
    events = dataclasses.replace(
        scored.feature("tags"),
        name="history_video",
        column="history_video",
        pooling="attention",
        candidate="video",
    )
    schema = dataclasses.replace(scored, features=(*scored.features, events))
    path = write(tmp_path / "a.csv", [good_row(0)])
    message = "found no column 'history_video'.* predict does not make; .* --history makes them"
    with pytest.raises(DataError, match=message):
        opened_logs(find_logs(schema, [str(path)], tmp_path))


def test_logs_of_two_formats_are_refused(scored, tmp_path):
    write(tmp_path / "a.csv", [good_row(0)])
    feeds.write_json_lines(tmp_path / "b.jsonl", [good_row(0)])
    with pytest.raises(DataError, match=r"b\.jsonl: found jsonl, expected csv as in .*a\.csv"):
        find_logs(scored, [f"{tmp_path}/*.*"], tmp_path)
