"""Histories in shards: by value, beside a comparison of all pairs, without leakage; bad input."""

import csv
import gzip
import json
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.schema.reader import load_schema
from tests.support.conversions import manifest_of, run
from tests.support.feeds import opened
from tests.support.histories import (
    START,
    brute_force,
    converted,
    lists_of,
    row,
    same,
    write_logs,
)
from tests.support.paths import PROJECT, real_data

pytestmark = pytest.mark.slow(minutes=1)


def videos(lists):
    return [b" ".join(each["video"]).decode() for each in lists]


# By value


def test_a_log_by_hand(tmp_path, capsys):
    files = [
        [
            row("ann", 100, "v3"),
            row("ann", 0, "v1", author="11"),
            row("bob", 50, "v9"),
            row("ann", 10, "v2", click="0"),
        ],
        [
            row("ann", 200.9, "v4", author="", length="NULL"),
            row("ann", 300, "v5"),
            row("bob", 50, "v8"),
        ],
    ]
    lists = converted(tmp_path, files)
    assert videos(lists) == ["v1", "", "", "v1", "v3 v1", "v4 v3 v1", ""]
    assert lists[5]["author"] == [-7, 1, 11]
    assert same(lists[5]["length"], [float("nan"), 2.5, 2.5])
    assert lists[5]["age_s"] == [99, 200, 300]
    printed = capsys.readouterr().out
    assert "history: 6 of 7 rows are events (click == 1); of 7 rows with a user and a" in printed
    assert "a time 3 have no past event, all 1.0 on average" in printed
    assert "no feature history_length: a list cannot have ids of kind numeric" in printed


def test_the_newest_events_are_kept(tmp_path):
    lists = converted(tmp_path, [[row("u", k, f"v{k}") for k in range(6)]], "--history_events=2")
    assert videos(lists) == ["", "v0", "v1 v0", "v2 v1", "v3 v2", "v4 v3"]


