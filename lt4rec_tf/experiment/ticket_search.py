"""Search for each task's ticket: trained, chosen, saved, read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.experiment.paths import SEARCH, TRAINING, ticket_folder
from lt4rec_tf.experiment.run import Run, draw_afresh, load_start, network_in, plan_of, task_trainer
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.registry import need_tickets
from lt4rec_tf.schema.types import Schema, Task
from lt4rec_tf.tickets import search
from lt4rec_tf.tickets.magnitude import prune_by_magnitude
from lt4rec_tf.tickets.masks import Masks, read_masks, write_masks
from lt4rec_tf.tickets.neurons import prune_neurons
from lt4rec_tf.tickets.search import WEIGHTS, Level, Prune
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.gradual import build_gradual
from lt4rec_tf.training.plan import REWIND, Plan

Score = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Ticket:
    """A task's search and the level chosen from it."""

    task: str
    levels: list[Level]
    chosen: Level
    masks: Masks

    @property
    def seconds(self) -> float:
        """Returns the training time of the whole search."""
        return sum(level.seconds for level in self.levels)


def is_needed(settings: Settings) -> bool:
    """Tells if a run searches tickets: for models that use them, or for single tasks, level 0."""
    return "base" in settings.models or need_tickets(settings.models)


def search_rounds(settings: Settings) -> int:
    """Returns the number of prunings of a search; 0 if no model uses tickets."""
    return settings.tickets.rounds if need_tickets(settings.models) else 0


def searched_levels(settings: Settings) -> int:
    """Returns the number of trainings that the search of one task takes."""
    rounds = search_rounds(settings)
    return 1 + (min(rounds, 1) if settings.tickets.ticket_finder == "gradual" else rounds)


def level_folders(settings: Settings, searches: Path, task: str) -> list[Path]:
    """Returns the folders of a task's levels, in the order in which they are trained."""
    folder = ticket_folder(searches, task)
    return [search.level_folder(folder, level) for level in range(searched_levels(settings))]


def pending_epochs(settings: Settings, searches: Path, task: str) -> int:
    """Returns the epochs that a task's search may still take.

    Args:
        settings: The run's.
        searches: Folder of the run's searches.
        task: Whose ticket is searched.
    """
    levels = level_folders(settings, searches, task)
    pending = sum(not artifacts.is_done(level) for level in levels)
    return pending * settings.training.search_epochs


def prune_of(settings: Settings) -> Prune:
    """Returns the pruning rule of a round: by single weights or by whole neurons."""
    return prune_neurons if settings.tickets.pruned_unit == "neuron" else prune_by_magnitude


def score_of(run: Run, network: RankingNetwork, task: str) -> Score:
    """Returns what weights are ranked by: w, or w - w_0 with w_0 where the run's trainings begin.

    A level is trained for some passes at most, in which few weights outgrow their draw: |w| then
    ranks the draw more than what a task has learned. |w - w_0| ranks the latter alone (criterion
    "movement" of Zhou et al., arXiv 1905.01067).
    """
    if run.settings.tickets.ticket_score == "magnitude":
        return lambda trained: trained

    kernels = network.kernels(task)
    load_start(run, network)
    start = {name: kernel.numpy() for name, kernel in kernels.items()}
    return lambda trained: {name: trained[name] - start[name] for name in trained}


class _TaskTraining:
    """Trains one task of a run's shared network; a `tickets.search.TaskTraining`."""

    def __init__(self, run: Run, network: RankingNetwork, task: str) -> None:
        self._run, self._network, self._task = run, network, task
        self._trainer = task_trainer(run, network, task)
        self._score = score_of(run, network, task)
        self._plan = plan_of(run, run.settings.training.search_epochs)
        self.shapes = network.kernel_shapes(task)
        _check_rewind_step(run)

    def wear(self, masks: Masks) -> None:
        self._network.wear(self._task, masks)

    def rewind(self, level: int) -> None:
        rewind = self._run.settings.tickets.rewind
        if level == 0 or rewind == "initial":
            load_start(self._run, self._network)
        elif rewind == "step":
            dense = search.level_folder(ticket_folder(self._run.searches, self._task), 0)
            checkpoint.restore(dense / TRAINING / REWIND, self._network.variables)
        else:
            draw_afresh(self._run, self._network, f"{self._task}/level_{level}")

    def train(self, level: int, folder: Path) -> None:
        tickets, plan = self._run.settings.tickets, self._plan
        if level == 0 and tickets.rewind == "step":
            plan = dataclasses.replace(plan, snapshot_step=tickets.rewind_step)
        self._trainer.fit(folder, f"tickets/{self._task}/level_{level}", plan)

    def scores(self, folder: Path) -> Mapping[str, np.ndarray]:
        checkpoint.restore(folder / WEIGHTS, self._network.variables)
        kernels = self._network.kernels(self._task)
        return self._score({name: kernel.numpy() for name, kernel in kernels.items()})

    def value(self, result: dict[str, Any]) -> float:
        return _validation_metric(self._run.schema.task(self._task), result)


def _validation_metric(task: Task, result: dict[str, Any]) -> float:
    return result["validation"][task.name][task.metric]


def _check_rewind_step(run: Run) -> None:
    tickets = run.settings.tickets
    steps = run.settings.training.search_epochs * run.feed.steps_per_epoch
    if tickets.rewind == "step" and tickets.rewind_step > steps:
        raise ConfigError(
            f"--rewind_step: found {tickets.rewind_step}, expected at most {steps}, "
            "the steps of the dense training"
        )


