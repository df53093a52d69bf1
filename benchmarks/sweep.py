"""The models' differences to single task as the feed changes: its size, clicks, conflict.

    python benchmarks/sweep.py

Each point is a comparison (configs/compare/sweep.cfg) on a simulated feed of its own below
data/sweep, so that a sweep that was stopped resumes. One flag varies at a time; all others are the
quickstart's. Prints, for each model and point, the differences to single task with their intervals.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from pathlib import Path
from typing import Any

from lt4rec_tf import compare
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import REPORT, RESULTS
from lt4rec_tf.reports.differences import difference_cell
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

# Flag -> values; the quickstart's own lie in the middle or first.
POINTS = {
    "simulate_rows": ("30000", "120000", "240000"),
    "simulate_click_rate": ("0.1",),
    "simulate_conflict": ("0", "2"),
}


def main() -> None:
    """Runs every point, then prints one table per task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", default="runs", help="folder of the comparisons")
    parser.add_argument("--data_dir", default="data/sweep", help="folder of the feeds")
    places = parser.parse_args()

    reports = {}
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
            reports[point] = artifacts.read_json(folder / REPORT / RESULTS)

    for task in next(iter(reports.values()))["tasks"]:
        table = sweep_table(task, reports)
        print(f"\n{task['name'].upper()}, difference to single task\n\n{table}")


def sweep_table(task: dict[str, Any], reports: dict[str, dict[str, Any]]) -> str:
    """Returns a task's differences to single task: one line per model, one column per point.

    Args:
        task: As results.json holds it.
        reports: Point -> its comparison's results.json.
    """
    cells_by_model: dict[str, dict[str, str]] = {}
    for point, report in reports.items():
        for model in report["rows"]:
            if model["differences"]:
                cells = cells_by_model.setdefault(model["row"], {})
                cells[point] = difference_cell(model["differences"], task)

    lines = []
    for name, cells in cells_by_model.items():
        lines.append([name, *(cells.get(point, ABSENT) for point in reports)])
    return markdown_table(["model", *reports], lines)


if __name__ == "__main__":
    main()