@pytest.mark.parametrize(
    ("unit", "times", "delay", "expected"),
    [
        ("ms", [START, START + 999, START + 1000, START + 1001], 1, ["", "", "", "v0"]),
        ("s", [START // 1000, START // 1000 + 60, START // 1000 + 61], 60, ["", "", "v0"]),
        ("us", [START * 1000, START * 1000 + 500_001], 0.5, ["", "v0"]),
        ("days", ["2026-11-20", "2026-11-21", "2026-11-22"], 86_400, ["", "", "v0"]),
        ("numbers of days", [20261130, 20261201, 20261202], 86_400, ["", "", "v0"]),
        ("no unit", [0, 1, 2, 2], 0, ["", "v0", "v1 v0", "v1 v0"]),
    ],
)
def test_a_delay_is_in_seconds_whatever_the_unit_of_the_times(
    tmp_path, unit, times, delay, expected
):
    rows = [row("u", str(time), f"v{k}") for k, time in enumerate(times)]
    lists = converted(tmp_path, [rows], f"--history_delay_s={delay}")
    assert videos(lists) == expected
    assert all(("age_s" in each) == (unit != "no unit") for each in lists)


def test_ages_of_dates_are_those_of_the_calendar(tmp_path):
    lists = converted(tmp_path, [[row("u", "20261231"), row("u", "20270101")]])
    assert lists[1]["age_s"] == [86_400]


def test_a_delay_without_a_unit_is_refused(tmp_path, capsys):
    glob, schema = write_logs(tmp_path, [row("u", "1"), row("u", "2")])
    flags = [schema, "--history=video", "--history_delay_s=1"]
    assert run(glob, tmp_path / "out", *flags) == 2
    assert "--history_delay_s: found 1.0, expected 0: column ms holds no" in capsys.readouterr().err


def test_which_rows_are_events(tmp_path):
    rows = [
        row("u", 0, "v0", click="0", play_s="2", duration_s="2000"),
        row("u", 1, "v1", play_s="1", duration_s="2000"),
        row("u", 2, "v2", play_s="0.99", duration_s="2000", author="5"),
        row("u", 3, "v3", play_s="1", duration_s="0"),
        row("u", 4, "v4", click=""),
    ]

    def last(*flags):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return videos(converted(folder, [[*rows, row("u", 9)]], *flags))[-1]

    assert last() == "v3 v2 v1"
    assert last("--history_where=all") == "v4 v3 v2 v1 v0"
    assert last("--history_min_watch=0.5") == "v4 v1 v0"
    assert last("--history_where=click == 1", "--history_min_watch=0.5") == "v1"
    assert last("--history_where=click != 1, video != v4") == "v0"
    assert last('--history_where=author >= 5,video == "v2"') == "v2"


def test_events_of_the_own_request_do_not_count(tmp_path):
    rows = [
        row("u", 0, "v0", request="a"),
        row("u", 1, "v1", request="b"),
        row("u", 2, "v2", request="b"),
        row("u", 3, "v3"),
        row("u", 4, "v4"),
    ]
    lists = converted(tmp_path, [rows], "--history_request=request", "--history_events=2")
    assert videos(lists) == ["", "v0", "v0", "v2 v1", "v3 v2"]


# Properties

CELLS = {
    "user": st.sampled_from(["ann", "bob", "7", "", "NULL"]),
    "second": st.sampled_from([0, 0.5, 1, 2, 2.001, 60, 3600, 90_000, "", "soon"]),
    "video": st.sampled_from(["v1", "v2", "", "NULL", "é|x"]),
    "author": st.sampled_from(["1", "2", "", "-7"]),
    "length": st.sampled_from(["1.5", "", "0.1"]),
    "click": st.sampled_from(["0", "1", ""]),
    "request": st.sampled_from(["", "r1", "r2"]),
    "play_s": st.sampled_from(["0", "1", "5", ""]),
}
ROWS = st.fixed_dictionaries(CELLS).map(lambda cells: row(cells.pop("user"), **cells))
FILES = st.lists(st.lists(ROWS, max_size=12), min_size=1, max_size=3)


def is_watched(each, least):
    return each["play_s"] != "" and min(float(each["play_s"]) / 2, 1) >= least


@settings(
    max_examples=20,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink an example takes minutes of conversions
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    files=FILES.filter(lambda files: any(len(file) for file in files)),
    delay=st.sampled_from([0.0, 0.5, 1.0, 3599.0]),
    kept=st.sampled_from([1, 3, 50]),
    by_request=st.booleans(),
    least=st.sampled_from([0.0, 0.5, 1.0]),
    memory=st.sampled_from([1e-9, 1e-3, 100.0]),  # a range for each user, some users, or all
)
def test_histories_are_those_of_a_comparison_of_all_pairs(
    tmp_path_factory, files, delay, kept, by_request, least, memory
):
    has_time = any(
        each["ms"].isdigit() and each["user"] not in ("", "NULL") for file in files for each in file
    )
    flags = [f"--history_delay_s={delay}", f"--history_events={kept}"]
    flags += ["--history_where=click == 1", f"--history_min_watch={least}"]
    flags += ["--history_request=request"] if by_request else []
    flags += [f"--history_memory_mib={memory}", "--max_bad_fraction=1"]
    glob, schema = write_logs(tmp_path_factory.mktemp("files") / "logs", *files)
    output = glob.parent / "out"

    def is_event(each):
        return each["click"] == "1" and (not least or is_watched(each, least))

    # A row whose time is none goes to quarantine.
    is_good = [each["ms"] != "soon" for file in files for each in file]
    code = run(glob, output, schema, "--history=video,author,length", *flags)
    assert code == (0 if any(is_good) else 2)
    if code:
        return
    expected = brute_force(files, is_event, delay, kept, by_request)
    expected = [lists for lists, good in zip(expected, is_good, strict=True) if good]
    if not has_time:  # and so no unit
        expected = [{k: v for k, v in lists.items() if k != "age_s"} for lists in expected]
    found = lists_of(output)
    assert same([dict(sorted(each.items())) for each in found], [*map(_sorted, expected)])


def _sorted(lists):
    return dict(sorted(lists.items()))


# Other ways to the same shards


def many_rows(number, files=3):
    """Rows of users with few and with many events, in no order of time."""
    random = np.random.default_rng(7)
    rows = []
    for index in range(number):
        user = f"u{int(random.integers(0, 9)) ** 2}"
        click = str(int(random.random() < 0.6))
        second = int(random.integers(0, 500))
        rows.append(row(user, second, f"v{index}", click=click, request=f"r{index // 5}"))
    return [rows[start::files] for start in range(files)]


def test_processes_ranges_and_beam_make_the_same_shards(tmp_path):
    glob, schema = write_logs(tmp_path / "logs", *many_rows(400))
    flags = [schema, "--history=video,author", "--history_request=request", "--history_delay_s=2"]
    flags += ["--history_events=5", "--compression=none"]
    assert run(glob, tmp_path / "one", *flags) == 0
    assert run(glob, tmp_path / "ranges", *flags, "--history_memory_mib=0.01") == 0
    assert run(glob, tmp_path / "two", *flags, "--processes=2", "--history_memory_mib=0.02") == 0
    beam = "--beam_pipeline_options=runner=DirectRunner,direct_num_workers=1"
    assert run(glob, tmp_path / "beam", *flags, beam, "--history_memory_mib=0.1") == 0
    one = manifest_of(tmp_path / "one")
    for other in ("ranges", "two", "beam"):
        assert manifest_of(tmp_path / other) == one
        assert not (tmp_path / other / "unfinished").exists()
    files = many_rows(400)
    expected = brute_force(files, lambda each: each["click"] == "1", 2, 5, by_request=True)
    assert [each["video"] for each in lists_of(tmp_path / "one")] == [
        each["video"] for each in expected
    ]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_other_formats_make_the_same_lists(tmp_path, form):
    (rows,) = many_rows(60, files=1)
    rows[7] |= {"author": "", "video": ""}
    expected = converted(tmp_path / "csv", [rows])
    number = {"ms": int, "author": int, "click": int, "length": float, "play_s": float}
    typed = [
        {name: number.get(name, str)(text) if text else None for name, text in each.items()}
        for each in rows
    ]
    folder = tmp_path / form
    folder.mkdir()
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(typed), folder / "a.parquet")
    else:
        (folder / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in typed))
    schema = (tmp_path / "csv" / "schema.toml").read_text()
    schema = schema.replace('format = "csv"', f'format = "{form}"').replace("*.csv", f"*.{form}")
    (folder / "schema.toml").write_text(schema)
    flags = [f"--schema={folder / 'schema.toml'}", "--history=video,author,length"]
    assert run(folder / f"*.{form}", folder / "out", *flags) == 0
    assert same(lists_of(folder / "out"), expected)


