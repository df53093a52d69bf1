"""Converts logs of any size (CSV, TSV, Parquet, JSON Lines) to shards of TFRecords.

Files are converted side by side:

    <output_dir>/
        shards/part-<file>-<shard>.tfrecord.gz     tf.train.Example, one feature a column
        quarantine.tsv                             rows that could not be converted, and why
        schema.toml                                where --schema is given: the same, of the shards
        manifest.json                              written last: sources, shards, checksums, types

One source file is one piece of work. The same command goes on with the files that are not done,
and checks a folder that is. Memory is a batch of rows in each process, whatever a file's size.
docs/own_logs.md goes from logs to training.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lt4rec_tf.core.artifacts import sweep
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.flags import ConfigError, build, check_fields, expect, flag, parse_flags
from lt4rec_tf.core.time_units import NO_UNIT
from lt4rec_tf.core.turns import in_turn
from lt4rec_tf.data.convert.history_flags import HistoryFlags, check_history, history_of
from lt4rec_tf.data.convert.history_run import check_unchanged, make_histories, summary_lines
from lt4rec_tf.data.convert.manifest import (
    MANIFEST,
    QUARANTINE,
    check_shards,
    check_sources,
    claim,
    done_before,
    gather_quarantine,
    plan_of,
    read_manifest,
    results_of,
    write_manifest,
)
from lt4rec_tf.data.convert.shards import UNFINISHED, Converted, Job
from lt4rec_tf.data.convert.shards_schema import write_schema
from lt4rec_tf.data.convert.workers import by_beam, by_processes
from lt4rec_tf.data.formats import column_types
from lt4rec_tf.data.formats.column_types import ColumnType
from lt4rec_tf.data.formats.discovery import LogFiles, open_logs
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import placed_columns
from lt4rec_tf.data.formats.parquet import DTYPES_OF_KINDS
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.inspect import log_sample
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema, needed_columns

_GUESSED_ROWS = 20_000


@dataclass(frozen=True)
class ConvertFlags(HistoryFlags):
    """Logs to convert, and the shape of the shards."""

    files: tuple[str, ...] = flag((), "Folders or globs of the log files, quoted from the shell.")
    output_dir: str = flag(
        "", "Folder of the shards; made when absent.", required=True, expected="a folder"
    )
    schema: str = flag(
        "", "TOML file that says what training will read; without, types are guessed."
    )
    format: Literal["auto", "csv", "tsv", "parquet", "jsonl"] = flag("auto", "Of the log files.")
    columns: tuple[str, ...] = flag((), "Column names of CSV and TSV without a header line.")
    texts: tuple[str, ...] = flag((), "Without --schema: columns that are text, whatever they say.")
    shard_mib: float = flag(
        256.0, "MiB of records, before they are packed, after which one ends.", above=0
    )
    compression: Literal["gzip", "none"] = flag("gzip", "How shards are packed.")
    processes: int = flag(0, "Files converted side by side; 0: one a core.", at_least=0)
    max_bad_fraction: float = flag(
        0.01, "Share of a file's rows that may go to quarantine.", at_least=0, at_most=1
    )
    beam_pipeline_options: tuple[str, ...] = flag(
        (), "Convert with Apache Beam, with these options, such as runner=DirectRunner."
    )
    verify: bool = flag(False, "Only compare the shards of --output_dir with their checksums.")


def check(flags: ConvertFlags) -> None:
    """Refuses flags that no conversion can use.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    check_fields(flags)
    expect(bool(flags.files) or flags.verify, "files", flags.files, "one or more globs")
    untyped = not (flags.texts and flags.schema)
    expect(untyped, "texts", flags.texts, "nothing with --schema, which has types")
    check_history(flags, bool(flags.schema))


def convert(flags: ConvertFlags) -> dict[str, Any]:
    """Converts logs, resumes a conversion, or checks one that is complete.

    Args:
        flags: What `check` accepts.

    Returns:
        The manifest.

    Raises:
        DataError: The logs cannot be read, or too many rows of a file are bad.
        RunError: The folder was made from other logs or with other settings, or is damaged.
        SchemaError: The schema cannot be used.
    """
    output_dir = Path(flags.output_dir)
    if flags.verify:
        return _verify(output_dir)

    schema = load_schema(flags.schema) if flags.schema else None
    logs = _open(flags, schema)
    types, nulls = _types_and_nulls(flags, logs, schema)
    job = Job(
        root=logs.root,
        output_dir=output_dir,
        layout=_layout(logs, schema),
        types=types,
        shard_bytes=round(flags.shard_mib * 2**20),
        compression=flags.compression,
        max_bad_fraction=flags.max_bad_fraction,
        nulls={name: nulls for name in types if name not in flags.texts} if nulls else {},
        filters=schema.filters if schema is not None else (),
        history=history_of(flags, schema, logs, types) if flags.history and schema else None,
    )

    with in_turn(output_dir):
        plan = plan_of(job, logs.paths)
        claim(output_dir, plan)

        if (output_dir / MANIFEST).exists():
            manifest = read_manifest(output_dir)
            check_shards(output_dir, manifest, checksums=False)
            check_sources(output_dir, logs.root, results_of(manifest))
            if schema is not None:
                write_schema(job, schema, manifest.get("history_unit", NO_UNIT))
            print(f"{output_dir}: was complete, its shards are there; --verify reads them too")
        else:
            _convert_all(flags, job, schema, plan, logs.paths)

        manifest = read_manifest(output_dir)
        shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)
    return manifest


