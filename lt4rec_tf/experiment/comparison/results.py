"""From the runs of a comparison to results.json: every run, and paired differences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.parse import from_dict, to_dict
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.processes import Failure
from lt4rec_tf.experiment.comparison.grid import Candidate, RowSpec
from lt4rec_tf.experiment.comparison.jobs import read_arrays, row_folder, test_file, test_name
from lt4rec_tf.experiment.paths import searches_of, stage_folder
from lt4rec_tf.experiment.ticket_search import read_searches
from lt4rec_tf.metrics.bootstrap import METRICS, paired_interval
from lt4rec_tf.metrics.gain import mean_relative_gain
from lt4rec_tf.models.losses import prediction
from lt4rec_tf.schema.types import Schema, Task
from lt4rec_tf.training.evaluation import Metrics
from lt4rec_tf.training.plan import HISTORY

Results = dict[str, Any]
REPORT = Path("report/results.json")


def check_metrics(schema: Schema) -> None:
    """Refuses a task whose metric the bootstrap does not know, before anything is trained.

    Raises:
        ConfigError: Naming the task.
    """
    for task in schema.tasks:
        if task.metric not in METRICS:
            raise ConfigError(
                f"task {task.name}: found metric {task.metric!r}, expected one of "
                f"{', '.join(METRICS)}, for which intervals are known"
            )


def validation_metrics(comparison: Path, spec: RowSpec, settings: Settings) -> Metrics:
    """A trained run's metrics on validation, at its best epoch.

    Raises:
        RunError: The run is not trained.
    """
    folder = row_folder(comparison, spec.name, settings)
    return artifacts.read_json(stage_folder(folder, test_name(spec)) / HISTORY)["validation"]


def score(schema: Schema, spec: RowSpec, metrics: Metrics, base: Mapping[str, float]) -> float:
    """What candidates are chosen by, on validation; more is better.

    A single task by its own metric; a joint row by `mean_relative_gain` over the single tasks.
    """
    tasks = {task.name: task for task in schema.tasks}
    if not spec.task and set(base) != set(tasks):
        return 0.0  # a single task failed: nothing to score against, the first candidate stays
    if spec.task:
        task = tasks[spec.task]
        value = metrics[task.name][task.metric]
        return value if task.direction == "max" else -value
    return mean_relative_gain(
        {name: metrics[name][task.metric] for name, task in tasks.items()},
        base,
        {name: task.direction for name, task in tasks.items()},
    )


def collect(
    comparison: Path,
    schema: Schema,
    specs: Sequence[RowSpec],
    chosen: Mapping[str, Candidate | None],
    candidates: Mapping[str, list[dict[str, Any]]],
    failures: Mapping[str, Mapping[int, Failure]],
    seeds: Sequence[int],
    replicates: int,
    against: str,
) -> Results:
    """Everything that the report shows.

    Args:
        comparison: Its folder.
        schema: The tasks.
        specs: The lines, in the order of the table.
        chosen: Line -> what validation chose; None where every candidate failed.
        candidates: Line -> each candidate with its score.
        failures: Line -> seed -> why its run has no result.
        seeds: All that were asked for.
        replicates: Of the bootstrap.
        against: The line that all others are held against beside the single tasks.
    """
    found = {
        spec.name: _runs(comparison, spec, chosen[spec.name], failures[spec.name], seeds)
        for spec in specs
    }
    tested = _Tested(comparison, schema, specs, chosen, found)
    rows = []
    for spec in specs:
        done = [run for run in found[spec.name] if run["status"] == "done"]
        candidate = chosen[spec.name]
        rows.append(
            {
                "row": spec.name,
                "group": spec.group,
                "note": spec.note,
                "flags": list(spec.flags),
                "chosen": candidate.chosen if candidate else {},
                "settings": to_dict(candidate.settings) if candidate else None,
                "candidates": candidates[spec.name],
                "runs": found[spec.name],
                "cost": _mean_cost([run["cost"] for run in done]),
                "differences": {} if spec.task else tested.differences(spec, replicates),
                "against": tested.differences(spec, replicates, against),
            }
        )
    searches = _searches(comparison, schema, specs, chosen, seeds)
    return {"against": against, "rows": rows, "searches": searches}


def _runs(
    comparison: Path,
    spec: RowSpec,
    candidate: Candidate | None,
    failures: Mapping[int, Failure],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    found = []
    for seed in seeds:
        if candidate is None or seed in failures:
            failure = failures.get(seed) or next(iter(failures.values()))
            found.append(
                {
                    "seed": seed,
                    "status": "failed",
                    "error": failure.error,
                    "log": str(failure.log),
                }
            )
            continue
        place = _test_file(comparison, spec, candidate, seed)
        found.append({"seed": seed, "status": "done", **artifacts.read_json(place)})
    return found


def _test_file(comparison: Path, spec: RowSpec, candidate: Candidate, seed: int) -> Path:
    folder = row_folder(comparison, spec.name, candidate.with_seed(seed))
    return test_file(folder, test_name(spec))


class _Tested:
    """The logits of all runs on test, next to the labels that they share."""

    def __init__(
        self,
        comparison: Path,
        schema: Schema,
        specs: Sequence[RowSpec],
        chosen: Mapping[str, Candidate | None],
        found: Mapping[str, list[dict[str, Any]]],
    ) -> None:
        self._schema = schema
        labels = comparison / "test_labels.npz"  # of a row that has all tasks
        self._labels = read_arrays(labels) if labels.exists() else {}
        self._logits: dict[str, dict[int, dict[str, np.ndarray]]] = {}
        for spec in specs:
            candidate = chosen[spec.name]
            self._logits[spec.name] = {
                run["seed"]: read_arrays(
                    _test_file(comparison, spec, candidate, run["seed"]).with_suffix(".npz")
                )
                for run in found[spec.name]
                if run["status"] == "done" and candidate
            }
        self._single = {spec.task: spec.name for spec in specs if spec.task}

    def differences(
        self, spec: RowSpec, replicates: int, against: str | None = None
    ) -> dict[str, Any]:
        """Task -> the paired difference of its metric to a line's; None: to its single task's."""
        found = {}
        tasks = [task for task in self._schema.tasks if spec.task in ("", task.name)]
        for task in tasks if spec.name != against else []:
            base = self._logits.get(against or self._single[task.name], {})
            row = self._logits[spec.name]
            seeds = sorted(set(base) & set(row))
            if seeds:
                found[task.name] = self._difference(task, base, row, seeds, replicates)
        return found

    def _difference(
        self,
        task: Task,
        base: Mapping[int, Mapping[str, np.ndarray]],
        row: Mapping[int, Mapping[str, np.ndarray]],
        seeds: Sequence[int],
        replicates: int,
    ) -> dict[str, Any]:
        member = self._labels[f"1/{task.name}"] > 0
        interval = paired_interval(
            task.metric,
            self._labels[f"0/{task.name}"][member],
            np.stack([_predicted(task, row[seed][f"0/{task.name}"][member]) for seed in seeds]),
            np.stack([_predicted(task, base[seed][f"0/{task.name}"][member]) for seed in seeds]),
            self._labels["users"][member],
            replicates=replicates,
            seed=0,
        )
        return {"metric": task.metric, "seeds": len(seeds), **dataclasses.asdict(interval)}


def _predicted(task: Task, outputs: np.ndarray) -> np.ndarray:
    if task.kind == "amount":
        return np.asarray(prediction(task, outputs))
    # In float64, unlike losses.probability: rounding to float32 ties rows of a small network.
    return 1.0 / (1.0 + np.exp(-outputs.astype(np.float64)))


def _mean_cost(costs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Tickets of different seeds can differ in density: the mean of each count."""
    if not costs:
        return None
    return {
        **{
            name: round(np.mean([cost[name] for cost in costs]))
            for name in ("trained_parameters", "table_bytes", "multiply_adds")
        },
        "alive_parameters": {
            task: round(np.mean([c["alive_parameters"][task] for c in costs]))
            for task in costs[0]["alive_parameters"]
        },
    }


