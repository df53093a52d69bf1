"""Embedding tables as a version stores them and as a loaded version looks them up.

Whole tables, and tables pruned by dimension, are stored as they were trained. Tables pruned by row
are stored as rows and one bit per id; on loading the bits become the index of each id's row, 4
bytes per id. Tables pruned by number are stored as numbers and one bit each, and become whole
tables on loading: a lookup number by number takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.table_layout import ONE, Layout, Tables, unpacked
from lt4rec_tf.serving.kernels import LoadedTensor

AT_A_TIME = 2**18  # ids whose rows are computed in one step; a multiple of 8


class ServedTables(tf.Module):
    """The tables of one layer.

    Args:
        layer: Looks up the tables.
        dtype: Of the stored numbers: tf.float32 or tf.bfloat16.
        name: Of their owner.
    """

    def __init__(self, layer: FieldVectors, dtype: tf.DType, name: str) -> None:
        super().__init__(name="tables")
        layout = layer.layout
        self._row_of: LoadedTensor | None = None
        self._whole: LoadedTensor | None = None
        if layout.mask is not None:
            self.bits = tf.Variable(np.packbits(layout.mask), trainable=False, name=f"{name}.bits")
        if layout.mask is not None and layout.cuts_numbers:
            numbers = layer.parts[ONE].numpy()[layout.mask]
            self.numbers = _variable(numbers, dtype, f"{name}.numbers")
            self._whole = LoadedTensor(self._spread(layout.mask.shape), f"{name}_table")
        else:
            self.parts = {
                part: table if dtype == tf.float32 else _variable(table, dtype, f"{name}.{part}")
                for part, table in layer.parts.items()
            }
        if layout.row_of is not None:
            self._row_of = LoadedTensor(self._places(layout), f"{name}_row_of")
        # All that a version needs of it: its bits hold the rest.
        self._layout = Layout(layout.dimension, (), layout.part_of, layout.first_row)

    def tables(self) -> Tables:
        """Returns the tables for a lookup; to be called while a graph is built."""
        parts = {ONE: self._whole.read()} if self._whole is not None else self.parts
        row_of = self._row_of.read() if self._row_of is not None else None
        return Tables(self._layout, parts, row_of)

    def _spread(self, shape: tuple[int, ...]) -> Callable[[], tf.Tensor]:
        """Returns () -> whole tables, (rows, dimension), of the kept numbers and zeros."""
        size = int(np.prod(shape))

        def whole() -> tf.Tensor:
            kept = unpacked(self.bits.read_value(), size) > 0
            places, numbers = tf.where(kept), self.numbers.read_value()
            return tf.reshape(tf.scatter_nd(places, numbers, tf.constant([size], tf.int64)), shape)

        return whole

    def _places(self, layout: Layout) -> Callable[[], tf.Tensor]:
        """Returns () -> the row of every id, int32 (rows of whole tables,), as `Layout.row_of`."""
        assert layout.mask is not None
        ids, first = len(layout.mask), np.array(sorted(layout.first_row.values()))
        sizes = np.diff([*first, ids])

        # Ids that are cut from a table share one row, behind the table's own rows.
        own = np.add.reduceat(layout.mask.astype(np.int64), first)
        has_shared = own < sizes
        shared_before: np.ndarray = np.cumsum(has_shared) - has_shared
        shared = tf.constant(np.cumsum(own) + shared_before, tf.int32)
        moved = tf.constant(shared_before, tf.int32)
        first_ids = tf.constant(first, tf.int32)

        def some(start: tf.Tensor, before: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            end = tf.minimum(start + AT_A_TIME, ids)
            packed = self.bits.read_value()[start // 8 : -(-end // 8)]
            kept = tf.cast(unpacked(packed[tf.newaxis], AT_A_TIME)[0, : end - start], tf.int32)
            table = tf.searchsorted(first_ids, tf.range(start, end), side="right") - 1
            place = before + tf.cumsum(kept, exclusive=True) + tf.gather(moved, table)
            rows = tf.where(kept > 0, place, tf.gather(shared, table))
            return rows, before + tf.reduce_sum(kept)

        def row_of() -> tf.Tensor:
            # In parts: a server often keeps memory that it allocates on loading.
            parts = -(-ids // AT_A_TIME)
            rows_of_parts = tf.TensorArray(
                tf.int32, parts, infer_shape=False, element_shape=(None,)
            )

            def one_more(
                part: tf.Tensor, before: tf.Tensor, rows_of_parts: tf.TensorArray
            ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
                rows, after = some(part * AT_A_TIME, before)
                return part + 1, after, rows_of_parts.write(part, rows)

            begin = (tf.constant(0), tf.constant(0), rows_of_parts)
            *_, rows_of_parts = tf.while_loop(
                lambda part, *_: part < parts, one_more, begin, parallel_iterations=1
            )
            return tf.ensure_shape(rows_of_parts.concat(), (ids,))

        return row_of


def _variable(values: np.ndarray, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(tf.cast(values, dtype), trainable=False, name=name)
