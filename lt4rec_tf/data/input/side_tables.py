"""Side tables (users, videos): read once, held in memory, looked up by a column of the logs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.bad_rows import BadRow, shown
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.fingerprints import find, fingerprint
from lt4rec_tf.data.formats.headers import header
from lt4rec_tf.data.formats.text_rows import TextRow, text_rows, to_bytes
from lt4rec_tf.data.formats.values import id_of, id_text, single
from lt4rec_tf.schema.types import Join


@dataclass(frozen=True, eq=False)
class SideTable:
    """A side table in memory.

    Attributes:
        join: The file and its key.
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
    wanted = sorted(columns)
    rows, left_out = _rows_by_key(data_dir, join, names, [names.index(name) for name in wanted])
    if not rows:
        raise DataError(f"{data_dir / join.file}: found no usable row, expected at least one")

    tensors: dict[str, tf.Tensor] = {}
    for index, name in enumerate(wanted):
        texts = [to_bytes(values[index]) for values in rows.values()]
        tensors[name] = tf.constant(np.array([*texts, b""], object))  # last: of unknown keys

    keys = np.array([to_bytes(key) for key in rows], object)
    fingerprints = fingerprint(tf.constant(keys)).numpy()
    return SideTable(join, tensors, fingerprints, tuple(left_out))


def _rows_by_key(
    data_dir: Path, join: Join, names: Sequence[str], wanted: Sequence[int]
) -> tuple[dict[str, list[str]], list[BadRow]]:
    """Reads by key the values of the wanted columns, and the lines that are of no use."""
    key_index = names.index(join.key)
    rows: dict[str, list[str]] = {}
    left_out: list[BadRow] = []

    lines = text_rows(data_dir / join.file, join.format, len(names))
    next(lines)  # the header
    for row in lines:
        values = row.values or ()
        key = id_of(values[key_index].strip()) if len(values) == len(names) else ""
        if key and key not in rows:
            rows[key] = [values[index] for index in wanted]
        elif len(values) != len(names):
            left_out.append(_bad_row(join, row, "columns"))
        else:
            left_out.append(_bad_row(join, row, "duplicate_key" if key else "missing_key"))
    return rows, left_out


def _bad_row(join: Join, row: TextRow, reason: str) -> BadRow:
    return BadRow(join.file, row.line - 1, reason, shown(row.text))


def look_up(
    side: SideTable, keys: tf.Tensor | tf.RaggedTensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Looks rows up.

    Args:
        side: The side table.
        keys: The logs' key column.

    Returns:
        By column, strings (batch,), empty where the key is unknown; and bool (batch,): the key is
        unknown.
    """
    texts = id_text(tf.strings.strip(single(keys, tf.string).values))
    row_indices = find(side.keys, fingerprint(texts))
    values = {name: tf.gather(column, row_indices) for name, column in side.columns.items()}
    return values, row_indices == len(side.keys)
