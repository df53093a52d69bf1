"""Bad input of histories: what is no event, what is refused, 10^5 events of one user."""

import json

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.data.convert.history_lists import Histories
from lt4rec_tf.data.convert.history_rows import Table
from lt4rec_tf.data.convert.history_settings import History, row_type
from lt4rec_tf.data.convert.history_users import write_users
from lt4rec_tf.schema.types import TimeColumn
from tests.support.conversions import run
from tests.support.histories import (
    START,
    converted,
    lists_of,
    row,
    videos,
    write_logs,
)

pytestmark = pytest.mark.slow(minutes=1)


def test_what_is_no_event_is_counted_and_printed(tmp_path, capsys):
    rows = [
        row("u", 0, "v0"),
        row("", 1, "v1"),
        row("u", "", "v2"),
        row("u", 3, "v3", click="maybe"),
        row("u", 4, "v4"),
        row("u", 4, "v4"),
        row("u", 5, "v5", author="many"),
        row("u", "7", "v6"),
        row("u", 9, "v7"),
    ]
    more = [row("w", 10 + k) for k in range(200)]
    glob, schema = write_logs(tmp_path, [*rows, *more])
    assert run(glob, tmp_path / "out", schema, "--history=video,author") == 0
    printed = capsys.readouterr().out
    for line in (
        "1 rows without a user are no events and have no history",
        "1 rows without a time are no events and have no history",
        "1 rows with a time of another unit are no events and have no history",
        "1 rows are no events: they cannot be compared",
        "1 events repeat another one of the same user, time and values; each counts",
    ):
        assert f"history: {line}" in printed
    lists = lists_of(tmp_path / "out")  # v3 and v5 are in quarantine; v5 is an event all the same
    assert videos(lists)[:7] == ["", "", "", "v0", "v0", "", "v5 v4 v4 v0"]
    assert lists[6]["author"] == [-7, 1, 1, 1]


def test_events_that_differ_in_any_carried_value_are_no_duplicates(tmp_path, capsys):
    rows = [row("u", 0, "v", request=name) for name in ("ra", "rb", "ra")]
    converted(tmp_path, [rows], history="video,request")
    assert "history: 1 events repeat another one" in capsys.readouterr().out


def test_users_whose_hashes_meet_are_told_apart_by_a_second_one(tmp_path):
    time = TimeColumn("ms")
    history = History("user", time, (), (), None, 0.0, 0.0, 5, "", (), 1.0)
    rows = np.zeros(4, row_type(history))
    rows["user"], rows["check"] = 7, [1, 2, 1, 2]
    rows["time"], rows["row"], rows["is_event"] = np.arange(4) + 1e9, np.arange(4), True
    table = Table(rows, np.empty(0, np.uint8))
    write_users(history, "s", [(0, table)], tmp_path / "users")
    lists = Histories(history, "s", [tmp_path / "users"], 0).next_rows(4)
    assert lists["history_age_s"].lengths.tolist() == [0, 0, 1, 1]
    assert lists["history_age_s"].values.tolist() == [2, 2]


def test_rows_that_filters_leave_out_are_events_and_have_histories(tmp_path):
    glob, schema = write_logs(tmp_path, [row("u", 0, "v0", length="9"), row("u", 1), row("u", 2)])
    with (tmp_path / "schema.toml").open("a") as file:
        file.write('\n[[filters]]\ncolumn = "length"\ncomparison = "<"\nvalue = 5\n')
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    assert videos(lists_of(tmp_path / "out")) == ["", "v0", "v1 v0"]


