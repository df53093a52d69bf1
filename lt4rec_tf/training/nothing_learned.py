"""Tells trainings that learned nothing of a task's labels, with what is likely to be the cause.

Predictions say nothing where all are one number, where they rank rows as chance does, or where they
are further from the labels than the labels' mean is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.causes import causes_in
from lt4rec_tf.training.evaluation import Metrics, Population, population
from lt4rec_tf.training.plan import Feed
from lt4rec_tf.training.predictions import Predictions
from lt4rec_tf.training.stage import SMALLER_STEPS

_MORE_STEPS = "more --epochs or a larger --learning_rate may help, if its features tell it at all"

_STANDARD_ERRORS = 2.0  # above one half, within which a share of right pairs is that of chance
_WORSE = 1.1  # times the error of the labels' mean


class _Nothing(NamedTuple):
    what: str
    overshot: bool


def nothing_learned(
    predictions: Predictions, schema: Schema, metrics: Metrics, tasks: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Finds the tasks of whose labels predictions say nothing.

    Args:
        predictions: Of a split.
        schema: Its tasks.
        metrics: Of these predictions, from `evaluation.measure`.
        tasks: Those that were trained.

    Returns:
        By task that learned nothing, why that is known: "what", the sign of it, for people; and
        "overshot", whether the weights went too far, rather than nowhere.
    """
    found = {}
    for name in tasks:
        task = schema.task(name)
        nothing = _nothing(population(predictions, task), task.kind, metrics[name])
        if nothing is not None:
            found[name] = nothing._asdict()
    return found


def _nothing(measured_on: Population, kind: str, metrics: Mapping[str, float]) -> _Nothing | None:
    labels, scores, weights, _ = measured_on
    if not labels.size or labels.min() == labels.max():
        return None  # nothing can be said of such labels
    if scores.min() == scores.max():
        return _Nothing(f"all {len(scores):,} predictions are {scores[0]:.4g}", overshot=True)

    error = _relative_error(labels, weights, kind, metrics)
    metric = "auc" if kind == "binary" else "xauc"
    luck = _STANDARD_ERRORS * _standard_error(labels, weights, kind)
    if metrics[metric] < 0.5 + luck:
        what = (
            f"{metric.upper()} {metrics[metric]:.4f} is no more than luck gives ({0.5 + luck:.4f})"
        )
        return _Nothing(what, overshot=error > _WORSE)
    if error > _WORSE:
        what = f"errors are {error:.1f} times those of predicting the labels' mean for all rows"
        return _Nothing(what, overshot=True)
    return None


def _relative_error(
    labels: np.ndarray, weights: np.ndarray | None, kind: str, metrics: Mapping[str, float]
) -> float:
    """Returns log loss or squared error over that of predicting the labels' mean.

    Of amounts 1: a few large ones decide on theirs.
    """
    if kind == "binary":
        return metrics["ne"]
    if kind != "continuous":
        return 1.0
    mean = np.average(labels, weights=weights)
    return float(metrics["mse"] / np.average(np.square(labels - mean), weights=weights))


def _standard_error(labels: np.ndarray, weights: np.ndarray | None, kind: str) -> float:
    """Returns the standard error of the share of right pairs, for predictions that say nothing.

    Of n rows, n_1 of them positive, sqrt((n + 1) / (12 n_1 n_0)); of other labels
    sqrt((2 n + 5) / (18 n (n - 1))). Where rows have weights, n is (sum w)^2 / sum w^2.

    Source: Mann and Whitney (1947), doi 10.1214/aoms/1177730491; Kendall (1938), doi
    10.1093/biomet/30.1-2.81, whose tau is twice that share less 1.
    """
    rows = len(labels) if weights is None else weights.sum() ** 2 / np.square(weights).sum()
    if kind == "binary":
        positive = rows * np.average(labels, weights=weights)
        return math.sqrt((rows + 1) / (12 * positive * (rows - positive)))
    return math.sqrt((2 * rows + 5) / (18 * rows * max(1.0, rows - 1)))


def with_causes(
    found: Mapping[str, Mapping[str, Any]], network: RankingNetwork, schema: Schema, feed: Feed
) -> dict[str, dict[str, Any]]:
    """Adds to what `nothing_learned` found what is likely to be its cause.

    Args:
        found: By task, of the validation split.
        network: What predicted.
        schema: Its features.
        feed: The logs; causes are looked for in a batch of the validation split.

    Returns:
        By task "what", the sign of it, and "causes", each with what helps against it.
    """
    if not found or feed.validation is None:
        return {}

    causes = causes_in(feed.validation(), network, schema, [*found])
    by_task = {}
    for task, nothing in found.items():
        usual = SMALLER_STEPS if nothing["overshot"] else _MORE_STEPS
        signs = [*causes.of_features, *causes.of_tasks[task]]
        by_task[task] = {"what": nothing["what"], "causes": signs or [usual]}
    return by_task


def warning_of(stage: str, task: str, what: str) -> str:
    """Writes that a stage learned nothing of a task.

    Args:
        stage: The stage's name, or the model's.
        task: The task's name.
        what: The sign of it.
    """
    return f"warning: {stage} learned nothing of {task}: on validation {what}"
