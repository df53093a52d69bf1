"""The quantiles of labels in train, which an audit finds and a run keeps in one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.schema.types import Schema, Task

LEVELS = 200  # steps between the quantiles 0 and 1


@dataclass(frozen=True)
class LabelQuantiles:
    """The quantiles of a task's label over its population in train.

    Attributes:
        curves: The quantiles at the levels 0, 1/200, ..., 1, rising: those of all rows; behind
            them, where rows have durations, those of groups of equal duration.
        bounds: The seconds at which the second group and those after it begin, increasing.
        rows: The rows of the population.
        estimated: True if they are those of an even sample of the rows.
        earlier: True if an earlier run found them, which this one goes on from.

    Raises:
        ValueError: The numbers are others.
    """

    curves: tuple[tuple[float, ...], ...]
    bounds: tuple[float, ...] = ()
    rows: int = 0
    estimated: bool = False
    earlier: bool = False

    def __post_init__(self) -> None:
        """Refuses curves that no head can invert."""
        groups = len(self.curves) - 1
        if groups != len(self.bounds) + 1 and (groups or self.bounds):
            raise ValueError(f"curves: found {len(self.curves)} with {len(self.bounds)} bounds")
        for curve in self.curves:
            numbers = np.array(curve)
            if numbers.shape != (LEVELS + 1,) or not (np.diff(numbers) >= 0).all():
                raise ValueError(f"curves: expected {LEVELS + 1} numbers that do not fall")
            if not (numbers >= 0).all() or not np.isfinite(numbers).all():
                raise ValueError("curves: expected finite numbers, 0 or more")
        if not (np.diff(np.array(self.bounds)) > 0).all():
            raise ValueError("bounds: expected increasing numbers")

    @property
    def by_duration(self) -> bool:
        """Tells if there are curves of groups of equal duration."""
        return len(self.curves) > 1

    def at(self, levels: np.ndarray) -> np.ndarray:
        """Returns the quantiles of all rows at some levels, in [0, 1]."""
        return np.interp(levels, np.linspace(0, 1, LEVELS + 1), np.array(self.curves[0]))

    def group_of(self, seconds: np.ndarray) -> np.ndarray:
        """Returns which curve is whose: the first one, of all rows, where a duration is unknown."""
        known = np.isfinite(seconds) & (seconds > 0) & self.by_duration
        return np.where(known, 1 + np.searchsorted(self.bounds, seconds, side="right"), 0)

    def means(self) -> np.ndarray:
        """Returns the mean of the label by curve, (curves,)."""
        curves = np.array(self.curves)
        return (curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2


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
