"""Serves ranking models to the users of a simulated feed and measures what they watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.simulator.candidates import candidates_as_text, read_lines, text_to_ids
from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.sessions import (
    Exponents,
    SessionBlock,
    SessionPlan,
    rank_scores,
    session_blocks,
    show,
)
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.experiment import run_folder
from lt4rec_tf.experiment.comparison.results import tested_runs
from lt4rec_tf.experiment.paths import REPORT, RESULTS
from lt4rec_tf.experiment.trained_models import load_model, model_names
from lt4rec_tf.metrics.sessions import SessionRatios, session_ratios
from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema, chained_tasks

# Policy -> the models of a run that predict pctr and pcvr; "base" is each task's single-task one.
POLICIES = {
    "base": ("base", "base"),
    "hard_cvr": ("base", "hard_sharing"),
    "s_weight_cvr": ("base", "s_weight"),
    "s_weight": ("s_weight", "s_weight"),
}
ORACLE = "oracle"  # ranks by the true chances
NAMES = (*POLICIES, ORACLE)
REPLICATES = 1000  # of the bootstrap
# The candidates of a block -> by (model of POLICIES, "ctr" or "cvr") probabilities (candidates,).
Predict = Callable[[SessionBlock], Mapping[tuple[str, str], np.ndarray]]


class _WithSettings(TypedDict):
    settings: FeedSettings


def shared_feed(sources: Sequence[Source]) -> FeedSettings:
    """Returns the settings of the simulated feed that all runs were trained on.

    Raises:
        SimulatorError: The logs are not the simulator's, of another version of it, without their
            truth, or of different feeds.
    """
    manifests: dict[FeedSettings, Path] = {}
    for folder in dict.fromkeys(source.data_dir for source in sources):
        path = folder / "manifest.json"
        if not path.exists():
            raise SimulatorError(
                f"{path}: found no such file, expected the manifest of a simulated feed: only "
                "there is the truth known"
            )
        try:
            settings = FeedSettings(**read_typed(path, _WithSettings)["settings"])
        except (artifacts.RunError, SimulatorError) as error:
            raise SimulatorError(f"{path}: found no settings of the simulator ({error})") from error
        simulate(folder, settings)  # writes nothing: compares the version, looks for the shards
        manifests.setdefault(settings, path)

    if len(manifests) > 1:
        paths = ", ".join(map(str, manifests.values()))
        raise SimulatorError(f"{paths}: found different feeds, expected runs on one")
    return next(iter(manifests))


def folders_by_model(run: Path) -> list[dict[str, Path]]:
    """Returns the folders of trained models: for each seed, model -> RUN.

    Args:
        run: RUN, or the folder of a comparison with its report.

    Raises:
        RunError: It is neither.
    """
    if not (run / REPORT / RESULTS).exists():
        return [dict.fromkeys(model_names(*run_folder.read_run(run)), run)]
    by_seed = tested_runs(run)
    return [by_seed[seed] for seed in sorted(by_seed)]


def load_networks(
    folders: Mapping[str, Path], schema: Schema
) -> dict[tuple[str, str], tuple[RankingNetwork, str]]:
    """Reads the models of a run that the policies rank by.

    Args:
        folders: Model -> RUN.
        schema: The run's.

    Returns:
        By (model of POLICIES, "ctr" or "cvr") the network and its task.

    Raises:
        RunError: A model is missing, or not trained.
        ConfigError: The tasks are not a click and what it is worth.
    """
    click, watch = ranking_tasks(schema)
    wanted = {(ctr, "ctr", click) for ctr, _ in POLICIES.values()}
    wanted |= {(cvr, "cvr", watch) for _, cvr in POLICIES.values()}
    names = {
        (model, kind): f"base_{task}" if model == "base" else model
        for model, kind, task in sorted(wanted)
    }

    absent = sorted(set(names.values()) - set(folders))
    if absent:
        raise artifacts.RunError(
            f"found models {', '.join(folders)}, expected {', '.join(absent)} too"
        )

    loaded = {
        name: load_model(folders[name], name, *run_folder.read_run(folders[name]))
        for name in set(names.values())
    }
    return {(model, kind): (loaded[names[model, kind]], task) for model, kind, task in wanted}


def ranking_tasks(schema: Schema) -> tuple[str, str]:
    """Returns the task of the click, and the continuous task on clicks.

    Raises:
        ConfigError: There is no such pair, or more than one.
    """
    names = [task.name for task in schema.tasks]
    pairs = [
        pair for pair in chained_tasks(schema, names) if schema.task(pair[1]).kind == "continuous"
    ]
    if len(pairs) != 1:
        raise ConfigError(
            f"{schema.path}: found tasks {', '.join(names)}, expected a click and one continuous "
            "task on clicks"
        )
    return pairs[0]


def predictor(
    networks: Mapping[tuple[str, str], tuple[RankingNetwork, str]],
    feed: Feed,
    source: Source,
    folder: Path,
) -> Predict:
    """Makes a function from candidates to the probabilities that a run's models predict.

    Args:
        networks: Of `load_networks`.
        feed: Whose candidates.
        source: The run's logs.
        folder: RUN.
    """
    lines = read_lines(source)

    specs = [tf.TensorSpec((), tf.string), tf.TensorSpec((None,), tf.float32)]

    @tf.function(input_signature=specs, autograph=False)
    def forward(text: tf.Tensor, seconds: tf.Tensor) -> dict[tuple[str, str], tf.Tensor]:
        ids = text_to_ids(lines, text)
        return {
            key: prediction(
                source.schema.task(task), network.task_models[task](ids, training=False), seconds
            )
            for key, (network, task) in networks.items()
        }

    def predict(block: SessionBlock) -> dict[tuple[str, str], np.ndarray]:
        seconds = (feed.world.videos.duration[block.candidates.video] / 10).astype(np.float32)
        outputs = forward(candidates_as_text(feed.world, block), seconds)
        probabilities = {key: chances.numpy() for key, chances in outputs.items()}
        for (model, kind), chances in probabilities.items():
            if np.isnan(chances).any():
                raise artifacts.RunError(
                    f"{folder}: found p{kind} NaN of model {model}, which diverged"
                )
        return probabilities

    return predict


def serve(
    feed: Feed, plan: SessionPlan, exponents: Exponents, predict: Predict, progress: Progress
) -> np.ndarray:
    """Serves all sessions by every policy.

    Args:
        feed: Draws the sessions and holds the true chances.
        plan: Number of sessions, requests and candidates.
        exponents: Of Eq. 3.
        predict: Of one run.
        progress: Gets a step for each block.

    Returns:
        (policies, 3, sessions), policies as in NAMES: seconds watched, clicks, sum of the watch
        ratios of clicks.
    """
    parts = []
    for block in session_blocks(feed, plan):
        predicted = predict(block)
        truth = feed.truth(block.day, block.candidates)
        chances = [(predicted[ctr, "ctr"], predicted[cvr, "cvr"]) for ctr, cvr in POLICIES.values()]
        chances.append((truth.click, truth.watch_ratio))

        seconds = feed.world.videos.duration[block.candidates.video] / 10
        scores = [rank_scores(pctr, pcvr, seconds, exponents) for pctr, pcvr in chances]
        parts.append([show(feed, block, plan, score) for score in scores])
        progress.step({}, examples=len(seconds))
    return np.concatenate(parts, axis=2)


def measure(totals: np.ndarray, plan: SessionPlan) -> dict[str, SessionRatios]:
    """Measures view time, CVR and CTR over sessions.

    Args:
        totals: (runs, policies, 3, sessions) of `serve`.
        plan: Of these sessions.

    Returns:
        view_time (seconds per session), cvr (mean watch ratio of clicks) and ctr (clicks per
        impression), each with its interval.
    """
    seconds, clicks, ratios = np.moveaxis(totals.astype(np.float64), 2, 0)
    sessions = np.ones_like(clicks)
    parts = {
        "view_time": (seconds, sessions),
        "cvr": (ratios, clicks),
        "ctr": (clicks, plan.requests * plan.shown * sessions),
    }
    return {
        name: session_ratios(*ratio, replicates=REPLICATES, seed=plan.seed)
        for name, ratio in parts.items()
    }
