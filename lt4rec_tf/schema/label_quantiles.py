"""What an audit finds of the labels of tasks on ratios and amounts, in a run's file of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.schema.heads import LabelQuantiles
from lt4rec_tf.schema.types import Schema, Task

QuantilesByTask = Mapping[str, LabelQuantiles]


def with_label_quantiles(schema: Schema, found: QuantilesByTask) -> Schema:
    """Returns the schema with the quantiles of the labels of the tasks that have them."""

    def with_found(task: Task) -> Task:
        return dataclasses.replace(task, quantiles=found.get(task.name, task.quantiles))

    return dataclasses.replace(schema, tasks=tuple(map(with_found, schema.tasks)))


def label_quantiles_of(schema: Schema) -> dict[str, LabelQuantiles]:
    """Returns by task the quantiles of its label, where an audit has found them."""
    return {task.name: task.quantiles for task in schema.tasks if task.quantiles is not None}


def write_label_quantiles(path: Path, found: QuantilesByTask) -> None:
    """Writes a file of all tasks' quantiles, atomically; none where there is no task."""
    if found or path.exists():
        artifacts.write_json(path, {task: dataclasses.asdict(one) for task, one in found.items()})


class _Content(TypedDict):
    curves: list[list[float]]
    bounds: list[float]
    rows: int
    estimated: bool
    earlier: bool


def read_label_quantiles(path: Path) -> dict[str, LabelQuantiles]:
    """Reads back what `write_label_quantiles` wrote; nothing where there is no file.

    Raises:
        RunError: The file is not one that it writes.
    """
    if not path.exists():
        return {}
    content = read_typed(path, dict[str, _Content])
    found = {}
    for task, one in content.items():
        try:
            found[task] = _read(one)
        except ValueError as error:
            raise artifacts.RunError(f"{path}: {task}: {error}") from None
    return found


def _read(content: Mapping[str, Any]) -> LabelQuantiles:
    curves = tuple(map(tuple, content["curves"]))
    numbers = {"curves": curves, "bounds": tuple(content["bounds"])}
    return LabelQuantiles(**(dict(content) | numbers))
