"""Memory and time of training at the paper's scale: 10 million users, 11 million videos.

    python benchmarks/memory.py --folder=/tmp/memory

LT4REC's Table 1, with 32 dimensions. One stage as `train` runs it: 20 fields, Gram cross layer,
512-256-128, both tasks at once, batches of 4096 random ids, checkpoint and best weights on disk.
Prints memory after each part, examples per second, and the time of a pass over the paper's 297
million impressions at that rate: extrapolated, and without an input pipeline. Needs 25 GB of disk.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import io
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from feeds import CLICK_SHARE, DIMENSION, wide_schema
from networks import wide_network

from lt4rec_tf.core.command import make_deterministic
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.plan import Callbacks, Feed, Objective, Optimization, Plan
from lt4rec_tf.training.trainer import Trainer

USERS, VIDEOS, OTHERS, IMPRESSIONS = 10_000_000, 11_000_000, 1_000, 297_000_000
BATCH = 4096


def main() -> None:
    """Builds, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="new; for the checkpoints")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    flags = parser.parse_args()

    flags.folder.mkdir(parents=True)
    make_deterministic()
    schema = wide_schema(OTHERS, more_rows={"user_0": USERS, "item_0": VIDEOS})
    rows = sum(table.rows for table in schema.tables)
    say(f"{rows:,} embedding rows of {DIMENSION} numbers: {rows * DIMENSION * 4 / 1e9:.1f} GB")
    network = wide_network(schema)
    say("network built")

    marks: list[float] = []
    trainer = Trainer(
        network,
        schema,
        Objective(network.tasks, "both", dict.fromkeys(network.tasks, 1.0)),
        Optimization("adam", learning_rate=0.001, precision=flags.precision),
        feed_of(schema, flags.steps),
        Callbacks(
            progress=Progress(flags.steps, BATCH, io.StringIO(), 1e9),
            log=lambda *_: None,
            before_step=lambda _: marks.append(time.perf_counter()),
        ),
    )
    say("optimiser built")

    begun = time.perf_counter()
    trainer.fit(flags.folder, "memory", Plan(epochs=1, checkpoint_steps=flags.steps // 2))
    say(f"stage of {flags.steps} steps with a checkpoint: {time.perf_counter() - begun:.0f} s")
    rate = BATCH / float(np.median(np.diff(marks)))
    hours = IMPRESSIONS / rate / 3600
    say(f"{rate:,.0f} examples/s; {IMPRESSIONS:,} impressions: {hours:.1f} hours, extrapolated")


def say(step: str) -> None:
    """Prints a step that is done, and the most memory that was used so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{step} (peak {peak / 2**30:.1f} GiB)", flush=True)


def feed_of(schema: Schema, steps: int) -> Feed:
    """Returns a feed of random rows, drawn anew for every batch."""
    tables = schema.table_rows

    def random_batches(count: int, seed: int) -> Callable[..., Iterator[dict]]:
        def batches(*_: int) -> Iterator[dict]:
            rng = np.random.default_rng(seed)
            for _ in range(count):
                clicks = tf.constant(rng.random(BATCH) < CLICK_SHARE, tf.float32)
                ids = {f.name: rng.integers(2, tables[f.table], BATCH) for f in schema.features}
                yield {
                    "features": {name: tf.constant(column) for name, column in ids.items()},
                    "labels": {"ctr": clicks, "cvr": tf.constant(rng.random(BATCH, np.float32))},
                    "weights": {"ctr": tf.ones(BATCH), "cvr": clicks},
                    "user": tf.constant(ids["user_0"]),
                    "duration": tf.ones(BATCH),
                }

        return batches

    return Feed(
        train=random_batches(steps, 1), validation=random_batches(4, 2), steps_per_epoch=steps
    )


if __name__ == "__main__":
    main()
