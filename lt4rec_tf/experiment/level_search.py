"""Levels of tickets of neurons and inputs, found while the tasks that wear them train.

Level 0 trains dense. Before each further level every task's ticket loses the neurons, and the
inputs of fields and of their products, that matter least to it; embedding tables go back to where
they began, and all other weights go on. Masks and weights of a level lie in its folder, so that a
search that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import TRAINING, model_masks
from lt4rec_tf.experiment.run import Run, load_start, plan_of
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.layers.cross import input_groups
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.groups import prune_groups, shares_kept
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.masks import Masks, density, ones, read_masks, write_masks
from lt4rec_tf.tickets.search import WEIGHTS, Level, choose_level, level_folder, read_result
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.importance import Gradients, gate_gradients, importance_of
from lt4rec_tf.training.trainer import Trainer


class JointLevel(TypedDict):
    """A level of the search."""

    density: dict[str, float]  # by task
    score: float  # of several tasks minus the weighted sum of their losses on validation
    validation: dict[str, float | None]  # task -> its metric
    seconds: float  # of training, without the pruning before it


class JointSearch(TypedDict):
    """What a search leaves in its model's folder."""

    levels: list[JointLevel]
    chosen: int
    inputs: int  # vectors of fields and products of two that there are
    reads: dict[str, list[str]]  # task of the network -> those that its ticket keeps


@dataclass(frozen=True)
class LevelSearch:
    """A search of some tasks' tickets in a network.

    Attributes:
        run: Its theta_0 is what level 0 starts from, and what tables go back to.
        network: With masks of the tasks whose tickets are not sought.
        trainer: Of the tasks whose tickets are sought.
        folder: Of the model, which gets the chosen level's masks and training.
        levels: Folder of the levels.
        name: In progress lines.
    """

    run: Run
    network: RankingNetwork
    trainer: Trainer
    folder: Path
    levels: Path
    name: str

    @property
    def tasks(self) -> tuple[str, ...]:
        """Returns the tasks whose tickets are sought, in order."""
        return self.trainer.tasks

    @cached_property
    def gradients(self) -> dict[str, Gradients]:
        """Returns the tasks' `gate_gradients`, whose one compilation serves all levels."""
        schema = self.run.schema
        return {task: gate_gradients(self.network, schema, task) for task in self.tasks}

    @property
    def last(self) -> int:
        """Returns the last level's number."""
        return self.run.settings.tickets.rounds


def find_levels(search: LevelSearch, result: Path) -> None:
    """Trains all levels, and keeps the one that validation chooses as the model's network.

    What an earlier process finished is skipped.

    Args:
        search: The search.
        result: Gets a `JointSearch`.
    """
    run = search.run
    steps = run.settings.training.search_epochs * run.feed.steps_per_epoch
    if artifacts.is_done(search.folder / TRAINING):
        run.progress.skip((search.last + 1) * steps)
        return

    plan = plan_of(run, run.settings.training.search_epochs)
    for level in range(search.last + 1):
        here = level_folder(search.levels, level)
        if artifacts.is_done(here):
            run.progress.skip(steps)
            continue

        _tighten(search, here, level)
        _start_from_below(search, level)
        search.trainer.fit(here / TRAINING, f"{search.name}/level_{level}", plan)
        artifacts.mark_done(here)
        _forget_weights(search, level)

    _keep_chosen(search, result)


def pending_levels(folder: Path, levels: Path, rounds: int) -> int:
    """Returns the number of levels that are not trained yet.

    Args:
        folder: As `LevelSearch.folder`.
        levels: As `LevelSearch.levels`.
        rounds: Number of the last level.
    """
    if artifacts.is_done(folder / TRAINING):
        return 0
    return sum(not artifacts.is_done(level_folder(levels, k)) for k in range(rounds + 1))


def check_levels(
    path: Path, found: JointSearch, tasks: Iterable[str], all_tasks: Iterable[str]
) -> None:
    """Refuses what a changed file may hold.

    Args:
        path: The file.
        found: What it holds.
        tasks: Those whose tickets were sought.
        all_tasks: Of the network.

    Raises:
        RunError: There is no such level, or the tasks are others.
    """
    if not 0 <= found["chosen"] < len(found["levels"]):
        raise artifacts.RunError(
            f"{path}: found {len(found['levels'])} levels and chosen level {found['chosen']}, "
            "expected one of them"
        )
    by_level = [
        level[of_tasks] for level in found["levels"] for of_tasks in ("density", "validation")
    ]
    for by_task, expected in [(found["reads"], all_tasks), *((one, tasks) for one in by_level)]:
        if set(by_task) != set(expected):
            raise artifacts.RunError(
                f"{path}: found tasks {sorted(by_task)}, expected {sorted(expected)}"
            )


