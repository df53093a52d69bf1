"""Histories of some users, made from their rows and kept by file, so that each file reads its own.

    <output_dir>/unfinished/history/users/<range>/
        row.npy  tick.npy  count.npy     of each row, in the order of files and rows
        files.npy                        of each file: its index, its first row and first past event
        past.i4                          the past events of each row, by their number, int32
        event_tick.npy  event_<i>.npy    of each event: the values; of texts their lengths
        event_start.npy  texts.npy       where an event's texts begin, and the texts
        stats.json                       what was counted

An event is kept once, however many rows have it in their past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.core.artifacts import write_folder_atomically, write_json
from lt4rec_tf.core.time_ticks import ticks_of
from lt4rec_tf.core.time_units import have_unit
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.convert.history import Timeline
from lt4rec_tf.data.convert.history_rows import Table
from lt4rec_tf.data.convert.history_settings import History

_ROWS = 1 << 14  # whose past is made at a time


@dataclass(frozen=True)
class Stats:
    """What was counted in the histories of some users.

    Attributes:
        rows: Rows with a user and a time.
        other_unit: Of these, rows whose time has another unit than all others: no events, and
            without a history.
        events: Events.
        duplicates: Events that repeat an earlier one of the same user, time and carried values.
        empty: Rows without a past event.
        past: Past events of all rows together.
    """

    rows: int = 0
    other_unit: int = 0
    events: int = 0
    duplicates: int = 0
    empty: int = 0
    past: int = 0


def read_stats(folder: Path) -> Stats:
    """Reads what was counted in a folder of `write_users`."""
    return Stats(**read_typed(folder / "stats.json", Stats))


def write_users(
    history: History, unit: str, tables: Sequence[tuple[int, Table]], folder: Path
) -> None:
    """Makes the histories of some users, and writes them to a folder.

    Args:
        history: What they are made of.
        unit: Of the times.
        tables: All rows of these users: pairs of a file's index and a table of it.
        folder: One that is there already is replaced.
    """
    rows, files, texts = _joined(tables)
    write_folder_atomically(folder, lambda path: _write(history, unit, rows, files, texts, path))


def _joined(tables: Sequence[tuple[int, Table]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the rows of all tables, the file of each, and the texts of all."""
    rows = np.concatenate([table.rows for _, table in tables])
    texts = np.concatenate([table.texts for _, table in tables])
    sizes = [len(table.rows) for _, table in tables]
    files = np.repeat(np.array([index for index, _ in tables], np.int32), sizes)
    text_sizes = np.array([len(table.texts) for _, table in tables])
    rows["start"] += np.repeat(np.cumsum(text_sizes) - text_sizes, sizes)
    return rows, files, texts


def _write(
    history: History,
    unit: str,
    rows: np.ndarray,
    files: np.ndarray,
    texts: np.ndarray,
    folder: Path,
) -> None:
    """Writes the histories of some users to an empty folder."""
    total = len(rows)
    usable = have_unit(rows["time"], unit)
    rows, files = rows[usable], files[usable]
    ticks, per_second = ticks_of(rows["time"], unit)
    order = np.lexsort((rows["row"], files, ticks, rows["check"], rows["user"]))
    rows, files, ticks = rows[order], files[order], ticks[order]

    is_new = np.ones(len(rows), bool)
    is_new[1:] = (np.diff(rows["user"]) != 0) | (np.diff(rows["check"]) != 0)
    users, is_event = np.cumsum(is_new), rows["is_event"]
    # Where the unit is unknown a delay is refused: it is 0.
    delay = history.delay_s * per_second if history.delay_s else 0.0
    timeline = Timeline(users, ticks, is_event, rows["request"], delay, history.kept)

    by_file = np.lexsort((rows["row"], files))
    counts = _write_past(folder, timeline, by_file)
    _write_rows(folder, rows["row"][by_file], ticks[by_file], files[by_file], counts)
    events, event_ticks = rows[is_event], ticks[is_event]
    arrays = {"event_tick": event_ticks, "event_start": events["start"], "texts": texts}
    for index in range(len(history.carried)):
        arrays[f"event_{index}"] = events[f"value_{index}"]
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)

    duplicates = _duplicates(history, users[is_event], event_ticks, events, texts)
    empty, past = int((counts == 0).sum()), int(counts.sum())
    stats = Stats(len(rows), total - len(rows), len(events), duplicates, empty, past)
    write_json(folder / "stats.json", asdict(stats))


def _write_past(folder: Path, timeline: Timeline, order: np.ndarray) -> np.ndarray:
    """Writes the past events of rows in an order, some rows at a time; returns their counts."""
    counts = [np.empty(0, np.int64)]
    with (folder / "past.i4").open("wb") as file:
        for first in range(0, len(order), _ROWS):
            past = timeline.of(order[first : first + _ROWS])
            counts.append(past.counts)
            file.write(past.events.astype("<i4").tobytes())
    return np.concatenate(counts)


def _write_rows(
    folder: Path, row: np.ndarray, ticks: np.ndarray, files: np.ndarray, counts: np.ndarray
) -> None:
    """Writes what is read of each row again, and where each file begins."""
    indices, firsts = np.unique(files, return_index=True)
    past_before = np.concatenate([[0], np.cumsum(counts)])[firsts]
    np.save(folder / "files.npy", np.stack([indices, firsts, past_before], axis=1))
    np.save(folder / "row.npy", row)
    np.save(folder / "tick.npy", ticks)
    np.save(folder / "count.npy", counts.astype(np.int32))


def _duplicates(
    history: History,
    users: np.ndarray,
    ticks: np.ndarray,
    events: np.ndarray,
    texts: np.ndarray,
) -> int:
    """Counts events that have user, time and carried values of another one."""
    keys, starts = [], events["start"].copy()
    for index, item in enumerate(history.carried):
        values = events[f"value_{index}"]
        if item.kind.dtype == "string":
            lengths, values = values, _numbers_of_texts(texts, starts, values)
            starts += lengths
        keys.append(values)

    order = np.lexsort((*keys, ticks, users))
    is_same = np.ones(max(0, len(order) - 1), bool)
    for key in (users, ticks, *keys):
        in_order = key[order]
        both_nan = (in_order[1:] != in_order[1:]) & (in_order[:-1] != in_order[:-1])
        is_same &= (in_order[1:] == in_order[:-1]) | both_nan
    return int(is_same.sum())


def _numbers_of_texts(texts: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Numbers texts, equal ones alike."""
    data = texts.tobytes()
    number_of: dict[bytes, int] = {}
    ends = (starts + lengths).tolist()
    pairs = zip(starts.tolist(), ends, strict=True)
    numbers = [number_of.setdefault(data[start:end], len(number_of)) for start, end in pairs]
    return np.array(numbers, np.int64)
