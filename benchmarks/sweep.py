"""How the rows fare as the feed changes: number of rows, share of clicks, strength of the conflict.

    python benchmarks/sweep.py

Each point is a comparison (configs/compare/sweep.cfg) on a simulated feed of its own below
data/sweep, so that a sweep that was stopped goes on. One flag varies at a time; all others are the
quickstart's. Prints, for each row and point, the differences to single task with their intervals.
"""

from __future__ import annotations

import argparse
import os

if __name__ == "__main__":  # before TensorFlow is loaded, which reads it once
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path
from typing import Any

from lt4rec_tf import compare, runs
from lt4rec_tf.comparison.results import REPORT
from lt4rec_tf.reports.tables import markdown_table

# Flag -> values; the quickstart's own lie in the middle or first.
POINTS = {
    "simulate_rows": ("30000", "120000", "240000"),
    "simulate_click_rate": ("0.1",),
    "simulate_conflict": ("0", "2"),
}


def main() -> None:
    """Runs every point, then prints one table a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", default="runs", help="folder of the comparisons")
    parser.add_argument("--data_dir", default="data/sweep", help="folder of the feeds")
    places = parser.parse_args()
    found = {}
    for flag, values in POINTS.items():
        for value in values:
            point = f"{flag.removeprefix('simulate_')}={value}"
            folder = Path(places.output_dir) / f"sweep_{point.replace('=', '_')}"
            compare.main(
                [
                    "compare",
                    "--flagfile=configs/compare/sweep.cfg",
                    f"--{flag}={value}",
                    f"--data_dir={Path(places.data_dir) / point}",
                    f"--run_dir={folder}",
                ]
            )
            found[point] = runs.read_json(folder / REPORT)
    for task in next(iter(found.values()))["tasks"]:
        print(f"\n{task['name'].upper()}, difference to single task\n\n{_table(task, found)}")


def _table(task: dict[str, Any], found: dict[str, Any]) -> str:
    rows = [row["row"] for row in next(iter(found.values()))["rows"] if row["differences"]]
    cells = {
        point: {row["row"]: _cell(task, row["differences"]) for row in report["rows"]}
        for point, report in found.items()
    }
    lines = [[row, *(cells[point].get(row, "-") for point in found)] for row in rows]
    return markdown_table(["row", *found], lines)


def _cell(task: dict[str, Any], differences: dict[str, Any]) -> str:
    found = differences.get(task["name"])
    if not found:
        return "-"
    relative = task["direction"] == "min"
    scale, form = (100 / found["base"], "+.2f") if relative else (1.0, "+.4f")
    value, low, high = (scale * found[name] for name in ("difference", "low", "high"))
    text = f"{value:{form}}{' %' if relative else ''}"
    clear = low > 0 or high < 0
    return f"{f'**{text}**' if clear else text} [{low:{form}}, {high:{form}}]"


if __name__ == "__main__":
    main()
