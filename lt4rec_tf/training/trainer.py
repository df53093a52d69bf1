"""Trainer of one stage of a run, which can be killed at any moment and resumed.

A stage starts from given weights, makes some passes over the training logs, keeps the best epoch
by validation, and leaves a folder with `history.json` and `done`. Batches come in the same order
after a restart, so a resumed stage gives the numbers of an unbroken one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.distributed.parameter_server import Pass, compile_part, take_parts
from lt4rec_tf.distributed.replicas import parts_of
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.search import WEIGHTS, read_result
from lt4rec_tf.training import checkpoint, optimizers
from lt4rec_tf.training.adjustment import Adjustment
from lt4rec_tf.training.balancing.rules import build_rule
from lt4rec_tf.training.causes import causes_in
from lt4rec_tf.training.evaluation import Metrics, measure, split_losses
from lt4rec_tf.training.nothing_learned import (
    nothing_learned,
    warning_of,
    with_causes,
)
from lt4rec_tf.training.plan import (
    BEST,
    PROGRESS,
    REWIND,
    STATE,
    Callbacks,
    Feed,
    Objective,
    Optimization,
    Plan,
)
from lt4rec_tf.training.precision import computing_in
from lt4rec_tf.training.predictions import predictor_of
from lt4rec_tf.training.schedule import Schedule
from lt4rec_tf.training.stage import finish, not_finite
from lt4rec_tf.training.steps import Update, compile_step, loss_sum
from lt4rec_tf.training.table_rewinds import (
    forget_tables,
    keep_tables,
    out_of_patience,
    rewind_tables,
    tables_go_back,
)
from lt4rec_tf.training.weight_average import WeightAverage

Losses = Mapping[str, Any]  # by task, what float() reads
LOGS_PER_EPOCH = 20


@dataclass
class _State:
    """Position of a stage; with the variables, all that resuming needs."""

    epoch: int = 0
    step: int = 0  # within the epoch
    seconds: float = 0.0
    best_epoch: int = -1
    best_score: float = -math.inf
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuses what a save that was changed may hold."""
        if not -1 <= self.best_epoch < len(self.history):
            raise InputError(
                f"best_epoch: found {self.best_epoch}, expected one of the "
                f"{len(self.history)} epochs of its history"
            )


