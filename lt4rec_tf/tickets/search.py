"""Algorithm 1 of LT4REC: find each task's ticket by iterative magnitude pruning and rewinding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core import artifacts as runs
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.tickets import masks as masks_file
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.masks import Masks
from lt4rec_tf.training import checkpoint

Prune = Callable[[Mapping[str, np.ndarray], Masks, int], Masks]
Score = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]

MASKS = "masks.npz"
TRAINING = "training"


@dataclass(frozen=True)
class Level:
    """One training of a search.

    Attributes:
        level: Number of prunings before it.
        density: Share of the tower's weights that it kept.
        value: The task's validation metric at its best epoch.
        seconds: Training time.
        folder: Holds the masks and the training.
    """

    level: int
    density: float
    value: float
    seconds: float
    folder: Path


def find_tickets(
    network: RankingNetwork,
    task: str,
    folder: Path,
    *,
    rounds: int,
    final_density: float,
    prune: Prune,
    score: Score,
    rewind: Callable[[int], None],
    train: Callable[[int, Path], Any],
    value: Callable[[dict[str, Any]], float],
) -> list[Level]:
    """Trains, prunes and rewinds a task's network, keeping every level's masks and metric.

    Level 0 is the dense single-task model, whose weights stay in its folder: it is the
    comparison's single-task row. Level k trains with k prunings; the smallest weights of its best
    epoch are cut to make level k + 1. Levels that an earlier process finished are skipped.

    Args:
        network: Its `task` wears the masks of the level at hand.
        task: Whose ticket is searched.
        folder: Gets one folder a level.
        rounds: Number of prunings.
        final_density: Share of weights left after the last of them.
        prune: (scores, masks, weights to keep) -> the next level's masks.
        score: Trained kernels -> what their weights are ranked by, of the same shapes.
        rewind: Called with a level: sets the weights that the level's training starts from.
        train: Called with a level and a folder: trains `task` alone, leaves the best epoch's
            weights in the network and in folder / "weights", its result in "history.json".
        value: The task's validation metric in a stage's result.

    Source: LT4REC (arXiv 2008.09872), Algorithm 1, lines 1 to 10.
    """
    shapes = network.kernel_shapes(task)
    for level in range(rounds + 1):
        here = level_folder(folder, level)
        if not (here / MASKS).exists():
            _keep_masks(here, network, task, level, final_density, rounds, prune, score)
        if level > 1:  # the level's masks are made: the weights that made them have served
            _forget_weights(level_folder(folder, level - 1))
        if runs.is_done(here):
            continue
        network.wear(task, masks_file.read_masks(here / MASKS, shapes))
        rewind(level)
        train(level, here / TRAINING)
        runs.mark_done(here)
    if rounds:
        _forget_weights(level_folder(folder, rounds))
    return read_levels(folder, rounds, shapes, value)


def _keep_masks(
    here: Path,
    network: RankingNetwork,
    task: str,
    level: int,
    final_density: float,
    rounds: int,
    prune: Prune,
    score: Score,
) -> None:
    """Writes a level's masks: ones, or the level below pruned by the weights it has learned."""
    shapes = network.kernel_shapes(task)
    if level == 0:
        masks_file.write_masks(here / MASKS, masks_file.ones(shapes))
        return
    below = level_folder(here.parent, level - 1)
    checkpoint.restore(below / TRAINING / "weights", network.variables)
    weights = {name: kernel.numpy() for name, kernel in network.kernels(task).items()}
    total = sum(kernel.size for kernel in weights.values())
    keep = alive_at_level(total, final_density, rounds, level)
    masks = prune(score(weights), masks_file.read_masks(below / MASKS, shapes), keep)
    masks_file.write_masks(here / MASKS, masks)


def _forget_weights(level: Path) -> None:
    runs.remove(level / TRAINING / "weights")


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
        result = runs.read_json(here / TRAINING / "history.json")
        density = masks_file.density(masks_file.read_masks(here / MASKS, shapes))
        levels.append(Level(level, density, value(result), result["seconds"], here))
    return levels


def level_folder(folder: Path, level: int) -> Path:
    """Where a level of a search lies."""
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