def test_times_of_several_units_are_refused(tmp_path, capsys):
    seconds = [row("u", str(START // 1000 + k)) for k in range(50)]
    glob, schema = write_logs(tmp_path, seconds, [row("u", k) for k in range(50)])
    assert run(glob, tmp_path / "out", schema, "--history=video") == 2
    error = capsys.readouterr().err
    assert "times of several units, s (first in 0.csv), ms (first in 1.csv)" in error


def test_an_event_with_several_values_is_refused_by_file_and_row(tmp_path, capsys):
    _, schema = write_logs(tmp_path, [])
    path = tmp_path / "schema.toml"
    path.write_text(path.read_text().replace('"csv"', '"jsonl"').replace("*.csv", "*.jsonl"))
    number = {"ms": int, "author": int, "click": int}
    lines = [
        {name: number.get(name, str)(text) for name, text in row("u", second).items()}
        | {"scenes": scenes}
        for second, scenes in enumerate([["s1"], [], ["s1", "s2"]])
    ]
    log = tmp_path / "a.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(log, tmp_path / "out", schema, "--history=scenes") == 2
    error = capsys.readouterr().err
    assert "a.jsonl: row 3: found 2 values in column scenes, expected one" in error
    assert run(log, tmp_path / "out2", schema, "--history=video") == 0


def past_videos(records):
    lists = [
        tf.train.Example.FromString(record).features.feature["history_video"]
        for record in records.as_numpy_iterator()
    ]
    return [list(each.bytes_list.value) for each in lists]


def test_one_user_of_a_hundred_thousand_events(tmp_path):
    rows = [row("u", k, f"v{k}", request=f"r{k // 50_000}") for k in range(100_000)]
    flags = ["--history_events=3", "--history_request=request", "--history_memory_mib=1"]
    glob, schema = write_logs(tmp_path, rows[::-1])  # the newest row stands first
    assert run(glob, tmp_path / "out", schema, "--history=video", *flags) == 0
    (shard,) = (tmp_path / "out" / "shards").iterdir()
    records = tf.data.TFRecordDataset(str(shard), "GZIP")
    assert past_videos(records.take(1)) == [[b"v49999", b"v49998", b"v49997"]]
    assert past_videos(records.skip(49_999).take(2)) == [[b"v49999", b"v49998", b"v49997"], []]
    assert past_videos(records.skip(99_999)) == [[]]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--history=video,video"], "--history: found ('video', 'video'), expected each once"),
        (["--history=what"], "--history: found 'what', expected a column of the logs (user, ms"),
        (["--history_events=5"], "--history_events: found 5, expected nothing without --history"),
        (
            ["--history=video", "--history_events=0"],
            "--history_events: found 0, expected 1 or more",
        ),
        (["--history=video", "--history_delay_s=-1"], "--history_delay_s: found -1.0, expected 0"),
        (
            ["--history=video", "--history_min_watch=2"],
            "--history_min_watch: found 2.0, expected a",
        ),
        (["--history=video", "--history_request=r"], "--history_request: found 'r', expected a"),
        (["--history=video", "--history_where=click"], "--history_where: found 'click', expected"),
        (["--history=video", "--history_where=click == 1,"], "another condition behind the last"),
        (["--history=video", "--history_where=play_s > x"], "expected a number behind >"),
        (["--history=video", "--history_where=bought == 1"], "--history_where: found 'bought'"),
        (["--history=video", '--history_where=video == "a'], "--history_where: found 'video =="),
    ],
)
def test_flags_that_cannot_be_are_one_message(tmp_path, capsys, flags, message):
    glob, schema = write_logs(tmp_path, [row("u", 1)])
    assert run(glob, tmp_path / "out", schema, *flags) == 2
    assert message in capsys.readouterr().err


def test_schemas_that_tell_too_little_are_refused(tmp_path, capsys):
    glob, schema = write_logs(tmp_path, [row("u", 1)])
    path = tmp_path / "schema.toml"
    whole = path.read_text()

    def refusal(*removed, flags=("--history=video",)):
        path.write_text(whole)
        for text in removed:
            assert text in path.read_text()
            path.write_text(path.read_text().replace(text, ""))
        assert run(glob, tmp_path / "out", schema, *flags) == 2
        return capsys.readouterr().err

    assert "expected a schema with `user`" in refusal('user = "user"\n')
    assert "expected a schema with `time`" in refusal('time = { column = "ms" }\n')
    assert run(glob, tmp_path / "out", "--history=video") == 2
    assert "--history: found 'video', expected --schema beside it" in capsys.readouterr().err
    path.write_text(whole + '\n[[features]]\nname = "history_item"\ndtype = "string"\n')
    with path.open("a") as file:
        file.write('column = "video"\nside = "user"\nids = { kind = "hash", buckets = 3 }\n')
    assert run(glob, tmp_path / "out", schema, "--history=video") == 2
    assert "without a feature history_item" in capsys.readouterr().err
