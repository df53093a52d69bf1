"""A task's loss, its targets, and its predictions, as its head and loss make them.

Metrics, evaluation and serving all take predictions from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from lt4rec_tf.models.heads import cqe, cread, d2q, egmn, ordinal, wlr
from lt4rec_tf.models.losses import (
    LARGEST_LOG,
    LOSSES,
    ZILN_OUTPUTS,
    Loss,
    log_kept,
    mse,
    probability,
    standardised_mse,
    ziln,
    ziln_parts,
)
from lt4rec_tf.schema.label_bins import adaptive_bins, equal_bins
from lt4rec_tf.schema.label_quantiles import LabelQuantiles
from lt4rec_tf.schema.types import Schema, Task


def loss_of(task: Task) -> Loss:
    """Returns a task's loss: that of its head, or of a plain one the loss that the schema names.

    Raises:
        ValueError: It has another head than the plain one, and no audit has found the quantiles of
            its label.
    """
    if task.head.is_plain:
        return _plain_loss(task)
    size, quantiles = task.head.size, _quantiles(task)
    unit = unit_of(quantiles)
    match task.head.kind:
        case "wlr":
            return partial(wlr.loss, unit=unit)
        case "d2q":
            return mse
        case "cread":
            return partial(cread.loss, bins=adaptive_bins(quantiles, size), unit=unit)
        case "ordinal":
            return partial(ordinal.loss, bins=equal_bins(quantiles, size))
        case "cqe":
            return partial(cqe.loss, start=quantiles.at(cqe.levels(size)), unit=unit)
        case _:
            return partial(egmn.loss, unit=unit)


def _plain_loss(task: Task) -> Loss:
    if task.kind != "amount":
        return LOSSES[task.loss]
    if task.loss == "ziln":
        return partial(ziln, scale=task.scale)
    return partial(standardised_mse, mean=task.mean, scale=task.scale)


def unit_of(quantiles: LabelQuantiles) -> float:
    """Returns the unit in which a head learns: the mean of the label in train, 1 if it is 0."""
    return float(quantiles.means()[0]) or 1.0


def outputs_of(task: Task) -> int:
    """Returns the number of outputs that a task's loss and prediction take."""
    match task.head.kind:
        case "cread" | "cqe":
            return task.head.size
        case "ordinal":
            return task.head.size - 1
        case "egmn":
            return egmn.outputs_of(task.head.size)
        case "plain":
            return ZILN_OUTPUTS if task.loss == "ziln" else 1
    return 1


def prediction(task: Task, outputs: tf.Tensor, seconds: tf.Tensor | None = None) -> tf.Tensor:
    """Returns a task's predictions, in its label's own unit.

    With a plain head: a probability or ratio is sigmoid(o). An amount is mean + scale o, which may
    be below 0; with the loss "ziln" its expectation, scale p exp(m + d^2 / 2). With another head it
    is that head's prediction, at least 0. A ratio is at most 1. An amount whose label says what is
    possible at most is between 0 and that.

    Of a binary task of whose negatives the share w was kept, with p = sigmoid(o), it is
    p / (p + (1 - p) / w) = sigmoid(o + log w): the probability in the log before it was sampled.
    Source: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014),
    section 6.3.

    Args:
        task: Of a schema whose amounts are standardised.
        outputs: float32 (...,), or (..., outputs) where there are several.
        seconds: For a task that reads them: durations of the rows' videos in a shape that
            broadcasts to (...,), NaN where unknown; None: all are.

    Returns:
        float32 (...,).
    """
    if has_probability(task):
        return probability(outputs + log_kept(task) if task.negatives_kept < 1 else outputs)
    if task.head.is_plain:
        found = _plain_amount(task, outputs)
    else:
        found = tf.nn.relu(_prediction_of_head(task, outputs, seconds))
    return _possible(task, found, seconds)


