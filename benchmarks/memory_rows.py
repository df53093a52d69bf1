"""Memory of what sees every row: logs, the counters of an audit, the predictions for a split.

    python benchmarks/memory_rows.py logs --folder=/tmp/logs --rows 2000000 20000000
    python benchmarks/memory_rows.py counters
    python benchmarks/memory_rows.py predictions --rows=20000000
    python benchmarks/memory_rows.py whole --rows=2000000

logs: a CSV log of so many different rows, each of another user, is audited and read once in
training's order, in a process of its own; it is removed afterwards. counters: those of an audit
whose size depends on the log, fed more distinct values than they keep. predictions: two tasks'
random predictions are joined batch by batch and measured as `evaluate` measures them. whole: what
is not measured in parts.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from feeds import HEAD, TASKS, wide_schema
from resident import MostAnonymous, held, most_held, starting_anew

from lt4rec_tf.data.audit.audit import audit, complete
from lt4rec_tf.data.audit.duplicates import REMEMBERED, DistinctCounter
from lt4rec_tf.data.audit.value_counts import ValueCounts
from lt4rec_tf.data.audit.vocabulary_counts import TrainValues
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.metrics.amounts import gini, spearman
from lt4rec_tf.metrics.binary import auc, gauc
from lt4rec_tf.metrics.continuous import xauc
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.training.error_analysis import error_bins
from lt4rec_tf.training.evaluation import measure, split_losses
from lt4rec_tf.training.predictions import Predictions
from lt4rec_tf.training.row_columns import joined

MODES = ("logs", "counters", "predictions", "whole")
MB, BATCH, ROWS_OF_FILE = 1e6, 4096, 1_000_000
FEATURES = """
[[features]]
name = "user"
dtype = "string"
side = "user"
ids = { kind = "hash", buckets = 1000000 }

[[features]]
name = "video"
dtype = "int64"
side = "item"
ids = { kind = "fitted" }
"""


def main() -> None:
    """Measures what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=(*MODES, "log"))
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000_000])
    parser.add_argument("--folder", type=Path, help="of logs; new")
    parser.add_argument("--duplicate_rows_remembered", type=int, default=REMEMBERED)
    flags = parser.parse_args()

    if flags.what == "logs":
        logs(flags.folder, flags.rows, flags.duplicate_rows_remembered)
    elif flags.what == "log":
        read_log(flags.folder, flags.duplicate_rows_remembered)
    elif flags.what == "counters":
        counters()
    elif flags.what == "predictions":
        predictions(flags.rows[0])
    else:
        whole(flags.rows[0])


def logs(folder: Path, sizes: list[int], remembered: int) -> None:
    """Writes a log of each size, has it read in a process of its own, and removes it."""
    for rows in sizes:
        folder.mkdir(parents=True)
        try:
            write_log(folder, rows)
            size = sum(path.stat().st_size for path in folder.iterdir())
            print(f"{rows:,} rows, {size / MB:,.0f} MB:", flush=True)
            command = [sys.executable, __file__, "log", f"--folder={folder}"]
            command.append(f"--duplicate_rows_remembered={remembered}")
            subprocess.run(command, check=True)
        finally:
            shutil.rmtree(folder)


def write_log(folder: Path, rows: int) -> None:
    """Writes schema and log."""
    head = HEAD.replace("none.csv", "*.csv")
    (folder / "schema.toml").write_text(head + FEATURES, encoding="utf-8")
    for first in range(0, rows, ROWS_OF_FILE):
        with (folder / f"{first:012d}.csv").open("w") as file:
            file.write("user,video,click,ratio\n")
            numbers = range(first, min(rows, first + ROWS_OF_FILE))
            file.writelines(f"user_{k},{k % 5003},{k % 2},{k % 7 / 8}\n" for k in numbers)


def read_log(folder: Path, remembered: int) -> None:
    """Audits a log and reads it once, shuffled, in batches."""
    source = open_source(load_schema(folder / "schema.toml"), folder, SplitRule("random"))
    starting_anew()
    begun = time.perf_counter()
    found = audit(source, remembered=remembered)
    say("audit", begun)

    source = complete(source, found)
    begun = time.perf_counter()
    rows = 0
    for batch in batches(source, "train", BATCH, Order(1)):
        rows += len(batch["user"])
        if rows < 2 * BATCH:
            starting_anew()
    say(f"a pass over the {rows:,} rows of train", begun)


