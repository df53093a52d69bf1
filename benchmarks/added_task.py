"""A task that comes later, beside the same task alone and the same task from the beginning.

    python benchmarks/added_task.py --flagfile=configs/kuairand_feedback.cfg --data_dir=DIR \\
        --tasks=ctr,cvr --new=long_view
    python benchmarks/added_task.py --flagfile=configs/simulated_reactions.cfg \\
        --tasks=ctr,cvr --new=like

For each seed: single-task networks of all tasks; s_joint of --tasks; the new task added to it
(--add_to), also with field vectors of its own; s_joint of all tasks at once. Prints each task's
metric on test, mean and standard deviation over the seeds, what was trained, and the seconds of
training. Further flags go to all trainings. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf import train
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import EVALUATION
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table, metric_title, number_cell

ALONE = "single tasks"


def main() -> None:
    """Trains all of them for every seed, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", required=True, help="those that are trained first")
    parser.add_argument("--new", required=True, help="the task that is added to them")
    parser.add_argument("--own", type=int, default=8, help="length of field vectors of its own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output_dir", default="runs", help="folder of the runs")
    flags, more = parser.parse_known_args()

    evaluations: dict[str, list[Any]] = {}
    for seed in flags.seeds:
        folder = Path(flags.output_dir) / f"added_{flags.new}" / f"seed_{seed}"
        for way, own_flags in ways(flags.tasks, flags.new, flags.own, folder).items():
            run = folder / way.replace(" ", "_").replace(",", "")
            train.main(["train", *more, f"--seed={seed}", f"--run_dir={run}", *own_flags])
            evaluations.setdefault(way, []).append(artifacts.read_json(run / EVALUATION))
    print(f"\n{table(evaluations)}")


def ways(tasks: str, new: str, own: int, folder: Path) -> dict[str, list[str]]:
    """Returns the flags of each training, by what the table calls it, in their order.

    Args:
        tasks: Names that are trained first, joined by commas.
        new: The task that is added.
        own: Length of field vectors of its own.
        folder: Of a seed's runs.
    """
    first = f"s_joint of {tasks.replace(',', ' and ')}"
    every = f"--tasks={tasks},{new}"
    adding = [every, "--models=s_joint", f"--add_to={folder / first.replace(' ', '_')}"]
    return {
        ALONE: [every, "--models=base"],
        first: [f"--tasks={tasks}", "--models=s_joint"],
        f"{new} added": adding,
        f"{new} added, {own} numbers a field of its own": [*adding, f"--own_embedding={new}={own}"],
        "s_joint of all at once": [every, "--models=s_joint"],
    }


def table(evaluations: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns a line a way: each task's metric on test, its density, seconds.

    Args:
        evaluations: By way the content of evaluation.json of each seed.
    """
    tasks = evaluations[ALONE][0]["tasks"]
    titles = [metric_title(task, task["metric"]) for task in tasks]
    names = [task["name"] for task in tasks]
    lines = []
    for way, seeds in evaluations.items():
        cells = [way]
        for task in tasks:
            values = [_of_task(evaluation, task) for evaluation in seeds]
            cells.append(_mean_and_spread([value for value in values if value is not None]))
        densities = [_densities(evaluation) for evaluation in seeds]
        shares = [[one[name] for one in densities if name in one] for name in names]
        means = [number_cell(float(np.mean(share)), 3) if share else ABSENT for share in shares]
        cells.append(" / ".join(means))
        seconds = [sum(model["seconds"] for model in evaluation["rows"]) for evaluation in seeds]
        lines.append([*cells, f"{np.mean(seconds):.0f}"])
    return markdown_table(["model", *titles, f"density ({' / '.join(names)})", "seconds"], lines)


def _of_task(evaluation: Mapping[str, Any], task: Mapping[str, Any]) -> float | None:
    """Returns a task's metric in the one model that has it; None: no model has."""
    for model in evaluation["rows"]:
        if task["name"] in model["metrics"]:
            value: float = model["metrics"][task["name"]][task["metric"]]
            return value
    return None


def _densities(evaluation: Mapping[str, Any]) -> dict[str, float]:
    models = evaluation["rows"]
    return {task: share for model in models for task, share in model["density"].items()}


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return ABSENT
    spread = f" ± {np.std(values, ddof=1):.5f}" if len(values) > 1 else ""
    return f"{np.mean(values):.5f}{spread}"


if __name__ == "__main__":
    main()
