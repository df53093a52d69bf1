"""Predictions over a whole split, and every metric on its task's population."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.distributed.parameter_server import Opened, Pass, compile_reading, take_parts
from lt4rec_tf.distributed.replicas import gathered
from lt4rec_tf.metrics import amounts, binary, continuous
from lt4rec_tf.metrics.continuous import pcoc
from lt4rec_tf.models.losses import loss_of, prediction
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema, Task, chained_tasks, product_name
from lt4rec_tf.training.plan import Batches

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Predictions:
    """One split's predictions, row by row.

    Attributes:
        logits: Task -> float32 (rows,), or (rows, outputs) where its loss takes several.
        labels: Task -> float32 (rows,), 0 outside the task's population.
        weights: Task -> float32 (rows,), 1 in the population.
        users: int64 (rows,), equal for rows of one user.
    """

    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    users: np.ndarray

    def of(self, task: Task) -> np.ndarray:
        """What a task predicts, in its label's own unit, float32 (rows,)."""
        return np.asarray(prediction(task, self.logits[task.name]))


def make_predictor(
    network: RankingNetwork, tasks: Sequence[str]
) -> Callable[[Batches], Predictions]:
    """A function from batches to predictions; it is traced once and can be called often.

    Processes that train together each give it their own share, and all get the whole.
    """
    model = network.task_models[tasks[0]] if len(tasks) == 1 else network.model
    # An output of several numbers is read as so many columns.
    outputs = {task: network.heads[task].units for task in tasks}
    keys = [("logits", task, i) for task in tasks for i in range(outputs[task])]
    keys += [(kind, task, 0) for task in tasks for kind in ("labels", "weights")]
    keys.append(("users", "", 0))

    def logits_of(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = model(features, training=False)
        return {tasks[0]: found} if len(tasks) == 1 else {task: found[task] for task in tasks}

    forward = tf.function(logits_of, autograph=False).get_concrete_function(network.feature_specs())
    compiled: dict[Opened, Callable[..., Any]] = {}

    def arrays_of(batch: dict[str, Any]) -> list[tf.Tensor]:
        kinds = {"logits": forward(batch["features"]), "users": {"": batch["user"]}} | batch
        found = ((kinds[kind][task], i) for kind, task, i in keys)
        return [values if values.shape.rank == 1 else values[:, i] for values, i in found]

    def in_parts(given: Pass) -> Iterator[Sequence[tf.Tensor]]:
        dtypes = [tf.int64 if kind == "users" else tf.float32 for kind, _, _ in keys]
        if given.open not in compiled:
            compiled[given.open] = compile_reading(given.open, arrays_of, dtypes)
        for arrays, _ in take_parts(given, compiled[given.open]):
            yield arrays

    def predict(given: Batches) -> Predictions:
        read = in_parts(given) if isinstance(given, Pass) else map(arrays_of, given)
        parts: list[list[np.ndarray]] = [[] for _ in keys]
        for arrays in read:
            for column, array in zip(parts, arrays, strict=True):
                column.append(np.asarray(array))
        whole = gathered([np.concatenate(column) for column in parts])
        columns = dict(zip(keys, whole, strict=True))
        logits = {
            task: columns["logits", task, 0]
            if outputs[task] == 1
            else np.stack([columns["logits", task, i] for i in range(outputs[task])], axis=1)
            for task in tasks
        }
        labels, weights = (
            {task: columns[kind, task, 0] for task in tasks} for kind in ("labels", "weights")
        )
        return Predictions(logits, labels, weights, columns["users", "", 0])

    return predict


def measure(predictions: Predictions, schema: Schema, tasks: Sequence[str]) -> Metrics:
    """All metrics of all tasks, each over all rows of its population.

    Where a binary task and the task on its positives are both there, their product is measured
    over all rows too: pctcvr = pctr * pcvr (LT4REC, Eq. 1), under the name "ctcvr".

    Returns:
        {task: {metric: value}}; nan where a metric is undefined.
    """
    metrics = {task: _task_metrics(predictions, schema.task(task)) for task in tasks}
    for first, second in chained_tasks(schema, tasks):
        known = _chained_rows(predictions, first, second)
        later = schema.task(second)
        expected = predictions.of(schema.task(first)) * predictions.of(later)
        observed = predictions.labels[first] * predictions.labels[second]
        of_product = _amount if later.kind == "amount" else _continuous
        metrics[product_name(first, second)] = of_product(observed[known], expected[known])
    return metrics


def _chained_rows(predictions: Predictions, first: str, second: str) -> np.ndarray:
    # A positive row whose second label is unknown (a click without a duration) has no product.
    unclicked = predictions.labels[first] == 0
    return (predictions.weights[first] > 0) & (unclicked | (predictions.weights[second] > 0))


def _task_metrics(predictions: Predictions, task: Task) -> dict[str, float]:
    member = predictions.weights[task.name] > 0
    labels = predictions.labels[task.name][member]
    scores = predictions.of(task)[member]
    if task.kind == "continuous":
        return _continuous(labels, scores)
    if task.kind == "amount":
        return _amount(labels, scores)
    return {
        "auc": binary.auc(labels, scores),
        "gauc": binary.gauc(labels, scores, predictions.users[member]),
        "log_loss": binary.log_loss(labels, scores),
        "mse": continuous.mse(labels, scores),
        "pcoc": pcoc(labels, scores),
    }


def _continuous(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {
        "mse": continuous.mse(labels, scores),
        "mae": continuous.mae(labels, scores),
        "xauc": continuous.xauc(labels, scores),
        "pcoc": pcoc(labels, scores),
    }


def _amount(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {
        "rmse": amounts.rmse(labels, scores),
        "mae": continuous.mae(labels, scores),
        "nrmse": amounts.nrmse(labels, scores),
        "nmae": amounts.nmae(labels, scores),
        "spearman": amounts.spearman(labels, scores),
        "gini": amounts.gini(labels, scores),
        "xauc": continuous.xauc(labels, scores),
        "pcoc": pcoc(labels, scores),
    }


def split_losses(
    predictions: Predictions, schema: Schema, tasks: Sequence[str]
) -> dict[str, float]:
    """Each task's loss over its whole population in a split."""
    return {
        task: float(
            loss_of(schema.task(task))(
                tf.constant(predictions.logits[task]),
                tf.constant(predictions.labels[task]),
                tf.constant(predictions.weights[task]),
            )
        )
        for task in tasks
    }
