"""Weights of rows on which the gradients of two tasks conflict: clicked, and hardly watched.

Such a row is a positive of CTR and nearly a negative of CVR. LT4REC's "gradientconflict" favours
CVR there: its loss weighs more, that of CTR less.
Source: LT4REC (arXiv 2008.09872), section on gradient conflict; limits and weights are those of
its authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.schema.types import Schema, chained_tasks


@dataclass(frozen=True)
class Conflict:
    """Limits of hardly watched rows, and the weights of their losses.

    Attributes:
        cvr_weight: Factor of the loss of the task on clicks.
        ctr_weight: Factor of the loss of the click task.
        long_video: Seconds above which a video is long.
        long_ratio: A long video is hardly watched where 0 < watch ratio < long_ratio. Nothing
            watched at all is no conflict: the authors' logs cannot tell it from no click.
        short_ratio: The same for other videos.
    """

    cvr_weight: float = 5.0
    ctr_weight: float = 0.2
    long_video: float = 60.0
    long_ratio: float = 0.1
    short_ratio: float = 0.2


def hardly_watched(conflict: Conflict, ratio: tf.Tensor, duration: tf.Tensor) -> tf.Tensor:
    """Marks the rows that are in conflict, bool (batch,).

    A video of unknown length is treated as a long one, which marks fewer rows.

    >>> ratio, duration = tf.constant([0.0, 0.15, 0.15, 0.05]), tf.constant([9.0, 60.0, 61.0, 61.0])
    >>> hardly_watched(Conflict(), ratio, duration).numpy().tolist()
    [False, True, False, True]

    Args:
        conflict: The limits.
        ratio: float32 (batch,), in [0, 1]; 0 on rows outside the population.
        duration: float32 (batch,), in seconds; NaN where it is unknown.
    """
    short = duration <= conflict.long_video  # false for NaN
    limit = tf.where(short, conflict.short_ratio, conflict.long_ratio)
    return (ratio > 0.0) & (ratio < limit)


def pairs_in_conflict(schema: Schema, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of a binary task and a continuous one on its positives that these tasks are in.

    Args:
        schema: The tasks that batches hold labels of.
        tasks: Those that are trained; a pair needs only one of them.

    Raises:
        ValueError: There is no such pair.
    """
    batch_tasks = [task.name for task in schema.tasks]
    pairs = [
        (clicked, watched)
        for clicked, watched in chained_tasks(schema, batch_tasks)
        if schema.task(watched).kind == "continuous" and {clicked, watched} & set(tasks)
    ]
    if not pairs:
        raise UnfitError(
            f"conflict: found tasks {', '.join(tasks)} of {', '.join(batch_tasks)}, expected a "
            "binary task and a continuous one learned on its positives"
        )
    return pairs


def emphasis(
    conflict: Conflict, pairs: Sequence[tuple[str, str]], batch: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Returns each row's factor of the loss, for the tasks of the pairs.

    A row that is in conflict in several pairs is weighed as a row that is in one.

    Args:
        conflict: Limits and weights.
        pairs: From `pairs_in_conflict`.
        batch: Its labels and durations.

    Returns:
        Task -> float32 (batch,), 1 on rows without conflict.
    """
    rows_by_task: dict[str, tf.Tensor] = {}
    weight_by_task: dict[str, float] = {}
    for clicked, watched in pairs:
        rows = hardly_watched(conflict, batch["labels"][watched], batch["duration"])
        for task, weight in ((clicked, conflict.ctr_weight), (watched, conflict.cvr_weight)):
            other_rows = rows_by_task.get(task)
            rows_by_task[task] = rows if other_rows is None else other_rows | rows
            weight_by_task[task] = weight
    return {task: tf.where(rows, weight_by_task[task], 1.0) for task, rows in rows_by_task.items()}
