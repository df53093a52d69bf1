"""The layout of log files, read from their headers or from their first records."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats import json_lines, parquet, partitions
from lt4rec_tf.data.formats.example_kinds import kinds_of
from lt4rec_tf.data.formats.files import DataError, refuse_utf16
from lt4rec_tf.data.formats.headers import common_header
from lt4rec_tf.data.formats.odd_files import read_records
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.formats.text_rows import DELIMITERS
from lt4rec_tf.schema.types import Schema, needed_columns

_PROBED_RECORDS = 256
_PROBED_FILES = 16


def read_layout(schema: Schema, files: Sequence[Path]) -> Layout:
    """Reads the layout of files from their headers, or from their first records.

    Raises:
        DataError: The files do not agree with each other, or the first ones hold no record.
    """
    layout = with_partitions(_layout_of_files(schema, files), files)
    return dataclasses.replace(layout, placed=placed_columns(schema))


def placed_columns(schema: Schema) -> frozenset[str]:
    """Returns the columns in whose lists a value that is absent keeps its place."""
    return frozenset(feature.column for feature in schema.features if feature.is_of_events)


def _layout_of_files(schema: Schema, files: Sequence[Path]) -> Layout:
    if schema.format == "tfrecord":
        return tfrecord_layout(files)
    if schema.format == "jsonl":
        lists = {feature.column for feature in schema.features if feature.multivalued}
        return dataclasses.replace(jsonl_layout(files), listed=frozenset(lists))
    if schema.format == "parquet":
        layout, _ = parquet_layout(files, needed_columns(schema))
        return dataclasses.replace(layout, ids=_id_columns(schema))

    if schema.columns:
        for path in files:
            refuse_utf16(path)  # where files name their columns, reading the names does so
    columns = schema.columns or common_header(files, schema.format)
    return text_layout(files[0], schema.format, columns, schema.quoted, not schema.columns)


def parquet_layout(
    files: Sequence[Path], needed: Collection[str] | None
) -> tuple[Layout, dict[str, str]]:
    """Reads the layout of Parquet files from what they say of their columns.

    Args:
        files: The files.
        needed: Columns that must be readable; None: all files must have all columns.

    Returns:
        The layout; and by column that is left out, why.

    Raises:
        DataError: A needed column has types that do not fit together, or is not in all files.
    """
    common, left_out = parquet.common_columns(files, needed)
    kinds = {name: column.kind for name, column in common.items()}
    listed = frozenset(name for name, column in common.items() if column.listed)
    return Layout("parquet", tuple(common), kinds=kinds, listed=listed), left_out


def jsonl_layout(files: Sequence[Path]) -> Layout:
    """Reads the layout of JSON Lines from the first rows of files that lie evenly among all.

    Raises:
        DataError: A file cannot be read, or no row is an object.
    """
    step = -(-len(files) // _PROBED_FILES)
    names = json_lines.keys_of(files[::step])
    return Layout("jsonl", names, listed=frozenset(names))  # any may hold a list in some row


def _id_columns(schema: Schema) -> frozenset[str]:
    """Returns the columns whose whole numbers are names, not amounts."""
    names = {feature.column for feature in schema.features if feature.dtype == "string"}
    names |= {join.key for join in schema.joins}
    return frozenset(names | ({schema.user} if schema.user else set()))


def with_partitions(layout: Layout, files: Sequence[Path]) -> Layout:
    """Adds the partitions that all files have; a column of the files' own takes precedence."""
    names = [name for name in partitions.common_names(files) if name not in layout.columns]
    kinds = {**layout.kinds, **dict.fromkeys(names, "string")} if layout.kinds else layout.kinds
    columns = (*layout.columns, *names)
    return dataclasses.replace(layout, columns=columns, partitions=tuple(names), kinds=kinds)


def with_columns(layout: Layout, needed: Collection[str]) -> Layout:
    """Returns the layout of records that hold no more than is needed.

    Lines and Examples come as they are; of Parquet and JSON Lines other columns are not read.
    """
    kept = tuple(name for name in layout.partitions if name in needed)
    columns = layout.file_columns
    if layout.by_python:
        columns = tuple(name for name in columns if name in needed)
    return dataclasses.replace(layout, columns=(*columns, *kept), partitions=kept)