def test_users_are_one_and_times_are_found_as_training_finds_them(tmp_path):
    rows = [row("7", 0, "v0"), row("7.0", 1, "v1"), row(" 7.0", 2, "v2"), row("8", 3)]
    for each in rows:
        each["ms"] = f"shown@{each['ms']}@"
    glob, schema = write_logs(tmp_path, rows)
    path = tmp_path / "schema.toml"
    patterns = 'column = "ms", patterns = [["@([0-9]{13})@", 1.0]]'
    path.write_text(path.read_text().replace('column = "ms"', patterns))
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    lists = lists_of(tmp_path / "out")
    assert videos(lists) == ["", "v0", "v1 v0", ""]
    assert lists[2]["age_s"] == [1, 2]


class Stopped(Exception):
    """What ends a conversion in a test."""


@pytest.mark.parametrize(
    "place", ["history_spill.write_counts", "history_run.write_users", "shards"]
)
def test_stopped_at_any_step_the_same_command_makes_the_same_shards(tmp_path, monkeypatch, place):
    glob, schema = write_logs(tmp_path / "logs", *many_rows(200))
    flags = [schema, "--history=video", "--history_memory_mib=0.01"]
    assert run(glob, tmp_path / "whole", *flags) == 0
    names = {"shards": "lt4rec_tf.data.convert.workers.convert_file"}
    target = names.get(place, f"lt4rec_tf.data.convert.{place}")
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Stopped
        return original(*arguments)

    module, _, name = target.rpartition(".")
    original = getattr(__import__(module, fromlist=[name]), name)
    monkeypatch.setattr(target, stop)
    with pytest.raises(Stopped):
        run(glob, tmp_path / "out", *flags)
    monkeypatch.undo()
    assert not (tmp_path / "out" / "manifest.json").exists()
    # Another size of memory cuts the users otherwise, and makes the same lists.
    again = flags if place == "shards" else [*flags[:2], "--history_memory_mib=0.1"]
    assert run(glob, tmp_path / "out", *again) == 0
    assert manifest_of(tmp_path / "out") == manifest_of(tmp_path / "whole")


