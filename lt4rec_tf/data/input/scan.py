"""Reads every record of a data set in order, broken ones included, for code that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError, compression, stamp_of
from lt4rec_tf.data.formats.record_files import marked, open_records, read_by_python
from lt4rec_tf.data.formats.records import (
    PARSE_ERRORS,
    Layout,
    is_quarantined,
    malformed_examples,
    without_blank_lines,
)
from lt4rec_tf.data.input.parsed_rows import Rows, examine
from lt4rec_tf.data.input.source import Source

_READ_TOGETHER = 4096  # records
_FRAME = 16  # bytes around a TFRecord's content: its length, and two checksums

Progress = Callable[[str, int], None]


def read_all(
    source: Source,
    select: Callable[[Rows], dict[str, Any]],
    quarantine: set[int],
    progress: Progress | None = None,
) -> Iterator[tuple[Path, tf.Tensor, dict[str, Any]]]:
    """Reads all records of all files, in order.

    Args:
        source: From `open_source`.
        select: Returns, in graph, the wanted values of a batch of rows.
        quarantine: Receives the fingerprints of malformed Examples.
        progress: Called after each batch with the file and the records read so far.

    Yields:
        (file, records, selected values as NumPy arrays) for each batch.

    Raises:
        DataError: A file is broken from some record on.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,), tf.bool)],
        autograph=False,
    )
    def step(records: tf.Tensor, unparseable: tf.Tensor) -> dict[str, Any]:
        return select(examine(source, records, unparseable))

    seen = 0
    for path in source.files:
        for records in _records(source, path):
            values = _step_over_malformed(source, step, records, quarantine)
            seen += len(records)
            yield path, records, tf.nest.map_structure(lambda value: value.numpy(), values)
            if progress is not None:
                progress(path.relative_to(source.data_dir).as_posix(), seen)


def _records(source: Source, path: Path) -> Iterator[tf.Tensor]:
    """Gives a file's batches of records, with its partitions.

    Raises:
        DataError: The file is broken from some record on.
    """
    layout = source.layout
    batches: Iterator[tf.Tensor]
    if layout.by_python:
        batches = (tf.constant(lines, tf.string) for lines in read_by_python(path, layout))
    else:
        opened = open_records(path, layout, source.odd_files).batch(_READ_TOGETHER).prefetch(2)
        framed = layout.format == "tfrecord" and path not in source.odd_files
        batches = _read(path, layout, framed, opened)

    mark = layout.mark_of(path)
    for records in batches:
        yield marked(layout, records, mark)


def _read(
    path: Path, layout: Layout, framed: bool, batches: tf.data.Dataset
) -> Iterator[tf.Tensor]:
    """Gives a file's batches of records.

    Args:
        path: The file.
        layout: The structure of its records.
        framed: True if records are as they stand in a file of TFRecords.
        batches: Its records.

    Raises:
        DataError: The file is broken from some record on.
    """
    read = size = 0  # records, bytes
    try:
        for records in batches:
            if len(rows := without_blank_lines(layout, records)):
                yield rows
            read += len(records)
            if framed:
                lengths = tf.strings.length(records)
                size += int(tf.reduce_sum(lengths)) + _FRAME * len(records)
    except tf.errors.OpError as error:
        raise DataError(
            f"{path}: cannot be read past record {read} or soon after ({error.message})"
        ) from error

    if not framed or compression(path):  # whose own checksums say that it is whole
        return
    rest = stamp_of(path).size - size
    if rest:  # TensorFlow ignores a rest that is shorter than a frame's first part
        raise DataError(
            f"{path}: cannot be read past record {read} ({rest} bytes left), expected whole records"
        )


def _step_over_malformed(
    source: Source, step: Callable[..., Any], records: tf.Tensor, quarantine: set[int]
) -> Any:
    """Runs a step; where it fails, finds the malformed Examples and runs it again without them."""
    try:
        return step(records, tf.zeros_like(records, tf.bool))
    except PARSE_ERRORS:
        if source.layout.format != "tfrecord":
            raise

    quarantine.update(malformed_examples(source.layout, records, source.columns))
    return step(records, is_quarantined(records, tuple(quarantine)))
