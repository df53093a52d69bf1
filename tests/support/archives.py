"""Archives of public data sets with rows made up in their layouts, enough to train on."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path

from tests.support.paths import PROJECT

BUILDERS = PROJECT / "lt4rec_tf" / "data" / "public" / "builders"


def _dummy(builder: str) -> Path:
    return BUILDERS / builder / "dummy_data"


def _rewrite(path: Path, rows: list[dict[str, object]]) -> None:
    """Replaces a file's rows; columns that a row lacks hold what the file's first row holds."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        first, names = next(reader), list(reader.fieldnames or ())
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows([first | row for row in rows])


def kuairec(folder: Path) -> None:
    """KuaiRec's data/: 240 views, of which a filter of DADF leaves some out."""
    shutil.copytree(_dummy("kuairec"), folder, dirs_exist_ok=True)
    drawn, rows = random.Random(1), []
    for number in range(240):
        duration = drawn.randrange(5_000, 60_000)
        ratio = 0 if number % 40 == 0 else 12 if number % 40 == 1 else drawn.random() * 2
        rows.append(
            {
                "user_id": number % 3,
                "video_id": 1 + number % 3,
                "play_duration": round(ratio * duration),
                "video_duration": duration,
                "watch_ratio": ratio,
                "date": (20200705, 20200826, 20200901)[number % 3],
                "timestamp": 1_593_878_903.5 + number,
            }
        )
    _rewrite(folder / "data" / "big_matrix.csv", rows)


def kuairand(folder: Path) -> None:
    """KuaiRand-Pure/data: ten views a day from 8 April to 8 May, of videos of 3 to 40 s."""
    shutil.copytree(_dummy("kuairand"), folder, dirs_exist_ok=True)
    drawn = random.Random(1)
    names = ("log_standard_4_08_to_4_21_pure", "log_standard_4_22_to_5_08_pure")
    april = range(20220408, 20220431)
    for name, days in zip(
        names, (april[:14], [*april[14:], *range(20220501, 20220509)]), strict=True
    ):
        rows = []
        for day in days:
            for number in range(10):
                rows.append(
                    {
                        "user_id": number % 3,
                        "video_id": number % 4,
                        "date": day,
                        "play_time_ms": drawn.randrange(0, 60_000),
                        "duration_ms": 3_000 if number == 0 else drawn.randrange(5_000, 40_000),
                    }
                )
        _rewrite(folder / "KuaiRand-Pure" / "data" / f"{name}.csv", rows)


def ali_express(folder: Path) -> None:
    """AliExpress_NL/: 400 rows of train and 100 of test, with clicks and purchases in both."""
    shutil.copytree(_dummy("ali_express"), folder, dirs_exist_ok=True)
    drawn = random.Random(1)
    for name, count in (("train", 400), ("test", 100)):
        rows = []
        for number in range(count):
            click = int(drawn.random() < 0.5)
            bought = int(click and drawn.random() < 0.5)
            rows.append({"search_id": number // 2, "click": click, "conversion": bought})
        _rewrite(folder / "AliExpress_NL" / f"{name}.csv", rows)


def as_they_are(builder: str, name: str, folder: Path) -> None:
    """The made-up files of a builder's own test."""
    shutil.copytree(_dummy(builder) / name, folder, dirs_exist_ok=True)
