"""How well seconds watched are predicted, beside a predictor that knows the duration alone.

Long videos are watched for longer, whoever watches them: a metric of seconds is good already where
a model has learned nothing but that. So each stands beside the same metric of the mean ratio, or
amount, in train of videos as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lt4rec_tf.metrics.amounts import rmse
from lt4rec_tf.metrics.continuous import mae, xauc
from lt4rec_tf.metrics.groups import has_user
from lt4rec_tf.metrics.watch_time import user_ndcg
from lt4rec_tf.models.heads import cqe
from lt4rec_tf.models.heads.of_task import unit_of
from lt4rec_tf.schema.label_quantiles import LabelQuantiles
from lt4rec_tf.schema.types import Label, Schema, Task
from lt4rec_tf.training.evaluation import as_weights
from lt4rec_tf.training.predictions import Predictions

MOST_GROUPS = 4  # of durations, in tables
WatchTime = dict[str, dict[str, object]]


def timed_tasks(schema: Schema, tasks: Sequence[str]) -> list[str]:
    """Returns the tasks of which seconds watched are known: parts of a duration, and seconds."""
    found = []
    for task in map(schema.task, tasks):
        label = schema.label(task.label)
        in_seconds = label.in_durations or (label.kind == "amount" and label.unit == "s")
        if in_seconds and label.duration is not None and task.quantiles is not None:
            found.append(task.name)
    return found


class _Rows(NamedTuple):
    """Rows of a task's population whose duration is known.

    Attributes:
        labels: In the label's own unit, (rows,).
        predicted: The same of predictions.
        alone: The same by the duration alone.
        seconds: What a unit of the label is in seconds, (rows,): the duration, or 1 of seconds.
        durations: (rows,).
        weights: (rows,).
        users: (rows,).
    """

    labels: np.ndarray
    predicted: np.ndarray
    alone: np.ndarray
    seconds: np.ndarray
    durations: np.ndarray
    weights: np.ndarray
    users: np.ndarray

    def of(self, rows: np.ndarray) -> _Rows:
        """Returns some of the rows."""
        return _Rows(*(column[rows] for column in self))


def watch_time(predictions: Predictions, schema: Schema, tasks: Sequence[str]) -> WatchTime:
    """Measures seconds watched, of each task that predicts them.

    Args:
        predictions: For a split, with durations.
        schema: With what the audit found.
        tasks: The network's.

    Returns:
        Task -> "rows"; "metrics" and "duration_alone", each "mae_s", "rmse_s" and "xauc" of
        seconds, and "ndcg" of seconds by user where users are known; "groups", by rising duration:
        "from_s", "rows", mean "label" and "prediction" in the label's unit, "mae_s", "xauc";
        "coverage" of the head "cqe": level -> share of labels up to that quantile.
    """
    if predictions.durations is None:
        raise ValueError("found no durations, expected those of all rows")
    return {
        name: _of_task(predictions, schema.task(name), schema.label(schema.task(name).label))
        for name in timed_tasks(schema, tasks)
    }


def _of_task(predictions: Predictions, task: Task, label: Label) -> dict[str, object]:
    durations, quantiles = predictions.durations, task.quantiles
    if durations is None or quantiles is None:
        raise ValueError(f"task {task.name}: found no durations or quantiles, expected both")
    weights = predictions.measured_weights(task)
    inside = np.flatnonzero((weights > 0) & np.isfinite(durations) & (durations > 0))
    seconds = durations.astype(np.float64)
    rows = _Rows(
        labels=predictions.labels[task.name].astype(np.float64),
        predicted=predictions.of(task).astype(np.float64),
        alone=quantiles.means()[quantiles.group_of(durations)],
        seconds=seconds if label.in_durations else np.ones_like(seconds),
        durations=seconds,
        weights=weights.astype(np.float64),
        users=predictions.users,
    ).of(inside)

    found: dict[str, object] = {
        "rows": len(inside),
        "metrics": _metrics(rows, rows.predicted),
        "duration_alone": _metrics(rows, rows.alone),
        "groups": _groups(rows, quantiles),
    }
    if task.head.kind == "cqe":
        found["coverage"] = _coverage(predictions, task, inside)
    return found


def _metrics(rows: _Rows, predicted: np.ndarray) -> dict[str, float]:
    observed, expected = rows.labels * rows.seconds, predicted * rows.seconds
    weights = as_weights(rows.weights)
    measures: dict[str, Callable[..., float]] = {"mae_s": mae, "rmse_s": rmse, "xauc": xauc}
    found = {name: measure(observed, expected, weights) for name, measure in measures.items()}
    known = has_user(rows.users)
    if known.any():
        found["ndcg"] = user_ndcg(observed[known], expected[known], rows.users[known])
    return found


def _groups(rows: _Rows, quantiles: LabelQuantiles) -> list[dict[str, float]]:
    bounds = np.array(quantiles.bounds)
    step = max(1, -(-(len(bounds) + 1) // MOST_GROUPS))
    bounds = bounds[step - 1 :: step]
    group_of = np.searchsorted(bounds, rows.durations, side="right")
    groups = []
    for group in np.unique(group_of):
        part = rows.of(group_of == group)
        seconds = part.labels * part.seconds, part.predicted * part.seconds
        weights = as_weights(part.weights)
        groups.append(
            {
                "from_s": float(bounds[group - 1]) if group else 0.0,
                "rows": len(part.labels),
                "label": float(np.average(part.labels, weights=part.weights)),
                "prediction": float(np.average(part.predicted, weights=part.weights)),
                "mae_s": mae(*seconds, weights),
                "xauc": xauc(*seconds, weights),
            }
        )
    return groups


def _coverage(predictions: Predictions, task: Task, rows: np.ndarray) -> dict[str, float]:
    if task.quantiles is None:
        raise ValueError(f"task {task.name}: found no quantiles, expected an audit's")
    levels = cqe.levels(task.head.size)
    start, unit = task.quantiles.at(levels), unit_of(task.quantiles)
    found = np.asarray(cqe.quantiles(predictions.logits[task.name][rows], start, unit))
    covered = predictions.labels[task.name][rows, np.newaxis] <= found
    weights = predictions.measured_weights(task)[rows]
    shares = np.average(covered, axis=0, weights=weights)
    return {f"{level:.3g}": float(share) for level, share in zip(levels, shares, strict=True)}
