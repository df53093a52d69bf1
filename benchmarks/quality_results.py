"""The rows that quality_rows.py wrote, and what a model predicts of them; for quality.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

SPLITS = ("train", "validation", "test")
METRICS = {"binary": "AUC", "continuous": "MSE"}


@dataclass(frozen=True)
class Rows:
    """The file's content.

    Attributes:
        features: Entries of the features: name, rows of the table, whether a list, its candidate.
        kinds: Task -> "binary" or "continuous".
        arrays: As quality_rows.py names them.
    """

    features: Sequence[Mapping[str, Any]]
    kinds: Mapping[str, str]
    arrays: Mapping[str, np.ndarray]

    def of_task(self, task: str) -> Rows:
        """Returns the same rows with one task."""
        return replace(self, kinds={task: self.kinds[task]})

    def label(self, split: str, task: str) -> np.ndarray:
        """Returns a task's labels, float32 (rows,)."""
        return self.arrays[f"{split}/label/{task}"]

    def weight(self, split: str, task: str) -> np.ndarray:
        """Returns the rows' weights for a task, 0 outside of its population."""
        return self.arrays[f"{split}/weight/{task}"]


@dataclass(frozen=True)
class Result:
    """A model trained with one seed.

    Attributes:
        predictions: Task -> what it predicts on test, (rows,).
        best: Task -> the pass or the number of trees that validation chose.
    """

    predictions: Mapping[str, np.ndarray]
    best: Mapping[str, int]


def read(path: Path) -> Rows:
    """Reads the file of quality_rows.py."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    description = json.loads(str(arrays.pop("description")))
    kinds = {task["name"]: task["kind"] for task in description["tasks"]}
    unknown = set(kinds.values()) - set(METRICS)
    if unknown:
        raise SystemExit(f"{path}: found {unknown} tasks, expected {' and '.join(METRICS)} ones")
    return Rows(description["features"], kinds, arrays)


def measured(rows: Rows, result: Result) -> dict[str, float]:
    """Returns each task's AUC or MSE on test, over its population."""
    scores = {}
    for task, kind in rows.kinds.items():
        metric = roc_auc_score if kind == "binary" else mean_squared_error
        scores[task] = over_population(metric, rows, "test", task, result.predictions[task])
    return scores


def loss(rows: Rows, split: str, task: str, predictions: np.ndarray) -> float:
    """Returns a task's mean loss over its population."""
    metric = log_loss if rows.kinds[task] == "binary" else mean_squared_error
    return over_population(metric, rows, split, task, predictions)


def over_population(
    metric: Callable[..., float], rows: Rows, split: str, task: str, predictions: np.ndarray
) -> float:
    """Returns a metric of scikit-learn's over the rows that a task counts, by their weights."""
    weights = rows.weight(split, task)
    counted = weights > 0
    labels = rows.label(split, task)[counted]
    values = predictions[counted].astype(np.float64)
    if rows.kinds[task] == "continuous":  # a ratio
        values = values.clip(0, 1)
    return float(metric(labels, values, sample_weight=weights[counted]))
