"""The rows of a run's comparison, read back from its folder and measured.

`train`, `evaluate` and `export` all come here, so they agree about what a row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from lt4rec_tf import runs
from lt4rec_tf.config import Settings
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema import Schema
from lt4rec_tf.stages import SEARCH, network_of, read_masks, row_masks
from lt4rec_tf.tickets import masks as masks_file
from lt4rec_tf.tickets import search
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.evaluation import make_predictor, measure


def row_names(settings: Settings, schema: Schema) -> list[str]:
    """The rows of a run, in the order of its table: base becomes one row a task."""
    names = []
    for row in settings.rows:
        names += [f"base_{task.name}" for task in schema.tasks] if row == "base" else [row]
    return names


def load_row(folder: Path, row: str, settings: Settings, schema: Schema) -> RankingNetwork:
    """Reads a trained row: its network, wearing its masks.

    Args:
        folder: RUN.
        row: One of `row_names`.
        settings: The run's.
        schema: The run's, with all its tasks.

    Raises:
        RunError: The run has no such row, or it is not trained.
    """
    names = row_names(settings, schema)
    if row not in names:
        raise runs.RunError(f"{folder}: no row {row!r}, expected one of {', '.join(names)}")
    stage = _stage_folder(folder, row)
    if not runs.is_done(stage):
        raise runs.RunError(f"{folder}: row {row} is not trained; run train again to finish it")
    if row.startswith("base_"):
        schema = schema.with_tasks([row.removeprefix("base_")])
    network = network_of(settings, schema, separate_towers=row == "hard_sharing")
    checkpoint.restore(stage / "weights", network.variables)
    for task in network.tasks:
        path = row_masks(folder / "rows" / row, task)
        if path.exists():
            network.wear(task, read_masks(network, task, path))
    return network


def measure_rows(
    folder: Path,
    settings: Settings,
    schema: Schema,
    batches: Callable[[], tf.data.Dataset],
) -> Iterator[dict[str, Any]]:
    """Measures every row over a whole split.

    Args:
        folder: RUN.
        settings: The run's.
        schema: The run's.
        batches: () -> the split's batches.

    Yields:
        {"row", "metrics": {task: {metric: value}}, "density": {task: share},
        "overlap": |AND|/|OR| of the tasks' masks or None, "seconds": training time}.
    """
    for row in row_names(settings, schema):
        network = load_row(folder, row, settings, schema)
        predictions = make_predictor(network, network.tasks)(batches())
        masks = {task: network.masks(task) for task in network.tasks}
        shares_kernels = len(masks) > 1 and row != "hard_sharing"
        yield {
            "row": row,
            "metrics": measure(predictions, schema, network.tasks),
            "density": {task: masks_file.density(worn) for task, worn in masks.items()},
            "overlap": masks_file.overlap(list(masks.values())) if shares_kernels else None,
            "seconds": _seconds(folder, row, network.tasks),
        }


def read_searches(folder: Path, schema: Schema) -> dict[str, dict[str, Any]]:
    """Every task's search as it was kept: metric, direction, densities, values, chosen level."""
    kept = {task.name: folder / "tickets" / task.name / SEARCH for task in schema.tasks}
    return {task: runs.read_json(path) for task, path in kept.items() if path.exists()}


def reported_tasks(schema: Schema) -> list[dict[str, Any]]:
    """What tables say about the tasks."""
    return [
        {
            name: getattr(task, name)
            for name in ("name", "kind", "metric", "direction", "population")
        }
        for task in schema.tasks
    ]


def _stage_folder(folder: Path, row: str) -> Path:
    if row.startswith("base_"):
        task = folder / "tickets" / row.removeprefix("base_")
        return search.level_folder(task, 0) / search.TRAINING
    return folder / "rows" / row / search.TRAINING


def _seconds(folder: Path, row: str, tasks: tuple[str, ...]) -> float:
    """Training time of a row; a row that wears tickets pays for all their searches."""
    seconds = runs.read_json(_stage_folder(folder, row) / "history.json")["seconds"]
    if row == "s_weight":
        for task in tasks:
            for history in (folder / "tickets" / task).glob("level_*/*/history.json"):
                seconds += runs.read_json(history)["seconds"]
    return seconds