def _searches(
    comparison: Path,
    schema: Schema,
    specs: Sequence[RowSpec],
    chosen: Mapping[str, Candidate | None],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """The ticket searches behind the lines, each once: under the first line that used it."""
    seen, found = set(), []
    for spec in specs:
        candidate = chosen[spec.name]
        if candidate is None or spec.row != "s_weight":
            continue
        for seed in seeds:
            folder = row_folder(comparison, spec.name, candidate.with_seed(seed))
            searches = searches_of(folder)
            if searches in seen or not searches.exists():
                continue
            seen.add(searches)
            read = read_searches(searches, schema)
            if read:
                found.append({"row": spec.name, "seed": seed, "searches": read})
    return found


def tested_runs(comparison: Path) -> dict[int, dict[str, Path]]:
    """The finished runs behind a written report: seed -> line -> RUN."""
    found: dict[int, dict[str, Path]] = {}
    for line in artifacts.read_json(comparison / REPORT)["rows"]:
        for run in line["runs"]:
            if run["status"] == "done":
                settings = from_dict(line["settings"] | {"seed": run["seed"]})
                place = row_folder(comparison, line["row"], settings)
                found.setdefault(run["seed"], {})[line["row"]] = place
    return found


def finite_or_none(value: float) -> float | None:
    """A score for JSON.

    >>> finite_or_none(-math.inf), finite_or_none(0.5)
    (None, 0.5)
    """
    return value if math.isfinite(value) else None
