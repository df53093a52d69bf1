"""Memory and time of training large embedding tables, stage by stage.

    python benchmarks/memory.py --folder=/tmp/memory

LT4REC's Table 1: 10 million users, 11 million videos, 32 dimensions. One stage as `train` runs it:
20 fields, Gram cross layer, 512-256-128, both tasks at once, batches of 4096 random ids, saves and
best weights on disk. It is killed after a save in the midst of a pass; a second process goes on
from there to the end, a third evaluates the weights, a fourth exports them.

Prints of each part the most memory that its process held meanwhile, TensorFlow and Python
included, beside the bytes of tables and moments; examples per second; and the time of a pass over
the paper's 297 million impressions at that rate: extrapolated, and without an input pipeline.
At the paper's sizes it needs 25 GB of disk.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import contextlib
import io
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from feeds import CLICK_SHARE, DIMENSION, wide_schema
from networks import wide_network
from resident import most_held, starting_anew

from lt4rec_tf.core.command import make_deterministic
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.signatures import ServedModel
from lt4rec_tf.tickets.search import WEIGHTS
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.plan import Callbacks, Feed, Objective, Optimization, Plan
from lt4rec_tf.training.predictions import predictor_of
from lt4rec_tf.training.trainer import Trainer

USERS, VIDEOS, OTHERS, IMPRESSIONS = 10_000_000, 11_000_000, 1_000, 297_000_000
BATCH = 4096
PARTS = ("train", "resume", "evaluate", "export")


def main() -> None:
    """Runs each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="new; for the checkpoints")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--embedding_optimizer", default="same")
    parser.add_argument("--weight_average", type=float, default=0.0)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    flags = parser.parse_args()

    if flags.part is None:
        flags.folder.mkdir(parents=True)
        for part in PARTS:
            subprocess.run([sys.executable, *sys.argv, f"--part={part}"], check=True)
        return

    say(f"{flags.part}: TensorFlow imported")
    make_deterministic()
    schema = wide_schema(OTHERS, more_rows={"user_0": flags.users, "item_0": flags.videos})
    {"train": train, "resume": train, "evaluate": evaluate, "export": export}[flags.part](
        schema, flags
    )


def say(step: str) -> None:
    """Prints a step that is done and the most memory it held; begins to measure the next."""
    print(f"{step:<60} {most_held() / 1e9:6.2f} GB", flush=True)
    starting_anew()


@contextlib.contextmanager
def saying(owner: Any, name: str, what: str) -> Iterator[None]:
    """Prints what each call of a function holds, and what was held since the call before."""
    function = getattr(owner, name)

    def called(*arguments: Any, **named: Any) -> Any:
        say(f"  until {what}")
        result = function(*arguments, **named)
        say(f"  {what}")
        return result

    setattr(owner, name, called)
    try:
        yield
    finally:
        setattr(owner, name, function)


def train(schema: Schema, flags: argparse.Namespace) -> None:
    """Trains to the first save and is killed there; or resumes from it, to the end."""
    network = wide_network(schema)
    tables = sum(table.rows for table in schema.tables) * DIMENSION * 4
    say(f"network built; tables {tables / 1e9:.2f} GB")

    marks: list[float] = []

    def mark(step: int) -> None:
        marks.append(time.perf_counter())
        if flags.part == "train" and step == flags.steps // 2 + 1:
            say("a step after the save; killed")
            rate = BATCH / float(np.median(np.diff(marks)))
            hours = IMPRESSIONS / rate / 3600
            print(f"{rate:,.0f} examples/s; {IMPRESSIONS:,} impressions: {hours:.1f} hours")
            os._exit(0)

    trainer = Trainer(
        network,
        schema,
        Objective(network.tasks, "both", dict.fromkeys(network.tasks, 1.0)),
        Optimization(
            "adam",
            learning_rate=0.001,
            precision=flags.precision,
            embedding_optimizer=flags.embedding_optimizer,
            batch_size=BATCH,
            weight_average=flags.weight_average,
        ),
        feed_of(schema, flags.steps),
        Callbacks(
            progress=Progress(flags.steps, BATCH, io.StringIO(), 1e9),
            log=lambda *_: None,
            before_step=mark,
        ),
    )
    kept = sum(v.shape.num_elements() * v.dtype.size for v in trainer._state_variables().values())
    say(f"optimiser built; tables and moments {kept / 1e9:.2f} GB")

    begun = time.perf_counter()
    with (
        saying(checkpoint, "save_progress", "a save"),
        saying(checkpoint, "restore_progress", "resuming from a save"),
        saying(Trainer, "_keep_best", "the best weights kept"),
        saying(Trainer, "_finish", "the end of the stage"),
    ):
        trainer.fit(flags.folder, "memory", Plan(epochs=1, checkpoint_steps=flags.steps // 2))
    say(f"stage in {time.perf_counter() - begun:.0f} s")


def evaluate(schema: Schema, flags: argparse.Namespace) -> None:
    """Measures the weights that training left, as `evaluate` does."""
    network = wide_network(schema)
    say("network built")
    checkpoint.restore(flags.folder / WEIGHTS, network.variables)
    say("weights restored")
    batches = feed_of(schema, flags.steps).validation
    assert batches is not None
    measure(predictor_of(network, schema)(batches()), schema, network.tasks)
    say("evaluated")


def export(schema: Schema, flags: argparse.Namespace) -> None:
    """Saves a version and opens it as `export` does, which checks its answers."""
    network = wide_network(schema)
    checkpoint.restore(flags.folder / WEIGHTS, network.variables)
    say("network built, weights restored")
    served = ServedModel(network, schema)
    signatures = served.signatures()
    say("signatures made")
    folder = flags.folder / "version"
    tf.saved_model.save(served, str(folder), signatures=signatures)
    say("version written")
    with opened(folder):
        say("version opened")


def feed_of(schema: Schema, steps: int) -> Feed:
    """Returns a feed of random rows, drawn anew for every batch."""
    tables = schema.table_rows

    def random_batches(count: int, seed: int) -> Callable[..., Iterator[dict]]:
        def batches(epoch: int = 0, skip: int = 0) -> Iterator[dict]:
            rng = np.random.default_rng([seed, epoch])
            return itertools.islice(drawn(rng), skip, count)

        return batches

    def drawn(rng: np.random.Generator) -> Iterator[dict]:
        while True:
            clicks = tf.constant(rng.random(BATCH) < CLICK_SHARE, tf.float32)
            ids = {f.name: rng.integers(2, tables[f.table], BATCH) for f in schema.features}
            yield {
                "features": {name: tf.constant(column) for name, column in ids.items()},
                "labels": {"ctr": clicks, "cvr": tf.constant(rng.random(BATCH, np.float32))},
                "weights": {"ctr": tf.ones(BATCH), "cvr": clicks},
                "user": tf.constant(ids["user_0"]),
                "duration": tf.ones(BATCH),
            }

    return Feed(
        train=random_batches(steps, 1), validation=random_batches(4, 2), steps_per_epoch=steps
    )


if __name__ == "__main__":
    main()
