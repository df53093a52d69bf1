"""Permutation importance: how much worse a metric gets when a feature is shuffled over rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.data.input.in_memory import HeldRows, draw
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.feed import EVALUATION_BATCH, split_batches
from lt4rec_tf.experiment.paths import single_task
from lt4rec_tf.experiment.trained_models import default_model, load_model, model_names
from lt4rec_tf.schema.types import Schema, Task
from lt4rec_tf.training.evaluation import task_metric
from lt4rec_tf.training.plan import Batches
from lt4rec_tf.training.predictions import Predictions, predictor_of

REPEATS = 5  # permutations of each feature
MOST_ROWS = 100_000  # that are held and measured; of a larger split a sample is drawn
_SEED = 0


def feature_importance(
    folder: Path,
    settings: Settings,
    schema: Schema,
    source: Source,
    split: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measures what each task loses when one feature's values are permuted over the rows.

    All values of a multi-valued feature move together, and so do lists of the same events, under
    the name of the list that says how they are pooled. What the network knows of a row from other
    features stays: features that say the same share their importance.

    Args:
        folder: RUN.
        settings: The run's.
        schema: The run's.
        source: Its audited logs.
        split: To measure.
        say: Called with what is measured.

    Returns:
        split, rows (measured), rows_of_split, repeats; tasks: {task: row (the model), metric,
        direction, value, features}, the features by falling mean: feature, mean, sd, drops (one
        each permutation; above 0: the metric got worse).

    Source: Breiman, Random Forests (2001, doi 10.1023/A:1010933404324); Fisher et al. (2019, arXiv
    1801.01489).
    """
    rows, count = draw(split_batches(source, split), MOST_ROWS, _SEED)
    together = moved_together(schema)
    say(f"permuting each of {len(together)} features {REPEATS} times over {len(rows):,} rows")
    found: dict[str, Any] = {}
    for name, tasks in _tasks_by_model(settings, schema, folder).items():
        network = load_model(folder, name, settings, schema)
        predict = predictor_of(network, schema)
        for task, entry in _measured(schema, tasks, rows, predict).items():
            found[task] = {"row": name, **entry}
    return {
        "split": split,
        "rows": len(rows),
        "rows_of_split": count,
        "repeats": REPEATS,
        "tasks": {task.name: found[task.name] for task in schema.tasks if task.name in found},
    }


def _tasks_by_model(settings: Settings, schema: Schema, folder: Path) -> dict[str, list[Task]]:
    """Returns the exported model with all tasks; single-task ones each with theirs."""
    exported = default_model(settings, schema, folder)
    if single_task(exported) is None:
        return {exported: list(schema.tasks)}
    names = model_names(settings, schema)
    return {f"base_{task.name}": [task] for task in schema.tasks if f"base_{task.name}" in names}


def _measured(
    schema: Schema,
    tasks: list[Task],
    rows: HeldRows,
    predict: Callable[[Batches], Predictions],
) -> dict[str, dict[str, Any]]:
    """Measures the tasks of one network."""
    predictions = predict(rows.batches(EVALUATION_BATCH))
    values = {task.name: task_metric(predictions, task, task.metric) for task in tasks}

    drops: dict[str, dict[str, list[float]]] = {task.name: {} for task in tasks}
    for place, (feature, *aligned) in enumerate(moved_together(schema)):
        for repeat in range(REPEATS):
            order = np.random.default_rng([_SEED, place, repeat]).permutation(len(rows))
            permuted = rows.permuted(("features", feature), order)
            for other in aligned:
                permuted = permuted.permuted(("features", other), order)
            predictions = predict(permuted.batches(EVALUATION_BATCH))
            for task in tasks:
                change = task_metric(predictions, task, task.metric) - values[task.name]
                drop = change if task.direction == "min" else -change
                drops[task.name].setdefault(feature, []).append(drop)

    return {
        task.name: {
            "metric": task.metric,
            "direction": task.direction,
            "value": values[task.name],
            "features": _by_mean(drops[task.name]),
        }
        for task in tasks
    }


def moved_together(schema: Schema) -> list[list[str]]:
    """Returns names of features that are permuted together, in the schema's order."""
    return [
        [first.name, *(f.name for f in schema.features if f.aligned_with == first.name)]
        for first in schema.features
        if first.aligned_with is None
    ]


def _by_mean(drops: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Returns the features, the most important first."""
    entries = [
        {
            "feature": feature,
            "mean": float(np.mean(of_feature)),
            "sd": float(np.std(of_feature, ddof=1)),
            "drops": of_feature,
        }
        for feature, of_feature in drops.items()
    ]
    return sorted(entries, key=lambda entry: -entry["mean"])
