"""A training step's time against the embedding tables' size: this project's beside Keras's Adam.

    python benchmarks/vocabulary.py

20 single-valued fields, dimension 16, Gram cross layer, 512-256-128, one task, batches of 512
random ids. Sizes and optimisers take turns; medians of the rounds are printed, with ratios to the
first size. No input pipeline takes part.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import statistics
import time
from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras
from feeds import FIELDS, random_ids, random_labels, wide_schema
from networks import wide_network

from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.losses import cross_entropy
from lt4rec_tf.training.optimizers import of_stage
from lt4rec_tf.training.plan import Optimization

BATCH = 512
LEARNING_RATE = 0.001

# Embedding optimiser, as the flag has it, by name.
OURS = {
    "Adagrad for tables, LazyAdam for others": "adagrad",
    "LazyAdam": "same",
}
KERAS = "Keras Adam"


def compiled_step(rows: int, name: str) -> Callable[[], tf.Tensor]:
    """Returns a compiled training step of a network with this many embedding rows in all."""
    schema = wide_schema(rows // FIELDS).with_tasks(["ctr"])
    network = wide_network(schema, dimension=16)
    model, variables = network.task_models["ctr"], network.trained_by("ctr")
    if name == KERAS:
        optimizer = keras.optimizers.Adam(LEARNING_RATE, jit_compile=False)
        optimizer.build(variables)
    else:
        settings = Optimization("adam", LEARNING_RATE, embedding_optimizer=OURS[name])
        tables = {v.ref() for weight, v in network.variables.items() if is_table(weight)}
        optimizer = of_stage(settings, variables, tables)

    ids = dict(zip(network.model.input, random_ids(rows // FIELDS, BATCH, 0).T, strict=True))
    ids = {name: tf.constant(column) for name, column in ids.items()}
    clicks = tf.constant(random_labels(BATCH, 0)[0])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = cross_entropy(model(ids, training=True), clicks, tf.ones(BATCH))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def main() -> None:
    """Builds every step, lets them take turns, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**6, 10**7])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    flags = parser.parse_args()

    steps = {}
    for name in (*OURS, KERAS):
        for rows in flags.rows:
            steps[name, rows] = compiled_step(rows, name)
    print_medians(timed(steps, flags), flags.rows[0])


def timed(
    steps: dict[tuple[str, int], Callable[[], tf.Tensor]], flags: argparse.Namespace
) -> dict[tuple[str, int], list[float]]:
    """Returns the seconds of a step in each round, by optimiser and rows."""
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    for round_number in range(flags.rounds + 1):
        for key, step in steps.items():
            started = time.perf_counter()
            for _ in range(flags.steps):
                loss = step()
            float(loss)
            if round_number:  # the first round traces
                seconds[key].append((time.perf_counter() - started) / flags.steps)
    return seconds


def print_medians(seconds: dict[tuple[str, int], list[float]], first_rows: int) -> None:
    """Prints a line per optimiser and size, with the ratio to the first size."""
    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores, batch {BATCH}")
    print("| optimiser | embedding rows | ms a step | examples/s | times the first size |")
    print("| :-- | --: | --: | --: | --: |")
    for (name, rows), times in seconds.items():
        median = statistics.median(times)
        first = statistics.median(seconds[name, first_rows])
        speed = f"{1000 * median:.1f} | {BATCH / median:,.0f} | {median / first:.2f}"
        print(f"| {name} | {rows:,} | {speed} |")


if __name__ == "__main__":
    main()
