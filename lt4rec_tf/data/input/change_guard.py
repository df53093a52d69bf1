"""Refuses logs that changed after the audit, so that no row comes or goes without notice.

TensorFlow takes a text file that was cut off for one that ends there, and names no file where a
TFRecord is damaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError, stamp_of
from lt4rec_tf.data.formats.record_files import open_records
from lt4rec_tf.data.formats.records import PARSE_ERRORS
from lt4rec_tf.data.input.source import Source

_READ_TOGETHER = 4096  # records
_ADVICE = (
    "put it back as it was and give the same command again, or begin another run: "
    "logs must not change while a run reads them"
)
# What reading and parsing raise where files are at fault.
_READ_ERRORS = (
    *PARSE_ERRORS,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
)


def refuse_changed(source: Source, files: Iterable[Path]) -> None:
    """Compares files with what they were when the source was opened, by size and time of writing.

    Raises:
        DataError: One is gone or was written to; names it, and what to do.
    """
    for path in files:
        try:
            now = stamp_of(path)
        except DataError as error:
            raise DataError(f"{error}: it was there when the run began; {_ADVICE}") from error
        before = source.stamps[path]
        if now != before:
            sizes = f"{now.size} bytes, before {before.size}"
            raise DataError(f"{path}: found it changed since the run began ({sizes}); {_ADVICE}")


@dataclass(frozen=True, eq=False)
class Reading:
    """Batches of a split, which end only where all rows that the audit counted were read.

    Attributes:
        source: The audited logs.
        files: The files that are read.
        batches: The batches that are read from them.
        rows: The number of rows that the batches must hold; None: any.
    """

    source: Source
    files: Sequence[Path]
    batches: tf.data.Dataset
    rows: int | None

    @property
    def element_spec(self) -> Any:
        """Returns the structure of a batch, as `tf.data.Dataset.element_spec` does."""
        return self.batches.element_spec

    def __iter__(self) -> Iterator[Any]:
        """Reads once.

        Raises:
            DataError: A file is gone, was changed, or can no longer be read; names it.
        """
        refuse_changed(self.source, self.files)

        read = 0
        try:
            for batch in self.batches:
                read += int(tf.nest.flatten(batch)[0].shape[0])
                yield batch
        except _READ_ERRORS as error:
            fault = fault_of(self.source, self.files, error) or DataError(
                f"{_named(self.files)}: cannot be read as the audit did ({error})"
            )
            raise fault from error

        refuse_changed(self.source, self.files)
        if self.rows is not None and read != self.rows:
            raise DataError(
                f"{_named(self.files)}: found {read} usable rows where the audit found "
                f"{self.rows}; {_ADVICE}"
            )


def fault_of(source: Source, files: Sequence[Path], error: Exception) -> DataError | None:
    """Finds the file that changed or cannot be read any more, after a pass over files failed.

    Args:
        source: The audited logs.
        files: The files that were read.
        error: The error of the pass.

    Returns:
        An error that names the file; None: no file is at fault.
    """
    if not isinstance(error, _READ_ERRORS):
        return None

    try:
        refuse_changed(source, files)
    except DataError as changed:
        return changed

    for path in files:
        try:
            for _ in open_records(path, source.layout, source.odd_files).batch(_READ_TOGETHER):
                pass
        except tf.errors.OpError as fault:
            return DataError(
                f"{path}: cannot be read any more, though the audit could ({fault.message}); "
                f"{_ADVICE}"
            )
    return None


def _named(files: Sequence[Path]) -> str:
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ", ".join(str(path) for path in files[:3]) + more