def _layout(logs: LogFiles, schema: Schema | None) -> Layout:
    """Returns the layout of the logs, with what a schema says of lists of events."""
    if schema is None:
        return logs.layout
    return replace(logs.layout, placed=placed_columns(schema))


def _verify(output_dir: Path) -> dict[str, Any]:
    manifest = read_manifest(output_dir)
    check_shards(output_dir, manifest, checksums=True)
    print(f"{output_dir}: the checksums of all {len(manifest['shards'])} shards hold")
    return manifest


def _open(flags: ConvertFlags, schema: Schema | None) -> LogFiles:
    columns, quoted = flags.columns, None
    if schema is not None and schema.format != "tfrecord":  # one of TFRecords knows no text files
        columns, quoted = flags.columns or schema.columns, schema.quoted

    file_format = flags.format if flags.format != "auto" else ""
    needed = needed_columns(schema) if schema is not None else None
    logs = open_logs(flags.files, file_format, columns, quoted, needed)
    for name, why in logs.left_out.items():
        print(f"not converted: {name} ({why})")
    if logs.layout.format == "tfrecord":
        raise DataError(
            f"{logs.paths[0]}: found TFRecords already, expected CSV, TSV, Parquet or JSON Lines"
        )
    return logs


def _types_and_nulls(
    flags: ConvertFlags, logs: LogFiles, schema: Schema | None
) -> tuple[dict[str, ColumnType], tuple[str, ...]]:
    """Returns each column's type, and the texts of absent values: by the schema, else guessed."""
    names = logs.layout.columns
    unknown = sorted(set(flags.texts) - set(names))
    if unknown:
        raise ConfigError(f"--texts: found {unknown[0]!r}, expected some of {', '.join(names)}")

    if schema is None:
        sample = log_sample.take(logs, _GUESSED_ROWS)
        if sample.nulls:
            print(f"absent values: {', '.join(sample.nulls)}")
        return sample.types | {name: ColumnType("string") for name in flags.texts}, sample.nulls

    unused = dict.fromkeys(names, ColumnType("string"))
    if logs.layout.format == "parquet":
        kinds = logs.layout.kinds
        unused = {name: ColumnType(DTYPES_OF_KINDS.get(kinds[name], "string")) for name in kinds}
    return column_types.of_schema(schema, names, unused), schema.nulls


def _convert_all(
    flags: ConvertFlags,
    job: Job,
    schema: Schema | None,
    plan: dict[str, Any],
    paths: Sequence[Path],
) -> None:
    """Converts the files that are not done, and writes the manifest of all."""
    sweep(job.output_dir)
    processes = flags.processes or os.cpu_count() or 1
    unit = NO_UNIT
    if job.history is not None:
        ready = make_histories(job, paths, processes, flags.beam_pipeline_options)
        unit = ready.unit
        print(*summary_lines(job, ready, len(paths)), sep="\n", flush=True)
    if schema is not None:
        print("".join(f"{line}\n" for line in write_schema(job, schema, unit)), end="")

    before = [done_before(job.output_dir, index) for index in range(len(paths))]
    check_sources(job.output_dir, job.root, [result for result in before if result is not None])
    todo = [(index, path) for index, path in enumerate(paths) if before[index] is None]
    if len(todo) < len(paths):
        print(f"{job.output_dir}: {len(paths) - len(todo)} of {len(paths)} files were done before")

    if flags.beam_pipeline_options:
        conversions = by_beam(job, todo, flags.beam_pipeline_options)
    else:
        conversions = by_processes(job, todo, processes)
    try:
        _print_each(conversions, len(todo))
    finally:
        gather_quarantine(job.output_dir, len(paths))

    results = [done_before(job.output_dir, index) for index in range(len(paths))]
    converted = [result for result in results if result is not None]
    if not any(result.shards for result in converted):
        raise DataError(f"{job.root}: found no row in {len(paths)} files, expected some")
    if job.history is not None:
        check_unchanged(job.output_dir, converted)
    write_manifest(job.output_dir, plan, converted, unit)


def _print_each(conversions: Iterator[Converted], files: int) -> None:
    begun = time.monotonic()
    for done, result in enumerate(conversions, start=1):
        progress = f"{time.monotonic() - begun:.0f} s, {done} of {files} files"
        print(f"{result.name}: {result.rows} rows, {result.bad_rows} bad; {progress}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Converts logs and returns the exit code."""
    argv = sys.argv if argv is None else argv
    return exit_on_error(_convert, argv, (InputError, OSError), "with the files not done")


def _convert(argv: Sequence[str]) -> None:
    flags = build(ConvertFlags, parse_flags(argv, __doc__ or "", [ConvertFlags]))
    check(flags)
    manifest = convert(flags)

    size = sum(shard["bytes"] for shard in manifest["shards"])
    print(
        f"{flags.output_dir}: {manifest['rows']} rows in {len(manifest['shards'])} shards of "
        f"{size / 2**20:.1f} MiB together; {manifest['bad_rows']} bad rows in {QUARANTINE}"
    )
    if flags.schema:
        schema = Path(flags.output_dir) / "schema.toml"
        print(f"python -m lt4rec_tf.train --schema={schema} --data_dir={flags.output_dir}")
