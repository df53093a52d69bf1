"""Speed and memory of converting and reading logs, at growing sizes.

    python benchmarks/conversion.py --rows=100000,1000000,10000000
    python benchmarks/conversion.py --rows=3010 --shards_per_day=430 --what='audit csv.gz'

The simulated feed as gzip CSV and as Parquet becomes gzip TFRecords; then CSV, TFRecords, Parquet
and JSON Lines are read as training reads them. Each measurement is a process of its own, whose peak
of memory the kernel reports; "start" is one that imports TensorFlow and does nothing. MB are those
of the files that are read. Memory should be flat and seconds linear in rows.

Nothing large is imported or done in the process that starts the others: the kernel counts its
memory as theirs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

SCHEMA = "configs/schemas/simulated_feed.toml"
BATCH, BUFFER = 512, 100_000
Result = tuple[int, float, int]  # rows, seconds, bytes that were read


def main() -> None:
    """Measures every size, prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="100000,1000000", help="sizes, commas between")
    parser.add_argument("--shards_per_day", type=int, default=1, help="7 times as many files")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="side by side")
    parser.add_argument("--what", default=";".join(MEASURED), help="measurements, ; between")
    parser.add_argument("--dir", help="for the logs; default: a temporary folder")
    parser.add_argument("--measure", help="(of a process of its own)")
    flags = parser.parse_args()
    if flags.measure:
        print(json.dumps(measured(flags.measure, Path(flags.dir), flags.processes)))
        return
    lines = []
    for rows in map(int, flags.rows.split(",")):
        with tempfile.TemporaryDirectory(dir=flags.dir) as folder:
            command = [sys.executable, "-m", "lt4rec_tf.data.simulator", f"--dir={folder}/csv"]
            size = [f"--rows={rows}", f"--shards_per_day={flags.shards_per_day}"]
            subprocess.run([*command, *size], check=True, stdout=subprocess.DEVNULL)
            for what in flags.what.split(";"):
                lines.append([f"{rows:,}", what, *in_process(what, folder, flags.processes)])
                print(" | ".join(lines[-1]), file=sys.stderr)
    print(f"{os.cpu_count()} cores, TensorFlow {version('tensorflow')}\n")
    header = ["rows", "what", "seconds", "rows/s", "MB/s", "peak MiB of a process"]
    print("\n".join(f"| {' | '.join(line)} |" for line in [header, ["---:"] * 6, *lines]))


def to_parquet(folder: Path, processes: int) -> Result:
    """Writes the feed's CSV files as Parquet, a block at a time; tags become lists."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet as pq

    (folder / "parquet").mkdir()
    rows, begun = 0, time.perf_counter()
    for path in sorted(folder.glob("csv/impressions/*.csv.gz")):
        as_text = pyarrow.csv.ConvertOptions(column_types={"tags": pa.string()})
        with pyarrow.csv.open_csv(path, convert_options=as_text) as blocks:
            column = blocks.schema.get_field_index("tags")
            field = pa.field("tags", pa.list_(pa.string()))
            schema = blocks.schema.set(column, field)
            name = path.name.replace(".csv.gz", ".parquet")
            with pq.ParquetWriter(folder / "parquet" / name, schema) as writer:
                for block in blocks:
                    tags = pc.split_pattern(block.column(column), "|")
                    writer.write_batch(block.set_column(column, field, tags))
                    rows += len(block)
    return rows, time.perf_counter() - begun, size_of(folder, "csv/impressions/*.csv.gz")


def to_json_lines(folder: Path, processes: int) -> Result:
    """Writes the feed's CSV files as gzip JSON Lines; tags become lists."""
    import csv
    import gzip

    (folder / "jsonl").mkdir()
    rows, begun = 0, time.perf_counter()
    for path in sorted(folder.glob("csv/impressions/*.csv.gz")):
        name = path.name.replace(".csv.gz", ".jsonl.gz")
        with (
            gzip.open(path, "rt", newline="") as file,
            gzip.open(folder / "jsonl" / name, "wt", compresslevel=1) as out,
        ):
            for row in csv.DictReader(file):
                out.write(json.dumps({**row, "tags": row["tags"].split("|")}) + "\n")
                rows += 1
    return rows, time.perf_counter() - begun, size_of(folder, "csv/impressions/*.csv.gz")


def in_process(what: str, folder: str, processes: int) -> list[str]:
    """Measures in a process of its own; returns the cells of a line."""
    command = [sys.executable, __file__, f"--measure={what}", f"--dir={folder}"]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    command.append(f"--processes={processes}")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    result = json.loads(done.stdout.splitlines()[-1])
    seconds = max(result["seconds"], 1e-9)
    speeds = [f"{result['rows'] / seconds:,.0f}", f"{result['bytes'] / seconds / 1e6:.1f}"]
    return [f"{result['seconds']:.1f}", *speeds, f"{result['peak_mib']:.0f}"]


