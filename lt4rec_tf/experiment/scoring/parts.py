"""Parts of predictions: Parquet, CSV or TFRecord files that appear whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.artifacts import appearing_whole
from lt4rec_tf.core.errors import as_unwritable
from lt4rec_tf.data.formats import parquet
from lt4rec_tf.data.formats.examples import Ragged, encode
from lt4rec_tf.data.formats.files import DataError

SUFFIXES = {"parquet": ".parquet", "csv": ".csv", "tfrecord": ".tfrecord.gz"}
_WRITTEN_TOGETHER = 1 << 16  # rows, a row group of Parquet
_GZIP_LEVEL = 1  # as conversion packs shards

WriteTable = Callable[[Any], None]


class PartWriter:
    """Writes the rows of one part; the file appears when the block ends.

    Args:
        path: The part.
        file_format: One of `SUFFIXES`.
    """

    def __init__(self, path: Path, file_format: str) -> None:
        self._path, self._format = path, file_format
        self._tables: list[Any] = []
        self._write: WriteTable | None = None
        self._stack = contextlib.ExitStack()
        self.rows = 0
        self._held = 0

    def __enter__(self) -> PartWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self._stack.enter_context(appearing_whole(self._path))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            with self._stack:
                self._flush()
        else:
            self._stack.__exit__(kind, error, trace)

    def add(self, columns: Mapping[str, Any]) -> None:
        """Appends rows, given as Arrow's arrays by column."""
        table = parquet.pyarrow().table(dict(columns))
        self._tables.append(table)
        self._held += len(table)
        self.rows += len(table)
        if self._held >= _WRITTEN_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if not self._tables:
            return
        pa = parquet.pyarrow()
        table = pa.concat_tables(self._tables).combine_chunks()
        self._tables, self._held = [], 0
        try:
            if self._write is None:
                opened = _WRITERS[self._format](self._temporary, table.schema, self._path)
                self._write = self._stack.enter_context(opened)
            self._write(table)
        except pa.ArrowException as error:
            if as_unwritable(error) is not None:
                raise
            raise DataError(
                f"{self._path}: cannot be written with --format={self._format} ({error}); expected "
                "id columns that it can hold"
            ) from error


@contextlib.contextmanager
def _parquet_writer(temporary: Path, schema: Any, path: Path) -> Iterator[WriteTable]:
    with parquet.pyarrow().parquet.ParquetWriter(temporary, schema) as writer:
        yield writer.write_table


@contextlib.contextmanager
def _csv_writer(temporary: Path, schema: Any, path: Path) -> Iterator[WriteTable]:
    import pyarrow.csv

    pa = parquet.pyarrow()
    fields = [(field.name, _csv_type(field, path)) for field in schema]
    with pyarrow.csv.CSVWriter(temporary, pa.schema(fields)) as writer:
        yield lambda table: writer.write_table(table.cast(pa.schema(fields)))


def _csv_type(field: Any, path: Path) -> Any:
    """Returns the type in which a column is written to CSV.

    Raises:
        DataError: It holds lists or records, which one value of CSV cannot be.
    """
    pa = parquet.pyarrow()
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_nested(kind):
        raise DataError(
            f"{path}: column {field.name}: found the type {kind}, expected single values with "
            "--format=csv"
        )
    return pa.string() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else kind


@contextlib.contextmanager
def _tfrecord_writer(temporary: Path, schema: Any, path: Path) -> Iterator[WriteTable]:
    found = parquet.columns_of(schema, str(path))
    for name, column in found.items():
        if not column.kind:
            raise DataError(
                f"{path}: column {name}: found the type {column.arrow_type}, expected a number, a "
                "text, a time, or a list of these with --format=tfrecord"
            )
    options = tf.io.TFRecordOptions("GZIP", compression_level=_GZIP_LEVEL)
    with tf.io.TFRecordWriter(str(temporary), options) as writer:

        def write(table: Any) -> None:
            columns = {name: _ragged(table, name, column) for name, column in found.items()}
            for record in encode(columns):
                writer.write(record)

        yield write


def _ragged(table: Any, name: str, column: parquet.Column) -> Ragged:
    array = table.column(name).combine_chunks()
    values, lengths = parquet.ragged_of(array, column)
    return Ragged(values.astype(np.float32) if values.dtype.kind == "f" else values, lengths)


_WRITERS = {"parquet": _parquet_writer, "csv": _csv_writer, "tfrecord": _tfrecord_writer}
