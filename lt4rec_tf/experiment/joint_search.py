"""Sparse sharing whose tickets are found while all tasks train together: the row s_joint.

Level 0 trains the tasks on one dense tower. Before each further level every task's ticket loses the
neurons, and the inputs of fields and of their products, that matter least to it; embedding tables
go back to where they began, and all other weights go on. So one training of a few passes finds the
tickets and trains what wears them, where Algorithm 1 trains each task anew for each level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.experiment.paths import JOINT, LEVELS, TRAINING, row_folder, row_masks
from lt4rec_tf.experiment.run import Run, joint_trainer, load_start, network_in, plan_of
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.layers.cross import input_groups
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.tickets.groups import prune_groups
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.masks import Masks, density, ones, read_masks, write_masks
from lt4rec_tf.tickets.search import WEIGHTS, Level, choose_level, level_folder, read_result
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.importance import importance_of

ROW = "s_joint"


class JointLevel(TypedDict):
    """A level of the search."""

    density: dict[str, float]  # by task
    score: float  # minus the weighted sum of the tasks' losses on validation
    validation: dict[str, float | None]  # task -> its metric
    seconds: float  # of training, without the pruning before it


class JointSearch(TypedDict):
    """What the search leaves in `JOINT`."""

    levels: list[JointLevel]
    chosen: int
    inputs: int  # vectors of fields and products of two that there are
    reads: dict[str, list[str]]  # task -> those that its ticket keeps


def train_row(run: Run) -> None:
    """Trains all levels, and keeps the one that validation chooses as the row's network.

    Levels that an earlier process finished are skipped.
    """
    folder, last = row_folder(run.folder, ROW), run.settings.tickets.rounds
    if artifacts.is_done(folder / TRAINING):
        run.progress.skip((last + 1) * _steps_of_level(run))
        return

    network = network_in(run, ROW)
    trainer = joint_trainer(run, network)
    plan = plan_of(run, run.settings.training.search_epochs)
    for level in range(last + 1):
        here = level_folder(folder / LEVELS, level)
        if artifacts.is_done(here):
            run.progress.skip(_steps_of_level(run))
            continue

        _tighten(run, network, here, level)
        _start_from_below(run, network, here, level)
        trainer.fit(here / TRAINING, f"{ROW}/level_{level}", plan)
        artifacts.mark_done(here)
        _forget_weights(run, network, folder, level)

    _keep_chosen(run, network, folder, last)


def pending_epochs(settings: Settings, folder: Path) -> int:
    """Returns the epochs that the levels may still take.

    Args:
        settings: The run's.
        folder: RUN.
    """
    folder = row_folder(folder, ROW)
    if artifacts.is_done(folder / TRAINING):
        return 0
    levels = [level_folder(folder / LEVELS, k) for k in range(settings.tickets.rounds + 1)]
    pending = sum(not artifacts.is_done(level) for level in levels)
    return pending * settings.training.search_epochs


def read_joint_search(folder: Path, tasks: Sequence[str]) -> JointSearch | None:
    """Reads a finished search; None: the row was trained without one, as in daily training.

    Args:
        folder: The row's.
        tasks: Of the run.

    Raises:
        RunError: The file holds something else, or that of a search with levels is gone.
    """
    was_there = (folder / JOINT).exists() or (folder / LEVELS).exists()
    if not was_there:
        return None
    found: JointSearch = read_typed(folder / JOINT, JointSearch)
    if not 0 <= found["chosen"] < len(found["levels"]):
        raise artifacts.RunError(
            f"{folder / JOINT}: found {len(found['levels'])} levels and chosen level "
            f"{found['chosen']}, expected one of them"
        )
    for level in found["levels"]:
        for by_task in (level["density"], level["validation"], found["reads"]):
            if set(by_task) != set(tasks):
                raise artifacts.RunError(
                    f"{folder / JOINT}: found tasks {sorted(by_task)}, expected {sorted(tasks)}"
                )
    return found


def _steps_of_level(run: Run) -> int:
    return run.settings.training.search_epochs * run.feed.steps_per_epoch


def _tighten(run: Run, network: RankingNetwork, here: Path, level: int) -> None:
    """Has every task wear its ticket of a level, pruned from the level below if there is none."""
    paths = {task: row_masks(here, task) for task in network.tasks}
    if level and not all(path.exists() for path in paths.values()):
        below = level_folder(here.parent, level - 1)
        _wear(network, below)
        checkpoint.restore(below / TRAINING / WEIGHTS, network.variables)

    for task, path in paths.items():
        if not path.exists():
            write_masks(path, _pruned(run, network, task, level))
    _wear(network, here)


def _wear(network: RankingNetwork, level: Path) -> None:
    for task, masks in _masks_in(network, level).items():
        network.wear(task, masks)


def _masks_in(network: RankingNetwork, level: Path) -> dict[str, Masks]:
    return {
        task: read_masks(row_masks(level, task), network.kernel_shapes(task))
        for task in network.tasks
    }


def _pruned(run: Run, network: RankingNetwork, task: str, level: int) -> Masks:
    """Returns a task's masks of a level, by the weights and masks of the level below."""
    shapes, tickets = network.kernel_shapes(task), run.settings.tickets
    if level == 0:
        return ones(shapes)

    total = sum(int(np.prod(shape)) for shape in shapes.values())
    keep = alive_at_level(total, tickets.final_density, tickets.rounds, level)
    groups = [*_input_groups(run).values()]
    # Of one process: `row_checks` refuses the row where workers take a pass in parts.
    batches = cast(Iterable[dict[str, Any]], run.feed.train(0, 0))
    importance = importance_of(network, run.schema, task, groups, batches)
    return prune_groups(importance, network.masks(task), keep, groups)


