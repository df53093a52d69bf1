"""Reads every record of a data set in order, broken ones included, for code that counts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError, stamp_of
from lt4rec_tf.data.formats.record_files import (
    PYTHON,
    marked,
    open_records,
    packing_of,
    read_by_python,
    unmarked_records,
)
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

    def step(records: tf.Tensor, unparseable: tf.Tensor) -> dict[str, Any]:
        return select(examine(source, records, unparseable))

    yield from read_with(source, _traced(step), quarantine, progress)


def read_with(
    source: Source,
    step: Callable[[tf.Tensor, tf.Tensor], dict[str, Any]],
    quarantine: set[int],
    progress: Progress | None = None,
    skip: int = 0,
) -> Iterator[tuple[Path, tf.Tensor, dict[str, Any]]]:
    """Reads all records as `read_all` does, by a step of the caller's own.

    Args:
        source: Its files are read.
        step: Returns, in graph, values of records, strings (batch,), of which Examples that are
            malformed are marked, bool (batch,). Traced, or every batch is traced anew.
        quarantine: Receives the fingerprints of malformed Examples.
        progress: As `read_all` takes it.
        skip: Records of the first file that are read and not given.

    Yields:
        As `read_all`.

    Raises:
        DataError: A file is broken from some record on.
    """
    seen = 0
    for path, records in _records(source):
        if skip >= len(records):
            skip -= len(records)
            continue
        records, skip = records[skip:], 0
        records = marked(source.layout, records, source.layout.mark_of(path))
        values = _step_over_malformed(source, step, records, quarantine)
        seen += len(records)
        yield path, records, tf.nest.map_structure(lambda value: value.numpy(), values)
        if progress is not None:
            progress(path.relative_to(source.data_dir).as_posix(), seen)


def _traced(step: Callable[..., Any]) -> Callable[..., Any]:
    signature = [tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,), tf.bool)]
    return tf.function(step, input_signature=signature, autograph=False)


def _records(source: Source) -> Iterator[tuple[Path, tf.Tensor]]:
    """Gives files with their batches of records, blank lines left out, without partitions.

    Raises:
        DataError: A file is broken from some record on.
    """
    layout = source.layout
    packings = {path: packing_of(path, layout, source.odd_files) for path in source.files}
    for by_python, files in itertools.groupby(source.files, lambda p: packings[p] == PYTHON):
        if by_python:
            for path in files:
                for records in read_by_python(path, layout):
                    yield path, tf.constant(records, tf.string)
        else:
            yield from _by_tensorflow(list(files), packings, layout)


def _by_tensorflow(
    files: Sequence[Path], packings: Mapping[Path, str], layout: Layout
) -> Iterator[tuple[Path, tf.Tensor]]:
    """Reads files one after the other, by one data set: to make one costs more than a few rows."""

    def batches_of(index: tf.Tensor, path: tf.Tensor, packing: tf.Tensor) -> tf.data.Dataset:
        batches = unmarked_records(path, packing, layout).batch(_READ_TOGETHER)
        return batches.map(lambda records: (index, without_blank_lines(layout, records)))

    named = (range(len(files)), [str(path) for path in files], [packings[path] for path in files])
    read = _Read(layout, packings)
    current = 0
    try:
        batches = tf.data.Dataset.from_tensor_slices(named).flat_map(batches_of).prefetch(2)
        for index, records in batches:
            for done in files[current : int(index)]:
                read.check_end(done)
            current = int(index)
            read.add(files[current], records)
            if len(records):
                yield files[current], records
    except tf.errors.OpError as error:
        # The error names no file: it may be one behind the last that gave a batch.
        fault = next((path for path in files[current:] if _is_broken(path, layout)), files[current])
        raise DataError(
            f"{fault}: cannot be read past record {read.records[fault]} or soon after "
            f"({error.message})"
        ) from error

    for done in files[current:]:
        read.check_end(done)


class _Read:
    """Counts what was read of files, to find TFRecords that end within a frame.

    TensorFlow ignores a rest that is shorter than a frame's first part.
    """

    def __init__(self, layout: Layout, packings: Mapping[Path, str]) -> None:
        self._framed = layout.format == "tfrecord"
        self._packings = packings
        self._bytes: Counter[Path] = Counter()
        self.records: Counter[Path] = Counter()

    def add(self, path: Path, records: tf.Tensor) -> None:
        self.records[path] += len(records)
        if self._framed:
            lengths = int(tf.reduce_sum(tf.strings.length(records)))
            self._bytes[path] += lengths + _FRAME * len(records)

    def check_end(self, path: Path) -> None:
        if not self._framed or self._packings[path]:  # whose own checksums say that it is whole
            return
        rest = stamp_of(path).size - self._bytes[path]
        if rest:
            raise DataError(
                f"{path}: cannot be read past record {self.records[path]} ({rest} bytes left), "
                "expected whole records"
            )


def _is_broken(path: Path, layout: Layout) -> bool:
    try:
        for _ in open_records(path, layout).batch(_READ_TOGETHER):
            pass
    except tf.errors.OpError:
        return True
    return False


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
