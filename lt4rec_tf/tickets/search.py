"""Algorithm 1 of LT4REC: finds a task's ticket by iterative magnitude pruning and rewinding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.masks import Masks, density, ones, read_masks, write_masks
from lt4rec_tf.tickets.parts import prune_parts

Prune = Callable[[Mapping[str, np.ndarray], Masks, int], Masks]

# What a training leaves in its folder: the best epoch's weights, and its result.
WEIGHTS, HISTORY = "weights", "history.json"
MASKS = "masks.npz"
TRAINING = "training"


@dataclass(frozen=True)
class Level:
    """One training of a search.

    Attributes:
        level: Number of prunings before it.
        density: Share of the kernels' weights that it kept.
        value: The task's validation metric at its best epoch.
        seconds: Training time.
        folder: Holds the masks and the training.
    """

    level: int
    density: float
    value: float
    seconds: float
    folder: Path


class TaskTraining(Protocol):
    """The training of one task's network, as Algorithm 1 needs it."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the task's masked kernels, by name."""

    def wear(self, masks: Masks) -> None:
        """Sets the task's masks."""

    def rewind(self, level: int) -> None:
        """Sets the weights from which a level's training starts."""

    def train(self, level: int, folder: Path) -> object:
        """Trains the task alone.

        Leaves the best epoch's weights in folder / WEIGHTS, its result in "history.json".
        """

    def scores(self, folder: Path) -> Mapping[str, np.ndarray]:
        """Reads a training's weights and returns their scores, one array per kernel."""

    def value(self, result: dict[str, Any]) -> float:
        """Returns the task's validation metric in a training's result."""


def find_tickets(
    training: TaskTraining,
    folder: Path,
    *,
    rounds: int,
    final_density: float,
    prune: Prune,
) -> list[Level]:
    """Trains, prunes and rewinds a task's network, keeping every level's masks and metric.

    Level 0 is the dense single-task model, whose weights stay in its folder: it is
    base_<task> among the models. Level k trains with k prunings; the smallest weights of its best
    epoch are cut to make level k + 1. Levels that an earlier process finished are skipped.

    Args:
        training: Of the task whose ticket is searched.
        folder: Gets one folder a level.
        rounds: Number of prunings.
        final_density: Share of weights left after the last of them, in (0, 1].
        prune: (scores, masks, weights to keep) -> the next level's masks; of each part of a ticket
            by itself, see `tickets.parts`.

    Returns:
        The levels 0 to rounds.

    Source: LT4REC (arXiv 2008.09872), Algorithm 1, lines 1 to 10.
    """
    for level in range(rounds + 1):
        here = level_folder(folder, level)
        if not (here / MASKS).exists():
            masks = _next_masks(training, here, level, final_density, rounds, prune)
            write_masks(here / MASKS, masks)

        # The level's masks are written, so the weights that they come from are not needed again.
        if level > 1:
            _forget_weights(level_folder(folder, level - 1))
        if artifacts.is_done(here):
            continue

        training.wear(read_masks(here / MASKS, training.shapes))
        training.rewind(level)
        training.train(level, here / TRAINING)
        artifacts.mark_done(here)

    if rounds:
        _forget_weights(level_folder(folder, rounds))
    return read_levels(folder, rounds, training.shapes, training.value)


def _next_masks(
    training: TaskTraining,
    here: Path,
    level: int,
    final_density: float,
    rounds: int,
    prune: Prune,
) -> Masks:
    """Returns a level's masks: ones, or the level below pruned by the weights it has learned."""
    if level == 0:
        return ones(training.shapes)
    below = level_folder(here.parent, level - 1)
    scores = training.scores(below / TRAINING)
    masks = read_masks(below / MASKS, training.shapes)

    def keep_of(part: Masks) -> int:
        total = sum(mask.size for mask in part.values())
        return alive_at_level(total, final_density, rounds, level)

    return prune_parts(prune, scores, masks, keep_of)


def _forget_weights(level: Path) -> None:
    artifacts.remove(level / TRAINING / WEIGHTS)


def read_levels(
    folder: Path,
    last: int,
    shapes: dict[str, tuple[int, ...]],
    value: Callable[[dict[str, Any]], float],
) -> list[Level]:
    """Reads the levels 0..last of a finished search."""
    levels = []
    for level in range(last + 1):
        here = level_folder(folder, level)
        result = read_result(here / TRAINING)
        level_density = density(read_masks(here / MASKS, shapes))
        levels.append(Level(level, level_density, value(result), result["seconds"], here))
    return levels


class NothingLearned(TypedDict):
    """Why a stage's predictions say nothing of a task; see `training.nothing_learned`."""

    what: str
    causes: list[str]


class StageResult(TypedDict):
    """What a training stage leaves in `HISTORY`; see `trainer.Trainer.fit`."""

    best_epoch: int
    validation: dict[str, dict[str, float | None]]
    validation_loss: dict[str, float | None]
    seconds: float
    history: list[dict[str, Any]]
    nothing_learned: NotRequired[dict[str, NothingLearned]]  # absent in runs of earlier versions


def read_result(stage: Path) -> dict[str, Any]:
    """Reads the result of a training stage that is done.

    Raises:
        RunError: There is none, or it holds something else.
    """
    result: dict[str, Any] = read_typed(stage / HISTORY, StageResult)
    for metrics in result["validation"].values():
        metrics.update({name: math.nan for name, value in metrics.items() if value is None})
    return result


def level_folder(folder: Path, level: int) -> Path:
    """Returns the folder of a level of a search."""
    return folder / f"level_{level}"


def choose_level(levels: Sequence[Level], direction: str, rule: str, tolerance: float) -> Level:
    """Chooses a task's ticket by its metric on validation.

    Args:
        levels: Of one search.
        direction: "max" if a higher value is better, else "min".
        rule: "best": the best pruned level (the paper's rule; it did not take the dense one
            although it was best for CTR); "best_or_dense": level 0 may win too; "sparsest": the
            sparsest pruned level whose value is within the tolerance of the best pruned one.
        tolerance: Relative: |value - best| <= tolerance * |best|.

    Raises:
        ValueError: No level has a finite value, or the rule is unknown.
    """
    sign = 1.0 if direction == "max" else -1.0

    first = 0 if rule == "best_or_dense" else 1
    candidates = [level for level in levels[first:] if math.isfinite(level.value)]
    if not candidates:
        raise ValueError("no level of the search has a finite validation metric")

    best = max(candidates, key=lambda level: sign * level.value)
    if rule in ("best", "best_or_dense"):
        return best
    if rule != "sparsest":
        raise ValueError(f"rule: found {rule!r}, expected best, best_or_dense or sparsest")

    slack = tolerance * abs(best.value)
    near = [level for level in candidates if sign * (best.value - level.value) <= slack]
    return min(near, key=lambda level: level.density)
