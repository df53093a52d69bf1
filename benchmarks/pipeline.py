"""Rows a second of the input pipeline, stage by stage, beside what a training step consumes.

    python benchmarks/pipeline.py

The simulated feed as gzip CSV, plain CSV, gzip TFRecord and plain TFRecord, same rows. A stage
includes the ones before it: records are read and shuffled; rows are parsed and examined; values
become ids, labels and batches. Formats and stages take turns; shown are medians over the rounds.
The step is the quickstart's (CTR and CVR together, batches of 512), fed from memory.
"""

from __future__ import annotations

import argparse
import os

if __name__ == "__main__":  # before TensorFlow is loaded, which reads it once
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import csv
import dataclasses
import gzip
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from lt4rec_tf import entry
from lt4rec_tf.data import audit, pipeline
from lt4rec_tf.data.memory import hold
from lt4rec_tf.data.simulator import FeedSettings, simulate
from lt4rec_tf.data.source import Source, open_source
from lt4rec_tf.data.splits import SplitRule
from lt4rec_tf.models.ranking import build_network
from lt4rec_tf.reports.tables import markdown_table
from lt4rec_tf.schema import Schema, load_schema
from lt4rec_tf.training.balancing import WeightedSum
from lt4rec_tf.training.optimizers import build_optimizer
from lt4rec_tf.training.steps import compile_step

SCHEMA = "configs/schemas/simulated_feed.toml"
BATCH, BUFFER, STEPS = 512, 20_000, 100
INTEGERS = ("age_group", "position", "hour", "click", "day")
REALS = ("duration_s", "play_time_s", "cover_quality")
STAGES = {
    "records": "read and shuffled",
    "rows": "and parsed",
    "batches": "and made ids and labels",
}


def main() -> None:
    """Writes the feed in every format, times every stage, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000, help="of the simulated feed")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    entry.make_deterministic()
    with tempfile.TemporaryDirectory() as name:
        simulate(Path(name) / "feed", FeedSettings(rows=flags.rows))
        sources = written(load_schema(SCHEMA), Path(name))
        passes = {
            (form, stage): pass_of(source, stage)
            for form, source in sources.items()
            for stage in STAGES
        }
        passes |= {("step", ""): steps_of(next(iter(sources.values())))}
        rates: dict[tuple[str, str], list[float]] = {key: [] for key in passes}
        for _ in range(flags.rounds + 1):
            for key, run in passes.items():
                begun = time.perf_counter()
                rows = run()
                rates[key].append(rows / (time.perf_counter() - begun))
    medians = {key: statistics.median(found[1:]) for key, found in rates.items()}  # first: traces
    print(f"{os.cpu_count()} cores, TensorFlow {tf.__version__}, {flags.rows:,} rows\n")
    step = medians.pop(("step", ""))
    lines = []
    for form in sources:
        rates_of_form = [medians[form, stage] for stage in STAGES]
        of_step = f"{rates_of_form[-1] / step:.2f}"
        lines.append([form, *(f"{rate:,.0f}" for rate in rates_of_form), of_step])
    header = ["format", *(f"rows/s {what}" for what in STAGES.values()), "of the step's"]
    print(f"{markdown_table(header, lines)}\n\nthe step alone: {step:,.0f} rows/s")


def written(schema: Schema, folder: Path) -> dict[str, Source]:
    """The feed in every format."""
    feed, sources = folder / "feed", {}
    shards = sorted(feed.glob(schema.files[0]))
    for form in ("csv.gz", "csv", "tfrecord.gz", "tfrecord"):
        place = folder / form
        place.mkdir()
        for shard in shards:
            path = place / f"{shard.name.removesuffix('.csv.gz')}.{form}"
            (write_lines if form.startswith("csv") else write_examples)(path, shard)
        told = dataclasses.replace(schema, format=form.removesuffix(".gz"), files=("*",))
        source = open_source(told, place, SplitRule(kind="time"))
        sources[form] = audit.complete(source, audit.audit(source))
    return sources


def write_lines(path: Path, shard: Path) -> None:
    """The shard as CSV."""
    text = gzip.decompress(shard.read_bytes())
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_examples(path: Path, shard: Path) -> None:
    """The shard as tf.Examples."""
    options = tf.io.TFRecordOptions("GZIP" if path.suffix == ".gz" else "")
    with tf.io.TFRecordWriter(str(path), options) as writer, gzip.open(shard, "rt") as lines:
        for row in csv.DictReader(lines):
            writer.write(example(row))


def example(row: dict[str, str]) -> bytes:
    """A row as a serialized tf.Example; empty values are left out."""
    made = tf.train.Example()
    for name, text in row.items():
        feature = made.features.feature[name]
        if not text:
            continue
        if name in INTEGERS:
            feature.int64_list.value.append(int(text))
        elif name in REALS:
            feature.float_list.value.append(float(text))
        else:
            feature.bytes_list.value.extend(value.encode() for value in text.split("|"))
    return made.SerializeToString()


def pass_of(source: Source, stage: str) -> Callable[[], int]:
    """A function that reads the training rows once, up to a stage, and counts them."""

    def records() -> tf.data.Dataset:
        # What `batches` begins with; records of other splits than train are among them.
        return pipeline._records(source, "train", 1, BUFFER, 0).batch(4096).prefetch(2)

    def rows() -> tf.data.Dataset:
        parser = pipeline._raw_parser(source)
        shuffled = pipeline._records(source, "train", 1, BUFFER, 0)
        return pipeline._parsed(shuffled, parser, "train").rebatch(BATCH).prefetch(2)

    def batches() -> tf.data.Dataset:
        return pipeline.batches(source, "train", BATCH, shuffle_seed=1, shuffle_buffer=BUFFER)

    made = {"records": records, "rows": rows, "batches": batches}[stage]
    return lambda: sum(int(tf.shape(tf.nest.flatten(batch)[0])[0]) for batch in made())


def steps_of(source: Source) -> Callable[[], int]:
    """A function that trains some steps and counts their rows."""
    network = build_network(
        source.schema,
        separate_towers=False,
        embedding_dim=16,
        embedding_stddev=0.001,
        cross="gram",
        dcn_layers=0,
        hidden_units=(512, 256, 128),
        seed=1,
    )
    variables = list(network.variables.values())
    step = compile_step(
        network,
        source.schema,
        network.tasks,
        loss_weights=dict.fromkeys(network.tasks, 1.0),
        rule=WeightedSum(),
        conflict=None,
        optimizer=build_optimizer("adam", 0.001, variables),
        variables=variables,
        loss_sums={task: tf.Variable([0.0, 0.0], dtype=tf.float64) for task in network.tasks},
        takes_turns=False,
    )
    held = hold(pipeline.batches(source, "train", 4096), limit_gib=4.0)

    def feed() -> Iterator[dict]:
        return itertools.islice(itertools.cycle(held.batches(BATCH, shuffle_seed=1)), STEPS)

    def train() -> int:
        for batch in feed():
            losses = step(batch)
        _ = [float(loss) for loss in losses.values()]
        return STEPS * BATCH

    return train


if __name__ == "__main__":
    main()
