"""Predictions over a whole split, and every metric on its task's population."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.metrics import calibration, ranking, regression
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema import Schema, Task
from lt4rec_tf.training.distribution import gathered
from lt4rec_tf.training.losses import LOSSES, probability
from lt4rec_tf.training.parameter_server import Opened, Pass, compile_reading, take_parts
from lt4rec_tf.training.plan import Batches

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Predictions:
    """One split's predictions, row by row.

    Attributes:
        logits: Task -> float32 (rows,).
        labels: Task -> float32 (rows,), 0 outside the task's population.
        weights: Task -> float32 (rows,), 1 in the population.
        users: int64 (rows,), equal for rows of one user.
    """

    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    users: np.ndarray

    def probabilities(self, task: str) -> np.ndarray:
        """The task's predictions in (0, 1), float32 (rows,)."""
        return probability(self.logits[task]).numpy()


def make_predictor(
    network: RankingNetwork, tasks: Sequence[str]
) -> Callable[[Batches], Predictions]:
    """A function from batches to predictions; it is traced once and can be called often.

    Processes that train together each give it their own share, and all get the whole.
    """
    model = network.task_models[tasks[0]] if len(tasks) == 1 else network.model
    keys = [(kind, task) for task in tasks for kind in ("logits", "labels", "weights")]
    keys.append(("users", ""))

    def logits_of(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = model(features, training=False)
        return {tasks[0]: outputs} if len(tasks) == 1 else {task: outputs[task] for task in tasks}

    forward = tf.function(logits_of).get_concrete_function(network.feature_specs())
    compiled: dict[Opened, Callable[..., Any]] = {}

    def arrays_of(batch: dict[str, Any]) -> list[tf.Tensor]:
        kinds = {"logits": forward(batch["features"]), "users": {"": batch["user"]}} | batch
        return [kinds[kind][task] for kind, task in keys]

    def in_parts(given: Pass) -> Iterator[Sequence[tf.Tensor]]:
        dtypes = [tf.int64 if kind == "users" else tf.float32 for kind, _ in keys]
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
        logits, labels, weights = (
            {task: columns[kind, task] for task in tasks}
            for kind in ("logits", "labels", "weights")
        )
        return Predictions(logits, labels, weights, columns["users", ""])

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
        expected = predictions.probabilities(first) * predictions.probabilities(second)
        observed = predictions.labels[first] * predictions.labels[second]
        metrics[product_name(first, second)] = _continuous(observed[known], expected[known])
    return metrics


def chained_tasks(schema: Schema, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a binary task and a task learned on that label's positives, such as CTR and CVR."""
    return [
        (first, second)
        for first in tasks
        for second in tasks
        if schema.task(first).kind == "binary"
        and schema.task(first).population is None
        and schema.task(second).population == schema.task(first).label
    ]


def product_name(first: str, second: str) -> str:
    """The name of the product of two chained tasks.

    >>> product_name("ctr", "cvr"), product_name("click", "like")
    ('ctcvr', 'click_like')
    """
    return "ctcvr" if (first, second) == ("ctr", "cvr") else f"{first}_{second}"


def _chained_rows(predictions: Predictions, first: str, second: str) -> np.ndarray:
    # A positive row whose second label is unknown (a click without a duration) has no product.
    unclicked = predictions.labels[first] == 0
    return (predictions.weights[first] > 0) & (unclicked | (predictions.weights[second] > 0))


def _task_metrics(predictions: Predictions, task: Task) -> dict[str, float]:
    member = predictions.weights[task.name] > 0
    labels = predictions.labels[task.name][member]
    scores = predictions.probabilities(task.name)[member]
    if task.kind == "continuous":
        return _continuous(labels, scores)
    return {
        "auc": ranking.auc(labels, scores),
        "gauc": ranking.gauc(labels, scores, predictions.users[member]),
        "log_loss": ranking.log_loss(labels, scores),
        "mse": regression.mse(labels, scores),
        "pcoc": calibration.pcoc(labels, scores),
    }


def _continuous(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {
        "mse": regression.mse(labels, scores),
        "mae": regression.mae(labels, scores),
        "xauc": regression.xauc(labels, scores),
        "pcoc": calibration.pcoc(labels, scores),
    }


def split_losses(
    predictions: Predictions, schema: Schema, tasks: Sequence[str]
) -> dict[str, float]:
    """Each task's loss over its whole population in a split."""
    return {
        task: float(
            LOSSES[schema.task(task).loss](
                tf.constant(predictions.logits[task]),
                tf.constant(predictions.labels[task]),
                tf.constant(predictions.weights[task]),
            )
        )
        for task in tasks
    }
