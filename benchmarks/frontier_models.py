"""The models of a comparison as frontier.py times them: exported, and trained by their trainers."""

from __future__ import annotations

import io
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from serving_calls import all_of, medians_of, prepared

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.input.pipeline import request_rows
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.comparison.results import tested_runs
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.logs import read_audit
from lt4rec_tf.experiment.passes import settled
from lt4rec_tf.experiment.paths import searches_of
from lt4rec_tf.experiment.publishing import ExportFlags, export_model
from lt4rec_tf.experiment.run import Run, joint_trainer, task_trainer
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.reports.further_metrics import done_runs
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.model_card import folder_size
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.rank import Ranking, ranking_of
from lt4rec_tf.serving.requests import rank_request
from lt4rec_tf.training.precision import computing_in

TASKS_ALONE = "single-task models"
BATCHES = 8  # different ones, over and over
Train = Callable[[int], None]  # takes so many steps


@dataclass(frozen=True)
class Trained:
    """A trained model, opened.

    Attributes:
        folder: RUN.
        settings: Of the run.
        schema: Of the run, with all its tasks.
        source: Its logs.
        model: Its name in the run: base_<task> where it has one task alone.
    """

    folder: Path
    settings: Settings
    schema: Schema
    source: Source
    model: str


@dataclass(frozen=True)
class Model:
    """A model of the comparison.

    Attributes:
        group: Its heading in the comparison.
        lines: Its names in the results: one, or that of each single task.
        parts: The networks that together predict all tasks.
    """

    group: str
    lines: list[str]
    parts: list[Trained]


def models_of(comparison: Path, results: Mapping[str, Any], data_dir: str) -> dict[str, Model]:
    """Opens a seed of every model of a comparison that has results: that of the median density.

    Args:
        comparison: Its folder.
        results: Content of its results.json.
        data_dir: Folder of the logs; empty: the one that was compared on.

    Returns:
        Name -> model; single-task models are one, which comes first.

    Raises:
        InputError: A single task has no result.
    """
    folders = tested_runs(comparison)
    models: dict[str, Model] = {}
    for line in results["rows"]:
        done = done_runs(line)
        if not done:
            continue
        (trained,) = line["settings"]["rows"]
        alone = trained == "base"
        task = next(iter(done[0]["metrics"]))
        folder = folders[seed_of_median_density(done)][line["row"]]
        part = Trained(*open_run(str(folder), data_dir), f"base_{task}" if alone else trained)
        name = TASKS_ALONE if alone else line["row"]
        model = models.setdefault(name, Model(line["group"], [], []))
        model.lines.append(line["row"])
        model.parts.append(part)

    single = models.get(TASKS_ALONE)
    if not single or len(single.parts) < len(results["tasks"]):
        raise InputError(f"{comparison}: expected finished runs of each single task")
    return {TASKS_ALONE: single} | models


def seed_of_median_density(runs: Sequence[Mapping[str, Any]]) -> int:
    """Returns the seed whose tickets are the median of all in size; of equal ones the first.

    >>> runs = [{"seed": 1, "density": {"ctr": 0.2}}, {"seed": 2, "density": {"ctr": 0.4}}]
    >>> seed_of_median_density([*runs, {"seed": 3, "density": {"ctr": 0.3}}])
    3

    Args:
        runs: Finished ones of a line of results.json.
    """
    by_density = sorted(runs, key=lambda run: sum(run["density"].values()))
    middle = sum(by_density[(len(runs) - 1) // 2]["density"].values())
    seed: int = next(run["seed"] for run in runs if sum(run["density"].values()) == middle)
    return seed


def rank_seconds(
    models: Mapping[str, Model], folder: Path, candidates: int, rounds: int
) -> dict[str, tuple[float, int]]:
    """Exports the models and asks `rank` of each in turns; returns its seconds, and bytes on disk.

    Args:
        models: Name -> its networks, which are asked one after the other.
        folder: Gets the versions.
        candidates: Of a request.
        rounds: Turns of each model.
    """
    versions = {}
    for name, model in models.items():
        parts = enumerate(model.parts)
        versions[name] = [_exported(part, folder / f"{name}_{index}") for index, part in parts]

    request = _request(next(iter(models.values())).parts[0], candidates)
    with ExitStack() as stack:
        calls = {}
        for name, places in versions.items():
            loaded = [stack.enter_context(opened(version)) for version in places]
            asked = [prepared(version, "rank", request) for version in loaded]
            calls[name, "rank"] = all_of(asked)
        medians = medians_of(calls, rounds)
    sizes = {name: sum(map(folder_size, places)) for name, places in versions.items()}
    return {name: (medians[name, "rank"], sizes[name]) for name in models}


def _exported(part: Trained, base: Path) -> Path:
    flags = ExportFlags(model=part.model, warmup=False)
    return export_model(part.folder, part.settings, part.schema, part.source, base, flags)


def _request(part: Trained, candidates: int) -> Mapping[str, np.ndarray]:
    """Makes a request about rows of test; a split of fewer rows gives some of them again."""
    raw = request_rows(part.source, part.source.split.held_out, candidates)
    rows = len(next(iter(raw.values())))
    repeated = {name: values[np.arange(candidates) % rows] for name, values in raw.items()}
    request, _ = rank_request(part.schema, _ranking(part.schema), repeated, 1)
    return request


def _ranking(schema: Schema) -> Ranking:
    """Returns how `rank` scores in an export without further flags."""
    ranking = ranking_of(schema, (), "", 1.0)
    if ranking is None:
        raise InputError(f"{schema.name}: expected features of both sides, without which no rank")
    return ranking


def step_seconds(models: Mapping[str, Model], rounds: int, steps: int) -> dict[str, float]:
    """Trains the models in turns; returns the median seconds of a step.

    Args:
        models: Name -> its networks, each of which takes a step for a step of the model.
        rounds: Turns of each model.
        steps: Of a turn.
    """
    trains = {name: [_trainer(part) for part in model.parts] for name, model in models.items()}
    for train in itertools.chain(*trains.values()):
        train(BATCHES)  # compiles, and touches the rows of all batches

    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, parts in trains.items():
            begun = time.perf_counter()
            for train in parts:
                train(steps)
            seconds[name].append((time.perf_counter() - begun) / steps)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _trainer(part: Trained) -> Train:
    """Returns what takes steps of a model's own training, from its trained weights and masks."""
    feed = training_feed(part.source, read_audit(part.folder), part.settings)
    settings = settled(part.settings, feed)
    progress = Progress(0, settings.training.batch_size, io.StringIO())
    searches = searches_of(part.folder)
    run = Run(settings, part.schema, part.folder, searches, feed, progress, _log_nothing)

    network = load_model(part.folder, part.model, settings, part.schema)
    alone = part.model.startswith("base_")
    trainer = task_trainer(run, network, *network.tasks) if alone else joint_trainer(run, network)
    batches = [*itertools.islice(feed.train(0, 0), BATCHES)]

    def train(steps: int) -> None:
        losses: Mapping[str, Any] = {}
        with computing_in(trainer.precision):
            for index in range(steps):
                take_step = trainer.steps[index % len(trainer.steps)]
                losses = take_step(batches[index % len(batches)])
        _ = [float(loss) for loss in losses.values()]  # waits for the last step

    return train


def _log_nothing(stage: str, step: int, values: Mapping[str, float]) -> None:
    """Stands for a log of losses and metrics."""
