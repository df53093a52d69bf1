"""Rows that are to be scored: features alone, read as training reads them.

A row to be scored needs no label, no time, no user, no weight and no filter: only what the network
reads. It goes through the parser of training, so that the same row gets the same ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.core.locations import location
from lt4rec_tf.data.formats import parquet
from lt4rec_tf.data.formats.discovery import find, format_of
from lt4rec_tf.data.formats.files import DataError, stamp_of
from lt4rec_tf.data.formats.frames import FRAME, frame_layout
from lt4rec_tf.data.formats.layouts import placed_columns, read_layout, with_columns
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.formats.text_rows import DELIMITERS
from lt4rec_tf.data.input.side_tables import load_side_table
from lt4rec_tf.data.input.source import Source, locate_columns, with_needed_columns
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.types import Schema, needed_columns


def scoring_schema(schema: Schema, *, durations: bool) -> Schema:
    """Returns what rows to be scored must hold.

    Args:
        schema: Of a run.
        durations: Whether predictions read the length of a row's video.
    """
    labels = [label for label in schema.labels if label.duration is not None and durations]
    lengths = [dataclasses.replace(label, column=None, play_time=None) for label in labels[:1]]
    return dataclasses.replace(
        schema, labels=tuple(lengths), tasks=(), time=None, user=None, filters=(), weight=None
    )


@dataclasses.dataclass(frozen=True)
class ScoringLogs:
    """Logs to be scored.

    Attributes:
        schema: Of `scoring_schema`, of the logs' own format.
        root: The folder below which all files lie.
        files: The files, sorted.
        layout: The structure of a record.
        side_dir: The folder to which names of side tables are relative.
        carried: Columns that are read besides.
    """

    schema: Schema
    root: Path
    files: tuple[Path, ...]
    layout: Layout
    side_dir: Path
    carried: tuple[str, ...] = ()


def find_logs(
    schema: Schema,
    globs: Sequence[str],
    side_dir: str | Path,
    columns: Sequence[str] = (),
    carried: Sequence[str] = (),
) -> ScoringLogs:
    """Finds logs to be scored, their format and their layout.

    Args:
        schema: Of `scoring_schema`.
        globs: Folders, files or globs, absolute, relative to the working folder, or URLs.
        side_dir: As `ScoringLogs` has it.
        columns: Names of the columns of CSV and TSV without a header line.
        carried: Columns of the logs that are read besides.

    Raises:
        DataError: There is no file, formats or headers differ, a column is nowhere, or the lists of
            a feature cannot be told in this format.
    """
    root, _, found = find(globs)
    formats = {path: format_of(path) for path in found.paths}
    example, first = next(((p, f) for p, f in formats.items() if f), (found.paths[0], "csv"))
    for path, other in formats.items():
        if other and other != first:
            raise DataError(f"{path}: found {other}, expected {first} as in {example}")

    if columns and first not in DELIMITERS:
        raise DataError(f"--columns: found {columns[0]!r}, expected nothing: {first} has names")

    trained_format = schema.format
    if first != schema.format:
        schema = dataclasses.replace(schema, format=first, columns=(), quoted=first == "csv")
    schema = dataclasses.replace(schema, columns=tuple(columns) or schema.columns)
    side_dir = location(side_dir)
    layout = read_layout(schema, found.paths)
    layout = with_needed_columns(schema, side_dir, found.paths, layout)
    if first != trained_format:
        schema = _with_lists(schema, layout, trained_format, str(found.paths[0]))
    # Of Parquet also those of which no feature can be made.
    held = parquet.columns(found.paths[0]) if first == "parquet" else {}
    names = dict.fromkeys([*layout.columns, *held])
    for name in carried:
        if name not in names:
            listed = ", ".join(names)
            raise DataError(f"{found.paths[0]}: found no column {name!r}, expected one of {listed}")
    return ScoringLogs(schema, root, found.paths, layout, side_dir, tuple(carried))


def _with_lists(schema: Schema, layout: Layout, trained_format: str, where: str) -> Schema:
    """Returns the schema for rows of another form than those of training: lists may be cut already.

    Raises:
        DataError: Rows hold texts where the logs of the training had lists that were cut already.
    """
    features = []
    for feature in schema.features:
        is_cut = layout.format == "tfrecord" or feature.column in layout.listed
        is_text = feature.column in layout.columns and not is_cut
        if feature.multivalued and not feature.separator and is_text:
            raise DataError(
                f"{where}: column {feature.column}: found texts, expected lists, as in the "
                f"{trained_format} logs of the run; write {trained_format} as there, or lists "
                "(Parquet, JSON Lines, TFRecord)"
            )
        features.append(dataclasses.replace(feature, separator="") if is_cut else feature)
    return dataclasses.replace(schema, features=tuple(features))


def opened_logs(logs: ScoringLogs) -> Source:
    """Opens the logs, with their side tables.

    Raises:
        DataError: A column is nowhere, or a side table cannot be read.
    """
    stamps = {path: stamp_of(path) for path in logs.files}
    of_rows = () if logs.layout.format == "parquet" else logs.carried
    return _source(logs.schema, logs.root, logs.files, logs.layout, logs.side_dir, stamps, of_rows)


def opened_frame(schema: Schema, arrow_schema: Any, side_dir: str | Path) -> Source:
    """Opens a table in memory, whose rows are handed on as quoted lines.

    Args:
        schema: Of `scoring_schema`.
        arrow_schema: Of the table.
        side_dir: As `ScoringLogs` has it.

    Raises:
        DataError: A column is nowhere, or has a type of which no feature can be made.
    """
    layout = frame_layout(arrow_schema)
    unreadable = (needed_columns(schema) & set(arrow_schema.names)) - set(layout.columns)
    for name in sorted(unreadable):
        raise DataError(
            f"{FRAME}: column {name}: found the type {arrow_schema.field(name).type}, expected a "
            "number, a text, a time, or a list of these"
        )
    names = {feature.column for feature in schema.features if feature.dtype == "string"}
    layout = dataclasses.replace(
        layout,
        ids=frozenset(names | {join.key for join in schema.joins}),
        placed=placed_columns(schema),
    )
    schema = _with_lists(schema, layout, schema.format, FRAME)
    return _source(schema, Path(), [Path(FRAME)], layout, location(side_dir), {}, ())


def _source(
    schema: Schema,
    root: Path,
    files: Sequence[Path],
    layout: Layout,
    side_dir: Path,
    stamps: Mapping[Path, Any],
    carried: Sequence[str],
) -> Source:
    own = needed_columns(dataclasses.replace(schema, joins=()))
    if own <= set(layout.columns):  # side tables have nothing to add
        schema = dataclasses.replace(schema, joins=())
    columns, side_columns = _located(schema, side_dir, files[0], layout)
    columns = tuple(sorted({*columns, *carried}))
    side_tables = tuple(
        load_side_table(side_dir, join, wanted)
        for join, wanted in zip(schema.joins, side_columns, strict=True)
    )
    layout = with_columns(layout, columns)
    return Source(
        schema, root, tuple(files), layout, columns, side_tables, SplitRule(), dict(stamps)
    )


def _located(
    schema: Schema, side_dir: Path, first: Path, layout: Layout
) -> tuple[tuple[str, ...], list[set[str]]]:
    """Does what `locate_columns` does; says where histories come from, which no log has."""
    try:
        return locate_columns(schema, side_dir, first, layout)
    except DataError as error:
        events = [feature.column for feature in schema.features if feature.is_of_events]
        absent = [name for name in events if name not in layout.columns]
        if not absent:
            raise
        raise DataError(
            f"{error}. {', '.join(absent)}: lists of what a user did before, which predict does "
            "not make; python -m lt4rec_tf.data.convert --history makes them from logs"
        ) from error
