"""Tickets in a table of users and items, and what they are held against at the same size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.lightgcn.trainer import PairTrainer
from lt4rec_tf.tickets.controls import shuffle_layerwise
from lt4rec_tf.tickets.magnitude import alive_at_level, prune_by_magnitude
from lt4rec_tf.tickets.masks import Masks, ones, read_masks, write_masks
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import HISTORY

MASKS = "masks.npz"
TRAINING = "training"
TABLE = "table"
THRESHOLD = Path("pep", "threshold")


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
    """What all ways share.

    Attributes:
        folder: RUN.
        trainer: Of a dimension, made when it is first asked for.
        threshold_trainer: Of the dense table with PEP's threshold, told what to ask after a pass.
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
        """Numbers that a level keeps."""
        return alive_at_level(int(np.prod(self.shape)), self.final_density, self.rounds, level)

    def draw(self, dimension: int, number: int = 0) -> np.ndarray:
        """The table at the start, float32 (rows, dimension); draws of other numbers differ."""
        rng = np.random.default_rng([self.seed, number, *b"table"])
        return rng.normal(0.0, self.stddev, (self.shape[0], dimension)).astype(np.float32)


def dense(search: Search) -> Trained:
    """The whole table: level 0 of every way."""
    return _train(search, "dense", 0, ones({TABLE: search.shape}), search.draw(search.shape[1]))


def ticket(search: Search, level: int) -> Trained:
    """Iterative magnitude pruning over users and items together, rewound to the first draw.

    Source: Wang et al., Exploring Lottery Ticket Hypothesis in Media Recommender Systems (arXiv
    2108.00944), Algorithm 1; the count is exact, see `tickets.prune`.
    """
    return _iterative(search, "ticket", level, search.draw(search.shape[1]))


def redrawn(search: Search, level: int) -> Trained:
    """The same without rewinding: each round trains from its own draw, as in the paper's code."""
    return _iterative(search, "redrawn", level, search.draw(search.shape[1], level))


def one_shot(search: Search, level: int) -> Trained:
    """Cuts the trained dense table once, and rewinds."""
    if level == 1:  # which is a ticket's first round
        return dataclasses.replace(ticket(search, level), way="one_shot")
    whole = search.folder / "dense"
    masks = _masks_of(search, "one_shot", level, lambda: _pruned(search, whole, level))
    return _train(search, "one_shot", level, masks, search.draw(search.shape[1]))


def random(search: Search, level: int) -> Trained:
    """Keeps as many numbers anywhere."""

    def anywhere() -> Masks:
        kept = np.arange(np.prod(search.shape)) < search.keep(level)
        return shuffle_layerwise({TABLE: kept.reshape(search.shape)}, search.seed + level)

    masks = _masks_of(search, "random", level, anywhere)
    return _train(search, "random", level, masks, search.draw(search.shape[1]))


def small(search: Search, level: int) -> Trained:
    """A dense table of fewer dimensions: the paper's linear compression."""
    dimension = max(1, round(search.keep(level) / search.shape[0]))
    masks = ones({TABLE: (search.shape[0], dimension)})
    return _train(search, "small", level, masks, search.draw(dimension))


def pep(search: Search, level: int) -> Trained | None:
    """What a learned threshold keeps when it first leaves no more, rewound.

    One training with the threshold serves all levels: after each pass the largest numbers make the
    mask of every level whose size was reached by then. It ends with the last level's.

    Returns:
        None where that training never cut as much.

    Source: Liu et al. (ICLR 2021, arXiv 2101.07577), section 3.
    """

    def note_levels(table: np.ndarray) -> bool:
        left = int(np.count_nonzero(table))
        for one in range(1, search.rounds + 1):
            path = _folder(search.folder, "pep", one) / MASKS
            if 0 < left <= search.keep(one) and not path.exists():
                kept = prune_by_magnitude({TABLE: table}, ones({TABLE: search.shape}), left)
                write_masks(path, kept)
        return left <= search.keep(search.rounds)

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
    """Says which levels PEP's threshold never cut down to; nothing where there are none.

    Args:
        folder: RUN, in which PEP was trained.
        rounds: Its levels.
    """
    levels = range(1, rounds + 1)
    missing = [str(i) for i in levels if not (_folder(folder, "pep", i) / MASKS).exists()]
    if not missing:
        return ""
    record = artifacts.read_json(folder / THRESHOLD / HISTORY)["history"][-1]
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
    below = search.folder / "dense" if level == 1 else _folder(search.folder, way, level - 1)
    masks = _masks_of(search, way, level, lambda: _pruned(search, below, level))
    return _train(search, way, level, masks, start)


def _pruned(search: Search, trained: Path, level: int) -> Masks:
    """What a level keeps of a trained table: its largest numbers among those not cut before."""
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
    folder = _folder(search.folder, way, level)
    mask = masks[TABLE]
    if not (folder / MASKS).exists():
        write_masks(folder / MASKS, masks)
    trainer = search.trainer(mask.shape[1])
    name = "dense" if way == "dense" else f"{way}/level_{level}"
    history = trainer.fit(folder / TRAINING, name, start, mask)
    kept = int(np.count_nonzero(mask))
    density = kept / int(np.prod(search.shape))
    return Trained(way, level, mask.shape[1], kept, density, history, folder)


def _folder(root: Path, way: str, level: int) -> Path:
    return root / way / ("" if way == "dense" else f"level_{level}")


def refit(search: Search, one: Trained, trainer: PairTrainer) -> Trained:
    """A table of the dense size once more, with its mask, by a trainer that has all pairs."""
    mask = read_masks(one.folder / MASKS, {TABLE: search.shape})[TABLE]
    way = f"{one.way}, refitted"
    folder = search.folder / "refit" / one.way
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
    """The dense table, then every way at every level; what is done is skipped."""
    found = [dense(search)]
    for way in ways:
        levels = [WAYS[way](search, level) for level in range(1, search.rounds + 1)]
        found += [one for one in levels if one is not None]
    return found


def winning(trained: list[Trained]) -> Trained:
    """The sparsest ticket that validation finds as good as the dense table; else the dense table.

    Source: the definition of a winning ticket, arXiv 2108.00944, section 3.
    """
    recall = trained[0].history["validation"]["recall"]
    as_good = [
        one
        for one in trained
        if one.way == "ticket" and one.history["validation"]["recall"] >= recall
    ]
    return min(as_good, key=lambda one: one.density, default=trained[0])
