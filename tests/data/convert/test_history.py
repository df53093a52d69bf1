"""Histories in shards: by value, beside a comparison of all pairs, of real rows; their schema."""

import csv
import gzip
from itertools import islice

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.reader import load_schema
from tests.support.conversions import run
from tests.support.feeds import opened
from tests.support.histories import (
    START,
    brute_force,
    converted,
    lists_of,
    many_rows,
    row,
    same,
    videos,
    write_logs,
)
from tests.support.paths import PROJECT, real_data

pytestmark = pytest.mark.slow(minutes=1)


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
    (sequence,) = sequences_of(made)  # candidates attend to the events, which all lists know
    assert (sequence.name, sequence.pooling) == ("history_item", "attention")
    assert [events.name for events in sequence.lists][1:] == ["history_author", "history_age_s"]
    assert {"item"} <= {candidate.name for _, candidate in sequence.compared}
    _, audited = opened(made, output)
    assert audited.rows == 300
    assert audited.unequal_lists == {"history_item": 0}
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


def test_kuairand_histories_by_a_finer_time_than_the_splits(tmp_path):
    """The schema's time is a day; `--history_time` names the milliseconds."""
    sample = real_data("kuairand_feedback_sample")
    made = PROJECT / "configs" / "schemas" / "kuairand_feedback.toml"
    flags = [f"--schema={made}", "--history=video_id", "--history_time=time_ms"]
    assert run(sample / "log.tsv.gz", tmp_path / "out", *flags) == 0

    with gzip.open(sample / "log.tsv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    clicks: dict[str, list[tuple[int, bytes]]] = {}
    for each in rows:
        if each["is_click"] == "1":
            event = int(each["time_ms"]), each["video_id"].encode()
            clicks.setdefault(each["user_id"], []).append(event)
    lists = lists_of(tmp_path / "out")
    for each, found in zip(rows[::50], lists[::50], strict=True):
        now = int(each["time_ms"])
        past = [event for event in clicks.get(each["user_id"], []) if event[0] < now]
        past = sorted(past, key=lambda event: event[0])[::-1][:50]
        assert found["age_s"] == [(now - then) // 1000 for then, _ in past]
        assert found["video_id"] == [video for _, video in past]


def test_a_time_that_is_no_column_is_refused(tmp_path, capsys):
    glob, schema = write_logs(tmp_path, [row("u", 0, "v1")])
    assert run(glob, tmp_path / "out", schema, "--history=video", "--history_time=when") == 2
    assert "--history_time: found 'when', expected a column of the logs" in capsys.readouterr().err
