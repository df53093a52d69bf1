"""Parsed rows kept in memory, for many trainings on logs that fit.

Parsing is most of what a pass over small logs costs. Rows in memory are parsed once; a pass is then
a permutation and one indexing of each column per batch, too cheap to be worth a parallel thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.even_sample import EvenSample
from lt4rec_tf.data.input.order import OF_FILES, Order

_GIB = 2**30  # bytes


class RowsTooLargeError(DataError):
    """Rows take more memory than they may."""


class Batches(Protocol):
    """Batches of one structure: a `tf.data.Dataset`, or a `Reading` of one."""

    @property
    def element_spec(self) -> Any:
        """Returns the structure of a batch."""

    def __iter__(self) -> Iterator[Any]:
        """Reads once."""


@dataclass(frozen=True, eq=False)
class HeldRows:
    """The rows of a split, column by column.

    Attributes:
        spec: The structure of a batch, as `tf.data.Dataset.element_spec` says it.
        columns: One array (rows, ...) for each leaf of the spec, in the order of `tf.nest`.
    """

    spec: Any
    columns: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.columns[0])

    def batches(self, batch_size: int, order: Order = OF_FILES) -> Iterator[Any]:
        """Gives every row once, as `pipeline.batches` does, but in another order when shuffled.

        `pipeline.batches` shuffles within a buffer, this permutes all rows.

        Args:
            batch_size: Rows of a batch; the last one may hold fewer.
            order: The order of the rows, and the first batch.

        Yields:
            Batches of the structure, shapes and dtypes of the dataset that was read.
        """
        permutation = None
        if order.shuffle_seed is not None:
            rng = np.random.default_rng([order.shuffle_seed, order.epoch])
            permutation = rng.permutation(len(self))

        for start in range(order.skip_batches * batch_size, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self._batch(rows if permutation is None else permutation[rows])

    def permuted(self, path: Sequence[str], order: np.ndarray) -> HeldRows:
        """Returns these rows with the columns of a part of the batch in another order of rows.

        Args:
            path: The part's keys, such as ("features", "video").
            order: Each row's new row, (rows,).
        """
        part = tf.nest.pack_sequence_as(self.spec, list(range(len(self.columns))))
        for key in path:
            part = part[key]
        moved = set(tf.nest.flatten(part))
        columns = [
            column[order] if index in moved else column for index, column in enumerate(self.columns)
        ]
        return HeldRows(self.spec, tuple(columns))

    def _batch(self, rows: slice | np.ndarray) -> Any:
        leaves = [
            tf.constant(column[rows].astype(leaf.dtype.as_numpy_dtype, copy=False))
            for column, leaf in zip(self.columns, tf.nest.flatten(self.spec), strict=True)
        ]
        return tf.nest.pack_sequence_as(self.spec, leaves)


def hold(batches: Batches, limit_gib: float) -> HeldRows:
    """Reads a split to its end and keeps it.

    Integers are kept in 32 bits where all of a column fit, which about halves a log of ids.

    >>> held = hold(tf.data.Dataset.range(5).batch(2), limit_gib=1.0)
    >>> [batch.numpy().tolist() for batch in held.batches(3)]
    [[0, 1, 2], [3, 4]]

    Args:
        batches: Of any nested structure of numeric tensors (batch, ...), each of one shape but
            for the batch's size: best from `pipeline.batches`, unshuffled, in large batches.
        limit_gib: The most that the rows may take, in GiB; joining a column's batches takes that
            column's size once more, for a moment.

    Raises:
        RowsTooLargeError: The rows take more than the limit; reading stops where they pass it.
    """
    # By leaf its pieces; the first, empty one gives an empty split its shape and dtype.
    pieces: list[list[np.ndarray]] = []
    for leaf in tf.nest.flatten(batches.element_spec):
        pieces.append([np.zeros([0, *leaf.shape[1:]], _narrowest(leaf.dtype))])

    rows = size = 0
    for batch in batches:
        arrays = [_narrowed(leaf.numpy()) for leaf in tf.nest.flatten(batch)]
        for column, array in zip(pieces, arrays, strict=True):
            column.append(array)
        rows += len(arrays[0])
        size += sum(array.nbytes for array in arrays)

        if size > limit_gib * _GIB:
            raise RowsTooLargeError(
                f"--memory_limit_gib: found {size / _GIB:.3g} GiB in the first {rows:,} rows of a "
                f"split, expected at most {limit_gib:g} GiB in all; raise the limit or read with "
                "--reading=stream"
            )
    return HeldRows(batches.element_spec, tuple(_joined(column) for column in pieces))


def draw(batches: Batches, most: int, seed: int) -> tuple[HeldRows, int]:
    """Reads a split to its end and keeps rows drawn at random, all of them where they are few.

    >>> rows, count = draw(tf.data.Dataset.range(5).batch(2), most=3, seed=0)
    >>> len(rows), count
    (3, 5)

    Args:
        batches: As `hold` takes them.
        most: Rows to keep at most, see `EvenSample`.
        seed: Of the draw.

    Returns:
        The rows in the order of the split, and the number of rows of the whole split.
    """
    leaves = tf.nest.flatten(batches.element_spec)
    sample, count = EvenSample(most, seed), 0
    # No rows, of which an empty split gets shapes and dtypes.
    sample.add(*(np.zeros([0, *leaf.shape[1:]], leaf.dtype.as_numpy_dtype) for leaf in leaves))
    for batch in batches:
        columns = [leaf.numpy() for leaf in tf.nest.flatten(batch)]
        sample.add(*columns)
        count += len(columns[0])
    return HeldRows(batches.element_spec, tuple(sample.columns)), count


def _narrowest(dtype: tf.DType) -> np.dtype:
    return np.dtype(np.int32 if dtype == tf.int64 else dtype.as_numpy_dtype)


def _narrowed(values: np.ndarray) -> np.ndarray:
    if values.dtype != np.int64 or not values.size:
        return values
    limits = np.iinfo(np.int32)
    fits = limits.min <= values.min() and values.max() <= limits.max
    return values.astype(np.int32) if fits else values


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    """Joins pieces to one array, as wide as the widest, and frees them."""
    joined = np.concatenate(pieces)
    pieces.clear()
    joined.flags.writeable = False  # every later training reads the same rows
    return joined
