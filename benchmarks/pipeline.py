"""Rows per second of the input pipeline, stage by stage, beside those of a training step.

    python benchmarks/pipeline.py

The simulated feed as gzip CSV, plain CSV, gzip TFRecord and plain TFRecord, same rows. A stage
includes the ones before it: records are read and shuffled; rows are parsed and examined; values
become ids, labels and batches. Formats and stages take turns; shown are medians over the rounds.
The step is the quickstart's (CTR and CVR together, batches of 512), fed from memory. A first table
says what parsing itself costs.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import gzip
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import tensorflow as tf
from networks import joint_step, wide_network

from lt4rec_tf.core.command import make_deterministic
from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.record_files import open_records
from lt4rec_tf.data.formats.records import parse
from lt4rec_tf.data.formats.values import raw_feature
from lt4rec_tf.data.input import pipeline
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.in_memory import hold
from lt4rec_tf.data.input.labels import read_labels
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.simulator.text import write_tfrecord
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema

SCHEMA = "configs/schemas/simulated_feed.toml"
BATCH, BUFFER, STEPS = 512, 20_000, 100
STAGES = {
    "records": "read and shuffled",
    "rows": "and parsed",
    "batches": "and made ids and labels",
}


def main() -> None:
    """Writes the feed in every format, times every stage, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000, help="of the simulated feed")
    parser.add_argument("--rounds", type=int, default=5, help="0: the profile alone")
    flags = parser.parse_args()

    make_deterministic()
    with tempfile.TemporaryDirectory() as name:
        simulate(Path(name) / "feed", FeedSettings(rows=flags.rows))
        sources = written(load_schema(SCHEMA), Path(name))
        print_profile(sources["csv"])
        passes = {}
        for form, source in sources.items():
            for stage in STAGES:
                passes[form, stage] = pass_of(source, stage)
        passes["step", ""] = steps_of(next(iter(sources.values())))

        rates: dict[tuple[str, str], list[float]] = {key: [] for key in passes}
        for _ in range(flags.rounds and flags.rounds + 1):
            for key, run in passes.items():
                begun = time.perf_counter()
                rows = run()
                rates[key].append(rows / (time.perf_counter() - begun))
    if not flags.rounds:
        return

    # The first round traces.
    medians = {key: statistics.median(rounds[1:]) for key, rounds in rates.items()}
    print(f"{os.cpu_count()} cores, TensorFlow {tf.__version__}, {flags.rows:,} rows\n")
    step = medians.pop(("step", ""))
    lines = []
    for form in sources:
        rates_of_form = [medians[form, stage] for stage in STAGES]
        of_step = f"{rates_of_form[-1] / step:.2f}"
        lines.append([form, *(f"{rate:,.0f}" for rate in rates_of_form), of_step])
    header = ["format", *(f"rows/s {what}" for what in STAGES.values()), "of the step's"]
    print(f"{markdown_table(header, lines)}\n\nthe step alone: {step:,.0f} rows/s")


def print_profile(source: Source) -> None:
    """Prints the time of each part of parsing a batch of lines, as functions of their own."""
    schema = source.schema
    lines = next(iter(open_records(source.files[0], source.layout).batch(2048)))
    intact = tf.zeros_like(lines, tf.bool)
    columns, _ = parse(source.layout, lines, source.columns, intact)

    def raw() -> dict[str, tf.Tensor]:
        return {f.name: raw_feature(f, columns[f.column])[0] for f in schema.features}

    values = raw()
    parts = {
        "lines to columns": lambda: parse(source.layout, lines, source.columns, intact),
        "columns to raw values": raw,
        "columns to labels": lambda: read_labels(schema, columns, {}),
        "raw values to ids": lambda: features_to_ids(schema, values),
        "all, with split, user and the choice of rows": partial(
            pipeline._batch_parser(source), lines, tf.constant(0)
        ),
    }
    costs = []
    for part, compute in parts.items():
        compiled = tf.function(compute, autograph=False)
        seconds = []
        for _ in range(21):
            begun = time.perf_counter()
            compiled()
            seconds.append(time.perf_counter() - begun)
        costs.append([part, f"{statistics.median(seconds) / len(lines) * 1e6:.2f}"])
    print(markdown_table(["a batch of lines", "us a row"], costs), end="\n\n")


def written(schema: Schema, folder: Path) -> dict[str, Source]:
    """Writes the feed in every format."""
    feed = folder / "feed"
    texts = {
        shard.name.removesuffix(".csv.gz"): gzip.decompress(shard.read_bytes())
        for shard in sorted(feed.glob(schema.files[0]))
    }
    sources = {}
    for form in ("csv.gz", "csv", "tfrecord.gz", "tfrecord"):
        output = folder / form
        output.mkdir()
        for name, text in texts.items():
            write(output / f"{name}.{form}", text)
        schema_of_form = dataclasses.replace(schema, format=form.removesuffix(".gz"), files=("*",))
        source = open_source(schema_of_form, output, SplitRule(kind="time"))
        sources[form] = audit.complete(source, audit.audit(source))
    return sources


def write(path: Path, text: bytes) -> None:
    """Writes a shard's CSV, its header included, in the format of the path."""
    if ".csv" in path.suffixes:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        return
    write_tfrecord(path, [text.partition(b"\n")[2]])  # gzip
    if path.suffix != ".gz":
        path.write_bytes(gzip.decompress(path.read_bytes()))


def pass_of(source: Source, stage: str) -> Callable[[], int]:
    """Returns a function that reads the training rows once, up to a stage, and counts them."""

    def shuffled() -> tf.data.Dataset:
        files = pipeline.files_of(source, "train")
        return pipeline._records(source, files, Order(1, shuffle_buffer=BUFFER))

    def records() -> tf.data.Dataset:
        # What `batches` begins with; records of other splits than train are among them.
        return shuffled().batch(4096).prefetch(2)

    def rows() -> tf.data.Dataset:
        parser = pipeline._raw_parser(source)
        return pipeline._parsed(shuffled(), parser, "train").rebatch(BATCH).prefetch(2)

    def batches() -> tf.data.Dataset:
        return pipeline.batches(source, "train", BATCH, Order(1, shuffle_buffer=BUFFER))

    open_stage = {"records": records, "rows": rows, "batches": batches}[stage]
    return lambda: sum(int(tf.shape(tf.nest.flatten(batch)[0])[0]) for batch in open_stage())


def steps_of(source: Source) -> Callable[[], int]:
    """Returns a function that trains some steps and counts their rows."""
    network = wide_network(source.schema, dimension=16)
    step = joint_step(network, source.schema)
    rows_in_memory = hold(pipeline.batches(source, "train", 4096), limit_gib=4.0)

    def feed() -> Iterator[dict]:
        batches = rows_in_memory.batches(BATCH, Order(1))
        return itertools.islice(itertools.cycle(batches), STEPS)

    def train() -> int:
        for batch in feed():
            losses = step(batch)
        _ = [float(loss) for loss in losses.values()]
        return STEPS * BATCH

    return train


if __name__ == "__main__":
    main()