def test_beam_names_a_file_that_cannot_be_read_and_the_same_folder_is_filled_later(
    tmp_path, capsys
):
    glob, schema = write_logs(tmp_path / "logs", *many_rows(90))
    good = (tmp_path / "logs" / "1.csv").read_bytes()
    flags = [schema, "--history=video"]
    beam = "--beam_pipeline_options=runner=DirectRunner,direct_num_workers=1"
    (tmp_path / "logs" / "1.csv").write_bytes(good.replace(b"user,ms", b"ms,user", 1))
    assert run(glob, tmp_path / "out", *flags, beam) == 2
    assert "1.csv: found the columns ms, user" in capsys.readouterr().err
    assert not (tmp_path / "out" / "unfinished" / "history" / "users").exists()
    (tmp_path / "logs" / "1.csv").write_bytes(good)
    assert run(glob, tmp_path / "out", *flags) == 0
    assert run(glob, tmp_path / "beam", *flags, beam) == 0
    assert manifest_of(tmp_path / "out") == manifest_of(tmp_path / "beam")


def test_other_histories_are_refused_on_the_same_folder(tmp_path, capsys):
    glob, schema = write_logs(tmp_path / "logs", [row("u", 1), row("u", 2)])
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    assert "was complete" in capsys.readouterr().out
    assert "history_age_s" in (tmp_path / "out" / "schema.toml").read_text()
    assert run(glob, tmp_path / "out", schema, "--history=video", "--history_delay_s=5") == 2
    assert "settings.history.delay_s: was 0.0, is 5.0" in capsys.readouterr().err


def test_a_source_that_changed_after_histories_were_made_is_named(tmp_path, monkeypatch, capsys):
    glob, schema = write_logs(tmp_path / "logs", [row("u", 1), row("u", 2)])
    path = tmp_path / "logs" / "0.csv"

    def changed(*arguments):
        path.write_bytes(path.read_bytes().replace(b"v1", b"v2"))
        return original(*arguments)

    original = convert.by_processes
    monkeypatch.setattr(convert, "by_processes", changed)
    assert run(glob, tmp_path / "out", schema, "--history=video") == 2
    assert "held something else when histories were made:\n  0.csv" in capsys.readouterr().err


# Bad input


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


# Schemas of shards, and training's eyes


def test_the_schema_of_the_shards_reads_the_lists(tmp_path):
    files = many_rows(300)
    glob, schema = write_logs(tmp_path / "logs", *files)
    output = tmp_path / "out"
    assert run(glob, output, schema, "--history=video,author,length", "--history_events=4") == 0
    made = load_schema(output / "schema.toml")
    item, past = made.feature("item"), made.feature("history_item")
    assert (past.column, past.table, past.ids) == ("history_video", "items", item.ids)
    assert (past.multivalued, past.max_values, past.side) == (True, 4, "user")
    assert made.feature("history_author").missing == -7
    assert made.feature("history_age_s").ids.boundaries[0] == 60
    assert [name for name in (f.name for f in made.features) if name.startswith("history_")] == [
        "history_item",
        "history_author",
        "history_age_s",
    ]
    _, audited = opened(made, output)
    assert audited.rows == 300
    assert not any(audited.feature_faults.values())


