"""Quality and cost of one network for 1 to 8 tasks, beside a network a task.

    python benchmarks/many_tasks.py

A comparison (configs/simulated_reactions.cfg, configs/compare/many_tasks_models.toml) for each
number of tasks, which are the first ones of the schema: clicks, the watch ratio, reactions. All
models take five passes with tables rewound after each and the same step size; nothing is tuned.
Requests of 512 candidates to `rank` go to each model by the session loader in this process, in
turns, with the weights of the first seed; single-task models are asked one after the other.

Prints a line for each number of tasks and model, a line for each task of the largest number, and
draws docs/images/many_tasks.png. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from many_tasks_results import BASE, Measured, cost_table, measured, picture, task_table
from serving import saved
from serving_calls import all_of, medians_of, prepared

from lt4rec_tf import compare
from lt4rec_tf.core import artifacts
from lt4rec_tf.data.input.pipeline import request_rows
from lt4rec_tf.experiment.comparison.results import tested_runs
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.paths import REPORT, RESULTS
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.requests import rank_request

TASKS = ("ctr", "cvr", "like", "follow", "comment", "share", "save", "dislike")
MODELS = (BASE, "shared_bottom", "hard_sharing", "mmoe", "s_joint")
# Of one task hard sharing and a shared bottom are its tower.
MODELS_OF_ONE = (BASE, "mmoe", "s_joint")
CANDIDATES = 512


def main() -> None:
    """Trains every model for every number of tasks, times requests, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[8, 4, 2, 1], help="how many")
    parser.add_argument("--rows", type=int, default=120_000, help="impressions of the feed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seeds_below", type=int, help="how many, below the most tasks; all")
    parser.add_argument("--data_dir", default="data/simulated_reactions", help="of the feed")
    parser.add_argument("--output_dir", default="runs", help="folder of the comparisons")
    parser.add_argument("--rounds", type=int, default=30, help="turns of requests of each model")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/many_tasks.png"))
    flags, more = parser.parse_known_args()

    folders = {}
    for count in flags.tasks:
        seeds = flags.seeds if count == max(flags.tasks) else flags.seeds[: flags.seeds_below]
        folders[count] = Path(flags.output_dir) / f"many_tasks_{flags.rows}_{count}"
        compare.main(
            [
                "compare",
                "--flagfile=configs/simulated_reactions.cfg",
                "--models_file=configs/compare/many_tasks_models.toml",
                f"--only={','.join(MODELS if count > 1 else MODELS_OF_ONE)}",
                f"--tasks={','.join(TASKS[:count])}",
                f"--simulate_rows={flags.rows}",
                f"--data_dir={flags.data_dir}",
                f"--run_dir={folders[count]}",
                f"--seeds={','.join(map(str, seeds))}",
                "--against=s_joint",
                *([] if count > 1 else ["--loss_weights="]),  # cvr's: there is none
                "--reading=memory",
                "--checkpoint_steps=0",
                *more,
            ]
        )

    by_count: dict[int, dict[str, Measured]] = {}
    for count, folder in sorted(folders.items()):
        by_count[count] = measured(artifacts.read_json(folder / REPORT / RESULTS))
    times = {count: rank_seconds(folders[count], flags.rounds) for count in by_count}
    print(f"\n{cost_table(by_count, times)}\n\n{task_table(by_count[max(by_count)])}")
    save_png(picture(by_count, times), flags.picture)


def rank_seconds(comparison: Path, rounds: int) -> dict[str, float]:
    """Returns each model's median seconds for one user and 512 candidates.

    Args:
        comparison: Its folder; the runs of its first seed are asked.
        rounds: Turns of each model.
    """
    runs = next(iter(sorted(tested_runs(comparison).items())))[1]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        calls = {}
        for model, lines in lines_of(runs).items():
            asked = []
            for line in lines:
                folder, settings, schema, source = open_run(str(runs[line]), "")
                network = load_model(folder, line, settings, schema)
                version = saved(Path(temporary), model, network, schema, "float32")
                raw = request_rows(source, "test", CANDIDATES)
                request, _ = rank_request(schema, Ranking({}), raw, 1)
                loaded = stack.enter_context(opened(version))
                asked.append(prepared(loaded, "rank", request))
            calls[model, "rank"] = all_of(asked)
        return {model: seconds for (model, _), seconds in medians_of(calls, rounds).items()}


def lines_of(runs: Mapping[str, Path]) -> dict[str, list[str]]:
    """Returns the lines of a comparison by model: those of single tasks are one model."""
    lines: dict[str, list[str]] = {}
    for line in runs:
        lines.setdefault(BASE if line.startswith(f"{BASE}_") else line, []).append(line)
    return lines


if __name__ == "__main__":
    main()
