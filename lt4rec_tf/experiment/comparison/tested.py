"""Paired differences of a comparison's models on test, from the predictions of all their runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.experiment.comparison.grid import Candidate, Comparison, ModelSpec, single_lines
from lt4rec_tf.experiment.comparison.jobs import model_folder, read_arrays, test_file, test_name
from lt4rec_tf.experiment.paths import TEST_LABELS
from lt4rec_tf.metrics.bootstrap import METRICS, Resampled, difference, resampled
from lt4rec_tf.metrics.groups import own_groups
from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.models.losses import log_kept
from lt4rec_tf.reports.further_metrics import FURTHER_METRICS
from lt4rec_tf.schema.types import Task
from lt4rec_tf.training.evaluation import as_weights


def test_file_of(comparison: Path, spec: ModelSpec, candidate: Candidate, seed: int) -> Path:
    """Returns the file of a line's metrics on test, of one seed."""
    folder = model_folder(comparison, spec.name, candidate.with_seed(seed))
    return test_file(folder, test_name(spec))


class ModelsOnTest:
    """Logits of all runs on test, next to the labels that they share.

    Args:
        comparison: All of whose runs are measured.
        runs: Line -> its runs, as results.json holds them.
    """

    def __init__(self, comparison: Comparison, runs: Mapping[str, list[dict[str, Any]]]) -> None:
        self._schema = comparison.schema
        self._replicates = comparison.flags.replicates
        # Only models that have all tasks leave labels, and are compared by them.
        tasks = [task.name for task in self._schema.tasks]
        joint = any(
            run["status"] == "done"
            for spec in comparison.specs
            if not spec.task or tasks == [spec.task]
            for run in runs[spec.name]
        )
        names = ["users", *(f"{place}/{task}" for task in tasks for place in (0, 1))]
        labels = comparison.folder / TEST_LABELS
        self._labels = read_arrays(labels) if joint else {}
        _check_columns(labels, self._labels, names if joint else [])
        count = len(self._labels["users"]) if joint else None

        # Line -> seed -> "0/<task>" -> logits, "1/<task>" -> predictions.
        self._outputs: dict[str, dict[int, dict[str, np.ndarray]]] = {}
        for spec in comparison.specs:
            candidate = comparison.chosen[spec.name]
            self._outputs[spec.name] = {}
            for run in runs[spec.name]:
                if run["status"] == "done" and candidate:
                    path = test_file_of(comparison.folder, spec, candidate, run["seed"])
                    arrays = read_arrays(path.with_suffix(".npz"))
                    names = [_kept_as(task.name, arrays) for task in self._tasks(spec)]
                    _check_columns(path.with_suffix(".npz"), arrays, names, count)
                    self._outputs[spec.name][run["seed"]] = arrays

        self._single = single_lines(comparison.specs)
        # A line is compared several times, each time on the same draws.
        self._measured: dict[tuple[Any, ...], Resampled] = {}

    def differences(self, spec: ModelSpec, against: str | None = None) -> dict[str, Any]:
        """Compares a line with another, over the seeds that both have.

        Args:
            spec: The line.
            against: Name of the other line; None: the line of each single task.

        Returns:
            Task -> the paired difference of its metric; empty for a line against itself.
        """
        if spec.name == against:
            return {}

        differences = {}
        for task in self._tasks(spec):
            base = against or self._single[task.name]
            if seeds := self._common_seeds(spec.name, base):
                found = self._difference(task, task.metric, base, spec.name, seeds)
                differences[task.name] = found
        return differences

    def further(self, spec: ModelSpec) -> dict[str, dict[str, Any]]:
        """Compares a joint line with the single tasks by the metrics that no task is judged by.

        Returns:
            Task -> metric -> the paired difference, of the metrics whose intervals are known.
        """
        found: dict[str, dict[str, Any]] = {}
        for task in self._tasks(spec):
            base = self._single[task.name]
            if seeds := self._common_seeds(spec.name, base):
                found[task.name] = {
                    metric: self._difference(task, metric, base, spec.name, seeds)
                    for metric in FURTHER_METRICS[task.kind]
                    if metric in METRICS and metric != task.metric
                }
        return found

    def _tasks(self, spec: ModelSpec) -> list[Task]:
        return [task for task in self._schema.tasks if spec.task in ("", task.name)]

    def _common_seeds(self, *lines: str) -> tuple[int, ...]:
        seeds = [set(self._outputs.get(line, {})) for line in lines]
        return tuple(sorted(set.intersection(*seeds)))

    def _difference(
        self, task: Task, metric: str, base: str, line: str, seeds: tuple[int, ...]
    ) -> dict[str, Any]:
        """Measures a task's difference on its population, whose weights are positive.

        One seed gives no interval: users drawn again say how two trained models differ on others,
        not how two other trainings would.
        """
        compared, single = (self._resampled(task, metric, name, seeds) for name in (line, base))
        numbers = dataclasses.asdict(difference(compared, single))
        if len(seeds) == 1:
            numbers |= {"low": math.nan, "high": math.nan, "undefined": 0}
        return {"metric": metric, "seeds": len(seeds), **numbers}

    def _resampled(self, task: Task, metric: str, line: str, seeds: tuple[int, ...]) -> Resampled:
        key = (task.name, metric, line, seeds)
        if key not in self._measured:
            name = f"0/{task.name}"
            weights = self._labels[f"1/{task.name}"]
            member = weights > 0
            outputs = [self._outputs[line][seed] for seed in seeds]
            self._measured[key] = resampled(
                metric,
                self._labels[name][member],
                np.stack([_predicted(task, of_seed)[member] for of_seed in outputs]),
                own_groups(self._labels["users"])[member],
                replicates=self._replicates if len(seeds) > 1 else 1,
                seed=0,
                weights=as_weights(weights[member]),
            )
        return self._measured[key]


def _check_columns(
    path: Path, arrays: Mapping[str, np.ndarray], names: Sequence[str], rows: int | None = None
) -> None:
    """Refuses what is not one column for each name; of so many rows, where that is known."""
    for name in names:
        shape = arrays[name].shape if name in arrays else None
        rows = shape[0] if rows is None and shape else rows
        if shape != (rows,):
            raise RunError(f"{path}: {name}: found shape {shape}, expected {rows} rows")


def _kept_as(task: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the name by which `jobs.test` kept a task: logits, or predictions of other heads."""
    return f"1/{task}" if f"1/{task}" in arrays else f"0/{task}"


def _predicted(task: Task, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns a task's predictions, in its label's own unit, of what `jobs.test` kept."""
    name = _kept_as(task.name, arrays)
    if name.startswith("1/"):
        return arrays[name]
    if task.kind == "amount":  # kept by versions that kept logits of all tasks
        return np.asarray(prediction(task, arrays[name]))
    # In float64, unlike losses.probability: rounding to float32 ties rows of a small network.
    return 1.0 / (1.0 + np.exp(-(arrays[name].astype(np.float64) + log_kept(task))))
