"""The end of a training stage: its result on disk, or the error that stops it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.tickets.search import HISTORY
from lt4rec_tf.training.plan import PROGRESS

SMALLER_STEPS = "a smaller --learning_rate usually helps"


class TrainingError(InputError):
    """Training cannot go on; the message says where and why."""


def not_finite(
    stage: str, what: str, value: float, epoch: int, causes: Sequence[str] = ()
) -> TrainingError:
    """Makes the error of a training that diverged.

    Args:
        stage: Name of the stage.
        what: What is not finite.
        value: Its value.
        epoch: In which epoch, counted from 1.
        causes: What it is likely to come from, one text each; none: the step size.
    """
    cause = "; ".join(causes) or SMALLER_STEPS
    return TrainingError(f"{stage}: {what} is {value} in epoch {epoch}; {cause}")


def finish(folder: Path, result: dict[str, Any]) -> None:
    """Writes a stage's result, marks the stage as done and removes what only resuming needs.

    Args:
        folder: The stage's, which holds its weights already.
        result: Content of its `history.json`.
    """
    artifacts.write_json(folder / HISTORY, result)
    artifacts.mark_done(folder)
    artifacts.remove(folder / PROGRESS)
