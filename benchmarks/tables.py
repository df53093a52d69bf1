"""Bytes on disk, resident memory and time of a lookup, with tickets and precisions of tables.

    python benchmarks/tables.py

20 fields, dimension 16, Gram cross layer, 512-256-128; tickets are drawn, not trained: bytes and
times depend on their size alone. Each version is saved as `export` does it. Its memory is what a
process of its own grows by when it loads the version as TensorFlow Serving does and answers once.
Lookups of a batch of random ids take turns; shown are medians and ratios of medians.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from feeds import FIELDS, random_ids, wide_schema
from networks import wide_network

from lt4rec_tf.models.layers.field_vectors import look_up
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.model_card import folder_size
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.signatures import ServedModel
from lt4rec_tf.tickets.embedding_tables import TableTicket, Unit, whole
from lt4rec_tf.training import checkpoint

DIMENSION = 16
TABLES: tuple[tuple[str, Unit | None, float, str], ...] = (
    ("whole", None, 1.0, "float32"),
    ("whole, bfloat16", None, 1.0, "bfloat16"),
    ("whole, int8", None, 1.0, "int8"),
    ("rows, .25", "row", 0.25, "float32"),
    ("rows, .25, int8", "row", 0.25, "int8"),
    ("rows, .1", "row", 0.1, "float32"),
    ("dimensions, .25", "dimension", 0.25, "float32"),
    ("numbers, .25", "number", 0.25, "float32"),
    ("numbers, .1", "number", 0.1, "float32"),
)


def main() -> None:
    """Saves, loads, looks up, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of all tables together")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.load:
        print(memory_of(flags.load))
        return

    schema = wide_schema(flags.rows // FIELDS)
    lookups: dict[str, Callable[[], object]] = {}
    sizes: dict[str, list[int]] = {}
    ids = random_ids(flags.rows // FIELDS, flags.batch, 0).T
    batch = {f.name: tf.constant(ids[i]) for i, f in enumerate(schema.features)}
    for name, unit, share, precision in TABLES:
        ticket = None if unit is None else drawn(unit, schema, share)
        with tempfile.TemporaryDirectory() as folder:
            lookups[name], sizes[name] = saved(Path(folder), schema, ticket, precision, batch)
        gc.collect()
    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores, {flags.rows:,} rows\n")
    print(table_of(sizes, medians_of(lookups, flags.rounds)))


def drawn(unit: Unit, schema: Schema, share: float) -> TableTicket:
    """Draws a ticket that keeps this share."""
    rng = np.random.default_rng(0)
    masks = whole(unit, schema.table_rows, DIMENSION).masks
    if unit == "dimension":
        drawn_masks = {name: np.arange(DIMENSION) < share * DIMENSION for name in masks}
    else:
        drawn_masks = {name: rng.random(mask.shape) < share for name, mask in masks.items()}
    return TableTicket(unit, drawn_masks)


def saved(
    folder: Path,
    schema: Schema,
    ticket: TableTicket | None,
    precision: str,
    batch: Mapping[str, tf.Tensor],
) -> tuple[Callable[[], object], list[int]]:
    """Returns a lookup as a server does it; bytes of a checkpoint, of a version, of memory."""
    network = wide_network(schema, dimension=DIMENSION, stddev=0.05, tables=ticket)
    layer = network.model.get_layer("shared.embedding")
    for part in layer.parts.values():  # at its draw it would be equal numbers in the first pages
        part.assign(tf.random.stateless_normal(part.shape, (1, 2)))

    checkpoint.save(folder / "checkpoint", network.variables)
    served = ServedModel(network, schema, table_precision=precision)
    tf.saved_model.save(served, str(folder / "version"), signatures=served.signatures())
    grown = subprocess.run(
        [sys.executable, __file__, "--load", str(folder / "version")],
        check=True,
        capture_output=True,
        text=True,
    )

    tables = served.network.tables["shared"]
    look = tf.function(lambda ids: look_up(tables.tables(), schema.features, ids)[0])
    bytes_of = [folder_size(folder / name) for name in ("checkpoint", "version")]
    return lambda: look(batch), [*bytes_of, int(grown.stdout.split()[-1])]


def memory_of(version: Path) -> int:
    """Returns the bytes that loading a version and answering one request take."""
    gc.collect()
    before = resident()
    with opened(version) as loaded:
        inputs = loaded.signatures["serving_default"].inputs
        loaded.answers("serving_default", {name: np.zeros(1, np.int64) for name in inputs})
        gc.collect()
        return resident() - before


def resident() -> int:
    """Returns the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def medians_of(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns each call's median seconds, over turns of ten in a row."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            begun = time.perf_counter()
            for _ in range(10):
                call()
            seconds[name].append((time.perf_counter() - begun) / 10)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def table_of(sizes: Mapping[str, list[int]], medians: Mapping[str, float]) -> str:
    """Returns megabytes and microseconds, each beside the whole tables'."""
    header = ["tables", "checkpoint, MB", "version, MB", "memory, MB", "lookup, us", "of whole"]
    first = next(iter(medians.values()))
    lines = []
    for name, median in medians.items():
        megabytes = [f"{size / 1e6:,.1f}" for size in sizes[name]]
        lines.append([name, *megabytes, f"{1e6 * median:,.0f}", f"{median / first:.2f}"])
    return markdown_table(header, lines)


if __name__ == "__main__":
    main()
