"""Reads of each log row what histories are made of: user, time, request, and what an event carries.

Users and requests are known by hashes, as training knows users. Rows without a user or a time are
left out: they are no event of anybody, and have no history.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.time_units import by_unit
from lt4rec_tf.data.convert.history import NO_REQUEST
from lt4rec_tf.data.convert.history_settings import Carried, Counts, History, row_type
from lt4rec_tf.data.formats.column_batches import read_batches
from lt4rec_tf.data.formats.column_types import ColumnType, to_type
from lt4rec_tf.data.formats.examples import Ragged, drop_texts
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.fingerprints import check, fingerprint
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.formats.values import Values, id_text, single
from lt4rec_tf.data.input.filters import left_out
from lt4rec_tf.data.input.labels import parse_label
from lt4rec_tf.data.input.side_tables import SideTable, load_side_table, look_up
from lt4rec_tf.data.input.splits import row_times
from lt4rec_tf.schema.types import Join

_BATCH_ROWS = 8192
_TABLE_ROWS = 1 << 17  # of one table, as it is sorted and written
_TEXT = ColumnType("string")


class Table(NamedTuple):
    """Rows of a file in the order of their users' hashes.

    Attributes:
        rows: Of `row_type`, (rows,).
        texts: What events carry as text, uint8: those of the first row, then those of the next.
    """

    rows: np.ndarray
    texts: np.ndarray

    def of_users(self, first: int, end: int) -> Table:
        """Returns a copy of the rows of a range of users' hashes: from one, and below another."""
        begin, stop = self._places(first, end)
        rows, start = np.array(self.rows[begin:stop]), self._start(begin)
        rows["start"] -= start
        return Table(rows, np.array(self.texts[start : self._start(stop)]))

    def bytes_of(self, first: int, end: int) -> int:
        """Returns the bytes of such rows, which need not be read for this."""
        begin, stop = self._places(first, end)
        return (stop - begin) * self.rows.itemsize + self._start(stop) - self._start(begin)

    def _places(self, first: int, end: int) -> tuple[int, int]:
        places = range(len(self.rows))
        begin, stop = (
            bisect.bisect_left(places, hash_, key=lambda row: int(self.rows[row]["user"]))
            for hash_ in (first, end)
        )
        return begin, stop

    def _start(self, row: int) -> int:
        """Returns where the texts of a row begin, or end for the row behind the last."""
        return int(self.rows[row]["start"]) if row < len(self.rows) else len(self.texts)


def tables_of(
    history: History, root: Path, path: Path, layout: Layout, counts: Counts
) -> Iterator[Table]:
    """Reads a file.

    Args:
        history: What is read.
        root: The folder below which side tables lie.
        path: The file.
        layout: Its structure.
        counts: Is added to.

    Raises:
        DataError: The file cannot be read, or a row has several values where one is carried.
    """
    sides = _side_tables(history, root)
    marks = {text.encode() for text in history.nulls}
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in read_batches(path, layout, _BATCH_ROWS, history.columns):
        columns = {name: drop_texts(column, marks) for name, column in batch.columns.items()}
        joined = _joined(sides, columns, marks)
        try:
            waiting.append(_rows(history, columns, joined, batch.broken, counts))
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        if sum(len(rows) for rows, _ in waiting) >= _TABLE_ROWS:
            yield _sorted_table(waiting)
            waiting = []
    yield _sorted_table(waiting or [(np.empty(0, row_type(history)), np.empty((0, 0), object))])


def _side_tables(history: History, root: Path) -> list[SideTable]:
    """Reads the columns of side tables that events carry."""
    names: dict[Join, set[str]] = {}
    for item in history.carried:
        if item.join is not None:
            names.setdefault(item.join, set()).add(item.name)
    return [load_side_table(root, join, columns) for join, columns in names.items()]


