"""Log files to batches of columns, whatever the format; memory is a batch's, never a file's.

Rows go through `records.parse`, which training reads with too, so that both see the same values and
refuse the same records. Parquet, whose columns have types of their own, goes through Arrow.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.core.locations import in_store
from lt4rec_tf.data.formats import parquet
from lt4rec_tf.data.formats.bad_rows import SHOWN, shown
from lt4rec_tf.data.formats.example_kinds import other_kinds, with_texts
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.files import DataError, compression
from lt4rec_tf.data.formats.odd_files import oddity
from lt4rec_tf.data.formats.partitions import values_of
from lt4rec_tf.data.formats.record_files import open_records, read_by_python
from lt4rec_tf.data.formats.records import (
    PARSE_ERRORS,
    Layout,
    OtherKinds,
    is_quarantined,
    malformed_examples,
    parse,
    without_blank_lines,
)


@dataclass(frozen=True)
class RawBatch:
    """Some rows of a file.

    Attributes:
        columns: By name; values are bytes, int64, float32 or float64.
        broken: Bool (rows,): the record could not be taken apart; it has no value in any column.
        records: The records as they came; of Parquet none.
    """

    columns: Mapping[str, Ragged]
    broken: np.ndarray
    records: np.ndarray | None = None

    def text(self, row: int) -> str:
        """Returns the start of a row, for people."""
        if self.records is not None:
            return shown(self.records[row])

        values = ", ".join(f"{name}={self.value(name, row)}" for name in self.columns)
        return shown(values.encode())

    def value(self, name: str, row: int) -> str:
        """Returns what a column holds in a row, for people."""
        values, lengths = self.columns[name]
        end = int(lengths[: row + 1].sum())
        row_values = values[end - int(lengths[row]) : end].tolist()
        return "|".join(map(_text, row_values))[:SHOWN]


def _text(value: bytes | float) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def read_batches(
    path: Path, layout: Layout, rows: int, columns: Collection[str] | None = None
) -> Iterator[RawBatch]:
    """Reads a file from its first row to its last.

    Args:
        path: The file.
        layout: Of this file, see `discovery.open_logs`.
        rows: The number of rows of a batch.
        columns: Those of the layout that are read; None: all. Rows are the same either way.

    Raises:
        DataError: The file is broken from some row on, or pyarrow, which it needs, is absent.
    """
    wanted = [name for name in layout.columns if columns is None or name in columns]
    of_names = [name for name in layout.partitions if name in wanted]
    values = {name: values_of(path)[name] for name in of_names}
    for batch in _of_file(path, layout, rows, [name for name in wanted if name not in of_names]):
        yield _with_columns(batch, values)


def _of_file(path: Path, layout: Layout, rows: int, wanted: Sequence[str]) -> Iterator[RawBatch]:
    """Reads a file's own columns."""
    layout = dataclasses.replace(layout, columns=layout.file_columns, partitions=())
    if layout.format == "parquet":
        for columns, read in parquet.batches(path, wanted, rows, layout.placed):
            yield RawBatch(columns, np.zeros(read, bool))
        return
    if layout.by_python:
        for lines in read_by_python(path, layout):
            yield _parsed(layout, tf.constant(lines, tf.string), wanted)
        return

    # A look at the first rows must not cost a reading of all: Python reads plain text unasked.
    is_plain_text = layout.form is not None and not compression(path)
    is_odd = is_plain_text or in_store(path) or oddity(path, layout.form)
    read = 0
    try:
        for records in _records(path, layout, bool(is_odd), rows).prefetch(1):
            records = without_blank_lines(layout, records)
            yield _parsed(layout, records, wanted)
            read += len(records)
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be read past record {read} ({error.message})") from error


def _records(path: Path, layout: Layout, is_odd: bool, rows: int) -> tf.data.Dataset:
    """Opens a file as batches of raw records, strings (batch,); of odd files some MiB together."""
    if not is_odd:
        return open_records(path, layout).batch(rows)
    spec = tf.TensorSpec((None,), tf.string)
    return tf.data.Dataset.from_generator(
        lambda: read_by_python(path, layout), output_signature=spec
    )


def _with_columns(batch: RawBatch, values: Mapping[str, str]) -> RawBatch:
    """Adds columns of which each holds one value in all rows."""
    columns = dict(batch.columns)
    for name, value in values.items():
        present = np.where(batch.broken | (value == ""), 0, 1)
        texts = np.full(int(present.sum()), value.encode(), object)
        columns[name] = Ragged(texts, present)
    return dataclasses.replace(batch, columns=columns)


def _parsed(layout: Layout, records: tf.Tensor, wanted: Sequence[str]) -> RawBatch:
    whole = tf.zeros_like(records, tf.bool)
    try:
        columns, broken = parse(layout, records, wanted, whole)
    except PARSE_ERRORS:  # malformed Examples are rare: they are searched for only then
        try:
            bad = malformed_examples(layout, records, wanted)
        except OtherKinds:
            return _parsed(*_of_one_kind(layout, records), wanted)
        columns, broken = parse(layout, records, wanted, is_quarantined(records, tuple(bad)))

    ragged = {name: _ragged(columns[name]) for name in wanted}
    return RawBatch(ragged, broken.numpy(), records.numpy())


def _of_one_kind(layout: Layout, records: tf.Tensor) -> tuple[Layout, tf.Tensor]:
    """Makes texts of the columns that a batch holds in another kind than the layout says."""
    kinds = dict(layout.kinds)
    for record in records.numpy():
        with contextlib.suppress(DecodeError):
            kinds |= dict.fromkeys(other_kinds(record, layout.kinds, layout.columns), "string")
    texts = [with_texts(record, kinds) for record in records.numpy()]
    return dataclasses.replace(layout, kinds=kinds), tf.constant(texts, tf.string)


def _ragged(column: tf.Tensor | tf.RaggedTensor) -> Ragged:
    if isinstance(column, tf.RaggedTensor):
        values = column.flat_values.numpy()
        lengths = column.row_lengths().numpy()
        return Ragged(values, lengths)

    present = tf.strings.length(column).numpy() > 0
    return Ragged(column.numpy()[present], present.astype(np.int64))