def quantile(
    task: Task, outputs: tf.Tensor, level: float, seconds: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns a quantile of a task's label, in the label's own unit.

    Args:
        task: With the head "cqe".
        outputs: float32 (..., outputs).
        level: In (0, 1).
        seconds: As `prediction` takes them.

    Returns:
        float32 (...,), clipped as predictions are.
    """
    known = _quantiles(task)
    start = known.at(cqe.levels(task.head.size))
    return _possible(task, cqe.at_level(outputs, start, unit_of(known), level), seconds)


def _possible(task: Task, found: tf.Tensor, seconds: tf.Tensor | None) -> tf.Tensor:
    """Clips predictions to what the label can be: a ratio to 1, an amount as the schema says."""
    if task.kind == "continuous":
        return tf.minimum(found, 1.0)
    most = task.at_most
    if task.within_duration and seconds is not None:
        known = tf.math.is_finite(seconds) & (seconds > 0.0)
        most = tf.where(known, seconds, math.inf)
    is_clipped = task.within_duration or task.at_most < math.inf
    return tf.clip_by_value(found, 0.0, most) if is_clipped else found


def _plain_amount(task: Task, outputs: tf.Tensor) -> tf.Tensor:
    if task.loss == "mse":
        return task.mean + task.scale * outputs
    logit, mean, deviation = ziln_parts(outputs)
    log = tf.minimum(mean + 0.5 * tf.square(deviation), LARGEST_LOG)
    return task.scale * tf.sigmoid(logit) * tf.exp(log)


def _prediction_of_head(task: Task, outputs: tf.Tensor, seconds: tf.Tensor | None) -> tf.Tensor:
    size, quantiles = task.head.size, _quantiles(task)
    unit = unit_of(quantiles)
    match task.head.kind:
        case "wlr":
            return wlr.prediction(outputs, unit)
        case "d2q":
            return d2q.prediction(quantiles, outputs, seconds)
        case "cread":
            return cread.prediction(outputs, adaptive_bins(quantiles, size))
        case "ordinal":
            return ordinal.prediction(outputs, equal_bins(quantiles, size))
        case "cqe":
            return cqe.prediction(outputs, quantiles.at(cqe.levels(size)), unit)
        case _:
            return egmn.prediction(outputs, unit)


def _quantiles(task: Task) -> LabelQuantiles:
    if task.quantiles is None:
        raise ValueError(f"task {task.name}: found no quantiles of its label, expected an audit's")
    return task.quantiles


def has_probability(task: Task) -> bool:
    """Tells if a task's prediction is the sigmoid of its one output."""
    return task.head.is_plain and task.kind != "amount"


def read_durations(schema: Schema, tasks: Sequence[str]) -> bool:
    """Tells if predictions of some of the tasks need the durations of rows."""
    return any(schema.task(task).reads_duration for task in tasks)


def smooths(task: Task) -> bool:
    """Tells if label smoothing concerns a task: a binary one that learns by cross entropy."""
    return task.kind == "binary" and task.loss == "cross_entropy"


def with_targets(
    batch: Mapping[str, Any], tasks: Sequence[Task], smoothing: float = 0.0
) -> Mapping[str, Any]:
    """Returns a batch with "targets" beside its labels, which `targets` reads.

    A label y of a task that `smooths` becomes (1 - s) y + s / 2; one of a task with the head "d2q"
    the share of labels below it among videos as long; others stay. Source of smoothing: Szegedy et
    al., Rethinking the Inception Architecture (arXiv 1512.00567), section 7.

    Args:
        batch: With "labels": {task: float32 (batch,)} and "duration", float32 (batch,), if a task
            reads it.
        tasks: All tasks of the labels.
        smoothing: s, in [0, 1).

    >>> task = Task("ctr", "click", "binary", None, "cross_entropy", "auc", "max")
    >>> batch = with_targets({"labels": {"ctr": tf.constant([0.0, 1.0])}}, [task], 0.5)
    >>> targets(batch)["ctr"].numpy().tolist()
    [0.25, 0.75]
    """
    found = dict(batch["labels"])
    for task in tasks:
        if smoothing and smooths(task):
            found[task.name] = (1.0 - smoothing) * found[task.name] + smoothing / 2.0
        elif task.head.kind == "d2q":
            labels, seconds = found[task.name], batch.get("duration")
            found[task.name] = d2q.quantile_of(_quantiles(task), labels, seconds)
    return {**batch, "targets": found}


def targets(batch: Mapping[str, Any]) -> Mapping[str, tf.Tensor]:
    """Returns what losses compare each task's outputs with: its labels unless `with_targets`."""
    found: Mapping[str, tf.Tensor] = batch.get("targets", batch["labels"])
    return found
