"""The layout of log files, read from their headers or from their first records."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats.example_kinds import kinds_of
from lt4rec_tf.data.formats.files import DataError, is_gzip, refuse_utf16
from lt4rec_tf.data.formats.headers import common_header
from lt4rec_tf.data.formats.records import Layout, open_records
from lt4rec_tf.data.formats.text_rows import DELIMITERS
from lt4rec_tf.schema.types import Schema

_PROBED_RECORDS = 256
_TOGETHER = 256  # records


def read_layout(schema: Schema, files: Sequence[Path]) -> Layout:
    """Reads the layout of files from their headers, or from the first TFRecords.

    Raises:
        DataError: The files do not agree with each other, or the first ones hold no record.
    """
    if schema.format == "tfrecord":
        return tfrecord_layout(files)

    if schema.columns:
        for path in files:
            refuse_utf16(path)  # where files name their columns, reading the names does so
    columns = schema.columns or common_header(files, schema.format)
    return text_layout(files[0], schema.format, columns, schema.quoted, not schema.columns)


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
        layout, columns=(*layout.columns, *kinds), kinds={**layout.kinds, **kinds}
    )


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
    for name in layout.columns:
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
    packed = [path] if is_gzip(path) else []  # which only Python reads past an empty member
    try:
        for records in open_records(path, Layout("tfrecord", ()), packed).batch(_TOGETHER):
            yield from records.numpy()
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be read as TFRecords ({error.message})") from error


def _kinds_of(record: bytes) -> dict[str, str]:
    try:
        return kinds_of(record)
    except DecodeError:  # the audit counts it
        return {}
