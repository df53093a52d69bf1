"""Sparse sharing that needs no tuning by hand: validation of the joint model chooses the sharing.

A task's search measures how far this task alone can be pruned. It cannot measure how much the tasks
should share. Here some ways of sharing are trained jointly, each for the same number of passes, and
the best on validation is kept:

- kernels shared, or a tower for each task;
- nothing cut, or the tickets that the searches chose;
- while the budget lasts, the neighbours of the best levels: one task a level denser or sparser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment import cascade, gate_search, joint_search, joint_training
from lt4rec_tf.experiment.paths import (
    CHOICE,
    TRAINING,
    model_folder,
    model_masks,
    read_choice,
    sharing_model,
)
from lt4rec_tf.experiment.run import Run, joint_trainer, load_start, network_in, plan_of
from lt4rec_tf.experiment.ticket_search import Ticket, level_masks
from lt4rec_tf.metrics.gain import mean_relative_gain
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.masks import write_masks
from lt4rec_tf.tickets.search import WEIGHTS, read_result


@dataclass(frozen=True)
class Way:
    """A way of sharing.

    Attributes:
        separate: Whether every task has a tower of its own; if not, their masks share one.
        levels: Each task's level of its search; 0 cuts nothing.
    """

    separate: bool
    levels: tuple[int, ...]

    @property
    def name(self) -> str:
        """Returns the name of the way's folder.

        >>> Way(False, (0, 3)).name, Way(True, (1, 1)).name
        ('shared_0_3', 'separate_1_1')
        """
        return "_".join(["separate" if self.separate else "shared", *map(str, self.levels)])


def train_models(run: Run, tickets: Sequence[Ticket]) -> None:
    """Trains the run's models of several tasks, in order; single tasks come from the searches.

    Args:
        run: The run.
        tickets: Each task's search, in the order of the tasks, if a model needs tickets.
    """
    for model in run.settings.models:
        if model == "s_weight_auto":
            train_auto(run, tickets)
        elif model == "s_joint":
            joint_search.train_model(run)
        elif model == "s_gates":
            gate_search.train_model(run)
        elif model == "csmf":
            cascade.train_model(run)
        elif model != "base":
            joint_training.train_model(run, model, tickets)


def pending_epochs(settings: Settings, folder: Path, tasks: Sequence[str]) -> int:
    """Returns the epochs that the models of several tasks may still take.

    Args:
        settings: The run's.
        folder: RUN.
        tasks: Names of the run's tasks.
    """
    epochs = 0
    for model in set(settings.models):
        if model == "s_weight_auto":
            epochs += _pending_auto_epochs(settings, model_folder(folder, model))
        elif model == "s_joint":
            epochs += joint_search.pending_epochs(settings, folder)
        elif model == "s_gates":
            epochs += gate_search.pending_epochs(settings, folder)
        elif model == "csmf":
            epochs += cascade.pending_epochs(settings, folder, tasks)
        elif model != "base":
            epochs += joint_training.pending_epochs(settings, folder, model)
    return epochs


def _pending_auto_epochs(settings: Settings, folder: Path) -> int:
    """Returns the epochs of the ways that are not tried yet, each counted to its end."""
    if (folder / CHOICE).exists():
        return 0
    tried = len([*folder.glob(f"*/{TRAINING}/{artifacts.DONE}")])
    return (settings.training.auto_trainings - tried) * settings.training.epochs


def train_auto(run: Run, tickets: Sequence[Ticket]) -> dict[str, Any]:
    """Trains ways of sharing until the budget is spent, and keeps the best on validation.

    Args:
        run: The run; `--auto_trainings` is the budget.
        tickets: Each task's search, in the order of the tasks.

    Returns:
        {"chosen": its folder's name, "tried": [{"name", "separate", "levels", "gain",
        "seconds"}]}, kept as `choice.json`; `gain` is `mean_relative_gain` over the single tasks
        on validation.
    """
    folder = model_folder(run.folder, "s_weight_auto")
    if (folder / CHOICE).exists():
        return read_choice(folder)

    tried: dict[str, dict[str, Any]] = {}
    for way in _ways(tickets, tried, run.settings.training.auto_trainings):
        tried[way.name] = _train_way(run, tickets, folder, way)
        _forget_all_but_best(folder, tried)

    choice = {"chosen": _best(tried)["name"], "tried": list(tried.values())}
    choice = artifacts.undefined_as_null(choice)
    artifacts.write_json(folder / CHOICE, choice)
    return choice


def _ways(
    tickets: Sequence[Ticket], tried: dict[str, dict[str, Any]], budget: int
) -> Iterator[Way]:
    """Yields what to try next, by what `tried` holds then."""
    dense, chosen = (0,) * len(tickets), tuple(ticket.chosen.level for ticket in tickets)
    starts = [Way(False, dense), Way(True, dense), Way(False, chosen), Way(True, chosen)]
    for way in starts[:budget]:
        if way.name not in tried:
            yield way

    deepest = [len(ticket.levels) - 1 for ticket in tickets]
    while len(tried) < budget:
        best = _best(tried)
        at = Way(best["separate"], tuple(best["levels"]))
        fresh = [way for way in _neighbours(at, deepest) if way.name not in tried]
        if not fresh:
            return
        yield fresh[0]


def _neighbours(at: Way, deepest: Sequence[int]) -> Iterator[Way]:
    """Yields the ways with one task a level sparser or denser, then those with all tasks."""
    count = len(at.levels)
    moves = []
    for task in range(count):
        for step in (1, -1):
            moves.append((0,) * task + (step,) + (0,) * (count - task - 1))
    moves += [(1,) * count, (-1,) * count]

    for move in moves:
        near = tuple(level + step for level, step in zip(at.levels, move, strict=True))
        if all(0 <= level <= most for level, most in zip(near, deepest, strict=True)):
            yield Way(at.separate, near)


def _train_way(run: Run, tickets: Sequence[Ticket], folder: Path, way: Way) -> dict[str, Any]:
    """Trains a way and returns its entry in choice.json."""
    stage = folder / way.name / TRAINING
    masks_by_task = {}
    for ticket, level in zip(tickets, way.levels, strict=True):
        masks_by_task[ticket.task] = level_masks(ticket)[level]
    for task, masks in masks_by_task.items():
        write_masks(model_masks(folder / way.name, task), masks)

    same_model = _model_trained_alike(run, tickets, way)
    if same_model and not stage.exists():
        artifacts.copy_folder(same_model, stage)

    if artifacts.is_done(stage):
        # As a model, or by an earlier process, which may have removed its weights: nothing is
        # restored.
        result = read_result(stage)
        run.progress.skip(run.settings.training.epochs * run.feed.steps_per_epoch)
    else:
        network = network_in(run, sharing_model(separate=way.separate))
        load_start(run, network)
        for task, masks in masks_by_task.items():
            network.wear(task, masks)
        plan = plan_of(run, run.settings.training.epochs)
        result = joint_trainer(run, network).fit(stage, f"auto/{way.name}", plan)

    return {
        "name": way.name,
        "separate": way.separate,
        "levels": list(way.levels),
        "gain": gain_over_single_tasks(run.schema, tickets, result),
        "seconds": result["seconds"],
    }


def _model_trained_alike(run: Run, tickets: Sequence[Ticket], way: Way) -> Path | None:
    """Returns the training of a model with this way's start, masks and batches; None: none has."""
    same = {Way(True, (0,) * len(tickets)): "hard_sharing"}
    if run.settings.tickets.ticket_control == "none":
        same[Way(False, tuple(ticket.chosen.level for ticket in tickets))] = "s_weight"
    stage = model_folder(run.folder, same.get(way, "")) / TRAINING
    return stage if way in same and artifacts.is_done(stage) else None


def gain_over_single_tasks(
    schema: Schema, tickets: Sequence[Ticket], result: dict[str, Any]
) -> float:
    """Returns a joint stage's `mean_relative_gain` over level 0 of the searches, on validation."""
    return mean_relative_gain(
        {task.name: result["validation"][task.name][task.metric] for task in schema.tasks},
        {ticket.task: ticket.levels[0].value for ticket in tickets},
        {task.name: task.direction for task in schema.tasks},
    )


def _best(tried: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return max(tried.values(), key=lambda way: way["gain"])


def _forget_all_but_best(folder: Path, tried: dict[str, dict[str, Any]]) -> None:
    """Removes the weights of all tried ways but the best, which alone is served."""
    best = _best(tried)["name"]
    for name in tried:
        if name != best:
            artifacts.remove(folder / name / TRAINING / WEIGHTS)
