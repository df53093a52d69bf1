"""What it costs that each task wears a mask on the attention to a history too.

    python benchmarks/masked_attention.py

Features and towers of benchmarks/history_rank.py, CTR and CVR with a fifth of the weights: a
training step of both tasks, and `rank` of a request. The two networks take turns. Shown are the
medians, the median of the ratios to attention that tasks share, and the largest difference of a
prediction by `rank` to the same rows asked one by one.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from history_rank import difference, feed, masked_network, request, served
from networks import joint_step

from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.types import Schema

DENSITY = 0.2
LABELS = {False: "shared by the tasks", True: "masked by each task"}


def main() -> None:
    """Times both networks in turns, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--candidates", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=30)
    flags = parser.parse_args()
    print(
        f"tensorflow {tf.__version__}, {os.cpu_count()} cores, at most {flags.events} events, "
        f"batches of {flags.batch}, {flags.candidates} candidates, {flags.rounds} rounds\n"
    )

    schema = feed(flags.events)
    sent = request(schema, flags.candidates)
    steps, ranks, differences = {}, {}, {}
    for masked, label in LABELS.items():
        steps[label] = training_step(schema, flags.batch, mask_attention=masked)
        _, rank, of_rows = served(schema, DENSITY, mask_attention=masked)
        differences[label] = difference(schema, rank, of_rows, sent)
        ranks[label] = ranking(rank, sent)

    trained, ranked = in_turns(steps, flags.rounds), in_turns(ranks, flags.rounds)
    lines = []
    for label in LABELS.values():
        cells = [*cells_of(trained, label), *cells_of(ranked, label)]
        lines.append([label, *cells, f"{differences[label]:.1e}"])
    header = ["attention", "ms a step", "of shared", "ms of rank", "of shared"]
    print(markdown_table([*header, "largest difference"], lines))


def training_step(schema: Schema, rows: int, *, mask_attention: bool) -> Callable[[], object]:
    """Returns what takes a training step of both tasks, on random rows."""
    network = masked_network(schema, DENSITY, mask_attention=mask_attention)
    rng = np.random.default_rng(2)
    features = {}
    for feature in schema.features:
        shape = (rows, feature.max_values) if feature.multivalued else (rows,)
        ids = rng.integers(1, feature.ids.rows, shape)
        if feature.multivalued:  # lists of 0 to all events
            ids *= np.arange(shape[1]) < np.linspace(0, shape[1], rows).astype(int)[:, np.newaxis]
        features[feature.name] = tf.constant(ids)
    clicks = tf.constant(rng.integers(0, 2, rows), tf.float32)
    batch = {
        "features": features,
        "labels": {"ctr": clicks, "cvr": tf.constant(rng.random(rows), tf.float32) * clicks},
        "weights": {"ctr": tf.ones(rows), "cvr": clicks},
        "user": features["user_0"],
        "duration": tf.ones(rows),
    }
    step = joint_step(network, schema)

    def train() -> list[float]:
        return [float(loss) for loss in step(batch).values()]

    return train


def ranking(rank: Callable[..., Any], sent: dict[str, Any]) -> Callable[[], object]:
    """Returns what asks for a request's candidates."""
    tensors = {name: tf.constant(values) for name, values in sent.items()}
    return lambda: rank(**tensors)


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Returns by label the milliseconds of each round, after one that compiles."""
    milliseconds: dict[str, list[float]] = {label: [] for label in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for label, call in calls.items():
            begun = time.perf_counter()
            call()
            milliseconds[label].append(1000 * (time.perf_counter() - begun))
    return {label: np.array(times) for label, times in milliseconds.items()}


def cells_of(milliseconds: dict[str, np.ndarray], label: str) -> list[str]:
    """Returns the median of a label, and that of its ratios to the first one's rounds."""
    times, shared = milliseconds[label], milliseconds[LABELS[False]]
    return [f"{np.median(times):.1f}", f"{np.median(times / shared):.2f}"]


if __name__ == "__main__":
    main()
