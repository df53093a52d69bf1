"""Side tables (users, videos): read once, held in memory, looked up by a column of the logs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.bad_rows import BadRow, shown
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.fingerprints import find, fingerprint
from lt4rec_tf.data.formats.headers import header
from lt4rec_tf.data.formats.text_rows import TextRow, text_rows, to_bytes
from lt4rec_tf.data.formats.values import single
from lt4rec_tf.schema.types import Join


@dataclass(frozen=True, eq=False)
class SideTable:
    """A side table in memory.

    Attributes:
        join: Where it comes from.
        columns: By name, string tensors (rows + 1,); the last, empty row stands for unknown keys.
        keys: Fingerprints of the keys, int64 (rows,).
        left_out: Lines that are of no use: a wrong number of values ("columns"), no key
            ("missing_key"), or a key that an earlier row has ("duplicate_key").
    """

    join: Join
    columns: dict[str, tf.Tensor]
    keys: np.ndarray
    left_out: tuple[BadRow, ...]


def side_header(data_dir: Path, join: Join) -> tuple[str, ...]:
    """Reads a side table's column names.

    Raises:
        DataError: The file is absent, or the key is none of its columns.
    """
    path = data_dir / join.file
    if not path.is_file():
        raise DataError(f"{path}: found no file, expected the side table")
    names = header(path, join.format)
    if not names:
        raise DataError(f"{path}: found an empty file, expected the side table")
    if join.key not in names:
        raise DataError(
            f"{path}: found no column {join.key!r}, expected it among {', '.join(names)}"
        )
    return names


def load_side_table(data_dir: Path, join: Join, columns: Collection[str]) -> SideTable:
    """Reads a side table.

    Args:
        data_dir: The data folder.
        join: The file and its key.
        columns: The columns that are needed; the file must have them.

    Raises:
        DataError: The file cannot be read, or holds no row.
    """
    names = side_header(data_dir, join)
    key = names.index(join.key)
    wanted = {name: names.index(name) for name in sorted(columns)}
    rows: dict[str, list[str]] = {}
    left_out: list[BadRow] = []
    lines = text_rows(data_dir / join.file, join.format)
    next(lines)
    for row in lines:
        values = row.values or ()
        mark = values[key].strip() if len(values) == len(names) else ""
        if mark and mark not in rows:
            rows[mark] = [values[place] for place in wanted.values()]
        elif len(values) != len(names):
            left_out += _left_out(join, row, "columns")
        else:
            left_out += _left_out(join, row, "duplicate_key" if mark else "missing_key")
    if not rows:
        raise DataError(f"{data_dir / join.file}: found no usable row, expected at least one")
    found = zip(*rows.values(), strict=True) if wanted else ()
    texts = [np.array([to_bytes(text) for text in (*column, "")], object) for column in found]
    marks = np.array([to_bytes(mark) for mark in rows], object)
    return SideTable(
        join=join,
        columns={name: tf.constant(text) for name, text in zip(wanted, texts, strict=True)},
        keys=fingerprint(tf.constant(marks)).numpy(),
        left_out=tuple(left_out),
    )


def _left_out(join: Join, row: TextRow, reason: str) -> list[BadRow]:
    """A row's lines, each by itself: a quote that is not closed may have taken up good ones."""
    return [
        BadRow(join.file, row.line - 1 + place, reason, shown(to_bytes(line)))
        for place, line in enumerate(row.lines)
    ]


def look_up(
    side: SideTable, keys: tf.Tensor | tf.RaggedTensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Looks rows up.

    Args:
        side: The side table.
        keys: The logs' key column.

    Returns:
        By column, strings (batch,), empty where the key is unknown; and bool (batch,): it is.
    """
    place = find(side.keys, fingerprint(tf.strings.strip(single(keys, tf.string).values)))
    values = {name: tf.gather(column, place) for name, column in side.columns.items()}
    return values, place == len(side.keys)
