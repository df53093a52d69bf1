"""The first rows of some of many log files, from which one guesses what their columns are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.data.formats import discovery
from lt4rec_tf.data.formats.column_batches import read_batches
from lt4rec_tf.data.formats.column_types import ColumnType, guess
from lt4rec_tf.data.formats.discovery import LogFiles
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.files import DataError

_MOST_FILES = 16
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Sample:
    """Some rows of the logs, in the order of the files.

    Attributes:
        columns: By name; values are bytes, int64 or float64. Broken records are left out.
        types: By name, what each column's values are.
        rows: How many rows.
        broken: How many records were left out.
        files: From how many files.
    """

    columns: dict[str, Ragged]
    types: dict[str, ColumnType]
    rows: int
    broken: int
    files: int


def take(logs: LogFiles, most_rows: int) -> Sample:
    """Reads the first rows of up to 16 files that lie evenly among all.

    Args:
        logs: From `open_logs`.
        most_rows: Of all these files together.

    Raises:
        DataError: A file cannot be read, or there is no row.
    """
    places = np.unique(np.linspace(0, len(logs.paths) - 1, _MOST_FILES).round().astype(int))
    share = -(-most_rows // len(places))
    batches: dict[str, list[Ragged]] = {name: [] for name in logs.layout.columns}
    rows, broken = 0, 0
    for path in (logs.paths[place] for place in places):
        if logs.layout.format in ("csv", "tsv"):
            discovery.same_layout(path, logs.layout)
        left = share
        for batch in read_batches(path, logs.layout, min(_BATCH_ROWS, share)):
            good = ~batch.broken
            good[left:] = False
            for name, column in batch.columns.items():
                batches[name].append(column.of_rows(good))
            rows += int(good.sum())
            broken += int(batch.broken[:left].sum())
            left -= len(good)
            if left <= 0:
                break
    if not rows:
        raise DataError(
            f"{logs.paths[0]}: found no row of {len(logs.layout.columns)} columns among the first "
            f"{broken} records, expected some; see --format and --columns"
        )
    columns = {name: _joined(parts) for name, parts in batches.items()}
    types = {name: _type_of(logs, column) for name, column in columns.items()}
    return Sample(columns, types, rows, broken, len(places))


def _joined(parts: Sequence[Ragged]) -> Ragged:
    return Ragged(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


def _type_of(logs: LogFiles, column: Ragged) -> ColumnType:
    """The guess; lists are not cut again, and what Parquet calls text stays it."""
    found = guess(column.values)
    if found.separator and column.lengths.max(initial=0) > 1:
        found = ColumnType("string")
    if logs.layout.format == "parquet" and column.values.dtype.kind == "O":
        return ColumnType("string", found.separator)
    return found