def _sorted_table(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Table:
    """Makes a table of rows and of their texts, objects (rows, text columns)."""
    rows = np.concatenate([part for part, _ in parts])
    texts = np.concatenate([part for _, part in parts])
    order = np.argsort(rows["user"], kind="stable")
    rows, texts = rows[order], texts[order]
    rows["start"] = np.cumsum(rows["start"]) - rows["start"]  # which held lengths
    return Table(rows, np.frombuffer(b"".join(texts.ravel().tolist()), np.uint8))


def _rows(
    history: History,
    columns: Mapping[str, Ragged],
    joined: Mapping[str, Ragged],
    broken: np.ndarray,
    counts: Counts,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of a batch that have a user and a time, and their texts.

    Raises:
        ValueError: A row has several values where one is carried.
    """
    users = _names(columns[history.user])
    time_kind = ColumnType("string", "", "" if history.time.patterns else "time")
    times = row_times(history.time, _tensor(to_type(time_kind, columns[history.time.column])[0]))
    times = times.numpy()
    has_user = users.present.numpy() & ~broken
    has_time = np.isfinite(times) & (times >= 0.0)
    kept = has_user & has_time
    is_event, unreadable = _events(history, columns, broken)
    _count(counts, has_user, times[kept], is_event & kept, unreadable & kept)

    rows = np.zeros(len(kept), row_type(history))
    first_row = counts.rows - len(kept)
    rows["row"] = np.arange(len(kept)) + first_row
    rows["time"], rows["is_event"] = times, is_event
    rows["user"], rows["check"] = fingerprint(users.values), check(users.values)
    if history.request:
        requests = _names(columns[history.request])
        hashes = fingerprint(requests.values).numpy() + 1  # 0 is none
        rows["request"] = np.where(requests.present.numpy(), hashes, NO_REQUEST)

    of_text = []
    for index, item in enumerate(history.carried):
        column = joined[item.name] if item.join else columns[item.name]
        values = _carried_values(item, column, is_event & kept, first_row)
        if values.dtype.kind == "O":
            of_text.append(values)
            values = np.fromiter(map(len, values), np.int64, len(values))
            rows["start"] += values
        rows[f"value_{index}"] = values
    texts = np.stack(of_text, axis=1) if of_text else np.empty((len(kept), 0), object)
    return rows[kept], texts[kept]


def _count(
    counts: Counts,
    has_user: np.ndarray,
    times: np.ndarray,
    is_event: np.ndarray,
    unreadable: np.ndarray,
) -> None:
    counts.rows += len(has_user)
    counts.without_user += int((~has_user).sum())
    counts.without_time += int(has_user.sum()) - len(times)
    counts.events += int(is_event.sum())
    counts.unreadable += int(unreadable.sum())
    for unit, rows in by_unit(times).items():
        counts.units[unit] = counts.units.get(unit, 0) + int(rows.sum())


def _names(column: Ragged) -> Values:
    """Reads the text that names a row's user or request, however its file writes numbers."""
    read = single(_tensor(to_type(_TEXT, column)[0]), tf.string)
    return read._replace(values=id_text(read.values))


def _tensor(column: Ragged) -> tf.RaggedTensor:
    values = column.values
    dtype = tf.string if values.dtype.kind == "O" else values.dtype
    return tf.RaggedTensor.from_row_lengths(tf.constant(values, dtype), column.lengths)


def _events(
    history: History, columns: Mapping[str, Ragged], broken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tells which rows are events, bool (rows,), and which cannot be compared with a condition."""
    texts = {rule.column for rule in history.conditions}
    tensors = {name: _tensor(to_type(_TEXT, columns[name])[0]) for name in texts}
    outside = left_out(history.conditions, tensors, tf.constant(broken))
    is_event = (outside.by.numpy() < 0) & ~broken
    if history.watched is not None:
        sources = (history.watched.column, history.watched.play_time, history.watched.duration)
        raw = {name: _tensor(columns[name]) for name in sources if name is not None}
        # Single precision is what a label has: a share of .7 is 0.7 there, whatever the digits.
        watched = parse_label(history.watched, raw).value.numpy().astype(np.float32)
        is_event &= watched >= np.float32(history.min_watch)
    return is_event, outside.unreadable.numpy()


def _joined(
    sides: Sequence[SideTable], columns: Mapping[str, Ragged], nulls: Collection[bytes]
) -> dict[str, Ragged]:
    """Looks up the columns of side tables, by the rows' keys."""
    joined = {}
    for side in sides:
        keys = _tensor(to_type(_TEXT, columns[side.join.key])[0])
        for name, texts in look_up(side, keys)[0].items():
            values = texts.numpy()
            present = np.array([value != b"" for value in values], bool)
            column = Ragged(values[present], present.astype(np.int64))
            joined[name] = drop_texts(column, nulls)
    return joined


def _carried_values(
    item: Carried, column: Ragged, is_event: np.ndarray, first_row: int
) -> np.ndarray:
    """Returns what rows carry, (rows,): bytes, int64 or float32; no row but events carries text.

    Raises:
        ValueError: An event has several values.
    """
    column, bad = to_type(item.kind, column)
    several = np.flatnonzero(is_event & (column.lengths > 1))
    if len(several):
        row = int(several[0])
        raise ValueError(
            f"row {first_row + row + 1}: found {column.lengths[row]} values in column "
            f"{item.name}, expected one: --history carries no lists"
        )

    present = (column.lengths > 0) & ~bad & is_event
    firsts = np.cumsum(column.lengths) - column.lengths
    values = column.values
    absent = item.absent.encode() if isinstance(item.absent, str) else item.absent
    out = np.full(len(present), absent, values.dtype)
    out[present] = values[firsts[present]]
    return out
