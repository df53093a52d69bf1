"""Tickets in a table of users and items, and their rivals of the same size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.lightgcn.trainer import PairTrainer, read_trained
from lt4rec_tf.experiment.paths import DENSE, REFIT, TABLE, THRESHOLD, TRAINING
from lt4rec_tf.tickets.controls import shuffle_layerwise
from lt4rec_tf.tickets.magnitude import alive_at_level, prune_by_magnitude
from lt4rec_tf.tickets.masks import Masks, ones, read_masks, write_masks
from lt4rec_tf.tickets.search import HISTORY, MASKS, level_folder
from lt4rec_tf.training import checkpoint


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        way: "dense", or one of the ways of the settings.
        level: Number of prunings; 0 is dense.
        dimension: Of its table.
        parameters: Numbers that it keeps.
        density: Their share of the dense table's.
        history: As `PairTrainer.fit` returns it.
        folder: Holds the masks and the training.
    """

    way: str
    level: int
    dimension: int
    parameters: int
    density: float
    history: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Search:
    """Settings and trainers that all ways share.

    Attributes:
        folder: RUN.
        trainer: Of a dimension, made when it is first called.
        threshold_trainer: Of the dense table with PEP's threshold; its argument tells after each
            pass if the training ends.
        shape: Of the dense table.
        stddev: Of its numbers at the start.
        rounds: Prunings.
        final_density: Share of numbers that the last level keeps.
        seed: Of draws and random masks.
    """

    folder: Path
    trainer: Callable[[int], PairTrainer]
    threshold_trainer: Callable[[Callable[[np.ndarray], bool]], PairTrainer]
    shape: tuple[int, int]
    stddev: float
    rounds: int
    final_density: float
    seed: int

    def keep(self, level: int) -> int:
        """Returns the count of numbers that a level keeps."""
        return alive_at_level(int(np.prod(self.shape)), self.final_density, self.rounds, level)

    def draw(self, dimension: int, number: int = 0) -> np.ndarray:
        """Draws the table at the start, float32 (rows, dimension); another number, another draw."""
        rng = np.random.default_rng([self.seed, number, *b"table"])
        return rng.normal(0.0, self.stddev, (self.shape[0], dimension)).astype(np.float32)


def dense(search: Search) -> Trained:
    """Trains the whole table: level 0 of every way."""
    return _train(search, "dense", 0, ones({TABLE: search.shape}), search.draw(search.shape[1]))


def ticket(search: Search, level: int) -> Trained:
    """Prunes by magnitude, users and items together, level by level, and rewinds to the first draw.

    Source: Wang et al., Exploring Lottery Ticket Hypothesis in Media Recommender Systems (arXiv
    2108.00944), Algorithm 1; the count is exact, see `tickets.magnitude`.
    """
    return _iterative(search, "ticket", level, search.draw(search.shape[1]))


def redrawn(search: Search, level: int) -> Trained:
    """Does the same without rewinding: each round has a draw of its own, as in the paper's code."""
    return _iterative(search, "redrawn", level, search.draw(search.shape[1], level))


def one_shot(search: Search, level: int) -> Trained:
    """Cuts the trained dense table once, and rewinds."""
    if level == 1:  # which is a ticket's first round
        return dataclasses.replace(ticket(search, level), way="one_shot")
    whole = search.folder / DENSE
    masks = _masks_of(search, "one_shot", level, lambda: _pruned(search, whole, level))
    return _train(search, "one_shot", level, masks, search.draw(search.shape[1]))


def random(search: Search, level: int) -> Trained:
    """Keeps as many numbers, drawn from the whole table."""

    def anywhere() -> Masks:
        first_ones = np.arange(np.prod(search.shape)) < search.keep(level)
        return shuffle_layerwise({TABLE: first_ones.reshape(search.shape)}, search.seed + level)

    masks = _masks_of(search, "random", level, anywhere)
    return _train(search, "random", level, masks, search.draw(search.shape[1]))


def small(search: Search, level: int) -> Trained:
    """Trains a dense table of fewer dimensions: the paper's linear compression."""
    dimension = max(1, round(search.keep(level) / search.shape[0]))
    masks = ones({TABLE: (search.shape[0], dimension)})
    return _train(search, "small", level, masks, search.draw(dimension))


def pep(search: Search, level: int) -> Trained | None:
    """Trains, rewound, what a learned threshold keeps once it is down to a level's size.

    One training with the threshold serves all levels. After each pass, the largest numbers are the
    mask of every level whose size is reached by then. It ends at the last level's size.

    Returns:
        None if that training never cut as much.

    Source: Liu et al. (ICLR 2021, arXiv 2101.07577), section 3.
    """

    def note_levels(table: np.ndarray) -> bool:
        alive = int(np.count_nonzero(table))
        for reached in range(1, search.rounds + 1):
            path = _folder(search.folder, "pep", reached) / MASKS
            if 0 < alive <= search.keep(reached) and not path.exists():
                masks = prune_by_magnitude({TABLE: table}, ones({TABLE: search.shape}), alive)
                write_masks(path, masks)
        return alive <= search.keep(search.rounds)

    start = search.draw(search.shape[1])
    thresholds = search.folder / THRESHOLD
    if not artifacts.is_done(thresholds):
        every = np.ones(search.shape, bool)
        search.threshold_trainer(note_levels).fit(thresholds, "pep/threshold", start, every)

    path = _folder(search.folder, "pep", level) / MASKS
    if not path.exists():
        return None
    return _train(search, "pep", level, read_masks(path, {TABLE: search.shape}), start)


