"""What a stage of training is given: the logs, and how long to go over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf.distributed.parameter_server import Pass

# What a stage's folder holds: the best epoch's weights, the result; weights to rewind to; what
# another run's training continues from.
WEIGHTS, HISTORY, REWIND, STATE = "weights", "history.json", "rewind", "state"

# Batches that this process reads, or a pass that workers read in parts.
Batches = Iterable[dict[str, Any]] | Pass


@dataclass(frozen=True)
class Feed:
    """The logs as the trainer sees them.

    Attributes:
        train: (epoch, steps to skip) -> batches of that epoch.
        validation: () -> batches of the validation split; None: all rows train, so that nothing is
            chosen and the last epoch is kept.
        steps_per_epoch: Number of training steps an epoch has.
        batches_per_step: 1, or how many batches a part has that workers take as one step.
    """

    train: Callable[[int, int], Batches]
    validation: Callable[[], Batches] | None
    steps_per_epoch: int
    batches_per_step: int = 1


@dataclass(frozen=True)
class Plan:
    """How a stage is trained.

    Attributes:
        epochs: Passes over the training logs at most.
        patience: Epochs without a better one after which it stops; 0: never.
        checkpoint_steps: Steps between two checkpoints within an epoch; 0: none.
        snapshot_step: Step after which the weights are kept as `rewind`; 0: never.
        keep_last: Whether the last epoch is kept in place of the best, as a schedule that must run
            to its end needs.
        state: Where the optimiser's state lies that the stage goes on from; None: it begins anew.
        keep_state: Whether that state is kept beside the weights, as `state`.
    """

    epochs: int
    patience: int = 0
    checkpoint_steps: int = 0
    snapshot_step: int = 0
    keep_last: bool = False
    state: Path | None = None
    keep_state: bool = False
