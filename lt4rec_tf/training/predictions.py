"""Predictions for a whole split, row by row, in one process or in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.distributed.parameter_server import Opened, Pass, compile_reading, take_parts
from lt4rec_tf.distributed.replicas import gathered
from lt4rec_tf.metrics.in_parts import parts
from lt4rec_tf.models.heads.of_task import prediction, quantile, read_durations
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema, Task, sampled_by_column
from lt4rec_tf.training.plan import Batches
from lt4rec_tf.training.row_columns import joined


@dataclass(frozen=True)
class Predictions:
    """The predictions for a split, row by row.

    Attributes:
        logits: Task -> float32 (rows,), or (rows, outputs) where its loss takes several.
        labels: Task -> float32 (rows,), 0 outside the task's population.
        weights: Task -> float32 (rows,), the row's weight in the population, 0 outside.
        users: int64 (rows,), equal for rows of one user; `NO_USER` for rows without one.
        kept: Task that names a column of it -> float32 (rows,), the share at which rows with
            label 0 were kept; 1 for others.
        durations: float32 (rows,), the length in seconds of a row's video, NaN where it is unknown;
            None where they were not asked for.
    """

    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    users: np.ndarray
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    durations: np.ndarray | None = None

    def measured_weights(self, task: Task) -> np.ndarray:
        """Returns the rows' weights in a task's metrics, (rows,).

        Where negatives were sampled, each stands for those that were not kept: metrics are those of
        the log before.
        """
        weights = self.weights[task.name]
        if task.kept_column is None and task.negatives_kept == 1:
            return weights
        kept = self.kept[task.name] if task.kept_column is not None else task.negatives_kept
        return np.where(self.labels[task.name] == 0, weights / kept, weights)

    def of(self, task: Task) -> np.ndarray:
        """Returns a task's predictions in its label's own unit, float32 (rows,)."""
        return self._made_of_logits(task, partial(prediction, task))

    def quantile(self, task: Task, level: float) -> np.ndarray:
        """Returns quantiles of the label of a task with the head "cqe", float32 (rows,)."""

        def at_level(logits: np.ndarray, seconds: np.ndarray | None) -> tf.Tensor:
            return quantile(task, logits, level, seconds)

        return self._made_of_logits(task, at_level)

    def _made_of_logits(self, task: Task, make: Callable[..., tf.Tensor]) -> np.ndarray:
        logits = self.logits[task.name]
        whole = np.empty(len(logits), np.float32)
        for rows in parts(len(logits)):  # as TensorFlow keeps the memory of what it computes
            known = self.durations if task.reads_duration else None
            seconds = None if known is None else known[rows]
            whole[rows] = np.asarray(make(logits[rows], seconds))
        return whole


class _Column(NamedTuple):
    """Names one column of numbers, a value a row.

    Attributes:
        kind: "logits", "labels", "weights", "kept", "users" or "durations".
        task: Whose; "" for users and durations.
        output: Which of the numbers that a task's head computes; 0 for other kinds.
    """

    kind: str
    task: str = ""
    output: int = 0


def predictor_of(
    network: RankingNetwork,
    schema: Schema,
    tasks: Sequence[str] | None = None,
    *,
    durations: bool = False,
) -> Callable[[Batches], Predictions]:
    """Makes a function from the batches of a schema to predictions, as `make_predictor` does.

    Args:
        network: What predicts.
        schema: Of the batches.
        tasks: Whose predictions; None: all that the network has.
        durations: As `make_predictor` takes it; they are kept too where a task reads them.
    """
    tasks = network.tasks if tasks is None else tasks
    sampled = sampled_by_column(schema, tasks)
    durations = durations or read_durations(schema, tasks)
    return make_predictor(network, tasks, sampled, durations=durations)


def make_predictor(
    network: RankingNetwork,
    tasks: Sequence[str],
    sampled: Sequence[str] = (),
    *,
    durations: bool = False,
) -> Callable[[Batches], Predictions]:
    """Makes a function from batches to predictions; it is traced once and can be called often.

    Processes that train together each pass their own share of a split, and all of them get the
    predictions for the whole split.

    Args:
        network: What predicts.
        tasks: Whose predictions.
        sampled: Those of them for which batches say at which share negatives were kept.
        durations: Keeps the rows' durations too.
    """
    outputs = {task: network.heads[task].units for task in tasks}
    columns = _columns(outputs, sampled)
    columns += [_Column("durations")] if durations else []
    forward = _compile_forward(network, tasks)
    compiled: dict[Opened, Callable[..., Any]] = {}

    def arrays_of(batch: dict[str, Any]) -> list[tf.Tensor]:
        values = {
            "logits": forward(batch["features"]),
            "labels": batch["labels"],
            "weights": batch["weights"],
            "kept": batch.get("negatives_kept", {}),
            "users": {"": batch["user"]},
            "durations": {"": batch.get("duration")},
        }
        return [_one_output(values[kind][task], output) for kind, task, output in columns]

    def arrays_of_parts(split: Pass) -> Iterator[Sequence[tf.Tensor]]:
        if split.open not in compiled:
            dtypes = [tf.int64 if kind == "users" else tf.float32 for kind, _, _ in columns]
            compiled[split.open] = compile_reading(split.open, arrays_of, dtypes)
        for arrays, _ in take_parts(split, compiled[split.open]):
            yield arrays

    def predict(split: Batches) -> Predictions:
        pieces = arrays_of_parts(split) if isinstance(split, Pass) else map(arrays_of, split)
        dtypes = [np.int64 if column.kind == "users" else np.float32 for column in columns]
        arrays = gathered(joined(pieces, dtypes))
        return _predictions(dict(zip(columns, arrays, strict=True)), outputs)

    return predict


def _columns(outputs: Mapping[str, int], sampled: Sequence[str]) -> list[_Column]:
    """Lists the columns that a split is read into; a logit of several numbers takes several."""
    columns = []
    for task, count in outputs.items():
        columns += [_Column("logits", task, output) for output in range(count)]
    for task in outputs:
        columns += [_Column("labels", task), _Column("weights", task)]
    columns += [_Column("kept", task) for task in sampled]
    return [*columns, _Column("users")]


def _compile_forward(
    network: RankingNetwork, tasks: Sequence[str]
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Compiles the forward pass, from features to {task: logits}."""

    def forward(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return logits_of(network, tasks, features)

    return tf.function(forward, autograph=False).get_concrete_function(network.feature_specs())


def logits_of(
    network: RankingNetwork, tasks: Sequence[str], features: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Computes what the heads of some tasks give, without dropout.

    Args:
        network: What predicts.
        tasks: One or several of it.
        features: Ids by feature.
    """
    if len(tasks) == 1:
        (task,) = tasks
        return {task: network.task_models[task](features, training=False)}
    logits = network.model(features, training=False)
    return {task: logits[task] for task in tasks}


def _one_output(values: tf.Tensor, output: int) -> tf.Tensor:
    return values if values.shape.rank == 1 else values[:, output]


def _predictions(arrays: Mapping[_Column, np.ndarray], outputs: Mapping[str, int]) -> Predictions:
    logits = {}
    for task, count in outputs.items():
        task_logits = [arrays[_Column("logits", task, output)] for output in range(count)]
        logits[task] = task_logits[0] if count == 1 else np.stack(task_logits, axis=1)

    labels = {task: arrays[_Column("labels", task)] for task in outputs}
    weights = {task: arrays[_Column("weights", task)] for task in outputs}
    kept = {column.task: array for column, array in arrays.items() if column.kind == "kept"}
    durations = arrays.get(_Column("durations"))
    return Predictions(logits, labels, weights, arrays[_Column("users")], kept, durations)
