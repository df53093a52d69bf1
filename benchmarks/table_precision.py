"""Bytes, quality on test and time of a request, by the precision in which tables are stored.

    python benchmarks/table_precision.py --run=RUN

RUN is a run's folder. For each precision the tables are rounded as `export --table_precision`
rounds them, the network is measured on the test split, and a version is asked about 64 rows, in
turns. Shown are medians and, in parentheses, differences and ratios to float32.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from serving import medians_of, prepared

from lt4rec_tf.data.input.pipeline import request_rows
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.trained_models import default_model, load_model
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.serving.embedding_tables import round_tables
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.requests import requests_of
from lt4rec_tf.serving.signatures import DEFAULT_SIGNATURE, ServedModel
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.predictions import predictor_of

PRECISIONS = ("float32", "bfloat16", "int8")
ROWS = 64


@dataclass(frozen=True)
class Measured:
    """A version of one precision: bytes of its tables, each task's metric on test, its folder."""

    table_bytes: int
    metrics: dict[str, float]
    folder: Path


def main() -> None:
    """Rounds, measures, saves and times; prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="folder of a run")
    parser.add_argument("--data_dir", default="", help="where its logs lie now")
    parser.add_argument(
        "--model", "--row", default="", help="which of its models; none: the default one"
    )
    parser.add_argument("--rounds", type=int, default=50, help="turns of each precision")
    flags = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found, calls = {}, {}
        for precision in PRECISIONS:
            found[precision], request = measured(flags, precision, Path(folder) / precision)
            version = stack.enter_context(opened(found[precision].folder))
            calls[precision, DEFAULT_SIGNATURE] = prepared(version, DEFAULT_SIGNATURE, request)
        seconds = medians_of(calls, flags.rounds)

    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores\n")
    print(
        table_of(found, {precision: seconds[precision, DEFAULT_SIGNATURE] for precision in found})
    )


def measured(flags: argparse.Namespace, precision: str, folder: Path) -> tuple[Measured, dict]:
    """Measures a run's model with rounded tables, and saves it; returns a request to it too."""
    run, settings, schema, source = open_run(flags.run, flags.data_dir)
    network = load_model(run, flags.model or default_model(settings, schema, run), settings, schema)
    schema = schema.with_tasks(network.tasks)
    round_tables(network, tf.as_dtype(precision))

    predictions = predictor_of(network, schema)(split_batches(source, source.split.held_out))
    served = ServedModel(network, schema, table_precision=precision)
    signatures = served.signatures()
    tf.saved_model.save(served, str(folder), signatures=signatures)

    table_bytes = sum(
        variable.numpy().nbytes
        for tables in served.network.tables.values()
        for variable in tables.variables
    )
    raw = request_rows(source, source.split.held_out, ROWS)
    metrics = measure(predictions, schema, network.tasks)
    chosen = {f"{t.name} {t.metric}": metrics[t.name][t.metric] for t in schema.tasks}
    request = requests_of(schema, signatures, raw)[DEFAULT_SIGNATURE]
    return Measured(table_bytes, chosen, folder), request


def table_of(found: dict[str, Measured], seconds: dict[str, float]) -> str:
    """Returns a line for each precision."""
    first, first_seconds = found[PRECISIONS[0]], seconds[PRECISIONS[0]]
    lines = []
    for precision, version in found.items():
        ratio = first.table_bytes / version.table_bytes
        line = [precision, f"{version.table_bytes:,} ({ratio:.2f})"]
        for name, value in version.metrics.items():
            line.append(f"{value:.5f} ({value - first.metrics[name]:+.5f})")
        time_ratio = seconds[precision] / first_seconds
        lines.append([*line, f"{1000 * seconds[precision]:.3f} ({time_ratio:.2f})"])
    header = ["tables", "bytes (times smaller)", *first.metrics, f"{ROWS} rows, ms"]
    return markdown_table(header, lines)


if __name__ == "__main__":
    main()
