"""Settings of a training stage: its objective, its optimiser, its logs, its length, its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lt4rec_tf.core.progress import Progress
from lt4rec_tf.distributed.parameter_server import Pass
from lt4rec_tf.training.balancing.core_task import HTLNET_CORE, Core
from lt4rec_tf.training.conflict import Conflict
from lt4rec_tf.training.precision import FLOAT32
from lt4rec_tf.training.schedule import Schedule

# What a stage's folder holds while it trains: the best epoch's weights so far, and all that
# resuming needs.
BEST, PROGRESS = "best", "progress"
# What it holds afterwards, besides the WEIGHTS and the HISTORY of tickets/search.py: weights to
# rewind to; what another run's training continues from.
REWIND, STATE = "rewind", "state"

# Step size of Adagrad for embedding tables, relative to that of the other weights. Chosen on
# validation of a public and a simulated feed.
ADAGRAD_STEP = 20

# Batches that this process reads, or a pass that workers read in parts.
Batches = Iterable[dict[str, Any]] | Pass

LogScalars = Callable[[str, int, dict[str, float]], None]


@dataclass(frozen=True)
class Objective:
    """The loss that a network is trained to minimise.

    Attributes:
        tasks: The trained tasks, in order.
        schedule: "alternate": batch i trains task i mod n (LT4REC, Algorithm 1);
            "both": every batch trains all tasks with the summed loss (Eq. 2).
        loss_weights: Task -> its weight in Eq. 2.
        balance: One of `balancing.RULES`: how the tasks' losses become one update. All but "none"
            need the schedule "both".
        core: How far the balance "htlnet" favours the last task.
        conflict: Weights of clicked, hardly watched rows; None: all rows of a population are equal.
        label_smoothing: See `losses.with_targets`.
        absent: Tasks without a row in the logs. No step trains them: what is theirs alone stays as
            it is, with the optimiser's state.
        changeable: Name of a variable -> bool array that broadcasts to its shape, True where steps
            may change it; all that is absent stays bit-identical. None: everything may change.
    """

    tasks: tuple[str, ...]
    schedule: Literal["alternate", "both"]
    loss_weights: Mapping[str, float]
    balance: str = "none"
    core: Core = HTLNET_CORE
    conflict: Conflict | None = None
    label_smoothing: float = 0.0
    absent: tuple[str, ...] = ()
    changeable: Mapping[str, np.ndarray] | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """Returns the tasks that have rows, in order."""
        return tuple(task for task in self.tasks if task not in self.absent)

    @property
    def task_groups(self) -> list[tuple[str, ...]]:
        """Returns the tasks of each step; steps are taken in turn, in this order.

        >>> weights = {"ctr": 1.0, "cvr": 1.0}
        >>> Objective(("ctr", "cvr"), "alternate", weights).task_groups
        [('ctr',), ('cvr',)]
        >>> Objective(("ctr", "cvr"), "both", weights).task_groups
        [('ctr', 'cvr')]
        """
        if self.schedule == "both":
            return [self.present]
        return [(task,) for task in self.present]


@dataclass(frozen=True)
class Optimization:
    """Settings of the optimiser and its updates.

    Attributes:
        optimizer: "adam" or "adagrad".
        learning_rate: Step size, above 0.
        precision: "float32" or "bfloat16", see `precision`.
        seed: Decides the random order in which PCGrad projects.
        embedding_optimizer: Of the embedding tables: "same", or a name that
            `optimizers.build_optimizer` takes.
        embedding_learning_rate: Of the embedding tables; 0: `learning_rate`, `ADAGRAD_STEP`
            times as much with "adagrad" and "rowwise_adagrad".
        batch_size: Rows of a batch, 1 or more.
        learning_rate_decay: See `schedule.Schedule.decay`; it holds for both step sizes.
        learning_rate_warmup: See `schedule.Schedule.warmup`.
        embedding_l2: See `adjustment.Adjustment`.
        weight_decay: Of kernels, with "adam" alone; see `lazy_adam.LazyAdam`.
        clip_norm: See `adjustment.Adjustment`.
        weight_average: See `weight_average.WeightAverage`; 0: weights are kept as they are.
    """

    optimizer: str
    learning_rate: float
    precision: str = FLOAT32
    seed: int = 0
    embedding_optimizer: str = "same"
    embedding_learning_rate: float = 0.0
    batch_size: int = 512
    learning_rate_decay: Literal["none", "linear", "cosine"] = "none"
    learning_rate_warmup: int = 0
    embedding_l2: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    weight_average: float = 0.0

    @property
    def of_tables(self) -> tuple[str, float]:
        """Returns optimiser and step size of the embedding tables.

        >>> Optimization("adam", 0.001, embedding_learning_rate=0.01).of_tables
        ('adam', 0.01)
        >>> Optimization("adam", 0.001, embedding_optimizer="adagrad").of_tables
        ('adagrad', 0.02)
        """
        if self.embedding_optimizer == "same":
            return self.optimizer, self.embedding_learning_rate or self.learning_rate
        factor = ADAGRAD_STEP if "adagrad" in self.embedding_optimizer else 1
        rate = self.embedding_learning_rate or factor * self.learning_rate
        return self.embedding_optimizer, rate

    @property
    def schedule(self) -> Schedule:
        """Returns the factors of the step sizes."""
        return Schedule(self.learning_rate_decay, self.learning_rate_warmup)


@dataclass(frozen=True)
class Callbacks:
    """Functions that a trainer calls while it trains.

    Attributes:
        progress: Displays every step.
        log: (stage, step, {tag: value}), called several times an epoch and at its end.
        before_step: Called with the number of steps done in the stage, before each step.
    """

    progress: Progress
    log: LogScalars
    before_step: Callable[[int], None] = lambda step: None


@dataclass(frozen=True)
class Feed:
    """The logs as batches.

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
    """Length of a stage, and what is saved of it.

    Attributes:
        epochs: Passes over the training logs at most.
        patience: Epochs without a better one after which training stops; 0: never. Where tables
            are rewound, times without a better epoch from one rewinding to the next.
        checkpoint_steps: Steps between two checkpoints within an epoch; 0: none.
        snapshot_step: Step after which the weights are saved as `rewind`; 0: never.
        keep_last: Whether the last epoch is kept in place of the best, as a schedule that must run
            to its end needs.
        state: Folder of the optimiser's state from which the stage continues; None: it begins anew.
        keep_state: Whether that state is saved beside the weights, as `state`.
        rewind_tables: Epochs after which embedding tables go back to where the stage began, and
            the optimiser begins anew, while all other weights go on; 0: never.
    """

    epochs: int
    patience: int = 0
    checkpoint_steps: int = 0
    snapshot_step: int = 0
    keep_last: bool = False
    state: Path | None = None
    keep_state: bool = False
    rewind_tables: int = 0
