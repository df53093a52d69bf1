"""Layout of embedding tables in variables, whole or pruned by a ticket, and lookup of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket

ONE = "table"  # the variable that holds all tables, unless they differ in width


@dataclass(frozen=True)
class Part:
    """A variable that holds stacked tables of one width.

    Attributes:
        name: The variable's name.
        width: Numbers in a row.
        pieces: Its rows, as indices of the rows of all whole tables: ranges, which take no memory,
            or int (rows of the piece,).
    """

    name: str
    width: int
    pieces: tuple[range | np.ndarray, ...]

    @property
    def rows(self) -> int:
        """Returns the number of its rows."""
        return sum(map(len, self.pieces))

    @property
    def source(self) -> np.ndarray:
        """Returns the index of each of its rows among those of all whole tables, int (rows,)."""
        indices = [np.arange(p.start, p.stop) if isinstance(p, range) else p for p in self.pieces]
        return np.concatenate(indices)


@dataclass(frozen=True)
class Layout:
    """Layout of a schema's tables in variables.

    Attributes:
        dimension: Length of a field vector, to which shorter rows are padded with 0.
        parts: The variables.
        part_of: Table -> the part that holds it.
        first_row: Table -> offset that is added to its ids.
        row_of: int32 (rows of whole tables,): offset id -> row of the part; None: they are equal.
        mask: Mask of whole tables: bool (rows, dimension), 1 for numbers that may differ from 0;
            with `row_of` bool (rows,), 1 for rows that are stored on their own. None: all.
    """

    dimension: int
    parts: tuple[Part, ...]
    part_of: Mapping[str, str]
    first_row: Mapping[str, int]
    row_of: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def cuts_numbers(self) -> bool:
        """Tells if `mask` is a mask of single numbers."""
        return self.mask is not None and self.row_of is None

    def taken(self, tables: np.ndarray) -> dict[str, np.ndarray]:
        """Returns part -> its numbers, from whole tables; a shared row takes the first cut row's.

        Args:
            tables: All whole tables stacked, (rows, dimension).
        """
        if self.cuts_numbers:
            return {ONE: tables * self.mask}
        return {part.name: tables[part.source, : part.width] for part in self.parts}

    def spread(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns whole tables stacked, 0 where cut; ids that share a row have its numbers.

        Args:
            values: Part -> its numbers.
        """
        if self.row_of is not None:
            return values[ONE][self.row_of]

        rows = sum(part.rows for part in self.parts)
        tables = np.zeros((rows, self.dimension), np.float32)
        for part in self.parts:
            tables[part.source, : part.width] = values[part.name]
        return tables

    def cut_numbers(self) -> int:
        """Returns how many of the variables' numbers are always 0."""
        if self.mask is None or not self.cuts_numbers:
            return 0
        return self.mask.size - int(np.count_nonzero(self.mask))

    def stored_bytes(self) -> int:
        """Returns a version's bytes: float32 numbers that are not cut, and the bits of `mask`."""
        numbers = sum(part.rows * part.width for part in self.parts) - self.cut_numbers()
        bits = 0 if self.mask is None else self.mask.size
        return 4 * numbers + -(-bits // 8)


def with_copied_rows(
    values: Mapping[str, np.ndarray],
    before: tuple[Layout, Mapping[str, int]],
    after: tuple[Layout, Mapping[str, int]],
    copied: int,
) -> dict[str, np.ndarray]:
    """Returns the variables of tables with new rows at their ends, each a copy of one row.

    Args:
        values: Part of the layout before -> its numbers, or one number at least 0 for each row,
            as an optimiser may keep it.
        before: The layout, and table -> its rows.
        after: The same of the grown tables.
        copied: Index of the row of each table that its new rows are copies of.

    Returns:
        Part of the layout after -> its numbers, or the one of each row.
    """
    old_layout, old_rows = before
    new_layout, new_rows = after
    whole = old_layout.spread(values)

    first, pieces = 0, []
    for table, rows in old_rows.items():
        old = whole[first : first + rows]
        pieces += [old, np.repeat(old[copied : copied + 1], new_rows[table] - rows, axis=0)]
        first += rows
    grown = new_layout.taken(np.concatenate(pieces))
    # One number a row has filled the row, but for what a mask cuts.
    one_a_row = [part for part, numbers in values.items() if numbers.shape[1] == 1]
    return grown | {part: grown[part].max(axis=1, keepdims=True) for part in one_a_row}


def table_offsets(schema: Schema) -> dict[str, int]:
    """Returns the first row of each table where all whole tables are stacked."""
    offsets, first = {}, 0
    for table in schema.tables:
        offsets[table.name] = first
        first += table.rows
    return offsets


def layout_of(schema: Schema, dimension: int, ticket: TableTicket | None = None) -> Layout:
    """Lays out a schema's tables.

    Args:
        schema: Its tables.
        dimension: Length of a field vector.
        ticket: Ticket of the tables; None: they are whole.
    """
    offsets = table_offsets(schema)
    rows = schema.table_rows

    if ticket is not None and ticket.unit == "dimension":
        return _by_width(ticket, rows, dimension, offsets)

    part_of = dict.fromkeys(rows, ONE)
    mask = np.concatenate([ticket.masks[name] for name in rows]) if ticket is not None else None
    if ticket is not None and ticket.unit == "row":
        row_of, source = _shared_rows(ticket, rows)
        return Layout(dimension, (Part(ONE, dimension, (source,)),), part_of, offsets, row_of, mask)

    whole = Part(ONE, dimension, (range(sum(rows.values())),))
    return Layout(dimension, (whole,), part_of, offsets, mask=mask)


def _shared_rows(ticket: TableTicket, rows: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the new row of every old one, and the old row of every new one."""
    new_rows, sources = [], []
    first_old = first_new = 0
    for name, count in rows.items():
        mask = ticket.masks[name]
        kept_rows, cut_rows = np.flatnonzero(mask), np.flatnonzero(~mask)

        new_row = np.full(count, len(kept_rows))  # the shared row comes last
        new_row[kept_rows] = np.arange(len(kept_rows))
        new_rows.append(first_new + new_row)

        source = np.concatenate([kept_rows, cut_rows[:1]])
        sources.append(first_old + source)
        first_old, first_new = first_old + count, first_new + len(source)
    return np.concatenate(new_rows).astype(np.int32), np.concatenate(sources)


def _by_width(
    ticket: TableTicket, rows: Mapping[str, int], dimension: int, offsets: Mapping[str, int]
) -> Layout:
    """Lays out tables of different widths: one part for each width."""
    widths = {name: int(np.count_nonzero(ticket.masks[name])) for name in rows}
    pieces: dict[int, list[range]] = {width: [] for width in sorted(set(widths.values()))}
    first_row = {}
    for name, count in rows.items():
        tables_above = pieces[widths[name]]
        first_row[name] = sum(map(len, tables_above))
        tables_above.append(range(offsets[name], offsets[name] + count))

    names = {width: f"{ONE}_{width}" for width in pieces}
    parts = tuple(Part(names[width], width, tuple(ranges)) for width, ranges in pieces.items())
    part_of = {table: names[width] for table, width in widths.items()}
    return Layout(dimension, parts, part_of, first_row)


@dataclass(frozen=True)
class Tables:
    """Tables that can be looked up.

    Attributes:
        layout: Their layout.
        parts: Part -> its numbers, a variable or tensor (rows, width).
        row_of: The layout's, int32 (rows of whole tables,).
        bits: The layout's `mask`, packed as `np.packbits` does along each row, uint8.
        steps: Part -> a number by which each of its rows is multiplied, (rows, 1) of any float
            dtype; empty: none is.
    """

    layout: Layout
    parts: Mapping[str, Any]
    row_of: tf.Tensor | None = None
    bits: tf.Tensor | None = None
    steps: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, part: str, rows: tf.Tensor) -> tf.Tensor:
        """Looks up vectors of a part's rows, float32 (batch, rows, dimension).

        Args:
            part: Its name.
            rows: Ids, each with its table's `first_row` added, int64 (batch, rows).
        """
        if self.row_of is not None:
            rows = tf.nn.embedding_lookup(self.row_of, rows)

        # Not `tf.gather`, which would fetch the whole of a table that lies in parts on servers.
        table = self.parts[part]
        vectors = tf.cast(tf.nn.embedding_lookup(table, rows), tf.float32)
        if part in self.steps:
            vectors *= tf.cast(tf.nn.embedding_lookup(self.steps[part], rows), tf.float32)

        dimension = self.layout.dimension
        if self.bits is not None:
            vectors *= unpacked(tf.nn.embedding_lookup(self.bits, rows), dimension)
        if table.shape[1] < dimension:
            vectors = tf.pad(vectors, [[0, 0], [0, 0], [0, dimension - table.shape[1]]])
        return vectors


def unpacked(bits: tf.Tensor, count: int) -> tf.Tensor:
    """Returns the first bits of each row as float32 numbers, see `unpacked_bits`.

    >>> unpacked(tf.constant([[0b10100000]], tf.uint8), 3).numpy().tolist()
    [[1.0, 0.0, 1.0]]
    """
    return tf.cast(unpacked_bits(bits, count), tf.float32)


def unpacked_bits(bits: tf.Tensor, count: int) -> tf.Tensor:
    """Returns the first bits of each row, the reverse of `np.packbits`.

    Args:
        bits: uint8 (..., bytes).
        count: Number of a row's bits; those after them are padding.

    Returns:
        bool (..., count).
    """
    masks = tf.constant(2 ** np.arange(7, -1, -1), tf.uint8)  # the highest bit comes first
    single_bits = tf.bitwise.bitwise_and(tf.expand_dims(bits, -1), masks) > 0
    if bits.shape.is_fully_defined():
        shape = [*bits.shape[:-1], 8 * bits.shape[-1]]
    else:
        shape = tf.concat([tf.shape(bits)[:-1], 8 * tf.shape(bits)[-1:]], axis=0)
    rows = tf.reshape(single_bits, shape)
    return rows if rows.shape[-1] == count else rows[..., :count]
