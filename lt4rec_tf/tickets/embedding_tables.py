"""Tickets of embedding tables: the numbers, rows or dimensions that each table keeps.

A ticket of numbers is unstructured, as in Wang et al. (arXiv 2108.00944). Tickets of rows and of
dimensions are structured: what they leave is a smaller table. Ids whose rows are cut share one row;
a table that keeps r dimensions keeps its first r, and 0 stands for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lt4rec_tf.tickets.magnitude import prune_by_magnitude
from lt4rec_tf.tickets.masks import Masks, ones, read_masks, write_masks

Unit = Literal["number", "row", "dimension"]


@dataclass(frozen=True)
class TableTicket:
    """The part of a model's tables that is kept.

    Attributes:
        unit: What is cut.
        masks: Table -> bool: of numbers (rows, dimension), of rows (rows,), of dimensions
            (dimension,), whose first ones stay.
    """

    unit: Unit
    masks: Masks

    def numbers(self, rows: Mapping[str, int], dimension: int) -> int:
        """Counts the numbers that are left, shared rows included.

        Args:
            rows: Table -> its rows before any was cut.
            dimension: Length of a field vector.
        """
        counts = {table: int(np.count_nonzero(mask)) for table, mask in self.masks.items()}
        if self.unit == "number":
            return sum(counts.values())
        if self.unit == "dimension":
            return sum(rows[table] * count for table, count in counts.items())

        # The ids whose rows are cut share one row.
        return dimension * sum(count + (count < rows[table]) for table, count in counts.items())


def whole(unit: Unit, rows: Mapping[str, int], dimension: int) -> TableTicket:
    """Returns the ticket that keeps everything.

    Args:
        unit: What a round will cut.
        rows: Table -> its rows.
        dimension: Length of a field vector.
    """
    return TableTicket(unit, ones(_shapes(unit, rows, dimension)))


def of_dims(dims: Mapping[str, int], tables: Iterable[str], dimension: int) -> TableTicket:
    """Returns the ticket of dimensions that nobody searched: tables of given lengths.

    >>> of_dims({"video": 2}, ["user", "video"], dimension=3).masks["video"]
    array([ True,  True, False])

    Args:
        dims: Table -> the numbers in its rows, 1 to `dimension`; others are whole.
        tables: All tables.
        dimension: Length of a field vector.
    """
    places = np.arange(dimension)
    masks = {table: places < dims.get(table, dimension) for table in tables}
    return TableTicket("dimension", masks)


def units(ticket: TableTicket, rows: Mapping[str, int], dimension: int) -> int:
    """Returns the number of which a density is a share: of rows, or of numbers."""
    return sum(rows.values()) * (1 if ticket.unit == "row" else dimension)


def prune_tables(ticket: TableTicket, tables: Mapping[str, np.ndarray], keep: int) -> TableTicket:
    """Cuts what is smallest over all tables together, among what an earlier round left.

    Numbers are ranked by magnitude and rows by length; exactly `keep` of them stay. Cutting a
    dimension reduces a table's rank by one. Of a table's singular values s_1 >= s_2 >= ... the
    j-th is worth s_j^2 / rows: its part of the table's squares, for each number that a dimension
    takes. Dimensions are kept by falling worth while their numbers fit. Every table keeps one.

    >>> tables = {"user": np.array([[3.0, 0.0], [0.0, 0.1]]), "item": np.array([[1.0, 1.0]])}
    >>> rows = {"user": 2, "item": 1}
    >>> prune_tables(whole("row", rows, 2), tables, keep=2).masks["user"]
    array([ True, False])
    >>> prune_tables(whole("dimension", rows, 2), tables, keep=4).masks["user"]
    array([ True, False])

    Args:
        ticket: What is left so far.
        tables: Table -> its trained numbers, float (rows, dimension), 0 where cut; of rows: their
            distance from theta_0, in which a row that was never looked up has length 0.
        keep: Of numbers or rows, 1 or more: how many; of dimensions: the numbers that they may
            take.

    Raises:
        ValueError: A number is not finite, or `keep` is out of its range.
    """
    if ticket.unit == "number":
        return TableTicket("number", prune_by_magnitude(tables, ticket.masks, keep))
    if ticket.unit == "row":
        lengths = {name: np.linalg.norm(table, axis=1) for name, table in tables.items()}
        return TableTicket("row", prune_by_magnitude(lengths, ticket.masks, keep))
    return TableTicket("dimension", _prune_dimensions(ticket.masks, tables, keep))


def _prune_dimensions(masks: Masks, tables: Mapping[str, np.ndarray], keep: int) -> Masks:
    rows = {name: len(table) for name, table in tables.items()}
    rank = dict.fromkeys(masks, 1)
    numbers_left = keep - sum(rows.values())
    if numbers_left < 0:
        raise ValueError(
            f"keep: found {keep}, expected {sum(rows.values())} numbers or more: a dimension of "
            "every table"
        )

    # Sorted: by falling worth, then by dimension, then by the tables' order.
    ranking = []
    for table_index, (name, table) in enumerate(tables.items()):
        old_rank = int(np.count_nonzero(masks[name]))
        values = np.asarray(table, np.float64)[:, :old_rank]
        # Of the small matrix, which is fast for a table of millions of rows.
        squares = np.linalg.eigvalsh(values.T @ values)[::-1]
        for dimension in range(1, old_rank):
            worth = max(squares[dimension], 0.0) / rows[name]
            ranking.append((-worth, dimension, table_index, name))

    for _, dimension, _, name in sorted(ranking):
        # A table's dimensions come in order: the first that does not fit ends its table.
        if dimension == rank[name] and rows[name] <= numbers_left:
            rank[name] += 1
            numbers_left -= rows[name]

    return {name: np.arange(len(mask)) < rank[name] for name, mask in masks.items()}


def grown(ticket: TableTicket, added: Mapping[str, int]) -> TableTicket:
    """Returns the ticket of tables with added rows, each kept as a row of its own.

    >>> grown(TableTicket("row", {"device": np.array([True, False])}), {"device": 1}).masks
    {'device': array([ True, False,  True])}

    Args:
        ticket: Of the tables before.
        added: Table -> number of new rows at its end.
    """
    if ticket.unit == "dimension":  # its masks do not depend on rows
        return ticket

    masks = {}
    for table, mask in ticket.masks.items():
        new_rows = np.ones((added.get(table, 0), *mask.shape[1:]), bool)
        masks[table] = np.concatenate([mask, new_rows])
    return TableTicket(ticket.unit, masks)


def write_ticket(path: Path, ticket: TableTicket) -> None:
    """Writes a ticket as bits, atomically."""
    write_masks(path, ticket.masks)


def read_ticket(path: Path, unit: Unit, rows: Mapping[str, int], dimension: int) -> TableTicket:
    """Reads a ticket back.

    Args:
        path: The file.
        unit: What it cuts.
        rows: Table -> its rows before any was cut.
        dimension: Length of a field vector.

    Raises:
        MaskError: The file is absent or damaged, or is of other tables.
    """
    return TableTicket(unit, read_masks(path, _shapes(unit, rows, dimension)))


def _shapes(unit: Unit, rows: Mapping[str, int], dimension: int) -> dict[str, tuple[int, ...]]:
    if unit == "dimension":
        return dict.fromkeys(rows, (dimension,))
    if unit == "row":
        return {name: (count,) for name, count in rows.items()}
    return {name: (count, dimension) for name, count in rows.items()}
