"""Time of the search for both tasks' tickets, beside the naive schedule.

    python benchmarks/search.py

Algorithm 1 for CTR and CVR on the quickstart's feed. The naive schedule trains each task's network
(rounds + 1) times on every row, reading and parsing the logs each time, in float32. Each line adds
one thing. Every search is a process of its own; they take turns, one seed a round. Shown are
medians over the rounds, and the chosen tickets' validation metrics as mean over the seeds.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core.command import make_deterministic
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.initial_weights import keep_start
from lt4rec_tf.experiment.parallel_searches import search_in_parallel
from lt4rec_tf.experiment.passes import settled
from lt4rec_tf.experiment.run import Run
from lt4rec_tf.experiment.ticket_search import find_ticket
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.types import Schema

EVERY_ROW = "every row"  # also those outside a task's population, whose weight is 0
LADDER = {
    "naive": [EVERY_ROW],
    "only rows of the population": [],
    "and logs parsed once": ["--reading=memory"],
    "and bfloat16": ["--reading=memory", "--precision=bfloat16"],
    "and both tasks' searches side by side": [
        "--reading=memory", "--precision=bfloat16", "--search_processes=2",
    ],
    "one-training finder, as the line above": [
        "--reading=memory", "--precision=bfloat16", "--search_processes=2",
        "--ticket_finder=gradual",
    ],
    "side by side alone": ["--search_processes=2"],
}  # fmt: skip


def main() -> None:
    """Runs the searches in turns, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flagfile", default="configs/simulated_one_pass.cfg")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=LADDER, default=list(LADDER), help="lines, the naive one first"
    )
    parser.add_argument("--search", choices=LADDER, help="of these alone, once, in this process")
    parser.add_argument("--seed", type=int, default=1, help="of --search")
    flags = parser.parse_args()
    if flags.search:
        print(json.dumps(search(flags.flagfile, LADDER[flags.search], flags.seed)))
        return

    results: dict[str, list[dict]] = {name: [] for name in flags.only}
    for seed in range(1, flags.rounds + 1):
        for name in flags.only:
            results[name].append(searched(flags.flagfile, name, seed))
    print(f"{os.cpu_count()} cores, {flags.flagfile}, {flags.rounds} seeds\n")
    print(ladder_table(results))


def searched(flagfile: str, name: str, seed: int) -> dict:
    """Runs one search in a process of its own."""
    command = [sys.executable, __file__, f"--flagfile={flagfile}", f"--search={name}"]
    ended = subprocess.run(
        [*command, f"--seed={seed}"], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ended.stdout.splitlines()[-1])


def search(flagfile: str, options: list[str], seed: int) -> dict:
    """Searches for both tasks' tickets in this process.

    Returns:
        "seconds", without the start of TensorFlow and the audit of the logs; "value": task -> the
        chosen ticket's validation metric.
    """
    argv = ["search", f"--flagfile={flagfile}", f"--seed={seed}", "--search_processes=1"]
    settings, _ = parse([*argv, *(o for o in options if o != EVERY_ROW)], __doc__ or "")
    make_deterministic()
    schema = run_folder.read_schema(settings.data.schema, settings)
    logs.simulate_if_asked(settings.data)
    source = logs.open_logs(settings.data, schema)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, audit = logs.audited(source, folder, settings.data, lambda _: None)
        feed = training_feed(source, audit, settings)
        searched_schema = without_populations(schema) if EVERY_ROW in options else schema
        progress = Progress(10**6, settings.training.batch_size, io.StringIO(), 1e9)
        settings = settled(settings, feed)
        run = Run(settings, searched_schema, folder, folder, feed, progress, lambda *_: None)
        begun = time.perf_counter()
        keep_start(run)
        search_in_parallel(run)
        network = network_of(settings, searched_schema, "s_weight")
        tickets = [find_ticket(run, network, task) for task in run.tasks]
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "value": {t.task: t.chosen.value for t in tickets}}


def without_populations(schema: Schema) -> Schema:
    """Returns the schema with every task on all rows, so that a step computes with each."""
    tasks = tuple(dataclasses.replace(task, population=None) for task in schema.tasks)
    return dataclasses.replace(schema, tasks=tasks)


def ladder_table(results: dict[str, list[dict]]) -> str:
    """Returns seconds, their share of the naive schedule's, and the tickets' validation metrics."""
    first, *_ = results.values()
    naive = statistics.median(run["seconds"] for run in first)
    tasks = list(first[0]["value"])

    lines = []
    for name, runs in results.items():
        median = statistics.median(run["seconds"] for run in runs)
        means = []
        for task in tasks:
            values = [run["value"][task] for run in runs]
            means.append(f"{statistics.mean(values):.5f} ± {statistics.pstdev(values):.5f}")
        lines.append([name, f"{median:.1f}", f"{median / naive:.2f}", *means])
    return markdown_table(["search", "seconds", "of naive", *tasks], lines)


if __name__ == "__main__":
    main()
