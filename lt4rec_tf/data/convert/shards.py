"""One log file to shards of TFRecords; what cannot be converted to quarantine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.artifacts import appearing_whole, sha256, write_json
from lt4rec_tf.data.formats.bad_rows import BadRow, shown, write
from lt4rec_tf.data.formats.column_batches import RawBatch, read_batches
from lt4rec_tf.data.formats.column_types import ColumnType, to_type
from lt4rec_tf.data.formats.discovery import same_layout
from lt4rec_tf.data.formats.examples import Ragged, encode
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.records import Layout

UNFINISHED = "unfinished"  # folder of what is known of each file until all are done
SUFFIXES = {"gzip": ".tfrecord.gz", "none": ".tfrecord"}
_BATCH_ROWS = 8192
_GZIP_LEVEL = 1  # three times as fast as the usual 6, a fifth larger


@dataclass(frozen=True)
class Job:
    """What the conversion of any of the files needs to know.

    Attributes:
        root: The folder below which the files lie.
        output_dir: Where shards go.
        layout: How records are built.
        types: By column.
        shard_bytes: Of records, before they are packed; a shard ends after it.
        compression: "gzip" or "none".
        max_bad_fraction: Of a file's rows.
    """

    root: Path
    output_dir: Path
    layout: Layout
    types: Mapping[str, ColumnType]
    shard_bytes: int
    compression: str
    max_bad_fraction: float


@dataclass(frozen=True)
class Shard:
    """A file of records; the name is relative to the output folder."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Converted:
    """A file that is done; the name is relative to the job's root."""

    name: str
    bytes: int
    sha256: str
    rows: int
    bad_rows: int
    shards: tuple[Shard, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Converted:
        """Makes one from what JSON holds of it."""
        return cls(**{**value, "shards": tuple(Shard(**shard) for shard in value["shards"])})


def result_path(output_dir: Path, place: int) -> Path:
    """Where what is known of a file that is done lies, until all are."""
    return output_dir / UNFINISHED / f"{place:05d}.json"


def quarantine_path(output_dir: Path, place: int) -> Path:
    """Where the bad rows of one file lie, until all files are done."""
    return output_dir / UNFINISHED / f"{place:05d}.quarantine.tsv"


def convert_file(job: Job, place: int, path: Path) -> Converted:
    """Converts one file; the same file gives the same shards.

    Args:
        job: What to do.
        place: The file's place among all, from 0; names its shards.
        path: The file.

    Raises:
        DataError: The file cannot be read, or too many of its rows are bad.
    """
    if job.layout.format != "parquet":
        same_layout(path, job.layout)
    name = path.relative_to(job.root).as_posix()
    shards = _Shards(job, place)
    quarantine = quarantine_path(job.output_dir, place)
    rows, bad_rows = 0, 0
    with (
        appearing_whole(quarantine) as temporary,
        temporary.open("wb") as bad_file,
        shards.open(),
    ):
        for batch in read_batches(path, job.layout, _BATCH_ROWS):
            columns, reasons = typed(job.types, batch)
            write(
                bad_file,
                (BadRow(name, rows + n + 1, why, batch.text(n)) for n, why in reasons.items()),
            )
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
    found = Converted(name, path.stat().st_size, sha256(path), rows, bad_rows, shards.done())
    write_json(result_path(job.output_dir, place), asdict(found))
    return found


def typed(
    types: Mapping[str, ColumnType], batch: RawBatch
) -> tuple[dict[str, Ragged], dict[int, str]]:
    """Turns the columns of a batch into their types.

    Returns:
        The columns, and by row that cannot be used the first reason why.
    """
    reasons = dict.fromkeys(np.flatnonzero(batch.broken).tolist(), "columns")
    columns = {}
    for name, kind in types.items():
        columns[name], bad = to_type(kind, batch.columns[name])
        for row in np.flatnonzero(bad).tolist():
            found = batch.value(name, row)
            expected = kind.number or kind.dtype
            where = shown(name.encode(), len(name))
            reasons.setdefault(row, f"{where}: found {found!r}, expected {expected}")
    return columns, dict(sorted(reasons.items()))


def _start_of(quarantine: Path, lines: int = 5) -> str:
    with quarantine.open(encoding="utf-8") as file:
        return "".join(f"  {line}" for _, line in zip(range(lines), file, strict=False)).rstrip()


class _Shards:
    """The shards of one file, written one after the other; each appears whole."""

    def __init__(self, job: Job, place: int) -> None:
        self._job = job
        self._place = place
        self._stack = contextlib.ExitStack()
        self._writer: tf.io.TFRecordWriter | None = None
        self._sizes: list[int] = []  # rows of each shard
        self._bytes = 0  # of the shard that is open

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """While this lasts, records can be written; after it, unless it fails, shards are there."""
        with self._stack:
            yield
            self._close()

    def write(self, records: Sequence[bytes]) -> None:
        """Appends records, and ends the shard when it is full."""
        if self._writer is None:
            self._open_next()
        assert self._writer is not None
        for record in records:
            self._writer.write(record)
        self._sizes[-1] += len(records)
        self._bytes += sum(map(len, records))
        if self._bytes >= self._job.shard_bytes:
            self._close()

    def done(self) -> tuple[Shard, ...]:
        """What was written."""
        found = []
        for number, rows in enumerate(self._sizes):
            path = self._path(number)
            name = path.relative_to(self._job.output_dir).as_posix()
            found.append(Shard(name, rows, path.stat().st_size, sha256(path)))
        return tuple(found)

    def _path(self, number: int) -> Path:
        suffix = SUFFIXES[self._job.compression]
        return self._job.output_dir / "shards" / f"part-{self._place:05d}-{number:04d}{suffix}"

    def _open_next(self) -> None:
        path = self._path(len(self._sizes))
        path.parent.mkdir(exist_ok=True)
        temporary = self._stack.enter_context(appearing_whole(path))
        self._stack.callback(_sync, temporary)
        packing = "GZIP" if self._job.compression == "gzip" else ""
        options = tf.io.TFRecordOptions(packing, compression_level=_GZIP_LEVEL)
        self._writer = self._stack.enter_context(tf.io.TFRecordWriter(str(temporary), options))
        self._sizes.append(0)
        self._bytes = 0

    def _close(self) -> None:
        self._stack.close()  # writes, then syncs, then renames
        self._writer = None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
