"""Sums that tell if two sets of files hold the same rows, whatever their order, format or packing.

A row is what training reads of it: features, labels, weights and time. Each has a number of its
own, and a file has the sum of its rows' numbers modulo 2^64.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.fingerprints import fingerprint
from lt4rec_tf.data.formats.values import has_ids, id_text
from lt4rec_tf.schema.types import Schema

_MODULUS = 2**64
_SUM = re.compile("[0-9a-f]{16}")
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


def codes_of(
    schema: Schema, raw: Mapping[str, tf.Tensor], others: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Returns, in graph, a number for each value of each row.

    Args:
        schema: The features.
        raw: By feature: (rows,), or (rows, values) when multi-valued.
        others: Further columns of numbers, (rows,).

    Returns:
        int64 (rows, values of a row).
    """
    columns = []
    for feature in schema.features:
        values = raw[feature.name]
        values = id_text(values) if has_ids(feature) else values
        columns.append(_codes(values))
    columns += map(_codes, others)
    return tf.concat([c if c.shape.rank == 2 else c[:, tf.newaxis] for c in columns], axis=1)


def _codes(values: tf.Tensor) -> tf.Tensor:
    if values.dtype == tf.string:
        return fingerprint(values)
    if not values.dtype.is_floating:
        return tf.cast(values, tf.int64)
    values = tf.cast(values, tf.float64)
    values = tf.where(tf.math.is_nan(values), tf.constant(np.nan, tf.float64), values)
    return tf.bitcast(values, tf.int64)  # of NaN always the same one


class RowSums:
    """Adds up the numbers of rows, file by file."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()

    def add(self, file: str, codes: np.ndarray) -> None:
        """Adds a batch of a file's rows.

        Args:
            file: Its name.
            codes: From `codes_of`, (rows, values).
        """
        mixed = np.zeros(len(codes), np.uint64)
        for column in codes.astype(np.uint64).T:
            mixed = _mix(mixed + _STEP ^ column)
        self._sums[file] += int(mixed.sum(dtype=np.uint64))

    def result(self) -> dict[str, str]:
        """Returns by file the sum as 16 hexadecimal digits; files without rows are left out."""
        return {file: f"{total % _MODULUS:016x}" for file, total in self._sums.items()}


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Spreads 64-bit numbers evenly, each to one of its own (Steele et al., SplitMix, 2014)."""
    first, second = _FACTORS
    numbers = (numbers ^ (numbers >> _SHIFTS[0])) * first
    numbers = (numbers ^ (numbers >> _SHIFTS[1])) * second
    return numbers ^ (numbers >> _SHIFTS[2])


def is_sum(text: str) -> bool:
    """Tells if a text is a sum as `RowSums.result` writes it.

    >>> is_sum("00000000000000ff"), is_sum("ff"), is_sum("a sum of no rows")
    (True, False, False)
    """
    return _SUM.fullmatch(text) is not None


def total(sums: Iterable[str]) -> str:
    """Returns the sum of all rows of several files.

    >>> total(["ffffffffffffffff", "0000000000000003"])
    '0000000000000002'
    """
    return f"{sum(int(one, 16) for one in sums) % _MODULUS:016x}"
