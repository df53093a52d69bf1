"""Files to raw records: by TensorFlow where it reads them as they are, else by Python."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.locations import in_store
from lt4rec_tf.data.formats import json_lines, parquet_lines
from lt4rec_tf.data.formats.example_kinds import with_texts
from lt4rec_tf.data.formats.files import compression
from lt4rec_tf.data.formats.numbered_batches import NumberedBatches
from lt4rec_tf.data.formats.odd_files import read_records
from lt4rec_tf.data.formats.records import Layout, without_blank_lines

_TOGETHER = 4096  # records
_MARKED = 256  # records
PYTHON = "PYTHON"  # in place of a file's compression: Python reads it


def open_records(path: Path, layout: Layout, odd_files: Collection[Path] = ()) -> tf.data.Dataset:
    """Opens one file as a data set of raw records, strings (), without its partitions.

    Args:
        path: The file.
        layout: The structure of its records.
        odd_files: The files that Python reads, see `odd_files.oddity`.
    """
    packing = packing_of(path, layout, odd_files)
    if packing == PYTHON:
        return _by_python(layout).dataset(tf.constant(str(path)))
    return _native(str(path), packing, layout)


def packing_of(path: Path, layout: Layout, odd_files: Collection[Path]) -> str:
    """Returns a file's compression as tf.data names it, or `PYTHON`."""
    if layout.by_python or path in odd_files or in_store(path):
        return PYTHON
    return "GZIP" if compression(path) == "gzip" else ""


def records_of(
    path: tf.Tensor, packing: tf.Tensor, mark: tf.Tensor, layout: Layout, any_odd: bool
) -> tf.data.Dataset:
    """Opens one file in graph.

    Args:
        path: String ().
        packing: String (), of `packing_of`.
        mark: String (), of `Layout.mark_of`.
        layout: The structure of its records.
        any_odd: False: no packing is `PYTHON`, unless all are.
    """
    records = unmarked_records(path, packing, layout, any_odd)
    if not layout.partitions:
        return records
    return records.batch(_MARKED).map(lambda some: marked(layout, some, mark)).unbatch()


def marked(layout: Layout, records: tf.Tensor, mark: tf.Tensor | bytes) -> tf.Tensor:
    """Adds a file's partitions to records, strings (batch,), and leaves out blank lines."""
    if not layout.partitions:
        return records
    records = without_blank_lines(layout, records)
    first, last = (mark, records) if layout.format == "tfrecord" else (records, mark)
    return tf.strings.join([first, last])


def unmarked_records(
    path: tf.Tensor, packing: tf.Tensor, layout: Layout, any_odd: bool = False
) -> tf.data.Dataset:
    """Opens one file in graph, see `records_of`, without its partitions."""
    if layout.by_python:
        return _by_python(layout).dataset(path)
    if not any_odd:
        return _native(path, packing, layout)

    # A graph cannot choose between data sets: it joins them, and one of them has no file.
    is_odd = packing == PYTHON
    native = _native(path[None][~is_odd[None]], tf.where(is_odd, "", packing), layout)
    return native.concatenate(_by_python(layout).dataset(path, when=is_odd))


def _by_python(layout: Layout) -> NumberedBatches:
    return NumberedBatches(lambda path: read_by_python(path, layout))


def _native(
    paths: str | tf.Tensor, compression: str | tf.Tensor, layout: Layout
) -> tf.data.TFRecordDataset | tf.data.Dataset:
    if layout.format == "tfrecord":
        return tf.data.TFRecordDataset(paths, compression)
    return tf.data.TextLineDataset(paths, compression).skip(layout.header_lines)


def read_by_python(path: Path, layout: Layout) -> Iterator[np.ndarray]:
    """Reads the records of any file, bytes in arrays of objects, without its partitions.

    Raises:
        DataError: The file is broken from some record on.
    """
    if layout.format == "parquet":
        yield from parquet_lines.read_lines(
            path, layout.file_columns, layout.ids, _TOGETHER, layout.placed
        )
    elif layout.format == "jsonl":
        yield from json_lines.read_lines(
            path, layout.file_columns, layout.listed, _TOGETHER, layout.placed
        )
    else:
        yield from _read_odd(path, layout)


def _read_odd(path: Path, layout: Layout) -> Iterator[np.ndarray]:
    if layout.format == "tfrecord" and not compression(path) and not in_store(path):
        batches = _native(str(path), "", layout).batch(_TOGETHER).as_numpy_iterator()
    else:
        batches = read_records(path, layout.form, layout.header_lines)

    wants_texts = layout.format == "tfrecord" and "string" in layout.kinds.values()
    for records in batches:
        if wants_texts:
            yield np.array([with_texts(record, layout.kinds) for record in records], object)
        else:
            yield records