def say(what: str, begun: float) -> None:
    """Prints the most memory of a step, and its seconds."""
    seconds = time.perf_counter() - begun
    print(f"  {what}: at most {most_held() / MB:,.0f} MB, {seconds:.0f} s", flush=True)


def counters() -> None:
    """Feeds each counter of an audit with more distinct values than it keeps."""
    rng = np.random.default_rng(0)
    kept = 2_000_000
    marks = DistinctCounter(kept, 2**62)
    fed("rows by which duplicates are counted", kept, marks.add, rng)
    values = TrainValues(kept)
    fed("values of a fitted vocabulary", kept, values.add, rng)
    of_split = ValueCounts(kept, 262_144)
    fed(
        "values of a feature, by split",
        kept,
        lambda some: of_split.add(some, np.zeros(len(some), np.int64)),
        rng,
    )


def fed(what: str, kept: int, add: Callable[[np.ndarray], None], rng: np.random.Generator) -> None:
    """Prints the bytes that a counter takes for each value that it keeps."""
    before = held()
    starting_anew()
    for _ in range(3 * kept // 8192):
        add(rng.integers(0, 2**62, 8192))
    print(f"{what}: {(most_held() - before) / kept:.0f} bytes each at most", flush=True)


def predictions(rows: int) -> None:
    """Joins and measures random predictions of two tasks."""
    schema = wide_schema(1_000)
    before = held()
    begun = time.perf_counter()
    with MostAnonymous() as anonymous:
        dtypes = [np.float32] * 6 + [np.int64]
        ctr, cvr, click, ratio, ones, clicked, users = joined(random_pieces(rows), dtypes)
        whole = Predictions(
            {"ctr": ctr, "cvr": cvr},
            {"ctr": click, "cvr": ratio},
            {"ctr": ones, "cvr": clicked},
            users,
        )
        print(f"joined: {(held() - before) / rows:.0f} bytes a row", flush=True)
        metrics = measure(whole, schema, TASKS)
        error_bins(whole, schema, TASKS)
    seconds = time.perf_counter() - begun
    print(
        f"measured in {seconds:.0f} s: at most {(most_held() - before) / rows:.0f} bytes a row, "
        f"{anonymous.most / rows:.0f} of them not in files; {metrics}"
    )


def whole(rows: int) -> None:
    """Measures what takes whole columns at a time."""
    schema, rng = wide_schema(1_000), np.random.default_rng(0)
    dtypes = [np.float32] * 6 + [np.int64]
    ctr, cvr, click, ratio, ones, clicked, users = joined(random_pieces(rows), dtypes)
    weights = rng.random(rows, np.float32)
    predicted = Predictions(
        {"ctr": ctr, "cvr": cvr}, {"ctr": click, "cvr": ratio}, {"ctr": ones, "cvr": clicked}, users
    )
    measured: dict[str, Callable[[], object]] = {
        "spearman": lambda: spearman(ratio, ctr),
        "gini": lambda: gini(ratio, ctr),
        "auc with weights": lambda: auc(click, ctr, weights),
        "gauc with weights": lambda: gauc(click, ctr, users, weights),
        "xauc with weights": lambda: xauc(ratio, ctr, weights),
        "both losses": lambda: split_losses(predicted, schema, TASKS),
    }
    for what, compute in measured.items():
        before = held()
        starting_anew()
        compute()
        print(f"{what}: {(most_held() - before) / rows:.0f} bytes a row", flush=True)


def random_pieces(rows: int) -> Iterator[list[np.ndarray]]:
    """Draws predictions, labels, weights and users, batch by batch."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        click = (rng.random(count) < 0.2).astype(np.float32)
        yield [
            rng.normal(size=count).astype(np.float32),
            rng.normal(size=count).astype(np.float32),
            click,
            rng.random(count, np.float32) * click,
            np.ones(count, np.float32),
            click,
            rng.integers(0, rows // 20, count) * 2**30,
        ]


if __name__ == "__main__":
    main()
