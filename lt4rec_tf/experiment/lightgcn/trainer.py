"""Trainer of a table of users and items, for all levels of a ticket search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.public.interactions import Interactions
from lt4rec_tf.experiment.lightgcn import batches, losses, ranking
from lt4rec_tf.experiment.lightgcn.model import normalised_adjacency, propagate
from lt4rec_tf.experiment.lightgcn.threshold import ThresholdPlan, soft_threshold
from lt4rec_tf.experiment.paths import TABLE
from lt4rec_tf.tickets.search import HISTORY
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.lazy_adam import LazyAdam
from lt4rec_tf.training.optimizers import reset
from lt4rec_tf.training.plan import PROGRESS, LogScalars
from lt4rec_tf.training.stage import finish, not_finite


@dataclass(frozen=True)
class PairPlan:
    """How a table is trained.

    Attributes:
        layers: K of LightGCN; 0 is matrix factorisation.
        loss: bpr or softmax, see `losses`.
        batch: Triples of a step with bpr, users of a step with softmax.
        cosine: Whether vectors are scaled to length 1 after propagation.
        temperature: T of softmax.
        learning_rate: Of Adam.
        beta_2: Of Adam, see `lazy_adam.LazyAdam`.
        epsilon: Of Adam.
        l2: Weight of `half_squares` over the rows of a batch.
        epochs: Passes at most.
        validate_every: Passes between two validations, the last pass included.
        patience: Validations without a better recall after which the cooldown begins; 0: never.
        cooldown: The last passes, at most `epochs`: with c of them to come, the learning rate is
            c / (cooldown + 1) of what it was. Source: Zhai et al., Scaling Vision Transformers
            (CVPR 2022, arXiv 2106.04560), section 3.5.
        k: Length of the list that validation measures.
    """

    layers: int
    loss: Literal["bpr", "softmax"]
    batch: int
    cosine: bool
    temperature: float
    learning_rate: float
    beta_2: float
    epsilon: float
    l2: float
    epochs: int
    validate_every: int
    patience: int
    cooldown: int
    k: int

    def steps_per_epoch(self, train: Interactions) -> int:
        """Returns the number of steps of one pass, at most."""
        examples = len(train.item_ids) if self.loss == "bpr" else int((train.counts > 0).sum())
        return -(-examples // self.batch)


@dataclass
class _State:
    """Progress of a training; with the variables, all that resuming needs."""

    end: int  # the last pass, as far as is known
    epoch: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_recall: float = -math.inf
    stale: int = 0  # validations since the best
    history: list[dict[str, Any]] = field(default_factory=list)


class PairPass(TypedDict):
    """A pass of `PairResult`."""

    epoch: int
    loss: float
    density: float
    learning_rate: float
    validation: dict[str, float]


class PairResult(TypedDict):
    """What a training leaves in `HISTORY`; see `PairTrainer.fit`."""

    best_epoch: int
    cooldown: int
    epochs: int
    validation: dict[str, float]
    seconds: float
    history: list[PairPass]


def read_trained(folder: Path) -> dict[str, Any]:
    """Reads the result of a training that is done.

    Raises:
        RunError: There is none, or it holds something else.
    """
    result: dict[str, Any] = read_typed(folder / HISTORY, PairResult)
    return result


class PairTrainer:
    """Trains tables of one size, each from its own start, by one compiled step.

    A number that the mask cuts is 0 at the start and has no gradient, so Adam leaves it 0.

    Args:
        train: Pairs to train on.
        validation: Pairs for early stopping; None: every pass is taken, and the last is kept.
        dimension: Of the table.
        plan: How to train.
        seed: Of the batches, which are the same in every training.
        progress: Gets every step.
        log: (stage, step, {tag: value}), called at each validation.
        threshold: PEP's threshold, which numbers must exceed; None: there is none.
        enough: Called after every pass with the table's numbers; true ends the training.
    """

    def __init__(
        self,
        train: Interactions,
        validation: Interactions | None,
        dimension: int,
        plan: PairPlan,
        seed: int,
        progress: Progress,
        log: LogScalars,
        threshold: ThresholdPlan | None = None,
        enough: Callable[[np.ndarray], bool] | None = None,
    ) -> None:
        self._train, self._validation, self._plan, self._seed = train, validation, plan, seed
        self._progress, self._log = progress, log
        self._adjacency = normalised_adjacency(
            train.users, train.items, train.user_ids, train.item_ids
        )

        zeros = tf.zeros((train.users + train.items, dimension))
        self.table, self._best, self._mask = (
            tf.Variable(zeros, trainable=trainable) for trainable in (True, False, False)
        )
        self._threshold_plan, self._enough = threshold, enough
        self._threshold = tf.Variable(0.0)
        self._trained = [self.table, *([] if threshold is None else [self._threshold])]

        self._optimizer = LazyAdam(plan.learning_rate, beta_2=plan.beta_2, epsilon=plan.epsilon)
        self._optimizer.build(self._trained)

        ids = tf.TensorSpec((None,), tf.int64)
        self._step = tf.function(self._take_step, input_signature=[ids, ids, ids])
        self._propagate = tf.function(lambda: self._vectors(self._numbers()))

    def fit(self, folder: Path, name: str, start: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """Trains from `start * mask` until validation gets no better.

        The table has the numbers of the best pass afterwards.

        Args:
            folder: The training's own; gets `table`, a checkpoint, and history.json.
            name: Its name in progress and TensorBoard.
            start: float32 (users + items, dimension).
            mask: bool of that shape: the numbers that may differ from 0.

        Returns:
            best_epoch, the number of its passes that were cooldown, validation metrics there,
            seconds, history.

        Raises:
            TrainingError: The loss is no longer finite.
        """
        plan, steps = self._plan, self._plan.steps_per_epoch(self._train)
        if artifacts.is_done(folder):
            self._progress.skip(plan.epochs * steps)
            self.load(folder)
            return read_trained(folder)

        self._mask.assign(mask.astype(np.float32))
        self.table.assign(start * mask)
        self._best.assign(self.table)
        if self._threshold_plan is not None:
            self._threshold.assign(self._threshold_plan.start)
        reset(self._optimizer)

        state = self._resume(folder)
        self._progress.start_stage(name, plan.epochs, steps)
        self._progress.skip(state.epoch * steps)
        while state.epoch < state.end:
            self._epoch(folder, name, state)
        self._progress.skip((plan.epochs - state.epoch) * steps)
        return self._finish(folder, state)

    def load(self, folder: Path) -> None:
        """Reads the table of a training that is done."""
        checkpoint.restore(folder / TABLE, {TABLE: self.table})

    def _vectors(self, table: tf.Tensor) -> tf.Tensor:
        """Returns the vectors whose inner products score pairs."""
        vectors = propagate(self._adjacency, table, self._plan.layers)
        return tf.math.l2_normalize(vectors, axis=1) if self._plan.cosine else vectors

    def _numbers(self) -> tf.Tensor:
        """Returns the table's numbers, behind the threshold if there is one."""
        if self._threshold_plan is None:
            return tf.identity(self.table)
        return soft_threshold(self.table, self._threshold, self._threshold_plan.scale)

    def vectors(self) -> np.ndarray:
        """Returns the vectors by the present table, float32 (users + items, dimension)."""
        return self._propagate().numpy()

    def steps(self, epoch: int) -> Iterator[tf.Tensor]:
        """Takes the steps of a pass, one for each value that is read; yields each one's loss."""
        for batch in self._batches(epoch):
            yield self._step(*map(tf.constant, batch))

    def _epoch(self, folder: Path, name: str, state: _State) -> None:
        """Trains and validates one pass."""
        started = time.monotonic()
        plan = self._plan
        rate = plan.learning_rate * min(1.0, (state.end - state.epoch) / (plan.cooldown + 1))
        self._optimizer.learning_rate = rate

        step_losses = []
        for step_loss in self.steps(state.epoch):
            step_losses.append(step_loss)
            self._progress.step({plan.loss: step_loss})
        loss = float(np.mean([step_loss.numpy() for step_loss in step_losses]))
        state.epoch += 1
        if not math.isfinite(loss):
            raise not_finite(name, "the loss", loss, state.epoch)
        if self._enough is not None and self._enough(self._numbers().numpy()):
            state.end = state.epoch

        due = state.epoch == state.end or state.epoch % plan.validate_every == 0
        metrics = self._validate(name, loss, rate, state) if due else {}
        self._progress.end_epoch(metrics)
        state.seconds += time.monotonic() - started
        if due:
            checkpoint.save_progress(folder / PROGRESS, self._variables(), vars(state))

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields three columns of row numbers: of bpr's triples, or of users and their pairs."""
        rng = np.random.default_rng([self._seed, epoch, *b"batches"])
        train, batch = self._train, self._plan.batch
        if self._plan.loss == "bpr":
            for users, met, others in batches.triples(train, batch, rng):
                yield users, train.users + met, train.users + others
        else:
            for users, user_positions, items in batches.users_with_items(train, batch, rng):
                yield users, user_positions, train.users + items

    def _take_step(self, first: tf.Tensor, second: tf.Tensor, third: tf.Tensor) -> tf.Tensor:
        """Takes one step; its columns are those of `_batches`."""
        plan = self._plan
        with tf.GradientTape() as tape:
            table = self._numbers()
            vectors = self._vectors(table)
            if plan.loss == "bpr":
                loss = losses.bpr(vectors, first, second, third)
                touched, pairs = tf.concat([first, second, third], axis=0), tf.size(first)
            else:
                loss = losses.softmax(
                    vectors, self._train.users, first, second, third, plan.temperature
                )
                touched = tf.concat([tf.gather(first, second), third], axis=0)
                pairs = tf.size(second)

            total = loss + plan.l2 * losses.half_squares(table, touched, pairs)
            if self._threshold_plan is not None:
                total += self._threshold_plan.decay * tf.nn.l2_loss(self._threshold)

        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(total, self._trained)]
        gradients[0] *= self._mask
        self._optimizer.apply_gradients(zip(gradients, self._trained, strict=True))
        return loss

    def _validate(self, name: str, loss: float, rate: float, state: _State) -> Mapping[str, float]:
        """Measures a pass, logs it, and keeps it if it is the best."""
        metrics: dict[str, float] = {}
        if self._validation is not None:
            metrics = ranking.measure(self.vectors(), self._train, self._validation, self._plan.k)

        density = float(tf.reduce_mean(tf.cast(self._numbers() != 0, tf.float32)))
        tags = {f"by_stage/{metric}": value for metric, value in metrics.items()}
        tags[f"training_loss/{self._plan.loss}"] = loss
        tags |= {"learning_rate": rate, "weights/density": density}
        self._log(name, state.epoch, tags)
        record = {"epoch": state.epoch, "loss": loss, "density": density, "learning_rate": rate}
        state.history.append(record | {"validation": metrics})

        if not metrics:
            state.best_epoch = state.epoch
            self._best.assign(self.table)
        elif metrics["recall"] > state.best_recall:
            state.best_epoch, state.best_recall, state.stale = state.epoch, metrics["recall"], 0
            self._best.assign(self.table)
        else:
            state.stale += 1
            if state.stale == self._plan.patience:
                state.end = min(state.end, state.epoch + self._plan.cooldown)
        return metrics

    def _variables(self) -> dict[str, tf.Variable]:
        slots = {f"optimizer/{i}": v for i, v in enumerate(self._optimizer.variables)}
        threshold = {} if self._threshold_plan is None else {"threshold": self._threshold}
        return {TABLE: self.table, "best": self._best} | threshold | slots

    def _resume(self, folder: Path) -> _State:
        saved = folder / PROGRESS
        if not saved.exists():
            return _State(self._plan.epochs)
        return checkpoint.restore_progress(saved, self._variables(), _State)

    def _finish(self, folder: Path, state: _State) -> dict[str, Any]:
        """Keeps the best pass and writes the training's result."""
        self.table.assign(self._best)
        checkpoint.save(folder / TABLE, {TABLE: self.table})
        at_best = next((r for r in state.history if r["epoch"] == state.best_epoch), None)
        result = {
            "best_epoch": state.best_epoch,
            "cooldown": max(0, state.best_epoch - (state.end - self._plan.cooldown)),
            "epochs": state.epoch,
            "validation": at_best["validation"] if at_best else {},
            "seconds": state.seconds,
            "history": state.history,
        }
        finish(folder, result)
        return result
