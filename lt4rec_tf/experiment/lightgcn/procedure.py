"""Steps of embedding_tickets: pairs, the ways of pruning, metrics on test."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import Places
from lt4rec_tf.core import artifacts, flags
from lt4rec_tf.core.flags import ConfigError, differences, from_settings
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.public import datasets
from lt4rec_tf.data.public.interactions import Split, hold_out, read_split
from lt4rec_tf.experiment.lightgcn import ranking, search
from lt4rec_tf.experiment.lightgcn.search import Search, Trained
from lt4rec_tf.experiment.lightgcn.settings import EmbeddingSettings
from lt4rec_tf.experiment.lightgcn.threshold import ThresholdPlan
from lt4rec_tf.experiment.lightgcn.trainer import PairPlan, PairTrainer
from lt4rec_tf.experiment.paths import CONFIG, TRAINING, seed_folder
from lt4rec_tf.experiment.run_folder import refuse_other_settings
from lt4rec_tf.reports.run_report import StageLog

FORMAT_VERSION = 1


def read_pairs(settings: EmbeddingSettings) -> Split:
    """Reads the pairs that the settings name; TensorFlow Datasets prepares those of --dataset."""
    if not settings.dataset:
        return read_split(Path(settings.data_dir))
    datasets.prepare(settings.dataset, settings.data_dir, settings.manual_dir)
    split = datasets.open_pairs(settings.dataset, settings.data_dir)

    published, _ = datasets.published(settings.dataset)
    train = split.train
    counts = (train.users, train.items, len(train.item_ids), len(split.test.item_ids))
    if published is not None and counts != dataclasses.astuple(published):
        print(f"published are other numbers: {published}")
    return split


def train_and_measure(
    settings: EmbeddingSettings, split: Split, folder: Path, log: StageLog
) -> list[dict[str, Any]]:
    """Trains every way at every density; test is read once all is trained.

    Returns:
        The rows of evaluation.json.
    """
    train, validation = hold_out(split.train, settings.validation_fraction, settings.seed)
    if not len(validation.item_ids):
        raise ConfigError(
            f"--validation_fraction: found {settings.validation_fraction}, which takes no pair of "
            "any user of train; expected a larger share"
        )

    plan = _plan(settings)
    thresholds = int("pep" in settings.ways and settings.rounds > 0)  # a training for all levels
    trainings = 1 + len(settings.ways) * settings.rounds + thresholds
    steps = trainings * plan.epochs * plan.steps_per_epoch(train)
    with Progress(steps, plan.batch, may_end_early=plan.patience > 0) as progress:

        @functools.cache
        def trainer(dimension: int) -> PairTrainer:
            return PairTrainer(train, validation, dimension, plan, settings.seed, progress, log)

        def threshold_trainer(enough: Callable[[np.ndarray], bool]) -> PairTrainer:
            whole = dataclasses.replace(plan, patience=0)  # the more passes, the more it cuts
            threshold = ThresholdPlan(
                settings.pep_threshold, settings.pep_scale, settings.pep_decay
            )
            return PairTrainer(
                train, validation, settings.embedding_dim, whole, settings.seed, progress, log,
                threshold, enough,
            )  # fmt: skip

        shape = (split.train.users + split.train.items, settings.embedding_dim)
        table_search = Search(
            folder, trainer, threshold_trainer, shape, settings.embedding_stddev,
            settings.rounds, settings.final_density, settings.seed,
        )  # fmt: skip
        trained = search.train_all(table_search, settings.ways)

    chosen = search.winning(trained)
    rows = [_measured(one, trainer(one.dimension), split, settings.top_k) for one in trained]
    if settings.refit:
        rows += _refitted(settings, split, table_search, [trained[0], chosen], log)
    for row in rows:
        row["chosen"] = (row["way"], row["level"]) == (chosen.way, chosen.level)
    return rows


def _plan(settings: EmbeddingSettings) -> PairPlan:
    return from_settings(
        PairPlan,
        settings,
        batch=settings.batch_size,
        cosine=settings.score == "cosine",
        k=settings.top_k,
    )


def _refitted(
    settings: EmbeddingSettings,
    split: Split,
    table_search: Search,
    chosen: list[Trained],
    log: StageLog,
) -> list[dict[str, Any]]:
    """Trains the dense table and the winning ticket on all of train, as long as was best."""
    rows = []
    for one in {one.way: one for one in chosen}.values():
        epochs, cooldown = max(1, one.history["best_epoch"]), one.history["cooldown"]
        plan = dataclasses.replace(_plan(settings), epochs=epochs, patience=0, cooldown=cooldown)
        with Progress(epochs * plan.steps_per_epoch(split.train), plan.batch) as progress:
            trainer = PairTrainer(
                split.train, None, one.dimension, plan, settings.seed, progress, log
            )
            refitted = search.refit(table_search, one, trainer)
        rows.append(_measured(refitted, trainer, split, settings.top_k))
    return rows


def _measured(one: Trained, trainer: PairTrainer, split: Split, k: int) -> dict[str, Any]:
    """Returns a finished training's row of evaluation.json."""
    trainer.load(one.folder / TRAINING)
    return {
        "way": one.way,
        "level": one.level,
        "density": one.density,
        "parameters": one.parameters,
        "test": ranking.measure(trainer.vectors(), split.train, split.test, k),
        "validation": one.history["validation"],
        "best_epoch": one.history["best_epoch"],
        "seconds": one.history["seconds"],
    }


def run_folder(settings: EmbeddingSettings, places: Places) -> Path:
    """Returns the folder of a run with these settings."""
    digest = flags.digest(dataclasses.asdict(settings) | {"seed": None})
    return seed_folder(places, settings.name, digest, settings.seed)


def claim_folder(folder: Path, settings: EmbeddingSettings, split: Split) -> None:
    """Writes config.json to a new run's folder, or compares it with an old one's.

    Raises:
        RunError: The folder holds a run with other settings or pairs; names each difference.
    """
    pairs = {"train": len(split.train.item_ids), "test": len(split.test.item_ids)}
    mine = {
        "format": FORMAT_VERSION,
        "settings": json.loads(json.dumps(dataclasses.asdict(settings))),
        "pairs": pairs,
    }
    path = folder / CONFIG
    if not path.exists():
        artifacts.write_json(path, mine)
        return
    refuse_other_settings(folder, differences(read_typed(path, dict[str, Any]), mine))
