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
        negatives_kept: Of the rows with label 0 that there were, the share that the log still
            holds; None where no column says it, or there is no such row.
    """

    rows: int
    label_mean: float
    label_deviation: float
    without_user: int = 0
    weight: float | None = None
    negatives_kept: float | None = None


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
        # By task that names a column of it: weights of rows with label 0, and of all there were.
        sampled = [task.name for task in tasks if task.kept_column is not None]
        self._negatives = {task: np.zeros((2, len(SPLITS))) for task in sampled}

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

    def add_kept(
        self,
        task: str,
        split: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        kept: np.ndarray,
    ) -> None:
        """Adds a batch of rows of a task whose negatives were sampled.

        Args:
            task: The task.
            split: Places in `SPLITS`, (rows,).
            labels: (rows,).
            weights: (rows,).
            kept: The share of rows with label 0 that were kept, (rows,).
        """
        negative = np.where(labels == 0, weights.astype(np.float64), 0.0)
        for place, summed in enumerate([negative, negative / kept.astype(np.float64)]):
            self._negatives[task][place] += np.bincount(split, summed, minlength=len(SPLITS))

    def _share_kept(self, task: str, split: str) -> float | None:
        if task not in self._negatives:
            return None
        kept, all_negatives = self._negatives[task][:, SPLITS.index(split)].tolist()
        return kept / all_negatives if all_negatives else None

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
                negatives_kept=self._share_kept(task, split),
            )
        return counts
