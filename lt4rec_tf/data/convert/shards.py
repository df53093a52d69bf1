"""Converts one log file to shards of TFRecords, and its bad rows to quarantine."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.artifacts import appearing_whole, sha256, write_json
from lt4rec_tf.data.convert.history_lists import Histories, open_histories
from lt4rec_tf.data.convert.history_settings import History
from lt4rec_tf.data.formats.bad_rows import BadRow, shown, write
from lt4rec_tf.data.formats.column_batches import RawBatch, read_batches
from lt4rec_tf.data.formats.column_types import ColumnType, to_type
from lt4rec_tf.data.formats.discovery import same_layout
from lt4rec_tf.data.formats.examples import Ragged, drop_texts, encode
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.input.filters import left_out
from lt4rec_tf.schema.types import JSON_LISTS, Filter

UNFINISHED = "unfinished"  # folder of the results of single files until all are done
SUFFIXES = {"gzip": ".tfrecord.gz", "none": ".tfrecord"}
_BATCH_ROWS = 8192
_GZIP_LEVEL = 1  # three times as fast as the usual 6, a fifth larger


@dataclass(frozen=True)
class Job:
    """Settings of a conversion, which all of its files share.

    Attributes:
        root: The folder below which the files lie.
        output_dir: The folder of the shards.
        layout: The structure of the files' records.
        types: By column the type in which shards hold it.
        shard_bytes: Bytes of records, before they are packed, after which a shard ends.
        compression: "gzip" or "none".
        max_bad_fraction: Share of a file's rows, in [0, 1], that may go to quarantine.
        nulls: By column texts that stand for absent values.
        filters: Of the schema: a row that one of them leaves out is no bad row.
        history: What past events rows get as lists; None: none.
    """

    root: Path
    output_dir: Path
    layout: Layout
    types: Mapping[str, ColumnType]
    shard_bytes: int
    compression: str
    max_bad_fraction: float
    nulls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    filters: tuple[Filter, ...] = ()
    history: History | None = None


@dataclass(frozen=True)
class Shard:
    """A file of records; the name is relative to the output folder."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Converted:
    """The result of one file; the name is relative to the job's root."""

    name: str
    bytes: int
    sha256: str
    rows: int
    bad_rows: int
    shards: tuple[Shard, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Converted:
        """Makes a result from its fields in JSON."""
        return cls(**{**value, "shards": tuple(Shard(**shard) for shard in value["shards"])})


def result_path(output_dir: Path, index: int) -> Path:
    """Returns the path of one file's result, which is kept until all files are done."""
    return output_dir / UNFINISHED / f"{index:05d}.json"


def history_dir(output_dir: Path) -> Path:
    """Returns the folder of histories, which are kept until all files are done."""
    return output_dir / UNFINISHED / "history"


def quarantine_path(output_dir: Path, index: int) -> Path:
    """Returns the path of one file's bad rows, which are kept until all files are done."""
    return output_dir / UNFINISHED / f"{index:05d}.quarantine.tsv"


def convert_file(job: Job, index: int, path: Path) -> Converted:
    """Converts one file; the same file gives the same shards.

    Args:
        job: Settings of the conversion.
        index: The file's index among all, from 0; names its shards.
        path: The file.

    Raises:
        DataError: The file cannot be read, or too many of its rows are bad.
    """
    if job.layout.format != "parquet":
        same_layout(path, job.layout)

    name = path.relative_to(job.root).as_posix()
    quarantine = quarantine_path(job.output_dir, index)
    shards = _ShardWriter(job, index)
    histories = _histories(job, index)
    rows, bad_rows = 0, 0
    with (
        appearing_whole(quarantine) as temporary,
        temporary.open("wb") as bad_file,
        shards.open(),
    ):
        for batch in read_batches(path, job.layout, _BATCH_ROWS):
            columns, reasons = typed(job.types, _without_nulls(batch, job.nulls), job.filters)
            if histories is not None:
                columns |= histories.next_rows(len(batch.broken))
            write(bad_file, _bad_rows(name, rows, batch, reasons))
            rows += len(batch.broken)
            bad_rows += len(reasons)

            good = np.ones(len(batch.broken), bool)
            good[list(reasons)] = False
            if good.any():
                shards.write(encode({key: col.of_rows(good) for key, col in columns.items()}))

    if bad_rows > job.max_bad_fraction * rows:
        raise DataError(
            f"{path}: found {bad_rows} bad rows of {rows}, expected at most a fraction "
            f"{job.max_bad_fraction}. The first:\n{_start_of(quarantine)}"
        )
    result = Converted(name, path.stat().st_size, sha256(path), rows, bad_rows, shards.written())
    write_json(result_path(job.output_dir, index), asdict(result))
    return result


def _histories(job: Job, index: int) -> Histories | None:
    if job.history is None:
        return None
    return open_histories(job.history, history_dir(job.output_dir), index)


def _bad_rows(
    file: str, rows_before: int, batch: RawBatch, reasons: Mapping[int, str]
) -> Iterator[BadRow]:
    for row, reason in reasons.items():
        yield BadRow(file, rows_before + row + 1, reason, batch.text(row))


def _without_nulls(batch: RawBatch, nulls: Mapping[str, Sequence[str]]) -> RawBatch:
    columns = {}
    for name, column in batch.columns.items():
        columns[name] = drop_texts(column, {text.encode() for text in nulls.get(name, ())})
    return dataclasses.replace(batch, columns=columns)


def typed(
    types: Mapping[str, ColumnType], batch: RawBatch, filters: Sequence[Filter] = ()
) -> tuple[dict[str, Ragged], dict[int, str]]:
    """Turns the columns of a batch into their types.

    Args:
        types: By column.
        batch: Columns as they were read.
        filters: Those of columns of side tables leave nothing out here. A row that is left out can
            always be used: what does not fit is absent.

    Returns:
        The columns, and by row that cannot be used the first reason why.
    """
    reasons = dict.fromkeys(np.flatnonzero(batch.broken).tolist(), "columns")
    columns, bad_rows_of = {}, {}
    for name, kind in types.items():
        columns[name], bad_rows_of[name] = to_type(kind, batch.columns[name])

    unwanted = _left_out(filters, columns, batch.broken)
    for name, kind in types.items():
        columns[name] = columns[name].emptied(bad_rows_of[name] & unwanted)
        bad = bad_rows_of[name] & ~unwanted
        shown_name = shown(name.encode(), len(name))
        listed = "a JSON list of " if kind.separator == JSON_LISTS else ""
        expected = f"{listed}{kind.number or kind.dtype}"
        for row in np.flatnonzero(bad).tolist():
            value = batch.value(name, row)
            reasons.setdefault(row, f"{shown_name}: found {value!r}, expected {expected}")
    return columns, dict(sorted(reasons.items()))


def _left_out(
    filters: Sequence[Filter], columns: Mapping[str, Ragged], broken: np.ndarray
) -> np.ndarray:
    """Tells of each row, bool (rows,), if a filter leaves it out."""
    of_logs = [rule for rule in filters if rule.column in columns]
    if not of_logs:
        return np.zeros(len(broken), bool)
    ragged = {}
    for name in {rule.column for rule in of_logs}:
        values, lengths = columns[name]
        ragged[name] = tf.RaggedTensor.from_row_lengths(tf.constant(values, tf.string), lengths)
    return left_out(of_logs, ragged, tf.constant(broken)).by.numpy() >= 0


def _start_of(quarantine: Path, lines: int = 5) -> str:
    with quarantine.open(encoding="utf-8") as file:
        return "".join(f"  {line}" for line in itertools.islice(file, lines)).rstrip()


class _ShardWriter:
    """Writes the shards of one file, one after the other; each appears whole."""

    def __init__(self, job: Job, index: int) -> None:
        self._job = job
        self._index = index
        self._stack = contextlib.ExitStack()
        self._writer: tf.io.TFRecordWriter | None = None
        self._sizes: list[int] = []  # rows of each shard
        self._bytes = 0  # of the shard that is open

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Allows records to be written within a block; a block that fails leaves no half shard."""
        with self._stack:
            yield
            self._close()

    def write(self, records: Sequence[bytes]) -> None:
        """Appends records, and ends the shard when it is full."""
        if self._writer is None:
            self._writer = self._next_writer()

        for record in records:
            self._writer.write(record)
        self._sizes[-1] += len(records)
        self._bytes += sum(map(len, records))
        if self._bytes >= self._job.shard_bytes:
            self._close()

    def written(self) -> tuple[Shard, ...]:
        """Returns all shards, after the block."""
        shards = []
        for number, rows in enumerate(self._sizes):
            path = self._path(number)
            name = path.relative_to(self._job.output_dir).as_posix()
            shards.append(Shard(name, rows, path.stat().st_size, sha256(path)))
        return tuple(shards)

    def _path(self, number: int) -> Path:
        suffix = SUFFIXES[self._job.compression]
        return self._job.output_dir / "shards" / f"part-{self._index:05d}-{number:04d}{suffix}"

    def _next_writer(self) -> tf.io.TFRecordWriter:
        path = self._path(len(self._sizes))
        path.parent.mkdir(exist_ok=True)
        self._sizes.append(0)
        self._bytes = 0

        # Closed in reverse: the writer, then the renaming.
        temporary = self._stack.enter_context(appearing_whole(path))
        packing = "GZIP" if self._job.compression == "gzip" else ""
        options = tf.io.TFRecordOptions(packing, compression_level=_GZIP_LEVEL)
        return self._stack.enter_context(tf.io.TFRecordWriter(str(temporary), options))

    def _close(self) -> None:
        self._stack.close()
        self._writer = None