def not_reached(folder: Path, rounds: int) -> str:
    """Describes the levels that PEP's threshold never cut down to; "" if there are none.

    Args:
        folder: RUN, in which PEP was trained.
        rounds: Its levels.
    """
    levels = range(1, rounds + 1)
    missing = [str(i) for i in levels if not (_folder(folder, "pep", i) / MASKS).exists()]
    if not missing:
        return ""

    passes = read_trained(folder / THRESHOLD)["history"]
    if not passes:
        raise artifacts.RunError(f"{folder / THRESHOLD / HISTORY}: history: found no pass")
    record = passes[-1]
    advice = (
        "More --epochs or a higher --pep_threshold, --pep_scale or --pep_decay cuts more."
        if record["density"]
        else "A lower --pep_threshold, --pep_scale or --pep_decay cuts less in a pass."
    )
    return (
        f"pep has no row for level {', '.join(missing)}: after {record['epoch']} passes its "
        f"threshold left {record['density']:.3f} of the numbers. {advice}"
    )


def _iterative(search: Search, way: str, level: int, start: np.ndarray) -> Trained:
    below = search.folder / DENSE if level == 1 else _folder(search.folder, way, level - 1)
    masks = _masks_of(search, way, level, lambda: _pruned(search, below, level))
    return _train(search, way, level, masks, start)


def _pruned(search: Search, trained: Path, level: int) -> Masks:
    """Keeps a level's largest numbers of a trained table, among those not cut before."""
    table = tf.Variable(tf.zeros(search.shape))
    checkpoint.restore(trained / TRAINING / TABLE, {TABLE: table})
    before = read_masks(trained / MASKS, {TABLE: search.shape})
    return prune_by_magnitude({TABLE: table.numpy()}, before, search.keep(level))


def _masks_of(search: Search, way: str, level: int, make: Callable[[], Masks]) -> Masks:
    path = _folder(search.folder, way, level) / MASKS
    if not path.exists():
        write_masks(path, make())
    return read_masks(path, {TABLE: search.shape})


def _train(search: Search, way: str, level: int, masks: Masks, start: np.ndarray) -> Trained:
    """Trains a level of a way, which keeps its masks beside the training."""
    folder = _folder(search.folder, way, level)
    mask = masks[TABLE]
    if not (folder / MASKS).exists():
        write_masks(folder / MASKS, masks)

    trainer = search.trainer(mask.shape[1])
    name = "dense" if way == "dense" else f"{way}/level_{level}"
    history = trainer.fit(folder / TRAINING, name, start, mask)

    parameters = int(np.count_nonzero(mask))
    density = parameters / int(np.prod(search.shape))
    return Trained(way, level, mask.shape[1], parameters, density, history, folder)


def _folder(root: Path, way: str, level: int) -> Path:
    return root / DENSE if way == "dense" else level_folder(root / way, level)


def refit(search: Search, one: Trained, trainer: PairTrainer) -> Trained:
    """Trains a table of the dense size once more, with its mask, on all pairs."""
    mask = read_masks(one.folder / MASKS, {TABLE: search.shape})[TABLE]
    way = f"{one.way}, refitted"
    folder = search.folder / REFIT / one.way
    history = trainer.fit(folder / TRAINING, f"refit/{one.way}", search.draw(one.dimension), mask)
    return dataclasses.replace(one, way=way, history=history, folder=folder)


WAYS: dict[str, Callable[[Search, int], Trained | None]] = {
    "ticket": ticket,
    "redrawn": redrawn,
    "one_shot": one_shot,
    "random": random,
    "small": small,
    "pep": pep,
}


def train_all(search: Search, ways: tuple[str, ...]) -> list[Trained]:
    """Trains the dense table, then every way at every level; what is done is skipped."""
    trained = [dense(search)]
    for way in ways:
        for level in range(1, search.rounds + 1):
            training = WAYS[way](search, level)
            if training is not None:
                trained.append(training)
    return trained


def winning(trained: list[Trained]) -> Trained:
    """Returns the sparsest ticket as good on validation as the dense table; else the dense table.

    Source: the definition of a winning ticket, arXiv 2108.00944, section 3.
    """
    recall = trained[0].history["validation"]["recall"]
    as_good = [
        one
        for one in trained
        if one.way == "ticket" and one.history["validation"]["recall"] >= recall
    ]
    return min(as_good, key=lambda one: one.density, default=trained[0])
