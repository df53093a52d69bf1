"""Metrics of a whole split's predictions, each on its task's population."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.metrics import amounts, binary, continuous
from lt4rec_tf.metrics.calibration import ece
from lt4rec_tf.metrics.groups import has_user
from lt4rec_tf.models.heads.of_task import loss_of, targets, with_targets
from lt4rec_tf.schema.types import Schema, Task, chained_tasks, product_name
from lt4rec_tf.training.predictions import Predictions

Metrics = dict[str, dict[str, float]]
_METRICS: dict[str, Callable[..., float]] = {
    "auc": binary.auc,
    "log_loss": binary.log_loss,
    "ne": binary.ne,
    "mse": continuous.mse,
    "mae": continuous.mae,
    "rmse": amounts.rmse,
    "nrmse": amounts.nrmse,
    "nmae": amounts.nmae,
    "spearman": amounts.spearman,
    "gini": amounts.gini,
    "xauc": continuous.xauc,
    "pcoc": continuous.pcoc,
    "ece": ece,
}
METRICS_OF_KIND = {
    "binary": ("auc", "gauc", "log_loss", "ne", "mse", "pcoc", "ece"),
    "continuous": ("mse", "mae", "xauc", "pcoc", "ece"),
    "amount": ("rmse", "mae", "nrmse", "nmae", "spearman", "gini", "xauc", "pcoc"),
}


def measure(predictions: Predictions, schema: Schema, tasks: Sequence[str]) -> Metrics:
    """Computes all metrics of all tasks, each over all rows of its population, by their weights.

    Where a binary task and the task on its positives are both there, their product is measured
    over all rows too: pctcvr = pctr * pcvr (LT4REC, Eq. 1), under the name "ctcvr".

    GAUC is measured where the schema names a column of users. It leaves out rows without a user:
    together they are no user, and many of them would outweigh every user.

    Returns:
        {task: {metric: value}}; nan where a metric is undefined.
    """
    grouped = schema.user is not None
    metrics = {task: _task_metrics(predictions, schema.task(task), grouped) for task in tasks}
    for first, second in chained_tasks(schema, tasks):
        metrics[product_name(first, second)] = _product_metrics(
            predictions, schema.task(first), schema.task(second)
        )
    return metrics


def without_user(
    predictions: Predictions, schema: Schema, tasks: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Counts the rows that GAUC leaves out.

    Returns:
        By binary task: "rows", those of its population, and "without_user", those of them that
        have no user; nothing where the schema names no column of users.
    """
    counts: dict[str, dict[str, int]] = {}
    if schema.user is None:
        return counts
    for name in tasks:
        if schema.task(name).kind == "binary":
            in_population = predictions.weights[name] > 0
            anonymous = in_population & ~has_user(predictions.users)
            counts[name] = {
                "rows": int(in_population.sum()),
                "without_user": int(anonymous.sum()),
            }
    return counts


def population_sizes(predictions: Predictions, tasks: Sequence[str]) -> dict[str, int]:
    """Counts the rows that each task is measured on: of its population, with a known label."""
    return {task: int((predictions.weights[task] > 0).sum()) for task in tasks}


def _product_metrics(predictions: Predictions, first: Task, second: Task) -> dict[str, float]:
    expected = predictions.of(first) * predictions.of(second)
    observed = predictions.labels[first.name] * predictions.labels[second.name]

    # A positive row whose second label is unknown (a click without a duration) has no product.
    of_first, of_second = map(predictions.measured_weights, (first, second))
    negative = predictions.labels[first.name] == 0
    weights = np.where(negative, of_first, of_second)
    has_product = weights > 0

    products = _population(has_product, observed, expected, weights, predictions.users)
    del observed, expected, weights
    kind = "amount" if second.kind == "amount" else "continuous"
    return {metric: _metric(products, metric) for metric in METRICS_OF_KIND[kind]}


def measured_metrics(schema: Schema) -> dict[str, tuple[str, ...]]:
    """Returns the names of the metrics that `measure` computes, by task and product of tasks."""
    names = [task.name for task in schema.tasks]
    metrics = {task.name: METRICS_OF_KIND[task.kind] for task in schema.tasks}
    for first, second in chained_tasks(schema, names):
        kind = "amount" if schema.task(second).kind == "amount" else "continuous"
        metrics[product_name(first, second)] = METRICS_OF_KIND[kind]
    return metrics


class Population(NamedTuple):
    """What a task is measured on.

    Attributes:
        labels: (rows,).
        scores: Predictions in the label's own unit, (rows,).
        weights: (rows,); None where all count once.
        users: int64 (rows,).
    """

    labels: np.ndarray
    scores: np.ndarray
    weights: np.ndarray | None
    users: np.ndarray


def population(predictions: Predictions, task: Task) -> Population:
    """Returns the rows of a split that a task is measured on."""
    weights = predictions.measured_weights(task)
    labels, scores = predictions.labels[task.name], predictions.of(task)
    return _population(weights > 0, labels, scores, weights, predictions.users)


def _population(
    member: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    users: np.ndarray,
) -> Population:
    """Returns the rows that are members; where all are, the columns themselves."""
    if member.all():
        return Population(labels, scores, as_weights(weights), users)
    return Population(labels[member], scores[member], as_weights(weights[member]), users[member])


def task_metric(predictions: Predictions, task: Task, metric: str) -> float:
    """Computes one metric of a task over all rows of its population.

    Args:
        predictions: Of a split.
        task: Of the schema.
        metric: One of `METRICS_OF_KIND` for the task.
    """
    return _metric(population(predictions, task), metric)


def _task_metrics(predictions: Predictions, task: Task, grouped: bool) -> dict[str, float]:
    measured_on = population(predictions, task)
    names = [name for name in METRICS_OF_KIND[task.kind] if grouped or name != "gauc"]
    return {name: _metric(measured_on, name) for name in names}


def _metric(measured_on: Population, metric: str) -> float:
    labels, scores, weights, users = measured_on
    if metric != "gauc":
        return _METRICS[metric](labels, scores, weights)
    known = has_user(users)
    if known.all():
        return binary.gauc(labels, scores, users, weights)
    of_known = None if weights is None else weights[known]
    return binary.gauc(labels[known], scores[known], users[known], of_known)


def as_weights(weights: np.ndarray) -> np.ndarray | None:
    """Returns weights as metrics take them: None where all rows count once, and sums are exact."""
    return None if (weights == 1.0).all() else weights


def split_losses(
    predictions: Predictions, schema: Schema, tasks: Sequence[str]
) -> dict[str, float]:
    """Computes each task's loss over its whole population in a split."""
    batch = {"labels": {task: tf.constant(predictions.labels[task]) for task in tasks}}
    if predictions.durations is not None:
        batch["duration"] = tf.constant(predictions.durations)
    compared = targets(with_targets(batch, [schema.task(task) for task in tasks]))

    losses = {}
    for task in tasks:
        outputs, weights = predictions.logits[task], predictions.weights[task]
        loss = loss_of(schema.task(task))
        losses[task] = float(loss(tf.constant(outputs), compared[task], tf.constant(weights)))
    return losses