def tfrecord_layout(files: Sequence[Path]) -> Layout:
    """Reads the layout of TFRecords from the first readable ones.

    Raises:
        DataError: The first ones hold no readable record.
    """
    kinds = _probe_kinds(files)
    return Layout("tfrecord", tuple(kinds), kinds=kinds)


def text_layout(
    path: Path, file_format: str, columns: tuple[str, ...], quoted: bool, header: bool
) -> Layout:
    """Returns the layout of CSV or TSV files with these columns.

    Args:
        path: The file that an error names.
        file_format: "csv" or "tsv".
        columns: Their names.
        quoted: True if values may stand in double quotes.
        header: True if each file's first line names the columns.

    Raises:
        DataError: There is one column alone: something else cuts the values.
    """
    if len(columns) == 1:
        mark = DELIMITERS[file_format]
        raise DataError(f"{path}: found one column {columns[0]!r}, expected more, cut by {mark!r}")
    return Layout(file_format, columns, quoted, header_lines=int(header))


def _probe_kinds(files: Sequence[Path]) -> dict[str, str]:
    """Finds the dtype of each column in the first file that holds readable records."""
    for path in files:
        kinds: dict[str, str] = {}
        for record in itertools.islice(_records(path), _PROBED_RECORDS):
            for name, dtype in _kinds_of(record).items():
                kinds.setdefault(name, dtype)
        if kinds:
            return dict(sorted(kinds.items()))

    names = ", ".join(str(path) for path in files[:3])
    raise DataError(f"{names}: found no readable tf.train.Example, expected at least one")


def with_late_columns(layout: Layout, files: Sequence[Path], columns: Collection[str]) -> Layout:
    """Adds columns to a layout that no Example at the beginning has, because all lack a value.

    Args:
        layout: Of TFRecords.
        files: All of them; they are read until each column was seen, or to their ends.
        columns: The columns that are looked for.
    """
    missing = {name: name.encode() for name in columns}
    kinds: dict[str, str] = {}
    for record in itertools.chain.from_iterable(map(_records, files)):
        # Taking each Example apart would cost fifty times as much.
        if any(name in record for name in missing.values()):
            found = _kinds_of(record)
            kinds |= {name: found[name] for name in missing if name in found}
            missing = {name: text for name, text in missing.items() if name not in kinds}
            if not missing:
                break
    return dataclasses.replace(
        layout, columns=_columns_with(layout, kinds), kinds={**layout.kinds, **kinds}
    )


def with_late_keys(layout: Layout, files: Sequence[Path], columns: Collection[str]) -> Layout:
    """Adds keys to a layout of JSON Lines that no row at the beginning has, see `late_keys`."""
    names = json_lines.late_keys(files, columns)
    return dataclasses.replace(layout, columns=_columns_with(layout, names))


def _columns_with(layout: Layout, names: Collection[str]) -> tuple[str, ...]:
    """Returns the columns with more that stand in the files, before the partitions."""
    return (*layout.file_columns, *names, *layout.partitions)


def mixed_kinds(layout: Layout, files: Sequence[Path]) -> tuple[Layout, dict[Path, str]]:
    """Reads all Examples, and finds columns that hold values of several dtypes.

    Returns:
        The layout in which these columns hold texts; and by file that is to be rewritten to fit
        it, what it holds.
    """
    seen: dict[Path, dict[str, set[str]]] = {}
    for path in files:
        by_column = seen.setdefault(path, {})
        for record in _records(path):
            for name, dtype in _kinds_of(record).items():
                by_column.setdefault(name, set()).add(dtype)

    mixed = {}
    for name in layout.file_columns:
        dtypes = set().union(*(by_column.get(name, set()) for by_column in seen.values()))
        if len(dtypes) > 1:
            mixed[name] = dtypes
    odd_files = {}
    for path, by_column in seen.items():
        names = [name for name in mixed if by_column.get(name, {"string"}) != {"string"}]
        if names:
            found = " and ".join(sorted(mixed[names[0]]))
            odd_files[path] = f"column {names[0]}, which holds {found}"
    kinds = {**layout.kinds, **dict.fromkeys(mixed, "string")}
    return dataclasses.replace(layout, kinds=kinds), odd_files


def _records(path: Path) -> Iterator[bytes]:
    # Python reads past an empty member of gzip, and makes no room for a length that is a lie.
    for records in read_records(path, None, 0):
        yield from records


def _kinds_of(record: bytes) -> dict[str, str]:
    try:
        return kinds_of(record)
    except DecodeError:  # the audit counts it
        return {}
