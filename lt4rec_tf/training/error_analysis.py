"""Where predictions err: by bins of the prediction, and by bins of the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lt4rec_tf.metrics.calibration import error_by_label, reliability
from lt4rec_tf.metrics.groups import own_groups
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.evaluation import population
from lt4rec_tf.training.predictions import Predictions

Bins = dict[str, list[dict[str, Any]]]


def error_bins(predictions: Predictions, schema: Schema, tasks: Sequence[str]) -> dict[str, Bins]:
    """Returns what tells where each task's predictions err, over its whole population.

    Returns:
        "reliability": {task: bins of its prediction, as `metrics.calibration.reliability`}.
        "by_label": {task that is not binary: bins of its label, as `error_by_label`}.
    """
    by_prediction: Bins = {}
    by_label: Bins = {}
    for name in tasks:
        task = schema.task(name)
        labels, scores, weights, users = population(predictions, task)
        if len(labels):
            by_prediction[name] = reliability(labels, scores, own_groups(users), weights)
            if task.kind != "binary":
                by_label[name] = error_by_label(labels, scores, weights)
    return {"reliability": by_prediction, "by_label": by_label}