def _tighten(search: LevelSearch, here: Path, level: int) -> None:
    """Has every task wear its ticket of a level, pruned from the level below if there is none."""
    paths = {task: model_masks(here, task) for task in search.tasks}
    if level and not all(path.exists() for path in paths.values()):
        below = level_folder(here.parent, level - 1)
        _wear(search, below)
        checkpoint.restore(below / TRAINING / WEIGHTS, search.network.variables)

    for task, path in paths.items():
        if not path.exists():
            write_masks(path, _pruned(search, task, level))
    _wear(search, here)


def _wear(search: LevelSearch, level: Path) -> None:
    for task, masks in _masks_in(search, level).items():
        search.network.wear(task, masks)


def _masks_in(search: LevelSearch, level: Path) -> dict[str, Masks]:
    return {
        task: read_masks(model_masks(level, task), search.network.kernel_shapes(task))
        for task in search.tasks
    }


def _pruned(search: LevelSearch, task: str, level: int) -> Masks:
    """Returns a task's masks of a level, by the weights and masks of the level below."""
    run, network = search.run, search.network
    shapes, tickets = network.kernel_shapes(task), run.settings.tickets
    if level == 0:
        return ones(shapes)

    total = sum(int(np.prod(shape)) for shape in shapes.values())
    keep = alive_at_level(total, tickets.final_density, tickets.rounds, level)
    groups = [*groups_of_inputs(run.settings, run.schema).values()]
    # Of one process: models with such a search are refused where workers take a pass in parts.
    batches = cast(Iterable[dict[str, Any]], run.feed.train(0, 0))
    importance = importance_of(search.gradients[task], groups, batches)
    return prune_groups(importance, network.masks(task), keep, groups)


def groups_of_inputs(settings: Settings, schema: Schema) -> Mapping[str, np.ndarray]:
    """Returns the `input_groups` of a run's towers.

    Args:
        settings: The run's.
        schema: The run's.
    """
    fields = [feature.name for feature in schema.features]
    return input_groups(settings.model.cross, fields, settings.model.embedding_dim)


def _start_from_below(search: LevelSearch, level: int) -> None:
    """Sets the weights of a level's start: tables as at first, all others as the level below's."""
    load_start(search.run, search.network)
    if level:
        below = level_folder(search.levels, level - 1) / TRAINING / WEIGHTS
        others = {n: v for n, v in search.network.variables.items() if not is_table(n)}
        checkpoint.restore(below, others)


def _levels(search: LevelSearch, last: int) -> list[Level]:
    """Returns the levels 0..last: the mean density of the tasks, the score of the best epoch."""
    levels = []
    for level in range(last + 1):
        here = level_folder(search.levels, level)
        result = read_result(here / TRAINING)
        score = result["history"][result["best_epoch"]]["score"]
        shares = [density(masks) for masks in _masks_in(search, here).values()]
        levels.append(Level(level, float(np.mean(shares)), score, result["seconds"], here))
    return levels


def _choose(search: LevelSearch, levels: list[Level]) -> Level:
    tickets = search.run.settings.tickets
    return choose_level(levels, "max", tickets.ticket_choice, tickets.choice_tolerance)


def _forget_weights(search: LevelSearch, level: int) -> None:
    """Removes the weights of levels that neither the next one nor the choice can need."""
    levels = _levels(search, level)
    needed = {level} | ({_choose(search, levels).level} if level else set())
    for one in levels:
        if one.level not in needed:
            artifacts.remove(one.folder / TRAINING / WEIGHTS)


def _keep_chosen(search: LevelSearch, result: Path) -> None:
    """Copies the chosen level to where a model's network lies; the training comes last."""
    levels = _levels(search, search.last)
    chosen = _choose(search, levels)
    for task, masks in _masks_in(search, chosen.folder).items():
        write_masks(model_masks(search.folder, task), masks)

    artifacts.write_json(result, _found(search, levels, chosen))
    artifacts.copy_folder(chosen.folder / TRAINING, search.folder / TRAINING)
    for one in levels:
        artifacts.remove(one.folder / TRAINING / WEIGHTS)


def _found(search: LevelSearch, levels: list[Level], chosen: Level) -> Any:
    """Returns what the search leaves, a `JointSearch`."""
    run, network = search.run, search.network
    groups = groups_of_inputs(run.settings, run.schema)
    masks_by_task = {task: network.masks(task) for task in network.tasks}
    reads = {}
    for task, masks in (masks_by_task | _masks_in(search, chosen.folder)).items():
        reads[task] = [name for name, share in shares_kept(masks, groups).items() if share]

    entries = [_entry(search, level) for level in levels]
    found = {"levels": entries, "chosen": chosen.level, "inputs": len(groups), "reads": reads}
    return artifacts.undefined_as_null(found)


def _entry(search: LevelSearch, level: Level) -> JointLevel:
    result = read_result(level.folder / TRAINING)
    masks = _masks_in(search, level.folder)
    metrics = {task: search.run.schema.task(task).metric for task in search.tasks}
    return {
        "density": {task: density(task_masks) for task, task_masks in masks.items()},
        "score": level.value,
        "validation": {t: result["validation"][t][metric] for t, metric in metrics.items()},
        "seconds": level.seconds,
    }
