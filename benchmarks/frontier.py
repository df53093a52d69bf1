"""Quality against time: every model of a finished comparison a point.

    python -m lt4rec_tf.compare --flagfile=configs/compare/simulated_rewound.cfg
    python benchmarks/frontier.py --comparison=runs/compare_simulated_rewound-0123456789 \\
        --name=simulated

Quality is what the comparison measured on test, over all its seeds. Times are those of a model's
seed whose tickets have the median density: the model is exported, and `rank` is asked about
--candidates of the logs' own rows by the session loader, as in serving.py; then a training step is
taken by the run's own trainer on batches of its logs, in the precision of the run. Single-task
models are asked, and trained, one after the other: they are what times of `rank` are ratios to.
Times of a step are ratios to those of the model --dense.

Models take turns. Shown are medians and ratios of medians. The picture is written to
--images/frontier_<name>.png.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow, exit_on_error

if __name__ == "__main__":
    before_tensorflow()

import math
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from frontier_models import TASKS_ALONE, Model, models_of, rank_seconds, step_seconds
from frontier_picture import Point, Quality, frontier_figure

from lt4rec_tf.core.artifacts import read_json
from lt4rec_tf.core.command import make_deterministic
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.experiment.paths import REPORT, RESULTS
from lt4rec_tf.reports.differences import difference_cell, number
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.reports.further_metrics import done_runs, mean_metric
from lt4rec_tf.reports.text_tables import ReportedTask, markdown_table, metric_title

Line = Mapping[str, Any]  # of results.json


def main(argv: Sequence[str]) -> None:
    """Exports and times the models, prints the table, draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparison", type=Path, required=True, help="folder of a comparison")
    parser.add_argument("--name", required=True, help="of the picture: frontier_<name>.png")
    parser.add_argument("--data_dir", default="", help="where the logs lie now, if elsewhere")
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="its folder")
    parser.add_argument("--dense", default="shared_bottom", help="model whose steps are 1")
    parser.add_argument("--candidates", type=int, default=512, help="of a request to rank")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each model, asked")
    parser.add_argument("--training_rounds", type=int, default=5, help="and trained")
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    flags = parser.parse_args(argv[1:])

    results = read_json(flags.comparison / REPORT / RESULTS)
    models = models_of(flags.comparison, results, flags.data_dir)
    if flags.dense not in models:
        raise InputError(f"--dense: found {flags.dense}, expected one of {', '.join(models)}")

    with tempfile.TemporaryDirectory() as folder:
        ranked = rank_seconds(models, Path(folder), flags.candidates, flags.rounds)
    make_deterministic()  # as `train` does; a server does not
    trained = step_seconds(models, flags.training_rounds, flags.steps)

    points = {}
    for name, model in models.items():
        points[name] = _point(results, model, *ranked[name], trained[name])
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, TensorFlow "
        f"{tf.__version__}; {flags.candidates} candidates, {len(results['seeds'])} seeds\n"
    )
    print(frontier_table(results["tasks"], points, flags.dense))
    failed = [line["row"] for line in results["rows"] if not done_runs(line)]
    if failed:
        print(f"\nwithout a finished run, left out: {', '.join(failed)}")

    path = flags.images / f"frontier_{flags.name}.png"
    save_png(frontier_figure(results["tasks"], points), path)
    print(f"\npicture: {path}")


def frontier_table(tasks: Sequence[ReportedTask], points: Mapping[str, Point], dense: str) -> str:
    """Returns a line a model: quality on test with its difference to single tasks, times, size.

    Args:
        tasks: Of the comparison.
        points: By model; single-task models come first.
        dense: The model whose steps are 1.
    """
    header = ["model"]
    for task in tasks:
        header += [metric_title(task, task["metric"]), "to single tasks"]
    header += ["rank, ms", "of single-task models", "step, ms", f"of {dense}", "version, MB"]

    single, lines = points[TASKS_ALONE], []
    for name, point in points.items():
        cells = []
        for task in tasks:
            quality = point.quality[task["name"]]
            cells += [quality.cell, quality.difference_cell]
        rank, step = point.rank / single.rank, point.step / points[dense].step
        cells += [f"{1000 * point.rank:.3f}", f"{rank:.2f}"]
        cells += [f"{1000 * point.step:.1f}", f"{step:.2f}", f"{point.size / 1e6:.2f}"]
        lines.append([name, *cells])
    return markdown_table(header, lines)


def _point(results: Mapping[str, Any], model: Model, rank: float, size: int, step: float) -> Point:
    """Returns a model's quality, by the comparison's results, beside its times and size."""
    lines = [line for line in results["rows"] if line["row"] in model.lines]
    quality = {}
    for task in results["tasks"]:
        (line,) = (line for line in lines if _measures(line, task))
        quality[task["name"]] = quality_of(line, task)
    return Point(model.group, quality, rank, step, size)


def _measures(line: Line, task: ReportedTask) -> bool:
    return task["name"] in done_runs(line)[0]["metrics"]


def quality_of(line: Line, task: ReportedTask) -> Quality:
    """Returns a line's mean of a task's metric, and the interval of its difference.

    Args:
        line: Of results.json, with a finished run.
        task: One that the line has.
    """
    cell = mean_metric(done_runs(line), task, task["metric"])
    found = line["differences"].get(task["name"])
    if not found:
        return Quality(float(cell), None, cell, difference_cell({}, task))

    base, low, high = (number(found[name]) for name in ("base", "low", "high"))
    interval = (base + low, base + high) if math.isfinite(low + high) else None  # None: one seed
    text = difference_cell(line["differences"], task)
    return Quality(number(found["value"]), interval, cell, text)


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv, resumes=""))
