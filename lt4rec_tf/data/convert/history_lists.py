"""The histories of a file's rows as list columns, read again in the order of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.core.artifacts import RunError, write_json
from lt4rec_tf.core.time_ticks import ticks_of
from lt4rec_tf.core.time_units import NO_UNIT
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.convert.history_settings import AGE, PREFIX, History
from lt4rec_tf.data.formats.examples import Ragged


@dataclass(frozen=True)
class Ready:
    """The histories of all files, once they are made.

    Attributes:
        unit: Of the times.
        users: Folders of ranges of users, see `history_users`.
    """

    unit: str
    users: tuple[str, ...]


def read_ready(folder: Path) -> Ready | None:
    """Reads what histories there are in a folder; None: they are not all made."""
    path = folder / "ready.json"
    if not path.exists():
        return None
    value = read_typed(path, Ready)
    return Ready(value["unit"], tuple(value["users"]))


def write_ready(folder: Path, ready: Ready) -> None:
    """Writes down that all histories are made."""
    write_json(folder / "ready.json", asdict(ready))


def open_histories(history: History, folder: Path, file_index: int) -> Histories:
    """Opens the histories of one file.

    Args:
        history: What they are made of.
        folder: Of all histories.
        file_index: The file's index among all.
    """
    ready = read_ready(folder)
    if ready is None:
        raise RunError(f"{folder}: found no histories, expected those of all files")
    folders = [folder / "users" / name for name in ready.users]
    return Histories(history, ready.unit, folders, file_index)


class Histories:
    """The histories of one file, read from its first row to its last.

    Args:
        history: What they are made of.
        unit: Of the times.
        folders: Of all ranges of users, see `history_users`.
        file_index: The file's index among all.
    """

    def __init__(
        self, history: History, unit: str, folders: Sequence[Path], file_index: int
    ) -> None:
        self._history = history
        self._has_ages = unit != NO_UNIT
        _, self._per_second = ticks_of(np.empty(0), unit)
        ranges = [_Range(history, folder, file_index) for folder in folders]
        self._ranges = [each for each in ranges if each.rows_left]
        self._row = 0

    def next_rows(self, rows: int) -> dict[str, Ragged]:
        """Returns the list columns of the next rows of the file.

        Args:
            rows: How many.
        """
        end = self._row + rows
        owners = [np.empty(0, np.int64)]
        parts = [
            part for part in (each.up_to(end, rows) for each in self._ranges) if part is not None
        ]
        owners += [part["owner"] - self._row for part in parts]
        self._row = end

        # Each range has its rows in order; those of all are merged.
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        lengths = np.bincount(owner, minlength=rows)
        columns = {}
        for index, item in enumerate(self._history.carried):
            dtype = {"string": object, "int64": np.int64, "float32": np.float32}[item.kind.dtype]
            values = [np.empty(0, dtype), *(part[f"value_{index}"] for part in parts)]
            columns[PREFIX + item.name] = Ragged(np.concatenate(values)[order], lengths)
        if self._has_ages:
            ticks = np.concatenate([np.empty(0), *(part["age"] for part in parts)])[order]
            seconds = np.floor(ticks / self._per_second).astype(np.int64)
            columns[AGE] = Ragged(seconds, lengths)
        return columns


class _Range:
    """What a range of users has of one file; it holds the rows of a batch, not more."""

    def __init__(self, history: History, folder: Path, file_index: int) -> None:
        self._history = history
        files = np.load(folder / "files.npy")
        self._names = ["row", "tick", "count", "event_tick", "event_start"]
        self._names += [f"event_{index}" for index in range(len(history.carried))]
        self._arrays = {name: np.load(folder / f"{name}.npy", "r") for name in self._names}
        # A view of bytes is cut ten times as fast as an array.
        self._texts = memoryview(np.load(folder / "texts.npy", "r"))
        self._past_path = folder / "past.i4"

        place = np.flatnonzero(files[:, 0] == file_index)
        self._next, self._past = 0, 0
        self.rows_left = 0
        if len(place):
            _, self._next, self._past = files[place[0]].tolist()
            ends = [*files[:, 1].tolist(), len(self._arrays["row"])]
            self.rows_left = ends[place[0] + 1] - self._next

    def up_to(self, end: int, rows: int) -> dict[str, np.ndarray] | None:
        """Returns the past events of the next rows before one, or None where there are none.

        Args:
            end: The number of a row of the file.
            rows: The most rows of the file that may come before it.

        Returns:
            Of each past event "owner", the number of the row whose past it is, "age" in ticks, and
            value_<i>.
        """
        begin = self._next
        row = np.array(self._arrays["row"][begin : begin + min(rows, self.rows_left)])
        rows = int(np.searchsorted(row, end))
        if not rows:
            return None
        counts = self._arrays["count"][begin : begin + rows].astype(np.int64)
        ticks = np.array(self._arrays["tick"][begin : begin + rows])
        past = np.fromfile(self._past_path, "<i4", int(counts.sum()), offset=4 * self._past)
        self._next += rows
        self.rows_left -= rows
        self._past += len(past)

        found = {"owner": np.repeat(row[:rows], counts)}
        found["age"] = np.repeat(ticks, counts) - self._arrays["event_tick"][past]
        return found | self._values(past)

    def _values(self, past: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what past events carry; each event is read once."""
        events, place = np.unique(past, return_inverse=True)
        starts = self._arrays["event_start"][events].astype(np.int64)
        found = {}
        for index, item in enumerate(self._history.carried):
            values = self._arrays[f"event_{index}"][events]
            if item.kind.dtype == "string":
                lengths, values = values, _texts(self._texts, starts, starts + values)
                starts = starts + lengths
            found[f"value_{index}"] = values[place]
        return found


def _texts(data: memoryview, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns texts, objects that are bytes."""
    texts = np.empty(len(starts), object)
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    texts[:] = [bytes(data[start:end]) for start, end in pairs]
    return texts
