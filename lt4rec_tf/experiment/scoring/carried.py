"""Columns that predictions carry along, as Arrow's arrays, row by row beside what was scored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.data.formats import parquet
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.partitions import values_of

_TOGETHER = 4096  # rows of Parquet that are read at a time


class ParquetColumns:
    """Columns of a Parquet file in its own types, read as many rows at a time as are asked for.

    Args:
        path: The file.
        names: The columns.
        partitions: Those of them whose value is the text of a folder's name.

    Raises:
        DataError: The file lacks one.
    """

    def __init__(self, path: Path, names: Sequence[str], partitions: Collection[str]) -> None:
        self._names = tuple(names)
        self._texts = {name: values_of(path)[name] for name in names if name in partitions}
        own = [name for name in names if name not in self._texts]
        self._batches: Iterator[Any] = iter(())
        found = parquet.columns(path)
        for name in own:
            if name not in found:
                listed = ", ".join(found)
                raise DataError(f"{path}: found no column {name!r}, expected one of {listed}")
        if own:
            self._batches = parquet.arrow_batches(path, own, _TOGETHER)
        self._rest: list[Any] = []  # record batches that are not used up

    def skip(self, rows: int) -> None:
        """Passes over rows."""
        for start in range(0, rows, _TOGETHER):
            self.next_rows(min(_TOGETHER, rows - start))

    def next_rows(self, rows: int) -> dict[str, Any]:
        """Returns the next rows by column, as chunked arrays."""
        pa = parquet.pyarrow()
        pieces, missing = [], rows if len(self._texts) < len(self._names) else 0
        while missing:
            batch = self._rest.pop() if self._rest else next(self._batches)
            pieces.append(batch.slice(0, missing))
            if len(batch) > missing:
                self._rest.append(batch.slice(missing))
            missing -= len(pieces[-1])

        table = pa.Table.from_batches(pieces) if pieces else None
        columns = {}
        for name in self._names:
            if name in self._texts:
                columns[name] = pa.array([self._texts[name] or None] * rows, pa.string())
            elif table is not None:
                columns[name] = table.column(name)
        return columns


def arrays_of(carried: Mapping[str, Mapping[str, np.ndarray]], lists: set[str]) -> dict[str, Any]:
    """Returns raw columns as arrays: texts of text files, numbers and texts of TFRecords.

    Args:
        carried: By column, "values" and perhaps "lengths", of `scoring_step`.
        lists: Columns whose lists are kept whole; of others the first value is.
    """
    columns = {}
    for name, pieces in carried.items():
        values, lengths = pieces["values"], pieces.get("lengths")
        if lengths is None:
            columns[name] = _array(values, values == b"")
        elif name in lists:
            columns[name] = _list_array(values, lengths)
        else:
            firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
            absent = lengths == 0
            padded = np.append(values, values.dtype.type() if values.dtype != object else b"")
            columns[name] = _array(padded[np.where(absent, len(values), firsts)], absent)
    return columns


def _array(values: np.ndarray, absent: np.ndarray) -> Any:
    pa = parquet.pyarrow()
    if values.dtype == object:
        return pa.array(_texts(values), pa.string(), mask=absent)
    return pa.array(values, mask=absent)


def _list_array(values: np.ndarray, lengths: np.ndarray) -> Any:
    pa = parquet.pyarrow()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, _array(values, np.zeros(len(values), bool)))


def _texts(values: np.ndarray) -> list[str]:
    """Returns bytes as texts; what is no UTF-8 as escapes."""
    return [value.decode("utf-8", "backslashreplace") for value in values]
