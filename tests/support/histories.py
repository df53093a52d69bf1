"""Logs with a time in milliseconds, and histories by the plainest code."""

from __future__ import annotations

import csv
import math

import numpy as np

from tests.support.conversions import manifest_of, records_of, run

START = 1_795_132_800_000  # 2026-11-20
COLUMNS = ("user", "ms", "request", "video", "author", "length", "click", "play_s", "duration_s")
SCHEMA = """
name = "histories"
format = "csv"
files = ["*.csv"]
user = "user"
time = { column = "ms" }
nulls = ["NULL"]

[[features]]
name = "item"
column = "video"
dtype = "string"
side = "item"
table = "items"
ids = { kind = "hash", buckets = 100 }

[[features]]
name = "author"
dtype = "int64"
side = "item"
missing = -7
ids = { kind = "hash", buckets = 50 }

[[features]]
name = "length"
dtype = "float32"
side = "item"
ids = { kind = "numeric" }

[[labels]]
name = "click"
kind = "binary"
column = "click"

[[labels]]
name = "watch_ratio"
kind = "ratio"
play_time = "play_s"
duration = "duration_s"
play_time_unit = "s"
duration_unit = "ms"

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


def row(user, second, video="v1", **others):
    """A row with a click, so many seconds after `START`."""
    usual = {"request": "", "author": "1", "length": "2.5", "click": "1"}
    usual |= {"play_s": "1", "duration_s": "2000"}
    time = second if isinstance(second, str) else str(START + round(1000 * second))
    return usual | {"user": user, "ms": time, "video": video} | others


def write_logs(folder, *files):
    """Writes a schema and files of rows; returns the flags that name them."""
    folder.mkdir(exist_ok=True)
    (folder / "schema.toml").write_text(SCHEMA)
    for index, rows in enumerate(files):
        with (folder / f"{index}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([[each[name] for name in COLUMNS] for each in rows])
    return folder / "*.csv", f"--schema={folder / 'schema.toml'}"


def lists_of(output):
    """By row of all shards its lists, as plain values."""
    found = []
    for record in records_of(output):
        names = [name for name in record if name.startswith("history_")]
        found.append({name.removeprefix("history_"): record[name][1] for name in names})
    return found


def converted(folder, files, *flags, history="video,author,length"):
    """The lists of all rows of some files."""
    glob, schema = write_logs(folder, *files)
    output = folder / "out"
    assert run(glob, output, schema, f"--history={history}", *flags) == 0
    assert manifest_of(output)["bad_rows"] == 0
    return lists_of(output)


def brute_force(files, is_event, delay_s=0.0, kept=50, by_request=False):
    """The same by comparing each row with each other row."""
    rows = [
        (float(each["ms"]) if _is_time(each["ms"]) else math.nan, index, number, each)
        for index, file in enumerate(files)
        for number, each in enumerate(file)
    ]
    found = []
    for time, _, _, mine in rows:
        past = []
        for other_time, index, number, other in rows:
            same_user = mine["user"] == other["user"] and mine["user"] not in ("", "NULL")
            early = other_time < time - 1000 * delay_s
            own = by_request and mine["request"] != "" and mine["request"] == other["request"]
            if same_user and early and is_event(other) and not own:
                past.append((other_time, index, number, other))
        past = sorted(past, key=lambda each: each[:3], reverse=True)[:kept]
        found.append(
            {
                "video": [_text(each["video"]).encode() for *_, each in past],
                "author": [int(_text(each["author"]) or -7) for *_, each in past],
                "length": [float(np.float32(_text(each["length"]) or "nan")) for *_, each in past],
                "age_s": [int((time - each[0]) // 1000) for each in past],
            }
        )
    return found


def _text(value):
    return "" if value == "NULL" else value


def _is_time(text):
    return text.isdigit()


def same(found, expected):
    """Whether lists are equal, NaN being itself."""
    return repr(found) == repr(expected)


def videos(lists):
    return [b" ".join(each["video"]).decode() for each in lists]


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
