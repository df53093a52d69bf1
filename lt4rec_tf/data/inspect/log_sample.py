"""A sample of logs: the first rows of some files, from which the types of columns are guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.data.formats import discovery
from lt4rec_tf.data.formats.column_batches import RawBatch, read_batches
from lt4rec_tf.data.formats.column_types import ColumnType, guess, to_type
from lt4rec_tf.data.formats.discovery import LogFiles
from lt4rec_tf.data.formats.examples import Ragged, drop_texts
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.null_marks import MARKS, NO_WORDS
from lt4rec_tf.data.formats.records import Layout

_MOST_FILES = 16
_BATCH_ROWS = 4096
_NO_WORDS, _NULLS = ({mark.encode() for mark in marks} for marks in (NO_WORDS, MARKS))


@dataclass(frozen=True)
class Sample:
    """Some rows of the logs, in the order of the files.

    Attributes:
        columns: By name; values are bytes, int64, float32 or float64. Broken records are left out.
        types: By name, the type of each column's values.
        rows: Number of rows.
        broken: Number of records that were left out.
        files: Number of files from which the rows come.
        nulls: Texts that stand for absent values, which the columns are without.
    """

    columns: dict[str, Ragged]
    types: dict[str, ColumnType]
    rows: int
    broken: int
    files: int
    nulls: tuple[str, ...] = ()


def take(logs: LogFiles, most_rows: int) -> Sample:
    """Reads the first rows of up to 16 files that lie evenly among all.

    Args:
        logs: From `open_logs`.
        most_rows: Of all these files together, 1 or more.

    Raises:
        DataError: A file cannot be read, or there is no row.
    """
    indices = np.unique(np.linspace(0, len(logs.paths) - 1, _MOST_FILES).round().astype(int))
    rows_per_file = -(-most_rows // len(indices))  # rounded up

    parts: dict[str, list[Ragged]] = {name: [] for name in logs.layout.columns}
    rows, broken = 0, 0
    for index in indices:
        for batch, first in _first_batches(logs.paths[index], logs.layout, rows_per_file):
            usable = ~batch.broken
            usable[first:] = False
            for name, column in batch.columns.items():
                parts[name].append(column.of_rows(usable))
            rows += int(usable.sum())
            broken += int(batch.broken[:first].sum())

    if not rows:
        raise DataError(
            f"{logs.paths[0]}: found no row of {len(logs.layout.columns)} columns among the first "
            f"{broken} records, expected some; see --format and --columns"
        )
    columns = {name: _joined(column_parts) for name, column_parts in parts.items()}
    nulls = sorted(set().union(*map(_nulls_of, columns.values())))
    columns = {name: drop_texts(column, nulls) for name, column in columns.items()}

    types = {name: _type_of(logs.layout, name, column) for name, column in columns.items()}
    texts = tuple(text.decode() for text in nulls)
    return Sample(columns, types, rows, broken, len(indices), texts)


def _first_batches(path: Path, layout: Layout, rows: int) -> Iterator[tuple[RawBatch, int]]:
    """Reads the first rows of a file.

    Yields:
        A batch, and how many of its records are among the first `rows` of the file.
    """
    if layout.format in ("csv", "tsv"):
        discovery.same_layout(path, layout)

    left = rows
    for batch in read_batches(path, layout, min(_BATCH_ROWS, rows)):
        read = len(batch.broken)
        yield batch, min(left, read)
        left -= read
        if left <= 0:
            return


def _joined(parts: Sequence[Ragged]) -> Ragged:
    """Joins a column's batches; files may hold it in several types, of which one holds all."""
    kinds = {part.values.dtype.kind for part in parts if len(part.values)}
    if len(kinds) > 1:
        typed = [to_type(ColumnType("int64"), part) for part in parts]
        if "O" in kinds or any(bad.any() for _, bad in typed):
            typed = [to_type(ColumnType("string"), part) for part in parts]
        parts = [part for part, _ in typed]

    lengths = np.concatenate([part.lengths for part in parts])
    values = [part.values for part in parts if len(part.values)] or [parts[0].values]
    return Ragged(np.concatenate(values), lengths)


def _nulls_of(column: Ragged) -> set[bytes]:
    """Finds the texts of a column that stand for absent values.

    Some are no words of any language. Others, such as NA, may be: these are found by a column whose
    other values are all numbers.
    """
    if column.values.dtype.kind != "O":
        return set()
    distinct = set(column.values.tolist())
    nulls, others = distinct & _NULLS, distinct - _NULLS
    if nulls and others and guess(np.array(sorted(others), object)).dtype != "string":
        return nulls
    return nulls & _NO_WORDS


def _type_of(layout: Layout, name: str, column: Ragged) -> ColumnType:
    """Guesses a column's type; lists are not cut again, and texts of Parquet stay texts.

    A column of Parquet that other files declare as text is text, whatever the sample holds.
    """
    guessed = guess(column.values)
    if guessed.separator and column.lengths.max(initial=0) > 1:
        guessed = ColumnType("string")
    if layout.format == "parquet" and layout.kinds[name] == "text":
        return ColumnType("string", guessed.separator)
    return guessed
