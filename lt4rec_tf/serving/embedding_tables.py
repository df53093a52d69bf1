"""Embedding tables as a version stores them and as a loaded version looks them up.

Whole tables, and tables pruned by dimension, are stored as they were trained. Tables pruned by row
are stored as rows and one bit per id; on loading the bits become the index of each id's row, 4
bytes per id. Tables pruned by number are stored as numbers and one bit each, and become whole
tables on loading: a lookup number by number takes several times as long.

In int8 a row is integers and one step in bfloat16 by which a lookup multiplies them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.table_layout import ONE, Layout, Tables, unpacked_bits
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.kernels import LoadedTensor

INT8_LARGEST = 127
AT_A_TIME = 2**18  # ids whose rows are computed in one step; a multiple of 8


class ServedTables(tf.Module):
    """The tables of one layer.

    Args:
        layer: Looks up the tables.
        dtype: Of the stored numbers: tf.float32, tf.bfloat16 or tf.int8.
        name: Of their owner.

    Attributes:
        steps: Part -> bfloat16 (rows, 1), the steps of its rows; of int8 alone.
    """

    def __init__(self, layer: FieldVectors, dtype: tf.DType, name: str) -> None:
        super().__init__(name="tables")
        layout = layer.layout
        self.steps: dict[str, tf.Variable] = {}
        self._row_of: LoadedTensor | None = None
        self._whole: LoadedTensor | None = None
        if layout.mask is not None:
            self.bits = tf.Variable(np.packbits(layout.mask), trainable=False, name=f"{name}.bits")
        if layout.mask is not None and layout.cuts_numbers:
            numbers = self._numbers_of(ONE, layer.parts[ONE], dtype, name)
            self.numbers = _variable(numbers.numpy()[layout.mask], dtype, f"{name}.numbers")
            self._whole = LoadedTensor(self._spread(layout.mask.shape), f"{name}_table")
        else:
            self.parts = {
                part: table
                if dtype == tf.float32
                else _variable(self._numbers_of(part, table, dtype, name), dtype, f"{name}.{part}")
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
        return Tables(self._layout, parts, row_of, steps=self.steps)

    def _numbers_of(self, part: str, table: tf.Tensor, dtype: tf.DType, name: str) -> tf.Tensor:
        """Returns a part's numbers as they are stored; keeps its steps, if it has any."""
        if dtype != tf.int8:
            return tf.cast(table, dtype)
        integers, steps = quantised(table)
        self.steps[part] = _variable(steps, steps.dtype, f"{name}.{part}.steps")
        return integers

    def _spread(self, shape: tuple[int, ...]) -> Callable[[], tf.Tensor]:
        """Returns () -> whole tables, (rows, dimension), of the kept numbers and zeros."""
        size = int(np.prod(shape))

        def whole() -> tf.Tensor:
            kept = unpacked_bits(self.bits.read_value(), size)
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
            kept = tf.cast(unpacked_bits(packed, AT_A_TIME)[: end - start], tf.int32)
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


def quantised(table: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns integers and, for each row, a step: a row is about its integers times its step.

        s_r = max_j |x_rj| / 127 in bfloat16,  q_rj = round(x_rj / s_r)

    The error of a number is at most half its row's step. The step is rounded first, so that its
    own rounding adds nothing.

    >>> integers, steps = quantised(tf.constant([[0.5, -127.0], [0.0, 0.0]]))
    >>> integers.numpy().tolist(), tf.cast(steps, tf.float32).numpy().tolist()
    ([[0, -127], [0, 0]], [[1.0], [0.0]])

    Args:
        table: float32 (rows, width).

    Returns:
        int8 (rows, width) and bfloat16 (rows, 1).
    """
    table = tf.convert_to_tensor(table)
    largest = tf.reduce_max(tf.abs(table), axis=1, keepdims=True)
    steps = tf.cast(largest / INT8_LARGEST, tf.bfloat16)
    integers = tf.round(tf.math.divide_no_nan(table, tf.cast(steps, tf.float32)))
    # A step that was rounded down may leave a largest number above.
    integers = tf.clip_by_value(integers, -INT8_LARGEST, INT8_LARGEST)
    return tf.cast(integers, tf.int8), steps


def round_tables(network: RankingNetwork, dtype: tf.DType) -> None:
    """Rounds a network's tables to the numbers that a version stores.

    What is measured and checked afterwards is what is served.

    Args:
        network: Whose tables are changed.
        dtype: tf.float32, tf.bfloat16 or tf.int8.
    """
    for layer in embedding_layers(network):
        for table in layer.parts.values():
            if dtype == tf.int8:
                integers, steps = quantised(table)
                table.assign(tf.cast(integers, tf.float32) * tf.cast(steps, tf.float32))
            else:
                table.assign(tf.cast(tf.cast(table, dtype), tf.float32))


def embedding_layers(network: RankingNetwork) -> list[FieldVectors]:
    """Returns the layers that look field vectors up, in the network's order."""
    return [layer for layer in network.model.layers if isinstance(layer, FieldVectors)]


def _variable(values: np.ndarray, dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(tf.cast(values, dtype), trainable=False, name=name)
