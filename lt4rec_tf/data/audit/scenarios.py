"""Counts the rows of each task's scenario, and those that no task's scenario holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.schema.types import Task


@dataclass(frozen=True)
class ScenarioRows:
    """A task's scenario.

    Attributes:
        conditions: The conditions of the task, its population among them, in words.
        rows: Usable rows of the scenario, whatever the population.
        unreadable: Usable rows outside it because they hold something that a condition cannot
            compare, such as a text where a number is compared.
    """

    conditions: str
    rows: int
    unreadable: int


class ScenarioSums:
    """Adds up the batches of a pass.

    Args:
        tasks: The schema's.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._conditions = {task.name: task.conditions for task in tasks if task.where}
        self._all_have_one = len(self._conditions) == len(tasks)
        self._rows = dict.fromkeys(self._conditions, 0)
        self._unreadable = dict.fromkeys(self._conditions, 0)
        self._in_none = 0

    def add(self, usable: np.ndarray, outside: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Adds one batch.

        Args:
            usable: Bool (rows,).
            outside: By task with a scenario the rows outside it, `filters.LeftOut` by name.
        """
        in_some = np.zeros_like(usable)
        for task, left_out in outside.items():
            inside = usable & (left_out["by"] < 0)
            self._rows[task] += int(inside.sum())
            self._unreadable[task] += int((usable & left_out["unreadable"]).sum())
            in_some |= inside
        if self._all_have_one:
            self._in_none += int((usable & ~in_some).sum())

    def rows(self) -> dict[str, ScenarioRows]:
        """Returns the counts of each task that has a scenario."""
        return {
            task: ScenarioRows(conditions, self._rows[task], self._unreadable[task])
            for task, conditions in self._conditions.items()
        }

    def in_none(self) -> int:
        """Returns the usable rows that no task's scenario holds; 0 if some task has none."""
        return self._in_none
