"""Table 3 of LT4REC on the simulated feed: what rankings by a run's rows earn in sessions.

    python -m lt4rec_tf.simulate_online --runs=runs/quickstart-0123456789/seed_1
    python -m lt4rec_tf.simulate_online --runs=runs/compare_simulated-0123456789

A folder of `compare` stands for a run of each of its seeds, with the rows as validation chose them.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts as runs
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError, flag, parse_flags
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.simulator.candidates import candidates_as_text, read_lines, text_to_ids
from lt4rec_tf.data.simulator.exposure import MAX_POSITIONS
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
from lt4rec_tf.evaluate import open_run
from lt4rec_tf.experiment import run_folder as entry
from lt4rec_tf.experiment.comparison.results import REPORT, tested_runs
from lt4rec_tf.experiment.rows import load_row, row_names
from lt4rec_tf.metrics.sessions import SessionRatios, session_ratios
from lt4rec_tf.models.losses import probability
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.reports.online import by_policy, online_table
from lt4rec_tf.schema.types import Schema, chained_tasks

# Policy -> the rows of a run that predict pctr and pcvr; "base" is each task's single-task row.
POLICIES = {
    "base": ("base", "base"),
    "hard_cvr": ("base", "hard_sharing"),
    "s_weight_cvr": ("base", "s_weight"),
    "s_weight": ("s_weight", "s_weight"),
}
ORACLE = "oracle"  # ranks by the true chances
NAMES = (*POLICIES, ORACLE)
REPLICATES = 1000  # of the bootstrap


@dataclass(frozen=True)
class _Flags:
    runs: tuple[str, ...] = flag(
        (), "Folders of trained runs on one simulated feed, such as its seeds, or of comparisons."
    )
    data_dir: str = flag("", "Where the runs' logs lie now, if not where they were.")
    sessions: int = flag(4000, "Sessions that every policy serves.")
    requests: int = flag(5, "Requests of a session.")
    candidates: int = flag(50, "Videos that a request can choose from.")
    shown: int = flag(4, f"Videos that a request shows, at most {MAX_POSITIONS}.")
    ctr_exponent: float = flag(1.0, "a of Eq. 3, pctr^a * pcvr^b * length^c.")
    cvr_exponent: float = flag(1.0, "b of Eq. 3.")
    length_exponent: float = flag(1.0, "c of Eq. 3.")
    seed: int = flag(1, "Seed of the sessions and of the intervals.")
    output: str = flag("", "JSON file that gets every number; none: the table is only printed.")


# The candidates of a block -> by (row of POLICIES, "ctr" or "cvr") probabilities (candidates,).
Predict = Callable[[SessionBlock], Mapping[tuple[str, str], np.ndarray]]


def main(argv: Sequence[str]) -> None:
    """Lets every policy of every run serve the same sessions; prints and writes what they earn."""
    values = parse_flags(argv, __doc__ or "", [_Flags])
    check(values)
    plan = SessionPlan(*(values[field.name] for field in dataclasses.fields(SessionPlan)))
    exponents = Exponents(*(values[f"{name}_exponent"] for name in ("ctr", "cvr", "length")))
    served = [places for run in values["runs"] for places in places_of(Path(run))]
    opened = [open_run(str(next(iter(p.values()))), values["data_dir"]) for p in served]
    settings = shared_feed([source for *_, source in opened])
    feed = Feed(settings)
    rows = plan.sessions_of_block * plan.requests * plan.candidates
    totals = []
    with Progress(len(opened) * plan.blocks, rows) as progress:
        for places, (folder, _, schema, source) in zip(served, opened, strict=True):
            networks = load_networks(places, schema)
            progress.start_stage(str(folder), 1, plan.blocks)
            predict = predictor(networks, feed, source, folder)
            totals.append(serve(feed, plan, exponents, predict, progress))
            progress.end_epoch({})
    found = measure(np.stack(totals), plan)
    print(online_table(NAMES, found))
    if values["output"]:
        asked = {field.name: values[field.name] for field in dataclasses.fields(_Flags)}
        result = {
            "settings": {name: value for name, value in asked.items() if name != "output"},
            "feed": dataclasses.asdict(settings),
            "day": settings.days,
            "rows": POLICIES,
            "policies": by_policy(NAMES, [str(folder) for folder, *_ in opened], found),
        }
        runs.write_json(Path(values["output"]), runs.undefined_as_null(result))
        print(f"\nwritten to {values['output']}")


def check(values: Mapping[str, Any]) -> None:
    """Refuses flags that no sessions can have.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """

    def expect(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"--{name}: found {values[name]!r}, expected {expected}")

    folders = [Path(name).resolve() for name in values["runs"]]
    expect(len(folders) > 0, "runs", "folders of trained runs")
    expect(len(set(folders)) == len(folders), "runs", "different runs: each counts once")
    for name in ("sessions", "requests", "candidates"):
        expect(values[name] >= 1, name, "1 or more")
    most = min(MAX_POSITIONS, values["candidates"])
    expect(1 <= values["shown"] <= most, "shown", f"1 to {most}")
    expect(values["seed"] >= 0, "seed", "0 or more")
    for name in ("ctr_exponent", "cvr_exponent", "length_exponent"):
        expect(math.isfinite(values[name]), name, "a finite number")


def shared_feed(sources: Sequence[Source]) -> FeedSettings:
    """The settings of the simulated feed that all runs were trained on.

    Raises:
        SimulatorError: The logs are not the simulator's, of another version of it, without their
            truth, or of different feeds.
    """
    found: dict[FeedSettings, Path] = {}
    for folder in {source.data_dir: None for source in sources}:
        path = folder / "manifest.json"
        if not path.exists():
            raise SimulatorError(
                f"{path}: found no such file, expected the manifest of a simulated feed: only "
                "there is the truth known"
            )
        stored = runs.read_json(path)
        try:
            settings = FeedSettings(**stored["settings"])
        except (KeyError, TypeError) as error:
            raise SimulatorError(f"{path}: found no settings of the simulator ({error})") from error
        simulate(folder, settings)  # writes nothing: compares the version, looks for the shards
        found.setdefault(settings, path)
    if len(found) > 1:
        paths = ", ".join(map(str, found.values()))
        raise SimulatorError(f"{paths}: found different feeds, expected runs on one")
    return next(iter(found))


def places_of(run: Path) -> list[dict[str, Path]]:
    """Where trained rows lie: row -> RUN, once a seed.

    Args:
        run: RUN, or the folder of a comparison with its report.

    Raises:
        RunError: It is neither.
    """
    if not (run / REPORT).exists():
        return [dict.fromkeys(row_names(*entry.read_run(run)), run)]
    by_seed = tested_runs(run)
    return [by_seed[seed] for seed in sorted(by_seed)]


def load_networks(
    places: Mapping[str, Path], schema: Schema
) -> dict[tuple[str, str], tuple[RankingNetwork, str]]:
    """Reads the rows of a run that the policies rank by.

    Args:
        places: Row -> RUN.
        schema: The run's.

    Returns:
        By (row of POLICIES, "ctr" or "cvr") the network and its task.

    Raises:
        RunError: A row is missing, or not trained.
        ConfigError: The tasks are not a click and what it is worth.
    """
    click, watch = ranking_tasks(schema)
    wanted = {(ctr, "ctr", click) for ctr, _ in POLICIES.values()}
    wanted |= {(cvr, "cvr", watch) for _, cvr in POLICIES.values()}
    names = {
        (row, kind): f"base_{task}" if row == "base" else row for row, kind, task in sorted(wanted)
    }
    absent = sorted(set(names.values()) - set(places))
    if absent:
        raise runs.RunError(f"found rows {', '.join(places)}, expected {', '.join(absent)} too")
    loaded = {
        name: load_row(places[name], name, *entry.read_run(places[name]))
        for name in set(names.values())
    }
    return {(row, kind): (loaded[names[row, kind]], task) for row, kind, task in wanted}


def ranking_tasks(schema: Schema) -> tuple[str, str]:
    """The task of the click, and the continuous task on clicks.

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
    """A function from candidates to the probabilities that a run's rows predict.

    Args:
        networks: Of `load_networks`.
        feed: Whose candidates.
        source: The run's logs.
        folder: RUN.
    """
    lines = read_lines(source)

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def forward(text: tf.Tensor) -> dict[tuple[str, str], tf.Tensor]:
        ids = text_to_ids(lines, text)
        return {
            key: probability(network.task_models[task](ids, training=False))
            for key, (network, task) in networks.items()
        }

    def predict(block: SessionBlock) -> dict[tuple[str, str], np.ndarray]:
        answers = forward(candidates_as_text(feed.world, block))
        found = {key: chances.numpy() for key, chances in answers.items()}
        for (row, kind), chances in found.items():
            if np.isnan(chances).any():
                raise runs.RunError(f"{folder}: found p{kind} NaN of row {row}, which diverged")
        return found

    return predict


def serve(
    feed: Feed, plan: SessionPlan, exponents: Exponents, predict: Predict, progress: Progress
) -> np.ndarray:
    """Lets every policy serve all sessions.

    Args:
        feed: Draws the sessions and knows the truth.
        plan: How many.
        exponents: Of Eq. 3.
        predict: Of one run.
        progress: Gets a step a block.

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
    """View time a session in seconds, mean watch ratio of clicks (CVR), clicks an impression (CTR).

    Args:
        totals: (runs, policies, 3, sessions) of `serve`.
        plan: Of these sessions.
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


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