def measured(what: str, folder: Path, processes: int) -> dict[str, Any]:
    """Measures in this process: rows, seconds, bytes read, peak of memory."""
    rows, seconds, read = MEASURED[what](folder, processes)
    peaks = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {"rows": rows, "seconds": seconds, "bytes": read, "peak_mib": max(peaks) / 1024}


def size_of(folder: Path, glob: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(glob))


def start(folder: Path, processes: int) -> Result:
    import tensorflow  # noqa: F401

    return 0, 0.0, 0


def converting(
    form: str, side_by_side: bool, history: tuple[str, ...] = ()
) -> Callable[[Path, int], Result]:
    def measure(folder: Path, processes: int) -> Result:
        from lt4rec_tf.data.convert import command as convert

        glob = {"csv": "csv/impressions/*.csv.gz", "parquet": "parquet/*.parquet"}[form]
        name = f"{form}_shards{'_together' if side_by_side else ''}{len(history) or ''}"
        flags = convert.ConvertFlags(
            files=(str(folder / glob),),
            output_dir=str(folder / name),
            schema=SCHEMA,
            processes=processes if side_by_side else 1,
            history=history,
        )
        begun = time.perf_counter()
        rows = convert.convert(flags)["rows"]
        return rows, time.perf_counter() - begun, size_of(folder, glob)

    return measure


def opened(form: str, folder: Path) -> tuple[Any, int]:
    """Opens the logs in a form; returns the source and its bytes."""
    from lt4rec_tf.data.input.source import open_source
    from lt4rec_tf.data.input.splits import SplitRule
    from lt4rec_tf.schema.reader import load_schema

    path, folder_of_logs, glob = {
        "csv": (SCHEMA, folder / "csv", "impressions/*.csv.gz"),
        "shards": (folder / "csv_shards/schema.toml", folder / "csv_shards", "shards/*"),
        "parquet": (SCHEMA, folder, "parquet/*.parquet"),
        "jsonl": (SCHEMA, folder, "jsonl/*.jsonl.gz"),
    }[form]
    schema = load_schema(path)
    if form in ("parquet", "jsonl"):  # of the same rows, whose lists are lists
        features = [dataclasses.replace(f, separator="") for f in schema.features]
        schema = dataclasses.replace(schema, format=form, files=(glob,), features=tuple(features))
    rule = SplitRule(kind="time", validation_fraction=0.0001, test_fraction=0.0001)
    return open_source(schema, folder_of_logs, rule), size_of(folder_of_logs, glob)


def auditing(form: str) -> Callable[[Path, int], Result]:
    def measure(folder: Path, processes: int) -> Result:
        from lt4rec_tf.data.audit import audit

        source, size = opened(form, folder)
        begun = time.perf_counter()
        rows = audit.audit(source).rows
        return rows, time.perf_counter() - begun, size

    return measure


def reading(form: str) -> Callable[[Path, int], Result]:
    def measure(folder: Path, processes: int) -> Result:
        from lt4rec_tf.data.audit import audit
        from lt4rec_tf.data.input import pipeline
        from lt4rec_tf.data.input.order import Order

        source, size = opened(form, folder)
        source = audit.complete(source, audit.audit(source))
        order = Order(1, shuffle_buffer=BUFFER)
        read = pipeline.batches(source, "train", BATCH, order)
        begun = time.perf_counter()
        rows = sum(len(batch["user"]) for batch in read)
        return rows, time.perf_counter() - begun, size

    return measure


MEASURED = {
    "start": start,
    "csv.gz to parquet (pyarrow)": to_parquet,
    "csv.gz to shards": converting("csv", side_by_side=False),
    "csv.gz to shards, processes side by side": converting("csv", side_by_side=True),
    "csv.gz to shards, with histories": converting("csv", False, ("video_id", "publisher_id")),
    "csv.gz to shards, with histories, processes side by side": converting(
        "csv", True, ("video_id", "publisher_id")
    ),
    "parquet to shards": converting("parquet", side_by_side=False),
    "audit csv.gz": auditing("csv"),
    "read csv.gz": reading("csv"),
    "read shards": reading("shards"),
    "audit parquet": auditing("parquet"),
    "read parquet": reading("parquet"),
    "csv.gz to jsonl.gz (json)": to_json_lines,
    "read jsonl.gz": reading("jsonl"),
}


if __name__ == "__main__":
    main()