def test_values_of_side_tables_are_looked_up_for_the_event(tmp_path):
    glob, schema = write_logs(tmp_path, [row("u", 0, "v1"), row("u", 1, "v2"), row("u", 2, "v3")])
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "items.csv").write_text("video,topic\nv1,sport\nv3,news\n")
    path = tmp_path / "schema.toml"
    join = '\n[[joins]]\nfile = "tables/items.csv"\nformat = "csv"\nkey = "video"\n'
    feature = '\n[[features]]\nname = "topic"\ndtype = "string"\nside = "item"\n'
    path.write_text(path.read_text() + join + feature + 'ids = { kind = "hash", buckets = 5 }\n')
    assert run(glob, tmp_path / "out", schema, "--history=video,topic") == 0
    lists = lists_of(tmp_path / "out")
    assert [each["topic"] for each in lists] == [[], [b"sport"], [b"", b"sport"]]
    assert load_schema(tmp_path / "out" / "schema.toml").feature("history_topic").multivalued


def test_lists_are_not_carried(tmp_path, capsys):
    glob, schema = write_logs(tmp_path, [row("u", 0, "v1|v2")])
    path = tmp_path / "schema.toml"
    feature = '\n[[features]]\nname = "parts"\ncolumn = "request"\ndtype = "string"\n'
    feature += 'side = "item"\nmultivalued = true\nmax_values = 3\nseparator = "|"\n'
    path.write_text(path.read_text() + feature + 'ids = { kind = "hash", buckets = 5 }\n')
    assert run(glob, tmp_path / "out", schema, "--history=request") == 2
    assert "--history: found 'request', expected a column of single" in capsys.readouterr().err


# Real rows


def test_kuairand_histories_are_those_of_earlier_days_alone(tmp_path):
    sample = real_data("kuairand_feedback_sample")
    made = PROJECT / "configs" / "schemas" / "kuairand_feedback.toml"
    with gzip.open(sample / "log.tsv.gz", "rt", newline="") as file:
        lines = list(islice(file, 1 + 8000))  # the log is in the order of users
    rows = list(csv.DictReader(lines, delimiter="\t"))
    flags = [f"--schema={made}", "--history=video_id", "--history_events=20"]
    flags += ["--history_where=is_click == 1", "--history_min_watch=0.5"]
    for name in ("user_features_pure.csv.gz", "video_features_basic_pure.csv.gz"):
        (tmp_path / name).symlink_to(sample / name)
    with gzip.open(tmp_path / "log.tsv.gz", "wt", newline="") as file:
        file.writelines(lines)
    assert run(tmp_path / "log.tsv.gz", tmp_path / "out", *flags) == 0

    days: dict[str, dict[str, list[bytes]]] = {}
    for each in rows:
        duration, watched = float(each["duration_ms"]), float(each["play_time_ms"])
        if each["is_click"] == "1" and duration > 0 and watched / duration >= 0.5:
            of_user = days.setdefault(each["user_id"], {})
            of_user.setdefault(each["date"], []).append(each["video_id"].encode())
    lists = lists_of(tmp_path / "out")
    assert len(lists) == len(rows) == 8000
    for each, found in zip(rows, lists, strict=True):
        expected: list[bytes] = []
        for day in sorted(days.get(each["user_id"], {}), reverse=True):
            if day < each["date"] and len(expected) < 20:
                expected += days[each["user_id"]][day][::-1]
        assert found["video_id"] == expected[:20]
        assert all(age >= 86_400 for age in found["age_s"])