def find_ticket(run: Run, network: RankingNetwork, task: str) -> Ticket:
    """Searches and chooses a task's ticket (Algorithm 1, or one gradual training)."""
    tickets, folder = run.settings.tickets, ticket_folder(run.searches, task)
    rounds = search_rounds(run.settings)
    gradual = tickets.ticket_finder == "gradual"
    training = _TaskTraining(run, network, task)
    levels = search.find_tickets(
        training,
        folder,
        rounds=0 if gradual else rounds,
        final_density=tickets.final_density,
        prune=prune_of(run.settings),
    )

    if gradual and rounds:
        _gradual_level(run, task, search.level_folder(folder, 1))
        levels = search.read_levels(folder, 1, training.shapes, training.value)

    schema_task = run.schema.task(task)
    if rounds:
        _save_search(folder, schema_task, levels, _choose(run, schema_task, levels))
    return _ticket(run, network, schema_task, levels)


def read_ticket(run: Run, network: RankingNetwork, task: str) -> Ticket:
    """Reads back a finished search and chooses from it as this run's settings say."""
    folder, schema_task = ticket_folder(run.searches, task), run.schema.task(task)
    last = searched_levels(run.settings) - 1
    levels = search.read_levels(
        folder,
        last,
        network.kernel_shapes(task),
        partial(_validation_metric, schema_task),
    )
    return _ticket(run, network, schema_task, levels)


def _ticket(run: Run, network: RankingNetwork, task: Task, levels: list[Level]) -> Ticket:
    chosen = _choose(run, task, levels) if len(levels) > 1 else levels[0]
    masks = read_task_masks(network, task.name, chosen.folder / search.MASKS)
    return Ticket(task.name, levels, chosen, masks)


def _choose(run: Run, task: Task, levels: list[Level]) -> Level:
    tickets = run.settings.tickets
    return search.choose_level(
        levels, task.direction, tickets.ticket_choice, tickets.choice_tolerance
    )


def _save_search(folder: Path, task: Task, levels: list[Level], chosen: Level) -> None:
    """Writes search.json, which reports and pictures read."""
    search_values = {
        "metric": task.metric,
        "direction": task.direction,
        "densities": [level.density for level in levels],
        "values": [level.value for level in levels],
        "chosen": chosen.level,
    }
    artifacts.write_json(folder / SEARCH, search_values)


class SearchResult(TypedDict):
    """What a task's search leaves in `SEARCH`."""

    metric: str
    direction: Literal["max", "min"]
    densities: list[float]
    values: list[float | None]
    chosen: int


def read_searches(folder: Path, schema: Schema) -> dict[str, dict[str, Any]]:
    """Reads every task's search: metric, direction, densities, values, chosen level.

    Args:
        folder: Folder of the searches.
        schema: The run's.

    Raises:
        RunError: A file holds something else, or that of a search with prunings is gone.
    """
    folders = {task.name: ticket_folder(folder, task.name) for task in schema.tasks}
    return {
        task: _read_search(of_task / SEARCH)
        for task, of_task in folders.items()
        if (of_task / SEARCH).exists() or search.level_folder(of_task, 1).exists()
    }


def _read_search(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_typed(path, SearchResult)
    levels = len(found["densities"])
    if len(found["values"]) != levels or not 0 <= found["chosen"] < levels:
        raise artifacts.RunError(
            f"{path}: found {levels} densities, {len(found['values'])} values and chosen level "
            f"{found['chosen']}, expected as many of both and one of their levels"
        )
    return found


def level_masks(ticket: Ticket) -> list[Masks]:
    """Reads the masks of every level of a search."""
    shapes = {name: mask.shape for name, mask in ticket.masks.items()}
    return [read_masks(level.folder / search.MASKS, shapes) for level in ticket.levels]


def read_task_masks(network: RankingNetwork, task: str, path: Path) -> Masks:
    """Reads masks that fit a task's kernels."""
    return read_masks(path, network.kernel_shapes(task))


def search_seconds(folder: Path, task: str) -> float:
    """Returns the training time of a task's whole search in seconds."""
    stages = ticket_folder(folder, task).glob(f"level_*/{TRAINING}")
    return sum(search.read_result(stage)["seconds"] for stage in stages)


def _gradual_level(run: Run, task: str, here: Path) -> None:
    """Trains level 1 by gradual pruning, within one training."""
    if artifacts.is_done(here):
        return

    settings = run.settings
    dense = network_in(run, "base", schema=run.schema.with_tasks([task]))
    load_start(run, dense)

    epochs = _gradual_passes(run, task)
    steps = epochs * run.feed.steps_per_epoch
    pruned = build_gradual(
        dense, settings.tickets.final_density, steps, settings.tickets.block_width
    )
    trainer = task_trainer(run, pruned.network, task, before_step=pruned.before_step)
    plan = Plan(epochs, 0, settings.training.checkpoint_steps, keep_last=True)
    trainer.fit(here / TRAINING, f"tickets/{task}/level_1", plan)
    run.progress.skip((settings.training.search_epochs - epochs) * run.feed.steps_per_epoch)

    write_masks(here / search.MASKS, pruned.masks())
    artifacts.mark_done(here)


def _gradual_passes(run: Run, task: str) -> int:
    """Returns the length of a schedule, which runs to its end: with --patience, of the dense best.

    Without, that of --search_epochs.
    """
    if not run.settings.training.patience:
        return run.settings.training.search_epochs
    dense = search.level_folder(ticket_folder(run.searches, task), 0) / TRAINING
    best: int = search.read_result(dense)["best_epoch"]
    return best + 1
