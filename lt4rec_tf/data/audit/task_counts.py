"""Counts of each task's population, by split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.schema.types import Task


@dataclass(frozen=True)
class TaskCounts:
    """A task's population in one split.

    Attributes:
        rows: Its rows, without those of weight 0.
        label_mean: Mean of their labels, each as often as its row's weight says.
        label_deviation: Standard deviation of their labels, likewise.
        without_user: Those that have no user, where the schema names a column of users.
        weight: The sum of their weights; None where the schema names no column of weights.
    """

    rows: int
    label_mean: float
    label_deviation: float
    without_user: int = 0
    weight: float | None = None


class TaskSums:
    """Adds up the batches of a pass.

    Args:
        tasks: The schema's.
        weighted: True if rows have weights.
    """

    def __init__(self, tasks: Sequence[Task], *, weighted: bool) -> None:
        self._weighted = weighted
        # By task, of each split: rows, those without a user, weights, weighted labels and squares.
        self._sums = {task.name: np.zeros((5, len(SPLITS))) for task in tasks}

    def add(
        self,
        task: str,
        split: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        anonymous: np.ndarray,
    ) -> None:
        """Adds a batch of rows; those of weight 0 are in no population.

        Args:
            task: The task.
            split: Places in `SPLITS`, (rows,).
            labels: (rows,).
            weights: (rows,).
            anonymous: Bool (rows,): the row has no user.
        """
        labels, weights = labels.astype(np.float64), weights.astype(np.float64)
        in_population = weights > 0
        for place, summed in enumerate(
            [
                in_population,
                in_population & anonymous,
                weights,
                weights * labels,
                weights * labels**2,
            ]
        ):
            self._sums[task][place] += np.bincount(split, summed, minlength=len(SPLITS))

    def result(self, split: str) -> dict[str, TaskCounts]:
        """Returns the counts of a split by task."""
        counts = {}
        for task, sums in self._sums.items():
            rows, anonymous, weight, labels, squares = sums[:, SPLITS.index(split)].tolist()
            mean = labels / (weight or 1.0)
            variance = max(0.0, squares / (weight or 1.0) - mean**2)
            counts[task] = TaskCounts(
                rows=int(rows),
                label_mean=mean,
                label_deviation=math.sqrt(variance),
                without_user=int(anonymous),
                weight=weight if self._weighted else None,
            )
        return counts
