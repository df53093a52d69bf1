"""Opens a data set for reading: its files, their layout, its side tables, its split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from lt4rec_tf.core.locations import location
from lt4rec_tf.data.formats.files import DataError, Stamp, expand, stamp_of
from lt4rec_tf.data.formats.layouts import (
    read_layout,
    with_columns,
    with_late_columns,
    with_late_keys,
)
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.input.side_tables import SideTable, load_side_table, side_header
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.types import Schema, TimeColumn, needed_columns


@dataclass(frozen=True, eq=False)
class Source:
    """A data set that is open for reading.

    `open_source` makes one that the audit can read; `audit.complete` adds what the audit found,
    and then `pipeline.batches` can read it.

    Attributes:
        schema: The features, labels and tasks it holds.
        data_dir: The folder to which all names of files are relative.
        files: The logs, sorted.
        layout: The structure of a record.
        columns: The columns of the logs that are read.
        side_tables: The joined tables, in the order of look-up.
        split: What separates train, validation and test.
        stamps: By log and side table its stamp when the source was opened.
        passed_over: Files that hold no rows, see `files.Found`.
        odd_files: The logs that Python reads although TensorFlow reads their format, see
            `odd_files.oddity`.
        quarantine: Fingerprints of malformed Examples.
        files_of_split: By split the files that hold rows of it, with their number; None before the
            audit.
        records: The number of records in all files, usable or not; None before the audit.
    """

    schema: Schema
    data_dir: Path
    files: tuple[Path, ...]
    layout: Layout
    columns: tuple[str, ...]
    side_tables: tuple[SideTable, ...]
    split: SplitRule
    stamps: Mapping[Path, Stamp] = field(repr=False)
    passed_over: tuple[Path, ...] = ()
    odd_files: frozenset[Path] = frozenset()
    quarantine: tuple[int, ...] = ()
    files_of_split: Mapping[str, Mapping[Path, int]] | None = field(default=None, repr=False)
    records: int | None = None


def open_source(schema: Schema, data_dir: str | Path, split: SplitRule) -> Source:
    """Opens a data set: finds its files, reads their headers and its side tables.

    Args:
        schema: The schema of the data set.
        data_dir: The folder to which the schema's globs are relative.
        split: What separates train, validation and test.

    Raises:
        DataError: A glob matches nothing, headers differ, a column is nowhere, a side table cannot
            be read, or the split needs a column that the schema does not name.
    """
    data_dir = location(data_dir)
    _check_split(schema, split)

    files, passed_over = expand(data_dir, schema.files)
    joined = [data_dir / join.file for join in schema.joins]
    stamps = {path: stamp_of(path) for path in [*files, *joined]}  # before a byte is read

    layout = read_layout(schema, files)
    layout = with_needed_columns(schema, data_dir, files, layout)
    columns, side_columns = locate_columns(schema, data_dir, files[0], layout)
    layout = with_columns(layout, columns)
    side_tables = tuple(
        load_side_table(data_dir, join, wanted)
        for join, wanted in zip(schema.joins, side_columns, strict=True)
    )
    return Source(schema, data_dir, files, layout, columns, side_tables, split, stamps, passed_over)


def place_files(source: Source) -> dict[Path, str]:
    """Returns the split in which each whole file lies, by the split rule "files".

    Raises:
        DataError: A glob matches nothing, or a file is in two splits.
    """
    validation = expand(source.data_dir, source.split.validation_files).paths
    test = expand(source.data_dir, source.split.test_files).paths
    in_both = set(validation) & set(test)
    if in_both:
        path = min(in_both)
        raise DataError(f"{path}: found in validation_files and in test_files, expected in one")

    # Globs may name files that are no logs of this source.
    splits = dict.fromkeys(source.files, "train")
    named = dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
    return splits | {path: split for path, split in named.items() if path in splits}


def _check_split(schema: Schema, split: SplitRule) -> None:
    if split.kind == "user" and schema.user is None:
        raise DataError(
            f"{schema.path}: user: found nothing, expected a column: rows split by user"
        )
    if split.kind == "time" and schema.time is None:
        raise DataError(
            f"{schema.path}: time: found nothing, expected a column: rows split by time"
        )
    if schema.time is not None:
        _check_patterns(schema, schema.time)


def _check_patterns(schema: Schema, time: TimeColumn) -> None:
    for pattern, _ in time.patterns:
        try:
            tf.strings.regex_full_match("", pattern)
        except tf.errors.InvalidArgumentError as error:
            raise DataError(
                f"{schema.path}: time.patterns: found {pattern!r} ({error.message}), "
                "expected a regular expression that RE2 can read"
            ) from error


def with_needed_columns(
    schema: Schema, data_dir: Path, files: Sequence[Path], layout: Layout
) -> Layout:
    """Looks for columns of TFRecords and JSON Lines that no record at the beginning has."""
    if layout.format not in ("tfrecord", "jsonl"):
        return layout
    needed = needed_columns(schema) - set(layout.columns)
    for join in schema.joins:
        needed -= set(side_header(data_dir, join)) - {join.key}
    if not needed:
        return layout
    search = with_late_columns if layout.format == "tfrecord" else with_late_keys
    return search(layout, files, needed)


def locate_columns(
    schema: Schema, data_dir: Path, first_file: Path, layout: Layout
) -> tuple[tuple[str, ...], list[set[str]]]:
    """Finds the columns that the logs give and that each side table gives; the logs go first."""
    needed = needed_columns(schema)
    from_logs = needed & set(layout.columns)
    open_columns = needed - from_logs
    side_columns = []
    for join in schema.joins:
        names = set(side_header(data_dir, join))
        if join.key in open_columns:
            raise DataError(
                f"{first_file}: found no column {join.key!r}, expected it: {join.file} is joined "
                f"by it; the columns are {', '.join(layout.columns)}"
            )
        side_columns.append(open_columns & names)
        open_columns = open_columns - names

    if open_columns:
        searched = ", ".join([str(first_file), *(join.file for join in schema.joins)])
        first, *others = sorted(open_columns)
        nor = f" (nor {', '.join(map(repr, others))})" if others else ""
        raise DataError(
            f"{searched}: found no column {first!r}{nor}, which {schema.path} "
            f"asks for; the log's columns are {', '.join(layout.columns)}"
        )
    return tuple(sorted(from_logs)), side_columns