def _input_groups(run: Run) -> Mapping[str, np.ndarray]:
    model = run.settings.model
    fields = [feature.name for feature in run.schema.features]
    return input_groups(model.cross, fields, model.embedding_dim)


def _start_from_below(run: Run, network: RankingNetwork, here: Path, level: int) -> None:
    """Sets the weights of a level's start: tables as at first, all others as the level below's."""
    load_start(run, network)
    if level:
        below = level_folder(here.parent, level - 1) / TRAINING / WEIGHTS
        others = {n: v for n, v in network.variables.items() if not is_table(n)}
        checkpoint.restore(below, others)


def _levels(run: Run, network: RankingNetwork, folder: Path, last: int) -> list[Level]:
    """Returns the levels 0..last: the mean density of the tasks, the score of the best epoch."""
    levels = []
    for level in range(last + 1):
        here = level_folder(folder / LEVELS, level)
        result = read_result(here / TRAINING)
        score = result["history"][result["best_epoch"]]["score"]
        shares = [density(masks) for masks in _masks_in(network, here).values()]
        levels.append(Level(level, float(np.mean(shares)), score, result["seconds"], here))
    return levels


def _choose(run: Run, levels: list[Level]) -> Level:
    tickets = run.settings.tickets
    return choose_level(levels, "max", tickets.ticket_choice, tickets.choice_tolerance)


def _forget_weights(run: Run, network: RankingNetwork, folder: Path, level: int) -> None:
    """Removes the weights of levels that neither the next one nor the choice can need."""
    levels = _levels(run, network, folder, level)
    needed = {level} | ({_choose(run, levels).level} if level else set())
    for one in levels:
        if one.level not in needed:
            artifacts.remove(one.folder / TRAINING / WEIGHTS)


def _keep_chosen(run: Run, network: RankingNetwork, folder: Path, last: int) -> None:
    """Copies the chosen level to where a row's network lies; the training comes last."""
    levels = _levels(run, network, folder, last)
    chosen = _choose(run, levels)
    for task, masks in _masks_in(network, chosen.folder).items():
        write_masks(row_masks(folder, task), masks)

    artifacts.write_json(folder / JOINT, _found(run, network, levels, chosen))
    artifacts.copy_folder(chosen.folder / TRAINING, folder / TRAINING)
    for one in levels:
        artifacts.remove(one.folder / TRAINING / WEIGHTS)


def _found(run: Run, network: RankingNetwork, levels: list[Level], chosen: Level) -> Any:
    """Returns what `JOINT` keeps, a `JointSearch`."""
    groups = _input_groups(run)
    reads = {}
    for task, masks in _masks_in(network, chosen.folder).items():
        inputs = np.asarray(next(iter(masks.values())).any(axis=1))
        reads[task] = [name for name, places in groups.items() if inputs[places].any()]

    entries = [_entry(run, network, level) for level in levels]
    found = {"levels": entries, "chosen": chosen.level, "inputs": len(groups), "reads": reads}
    return artifacts.undefined_as_null(found)


def _entry(run: Run, network: RankingNetwork, level: Level) -> JointLevel:
    result = read_result(level.folder / TRAINING)
    masks = _masks_in(network, level.folder)
    metrics = {task.name: task.metric for task in run.schema.tasks}
    return {
        "density": {task: density(task_masks) for task, task_masks in masks.items()},
        "score": level.value,
        "validation": {t: result["validation"][t][metric] for t, metric in metrics.items()},
        "seconds": level.seconds,
    }
