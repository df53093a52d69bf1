"""Columns of a split's rows, joined batch by batch: in memory, of many rows in files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from lt4rec_tf.core.errors import naming_the_unwritable

ROWS_IN_MEMORY = 1 << 24  # of a split; the columns of more lie in files
_LEAST = 1 << 12  # rows by which a column grows


def joined(pieces: Iterable[Sequence[np.ndarray]], dtypes: Sequence[type]) -> list[np.ndarray]:
    """Concatenates each column over the batches of a split.

    Columns of more than `ROWS_IN_MEMORY` rows lie in files of the folder for temporary files, which
    have no name there: they go with the process, however it ends.

    Args:
        pieces: Of each batch its columns, (batch,).
        dtypes: Of the columns.

    Returns:
        The columns, (rows,); those in files can only be read.

    Raises:
        UnwritableError: The folder for temporary files is full.
    """
    columns = [_Column(dtype) for dtype in dtypes]
    for arrays in pieces:
        for column, values in zip(columns, arrays, strict=True):
            column.add(np.asarray(values))
    return [column.whole() for column in columns]


class _Column:
    """A column that grows."""

    def __init__(self, dtype: type) -> None:
        self._array: np.ndarray = np.empty(0, dtype)
        self._rows = 0
        self._file: IO[bytes] | None = None

    def add(self, values: np.ndarray) -> None:
        """Adds rows, (n,)."""
        rows = self._rows + len(values)
        if self._file is None and rows > ROWS_IN_MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it outlives this call
            self._write(self._array[: self._rows])
            self._array = self._array[:0].copy()
        if self._file is not None:
            self._write(values.astype(self._array.dtype, copy=False))
        else:
            if rows > len(self._array):  # grows where it lies, or is moved there page by page
                self._array.resize(max(rows, rows * 9 // 8, _LEAST), refcheck=False)
            self._array[self._rows : rows] = values
        self._rows = rows

    def whole(self) -> np.ndarray:
        """Returns all rows; none can be added afterwards."""
        if self._file is None:
            self._array.resize(self._rows, refcheck=False)
            return self._array
        with self._file as file:
            file.flush()
            return np.memmap(file, self._array.dtype, "r", shape=(self._rows,))

    def _write(self, values: np.ndarray) -> None:
        assert self._file is not None
        with naming_the_unwritable(Path(tempfile.gettempdir())):
            self._file.write(np.ascontiguousarray(values).data)