class Trainer:
    """Trains some tasks of a network; its steps are compiled once for many stages.

    Args:
        network: Its variables are trained; its masks are read at each step.
        schema: Losses, metrics and populations of the tasks.
        objective: Which tasks are trained, and how their losses are combined.
        optimization: How weights are updated.
        feed: The logs.
        callbacks: What is called while training runs.

    Raises:
        ValueError: Schedule, tasks or network do not have what the balance or the conflict need.
    """

    def __init__(
        self,
        network: RankingNetwork,
        schema: Schema,
        objective: Objective,
        optimization: Optimization,
        feed: Feed,
        callbacks: Callbacks,
    ) -> None:
        self.network, self.schema, self.feed = network, schema, feed
        self.tasks, self.loss_weights = objective.tasks, objective.loss_weights
        self.precision = optimization.precision
        self.progress, self.log = callbacks.progress, callbacks.log
        self.before_step = callbacks.before_step

        self._variables = _trained_variables(network, self.tasks, objective.changeable)
        tables = _tables(network)
        self._optimizer = optimizers.of_stage(optimization, self._variables, tables)
        self._average = self._average_of(tables, optimization.weight_average)
        self._schedule = optimization.schedule
        self._rates = (optimization.of_tables[1], optimization.learning_rate)
        # Of the epoch so far: sum of the batches' losses, number of batches.
        self._loss_sums = {task: loss_sum() for task in self.tasks}
        self._rule = build_rule(network, schema, objective, optimization, len(self._variables))
        adjustment = Adjustment(
            tables,
            optimization.embedding_l2,
            optimization.clip_norm,
            _changeable_in_places(network, objective.changeable or {}),
        )
        update = Update(
            self._rule, self._optimizer, self._variables, adjustment, self._average.before_update
        )
        # They take turns, one for each group of tasks.
        self.steps = [
            compile_step(network, schema, objective, group, update, self._loss_sums)
            for group in objective.task_groups
        ]
        self._train_part: Callable[..., Losses] | None = None  # of a pass in parts
        self._predict = predictor_of(network, schema, self.tasks)

    def _average_of(self, table_refs: frozenset[Any], decay: float) -> WeightAverage:
        """Makes the average of the trained variables; without a decay one of none."""
        if not decay:  # as on parameter servers, whose tables have no reference
            return WeightAverage({}, decay, {})
        trained = {variable.ref() for variable in self._variables}
        averaged = {n: v for n, v in self.network.variables.items() if v.ref() in trained}
        tables = {name: v for name, v in averaged.items() if v.ref() in table_refs}
        others = {name: v for name, v in averaged.items() if name not in tables}
        return WeightAverage(others, decay, tables)

    def fit(self, folder: Path, name: str, plan: Plan) -> dict[str, Any]:
        """Trains from the network's present weights to the stage's end, and keeps the best epoch.

        The network holds the best epoch's weights afterwards, also when an earlier process finished
        the stage.

        Args:
            folder: The stage's own.
            name: The stage's name in progress lines and TensorBoard.
            plan: How long to train, and what to save.

        Returns:
            The stage's result: best_epoch, its validation metrics and losses, seconds, history.

        Raises:
            TrainingError: The loss is no longer finite.
        """
        steps = self.feed.steps_per_epoch
        if artifacts.is_done(folder):
            self.progress.skip(plan.epochs * steps)
            checkpoint.restore(folder / WEIGHTS, self.network.variables)
            return read_result(folder)

        self._reset()
        if plan.state is not None:
            checkpoint.restore(plan.state, self._carried_variables())
        state = self._resume(folder)
        if plan.rewind_tables and not self._steps_done(state):
            keep_tables(folder, self.network)

        self.progress.start_stage(name, plan.epochs, steps)
        self.progress.skip(state.epoch * steps + state.step)
        with computing_in(self.precision):
            while not self._is_over(state, plan):
                self._epoch(folder, name, plan, state)
        self.progress.skip((plan.epochs - state.epoch) * steps)

        return self._finish(folder, name, state)

    def _is_over(self, state: _State, plan: Plan) -> bool:
        """Tells if a stage has no epoch to come; patience waits for the weights to rewind to."""
        awaits_snapshot = self._steps_done(state) < plan.snapshot_step
        ends_early = out_of_patience(plan, state.epoch, state.best_epoch)
        return state.epoch >= plan.epochs or (not awaits_snapshot and ends_early)

    def _reset(self) -> None:
        """Clears what an earlier stage left in the optimiser, the rule and the counters."""
        optimizers.reset(self._optimizer)
        self._rule.reset()
        self._average.start()
        for counter in self.network.counters.values():
            counter.assign(tf.zeros_like(counter))
        self._reset_loss_sums()

    def _reset_loss_sums(self) -> None:
        for total in self._loss_sums.values():
            total.assign([0.0, 0.0])

    def _epoch(self, folder: Path, name: str, plan: Plan, state: _State) -> None:
        started = time.monotonic()
        for losses, rows in self._take_steps(plan, state):
            state.step += 1
            self._average.after_step(self._steps_done(state))
            self.progress.step(losses, rows)
            self._log_step(name, state, losses)
            if self._steps_done(state) == plan.snapshot_step:
                checkpoint.save(folder / REWIND, self.network.variables)
            if plan.checkpoint_steps and state.step % plan.checkpoint_steps == 0:
                state.seconds += time.monotonic() - started
                started = time.monotonic()
                self._save(folder, state)

        loss_sums = {task: total.numpy() for task, total in self._loss_sums.items()}
        self._check_finite(name, state, "the loss", loss_sums)
        with self._average.worn():
            record = self._validate(name, state)
            state.seconds += time.monotonic() - started
            state.history.append(record)
            if plan.keep_last or record["score"] > state.best_score or state.best_epoch < 0:
                self._keep_best(folder, plan, state, record["score"])

        state.epoch, state.step = state.epoch + 1, 0
        self._reset_loss_sums()
        if tables_go_back(plan, state.epoch) and not self._is_over(state, plan):
            rewind_tables(folder, self.network)
            optimizers.reset(self._optimizer)
            self._average.start()
        self._save(folder, state)

    def _take_steps(self, plan: Plan, state: _State) -> Iterator[tuple[Losses, float]]:
        """Takes the epoch's remaining steps; yields the losses of each, and its rows."""
        batches = self.feed.train(state.epoch, state.step)
        if isinstance(batches, Pass):
            if self._train_part is None:
                self._train_part = compile_part(batches.open, self.steps, self.tasks)
            yield from take_parts(batches, self._train_part, plan.checkpoint_steps, state.step)
            return
        for step, batch in enumerate(batches, self._steps_done(state)):
            self.before_step(step)
            self._set_step_sizes(step, plan)
            yield self.steps[step % len(self.steps)](batch), int(batch["user"].shape[0])

    def _set_step_sizes(self, step: int, plan: Plan) -> None:
        if self._schedule != Schedule():
            factor = self._schedule.factor(step, plan.epochs * self.feed.steps_per_epoch)
            optimizers.scale_steps(self._optimizer, self._rates, factor)

    def _steps_done(self, state: _State) -> int:
        """Returns the number of steps since the stage's beginning."""
        return state.epoch * self.feed.steps_per_epoch + state.step

    def _log_step(self, name: str, state: _State, losses: Losses) -> None:
        if state.step % max(1, self.feed.steps_per_epoch // LOGS_PER_EPOCH) == 0:
            values = {task: np.asarray(loss) for task, loss in losses.items()}
            self._check_finite(name, state, "the loss", values)
            tags = {f"training_loss/{task}": float(loss) for task, loss in values.items()}
            self.log(name, self._steps_done(state), tags)

    def _validate(self, name: str, state: _State) -> dict[str, Any]:
        """Measures the epoch's weights on the validation split; returns the epoch's record."""
        if self.feed.validation is None:
            return self._unvalidated(name, state)
        predictions = self._predict(self.feed.validation())
        # The last step can break the weights after the last loss was still finite.
        self._check_finite(name, state, "a logit on validation", predictions.logits)
        metrics = measure(predictions, self.schema, self.tasks)
        losses = split_losses(predictions, self.schema, self.tasks)

        self._log_validation(name, state, metrics, losses)
        displayed = {}
        for task in self.tasks:
            metric = self.schema.task(task).metric
            displayed[f"{task} {metric}"] = metrics[task][metric]
        self.progress.end_epoch(displayed)
        nothing = nothing_learned(predictions, self.schema, metrics, self.tasks)
        record = self._record(state, losses, metrics, self._score(metrics, losses))
        return record | {"nothing_learned": nothing}

    def _log_validation(
        self, name: str, state: _State, metrics: Metrics, losses: dict[str, float]
    ) -> None:
        tags = {}
        for task, values in metrics.items():
            judged_by = self.schema.task(task).metric if task in self.tasks else None
            for metric, value in values.items():
                # TensorBoard shows first what a task is judged by, see `reports.tensorboard`.
                group = "by_stage" if metric == judged_by else "other_metrics"
                tags[f"{group}/{task}/{metric}"] = value
        for task, loss in losses.items():
            tags[f"validation_loss/{task}"] = loss
        self.log(name, (state.epoch + 1) * self.feed.steps_per_epoch, tags)

    def _unvalidated(self, name: str, state: _State) -> dict[str, Any]:
        """Returns an epoch's record where all rows train: the last epoch is the best."""
        for variable in self._variables:
            self._check_finite(name, state, "a weight", {self.tasks[0]: variable.numpy()})
        self.progress.end_epoch({})
        return self._record(state, {}, {}, float(state.epoch))

    def _record(
        self, state: _State, losses: dict[str, float], metrics: Metrics, score: float
    ) -> dict[str, Any]:
        sums = {task: total.numpy() for task, total in self._loss_sums.items()}
        return {
            "epoch": state.epoch,
            "train_loss": {task: float(s[0] / s[1]) for task, s in sums.items() if s[1]},
            "validation_loss": losses,
            "validation": metrics,
            "score": score,
        }

    def _score(self, metrics: Metrics, losses: dict[str, float]) -> float:
        """Returns the task's own metric, or for several tasks minus Eq. 2's loss; higher is better.

        A metric of which less is better has its sign turned.
        """
        if len(self.tasks) > 1:
            return -sum(self.loss_weights[task] * losses[task] for task in self.tasks)
        task = self.schema.task(self.tasks[0])
        value = metrics[task.name][task.metric]
        return value if task.direction == "max" else -value

    def _keep_best(self, folder: Path, plan: Plan, state: _State, score: float) -> None:
        state.best_epoch, state.best_score = state.epoch, score
        if plan.keep_state:
            checkpoint.save(folder / STATE, self._carried_variables())
        checkpoint.save(folder / BEST, self.network.variables)

    def _state_variables(self) -> dict[str, tf.Variable]:
        """Returns all variables that resuming needs, by their names in a checkpoint."""
        slots = {f"optimizer/{i}": v for i, v in enumerate(self._optimizer.variables)}
        sums = {f"loss_sum/{task}": v for task, v in self._loss_sums.items()}
        rule = {f"balance/{name}": v for name, v in self._rule.state.items()}
        return self.network.variables | slots | sums | rule | self._average.state | self._counters()

    def _carried_variables(self) -> dict[str, tf.Variable]:
        """Returns what a later stage continues from besides weights: optimiser slots, counters."""
        name_by_weight = {variable.ref(): name for name, variable in self.network.variables.items()}
        names = [name_by_weight[variable.ref()] for variable in self._variables]
        return optimizers.slots(self._optimizer, names, self._variables) | self._counters()

    def _counters(self) -> dict[str, tf.Variable]:
        return {f"counter/{name}": v for name, v in self.network.counters.items()}

    def _save(self, folder: Path, state: _State) -> None:
        """Saves all that resuming needs; keeps the save before it, in case this one is damaged."""
        progress = folder / PROGRESS
        newest = progress / f"{state.epoch:04d}_{state.step:09d}"
        checkpoint.save_progress(newest, self._state_variables(), vars(state))
        for older in sorted(artifacts.folders(progress))[:-2]:
            artifacts.remove(older)

    def _resume(self, folder: Path) -> _State:
        """Restores the newest save that can be read; without any save, begins anew.

        Raises:
            InputError: There are saves, and none can be read.
        """
        saved = sorted(artifacts.folders(folder / PROGRESS))
        while saved:
            try:
                return checkpoint.restore_progress(saved[-1], self._state_variables(), _State)
            except InputError as error:  # of the variables, or of the state beside them
                damaged = saved.pop()
                if not saved:
                    raise
                self.progress.note(f"{error}; going on from the save before, {saved[-1].name}")
                artifacts.remove(damaged)
        return _State()

    def _finish(self, folder: Path, name: str, state: _State) -> dict[str, Any]:
        # A kill between here and `done` leaves either `best` or `weights`, never neither.
        best, weights = folder / BEST, folder / WEIGHTS
        if best.exists():
            artifacts.replace_folder(best, weights)
        forget_tables(folder)
        checkpoint.restore(weights, self.network.variables)

        best_record = state.history[state.best_epoch]
        # Absent in saves of earlier versions.
        found = best_record.get("nothing_learned", {})
        nothing = with_causes(found, self.network, self.schema, self.feed)
        for task, why in nothing.items():
            self.progress.note(warning_of(name, task, "; ".join([why["what"], *why["causes"]])))
        result = {
            "best_epoch": state.best_epoch,
            "validation": best_record["validation"],
            "validation_loss": best_record["validation_loss"],
            "seconds": state.seconds,
            "history": state.history,
            "nothing_learned": nothing,
        }
        finish(folder, result)
        return result

    def _check_finite(
        self, name: str, state: _State, what: str, values_by_task: Mapping[str, np.ndarray]
    ) -> None:
        for task, values in values_by_task.items():
            wrong = values[~np.isfinite(values)]
            if wrong.size:
                causes = causes_in(self.feed.train(state.epoch, 0), self.network, self.schema)
                where = f"{what} of task {task}"
                raise not_finite(name, where, wrong[0], state.epoch + 1, causes.of_features)


def _tables(network: RankingNetwork) -> frozenset[Any]:
    """Returns `variable.ref()` of each embedding table, or of its parts on servers."""
    parts = [parts_of(v) for name, v in network.variables.items() if is_table(name)]
    return frozenset(part.ref() for part in itertools.chain(*parts))


def _trained_variables(
    network: RankingNetwork, tasks: Sequence[str], changeable: Mapping[str, np.ndarray] | None
) -> list[tf.Variable]:
    """Returns the variables that the tasks train, each once; of a table on servers, its parts."""
    trained = {}
    for task in tasks:
        for variable in network.trained_by(task):
            for part in parts_of(variable):
                trained[part.ref()] = part
    if changeable is not None:
        kept = {network.variables[name].ref() for name in changeable}
        trained = {ref: variable for ref, variable in trained.items() if ref in kept}
    return list(trained.values())


def _changeable_in_places(
    network: RankingNetwork, changeable: Mapping[str, np.ndarray]
) -> dict[Any, np.ndarray]:
    """Returns `variable.ref()` -> where it may change, of those that may not change as a whole."""
    return {
        network.variables[name].ref(): places
        for name, places in changeable.items()
        if not places.all()
    }
