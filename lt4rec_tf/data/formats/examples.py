"""Rows to serialized `tf.train.Example`: a whole batch of columns, or one row.

`encode` is for logs of any size. It builds an Example from pieces that hold one text a row; joining
them costs NumPy operations by the column, none by the row. `tf.io.encode_proto` does the same at a
third of the speed. `encode_row` is for few rows.

The two agree in the values that a reader finds, not in bytes: `encode` writes columns in their
order and numbers one by one, protocol buffers write them sorted by name and packed. The client in
`export/` has a writer of its own, because it runs without this package and without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Wire format: (field number << 3) | type. example.proto and feature.proto of TensorFlow.
_FIRST_FIELD = b"\x0a"  # Example.features, Features.feature, a map's key, a Feature's bytes_list
_MAP_VALUE = b"\x12"
_LIST_OF_KIND = {"O": b"\x0a", "f": b"\x12", "i": b"\x1a"}  # bytes_list, float_list, int64_list
_VALUE_OF_KIND = {"O": b"\x0a", "f": b"\x0d", "i": b"\x08"}


class Ragged(NamedTuple):
    """A column of a batch of rows; a row holds any number of values, none where it is missing.

    Attributes:
        values: (all values,) objects that are bytes, int64, float32 or float64.
        lengths: int64 (rows,), how many of the values are each row's.
    """

    values: np.ndarray
    lengths: np.ndarray

    def of_rows(self, kept: np.ndarray) -> Ragged:
        """Returns the column of some of the rows; `kept` is bool (rows,)."""
        return Ragged(self.values[np.repeat(kept, self.lengths)], self.lengths[kept])

    def emptied(self, rows: np.ndarray) -> Ragged:
        """Returns the column without the values of some rows; `rows` is bool (rows,)."""
        if not rows.any():
            return self
        return Ragged(self.values[np.repeat(~rows, self.lengths)], np.where(rows, 0, self.lengths))


def drop_texts(column: Ragged, texts: Collection[bytes]) -> Ragged:
    """Leaves some texts out of a column, as values that are absent.

    >>> drop_texts(Ragged(np.array([b"a", b"NULL"], object), np.array([1, 1])), [b"NULL"])
    Ragged(values=array([b'a'], dtype=object), lengths=array([1, 0]))
    """
    if column.values.dtype.kind != "O" or not texts:
        return column
    is_kept = np.array([value not in texts for value in column.values], bool)
    rows = len(column.lengths)
    row_of = np.repeat(np.arange(rows), column.lengths)[is_kept]
    return Ragged(column.values[is_kept], np.bincount(row_of, minlength=rows))


class _Texts(NamedTuple):
    """A piece that differs by row: all bytes one after the other, uint8, and how many a row has."""

    flat: np.ndarray
    lengths: np.ndarray


def encode(columns: Mapping[str, Ragged]) -> list[bytes]:
    r"""Serializes rows; a row without a value in a column gets an empty list of its kind there.

    Args:
        columns: By name; values are bytes, int64 or float32, and all have the same rows.

    >>> encode({"a": Ragged(np.array([7]), np.array([1, 0]))})
    [b'\n\x0b\n\t\n\x01a\x12\x04\x1a\x02\x08\x07', b'\n\t\n\x07\n\x01a\x12\x02\x1a\x00']
    """
    rows = len(next(iter(columns.values())).lengths)
    entries: list[bytes | _Texts] = []
    for name, column in columns.items():
        key = name.encode()
        named = _FIRST_FIELD + _varint(len(key)) + key
        listed = _sized(_LIST_OF_KIND[column.values.dtype.kind], [_values(column)], rows)
        entries += _sized(_FIRST_FIELD, [named, *_sized(_MAP_VALUE, listed, rows)], rows)

    whole = _join(_sized(_FIRST_FIELD, entries, rows), rows)
    data, ends = whole.flat.tobytes(), np.cumsum(whole.lengths)
    starts = ends - whole.lengths
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def encode_row(columns: Mapping[str, tuple[str, Sequence[Any]]]) -> bytes:
    r"""Serializes one row; equal rows give equal bytes.

    Args:
        columns: By name the dtype, "string", "int64" or "float32", and the row's values: bytes,
            int or float. A column without values is an empty list of its dtype.

    >>> encode_row({"a": ("int64", [7])})
    b'\n\x0c\n\n\n\x01a\x12\x05\x1a\x03\n\x01\x07'
    """
    feature = {name: _feature(dtype, values) for name, (dtype, values) in columns.items()}
    example = tf.train.Example(features=tf.train.Features(feature=feature))

    # Without it the order of the columns differs from process to process.
    return example.SerializeToString(deterministic=True)


def _feature(dtype: str, values: Sequence[Any]) -> tf.train.Feature:
    if dtype == "string":
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if dtype == "int64":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _values(column: Ragged) -> _Texts:
    """Returns each row's list: each of its values with its tag, unpacked."""
    values, kind = column.values, column.values.dtype.kind

    parts: list[bytes | _Texts] = [_VALUE_OF_KIND[kind]]
    if kind == "O":
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        flat = np.frombuffer(b"".join(values.tolist()), np.uint8)
        parts += [_varints(sizes), _Texts(flat, sizes)]
    elif kind == "i":
        parts += [_varints(values)]
    else:
        flat = values.astype("<f4").view(np.uint8)
        parts += [_Texts(flat, np.full(len(values), 4))]

    # Texts by value become texts by row.
    joined = _join(parts, len(values))
    ends = np.concatenate([[0], np.cumsum(joined.lengths)])
    last = np.cumsum(column.lengths)
    return _Texts(joined.flat, ends[last] - ends[last - column.lengths])


def _sized(tag: bytes, parts: Sequence[bytes | _Texts], rows: int) -> list[bytes | _Texts]:
    """Returns the parts as one field: before them its tag and their length together."""
    total = np.zeros(rows, np.int64)
    for part in parts:
        total += len(part) if isinstance(part, bytes) else part.lengths
    return [tag, _varints(total), *parts]


def _join(parts: Sequence[bytes | _Texts], rows: int) -> _Texts:
    """Joins the parts of each row, one after the other."""
    sizes = [
        np.full(rows, len(part)) if isinstance(part, bytes) else part.lengths for part in parts
    ]
    total = np.sum(sizes, axis=0)
    offsets = np.cumsum(total) - total  # of each row's next part
    joined = np.empty(int(total.sum()), np.uint8)

    for part, size in zip(parts, sizes, strict=True):
        if isinstance(part, bytes):
            joined[offsets[:, None] + np.arange(len(part))] = np.frombuffer(part, np.uint8)
        else:
            shifts = np.repeat(offsets - (np.cumsum(size) - size), size)
            joined[shifts + np.arange(len(part.flat))] = part.flat
        offsets = offsets + size
    return _Texts(joined, total)


def _varints(values: np.ndarray) -> _Texts:
    """Encodes numbers: seven bits a byte, the low ones first; 128 means one more byte follows."""
    bits = values.astype(np.int64).view(np.uint64)
    sizes = np.ones(len(bits), np.int64)
    for shift in range(7, 64, 7):
        sizes += bits >= np.uint64(1 << shift)

    width = int(sizes.max(initial=1))
    shifts = (7 * np.arange(width)).astype(np.uint64)
    groups = (bits[:, None] >> shifts).astype(np.uint8) & 0x7F
    positions = np.arange(width)
    groups[positions < sizes[:, None] - 1] |= 0x80
    return _Texts(groups[positions < sizes[:, None]], sizes)


def _varint(number: int) -> bytes:
    return _varints(np.array([number])).flat.tobytes()
