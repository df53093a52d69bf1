"""From the runs of a comparison to results.json: every run, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from lt4rec_tf.config.parse import from_dict, to_dict
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.experiment.comparison.grid import Comparison, ModelSpec, single_lines
from lt4rec_tf.experiment.comparison.jobs import model_folder, test_name
from lt4rec_tf.experiment.comparison.tested import ModelsOnTest, test_file_of
from lt4rec_tf.experiment.paths import REPORT, RESULTS, searches_of, stage_folder
from lt4rec_tf.experiment.ticket_search import read_searches
from lt4rec_tf.metrics.bootstrap import METRICS
from lt4rec_tf.metrics.gain import mean_relative_gain
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.search import NothingLearned, read_result
from lt4rec_tf.training.evaluation import Metrics

Results = dict[str, Any]


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


def validation_metrics(comparison: Path, spec: ModelSpec, settings: Settings) -> Metrics:
    """Reads a trained run's metrics on validation, at its best epoch.

    Raises:
        RunError: The run is not trained.
    """
    folder = model_folder(comparison, spec.name, settings)
    return read_result(stage_folder(folder, test_name(spec)))["validation"]


def score(schema: Schema, spec: ModelSpec, metrics: Metrics, base: Mapping[str, float]) -> float:
    """Returns what candidates are chosen by, on validation; more is better.

    A single task by its own metric; a joint model by `mean_relative_gain` over the single tasks.
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


def collect(comparison: Comparison) -> Results:
    """Collects everything that the report of a tested comparison shows."""
    runs = {spec.name: _runs(comparison, spec) for spec in comparison.specs}
    tested = ModelsOnTest(comparison, runs)
    against, singles = comparison.flags.against, single_lines(comparison.specs).values()

    models = []
    for spec in comparison.specs:
        done = [run for run in runs[spec.name] if run["status"] == "done"]
        candidate = comparison.chosen[spec.name]
        models.append(
            {
                "row": spec.name,
                "group": spec.group,
                "note": spec.note,
                "flags": list(spec.flags),
                "chosen": candidate.chosen if candidate else {},
                "settings": to_dict(candidate.settings) if candidate else None,
                "candidates": comparison.scores[spec.name],
                "runs": runs[spec.name],
                "cost": _mean_cost([run["cost"] for run in done]),
                "differences": {} if spec.name in singles else tested.differences(spec),
                "further": {} if spec.task else tested.further(spec),
                "against": tested.differences(spec, against),
            }
        )

    return {"against": against, "rows": models, "searches": _searches(comparison)}


def _runs(comparison: Comparison, spec: ModelSpec) -> list[dict[str, Any]]:
    """Returns a line's entry for each seed: its result on test, or why there is none."""
    candidate, failures = comparison.chosen[spec.name], comparison.failures[spec.name]
    runs: list[dict[str, Any]] = []
    for seed in comparison.flags.seeds:
        if candidate is None or seed in failures:
            # A line without a candidate fails with every seed as it did with the first.
            failure = failures.get(seed) or next(iter(failures.values()))
            reason = {"error": failure.error, "log": str(failure.log)}
            runs.append({"seed": seed, "status": "failed", **reason})
            continue
        result = read_typed(test_file_of(comparison.folder, spec, candidate, seed), _OnTest)
        runs.append({"seed": seed, "status": "done", **result})
    return runs


class _Cost(TypedDict):
    trained_parameters: int
    table_bytes: int
    multiply_adds: int
    alive_parameters: dict[str, int]  # by task
    attention_parameters: NotRequired[dict[str, int]]  # by task; absent without attention
    attention_multiply_adds: NotRequired[int]


class _OnTest(TypedDict):
    """What `jobs.test` leaves of a run."""

    metrics: dict[str, dict[str, float | None]]  # task -> metric -> value
    density: dict[str, float]
    overlap: float | None
    seconds: float
    cost: _Cost
    nothing_learned: NotRequired[dict[str, NothingLearned]]  # absent in earlier versions
    watch_time: NotRequired[dict[str, dict[str, Any]]]  # as well


def _mean_cost(costs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the mean of each count: tickets of different seeds can differ in density."""
    if not costs:
        return None

    means: dict[str, Any] = {}
    counts = ("trained_parameters", "table_bytes", "multiply_adds", "attention_multiply_adds")
    known = set.intersection(*map(set, costs))  # runs of earlier versions have fewer
    for name in [name for name in counts if name in known]:
        means[name] = round(np.mean([cost[name] for cost in costs]))

    by_task = ("alive_parameters", "attention_parameters")
    for name in [name for name in by_task if name in known]:
        means[name] = {
            task: round(np.mean([cost[name][task] for cost in costs])) for task in costs[0][name]
        }
    return means


def _searches(comparison: Comparison) -> list[dict[str, Any]]:
    """Reads the ticket searches behind the lines, each once: under the first line that used it."""
    seen: set[Path] = set()
    entries: list[dict[str, Any]] = []
    for spec in comparison.specs:
        candidate = comparison.chosen[spec.name]
        if candidate is None or spec.model != "s_weight":
            continue

        for seed in comparison.flags.seeds:
            folder = model_folder(comparison.folder, spec.name, candidate.with_seed(seed))
            searches = searches_of(folder)
            if searches in seen or not searches.exists():
                continue
            seen.add(searches)

            search_by_task = read_searches(searches, comparison.schema)
            if search_by_task:
                entries.append({"row": spec.name, "seed": seed, "searches": search_by_task})
    return entries


class _TestedRun(TypedDict):
    seed: int
    status: Literal["done", "failed"]


class _Line(TypedDict):
    row: str
    settings: dict[str, Any] | None
    runs: list[_TestedRun]


class _Report(TypedDict):
    """What `collect` leaves of a comparison, as far as other commands read it."""

    rows: list[_Line]


def tested_runs(comparison: Path) -> dict[int, dict[str, Path]]:
    """Returns the finished runs behind a written report: seed -> line -> RUN.

    Raises:
        RunError: The report holds something else.
    """
    path = comparison / REPORT / RESULTS
    runs: dict[int, dict[str, Path]] = {}
    for line in read_typed(path, _Report)["rows"]:
        for run in line["runs"]:
            if run["status"] == "done":
                try:
                    settings = from_dict((line["settings"] or {}) | {"seed": run["seed"]})
                except ConfigError as error:
                    raise artifacts.RunError(f"{path}: {line['row']}: settings: {error}") from error
                folder = model_folder(comparison, line["row"], settings)
                runs.setdefault(run["seed"], {})[line["row"]] = folder
    return runs


def finite_or_none(value: float) -> float | None:
    """Returns a score as JSON can hold it.

    >>> finite_or_none(-math.inf), finite_or_none(0.5)
    (None, 0.5)
    """
    return value if math.isfinite(value) else None
