"""Makes the histories of all files before these are converted: locally, or by Apache Beam.

The rows of all files are read once. Those of some users come together, by files that are in the
order of users' hashes, or by Beam's GroupByKey; then both make histories by the same function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.core.artifacts import RunError, remove
from lt4rec_tf.core.flags import ConfigError, refuse
from lt4rec_tf.core.time_units import NO_UNIT
from lt4rec_tf.data.convert.history_lists import Ready, read_ready, write_ready
from lt4rec_tf.data.convert.history_rows import Table
from lt4rec_tf.data.convert.history_settings import Counts, History
from lt4rec_tf.data.convert.history_spill import (
    HASHES,
    Spill,
    Spilled,
    read_spilled,
    read_tables,
    spill_file,
    unit_of_all,
    write_counts,
)
from lt4rec_tf.data.convert.history_users import read_stats, write_users
from lt4rec_tf.data.convert.shards import Converted, Job, history_dir
from lt4rec_tf.data.convert.workers import beam_with, errors_written, in_processes, raise_written
from lt4rec_tf.data.formats.files import DataError

_PACKED = 16  # bytes of memory for one of a source, by which Beam's users are cut
_Part = tuple[int, tuple[int, Any, Any]]  # a range of users; a file's index and its rows and texts


def make_histories(
    job: Job, paths: Sequence[Path], processes: int, beam_options: Sequence[str]
) -> Ready:
    """Makes the histories of all files, unless they are there.

    Args:
        job: Settings of the conversion, with a history.
        paths: All files.
        processes: How many work side by side, 1 or more.
        beam_options: Of a Beam pipeline; none: this machine works.

    Raises:
        DataError: A file cannot be read, or its times are in no order.
        ConfigError: A delay is given, and the times have no unit.
    """
    folder = history_dir(job.output_dir)
    ready = read_ready(folder)
    if ready is not None:
        return ready
    todo = list(enumerate(paths))
    if beam_options:
        ready = _by_beam(job, todo, beam_options)
    else:
        ready = _by_processes(job, todo, processes)
    write_ready(folder, ready)
    for path in (folder / "rows").glob("*.npy"):
        path.unlink()
    return ready


def _by_processes(job: Job, todo: Sequence[tuple[int, Path]], processes: int) -> Ready:
    history = _of(job)
    for _ in in_processes(functools.partial(spill_file, job), todo, processes):
        pass
    spilled = spilled_files(job.output_dir, len(todo))
    unit = _unit(history, spilled)

    tables = [file.tables for file in spilled]
    spill = Spill(job.output_dir, tables)
    ranges = spill.ranges(history.memory_mib * 2**20 / processes)
    write = functools.partial(_write_range, job, unit, tables)
    for _ in in_processes(write, ranges, processes):
        pass
    return Ready(unit, tuple(_name(*pair) for pair in ranges))


def _write_range(job: Job, unit: str, tables: Sequence[int], first: int, end: int) -> None:
    """Makes the histories of a range of users from files, unless they are there."""
    folder = _users_dir(job, first, end)
    if not folder.exists():
        write_users(_of(job), unit, Spill(job.output_dir, tables).read(first, end), folder)


def _by_beam(job: Job, todo: Sequence[tuple[int, Path]], options: Sequence[str]) -> Ready:
    """Groups rows by ranges of users; a range is made once all rows of all files are read."""
    remove(history_dir(job.output_dir))  # so that no count is of an earlier try
    memory = _of(job).memory_mib * 2**20
    size = sum(path.stat().st_size for _, path in todo)
    ranges = max(1, math.ceil(_PACKED * size / memory))
    beam, pipeline_options = beam_with(options)
    with beam.Pipeline(options=pipeline_options) as pipeline:
        files = pipeline | beam.Create(list(todo)) | beam.Reshuffle()
        rows = files | beam.FlatMap(functools.partial(_rows_by_range, job, ranges))
        write = functools.partial(_write_grouped, job, len(todo), ranges)
        _ = rows | beam.GroupByKey() | beam.MapTuple(write)

    raise_written(job, [index for index, _ in todo])
    unit = _unit(_of(job), spilled_files(job.output_dir, len(todo)))
    names = [_name(*_range_of(number, ranges)) for number in range(ranges)]
    folder = history_dir(job.output_dir) / "users"
    return Ready(unit, tuple(name for name in names if (folder / name).exists()))


def _rows_by_range(job: Job, ranges: int, file: tuple[int, Path]) -> Iterator[_Part]:
    """Reads a file and gives each range of users its rows; an error is written down."""
    index, path = file
    with errors_written(job, index):
        counts = Counts()
        for table in read_tables(job, path, counts):
            for number in range(ranges):
                rows, texts = table.of_users(*_range_of(number, ranges))
                if len(rows):
                    yield number, (index, rows, texts)
        write_counts(job, index, path, -1, counts)


def _write_grouped(
    job: Job, files: int, ranges: int, number: int, parts: Iterable[tuple[int, Any, Any]]
) -> None:
    """Makes the histories of a range of users of which Beam brought all rows together."""
    try:
        unit = _unit(_of(job), spilled_files(job.output_dir, files))
    except (DataError, ConfigError, RunError):
        return  # the process that began it meets the same error
    tables = [(index, Table(rows, texts)) for index, rows, texts in parts]
    write_users(_of(job), unit, tables, _users_dir(job, *_range_of(number, ranges)))


def _range_of(number: int, ranges: int) -> tuple[int, int]:
    return HASHES * number // ranges, HASHES * (number + 1) // ranges


def _of(job: Job) -> History:
    assert job.history is not None
    return job.history


def _name(first: int, end: int) -> str:
    return f"{first:016x}-{end:016x}"


def _users_dir(job: Job, first: int, end: int) -> Path:
    return history_dir(job.output_dir) / "users" / _name(first, end)


def _unit(history: History, spilled: Sequence[Spilled]) -> str:
    unit = unit_of_all(spilled)
    if unit == NO_UNIT and history.delay_s and any(file.counts.times for file in spilled):
        expected = (
            f"0: column {history.time.column} holds no dates and no seconds or parts of them since "
            "1970, so that no delay is known"
        )
        refuse("history_delay_s", history.delay_s, expected)
    return unit


def spilled_files(output_dir: Path, files: int) -> list[Spilled]:
    """Returns what is known of all files whose rows were read.

    Raises:
        RunError: One was not read.
    """
    spilled = [read_spilled(output_dir, index) for index in range(files)]
    found = [file for file in spilled if file is not None]
    if len(found) < files:
        raise RunError(f"{output_dir}: found the rows of {len(found)} files, expected {files}")
    return found


def check_unchanged(output_dir: Path, converted: Sequence[Converted]) -> None:
    """Compares what files held when histories were made with what they held when converted.

    Raises:
        RunError: A file held something else; names each.
    """
    spilled = {file.name: file for file in spilled_files(output_dir, len(converted))}
    changed = [file.name for file in converted if file.sha256 != spilled[file.name].sha256]
    if changed:
        listed = "\n  ".join(changed)
        raise RunError(
            f"{output_dir}: these files held something else when histories were made:\n  {listed}\n"
            "Remove the folder and convert again."
        )


def summary_lines(job: Job, ready: Ready, files: int) -> list[str]:
    """Says what histories were made of, and what was left out of them.

    Args:
        job: Settings of the conversion, with a history.
        ready: The histories.
        files: How many files there are.
    """
    history, folder = _of(job), history_dir(job.output_dir)
    counts = [file.counts for file in spilled_files(job.output_dir, files)]
    stats = [read_stats(folder / "users" / name) for name in ready.users]
    rows = sum(each.rows for each in counts)
    made, past = sum(each.rows for each in stats), sum(each.past for each in stats)
    lines = [
        f"history: {sum(each.events for each in stats)} of {rows} rows are events "
        f"({history.events_text}); of {made} rows with a user and a time "
        f"{sum(each.empty for each in stats)} have no past event, all {past / max(1, made):.1f} on "
        "average"
    ]
    left_out = {
        "without a user": sum(each.without_user for each in counts),
        "without a time": sum(each.without_time for each in counts),
        "with a time of another unit": sum(each.other_unit for each in stats),
    }
    for what, number in left_out.items():
        if number:
            lines.append(f"history: {number} rows {what} are no events and have no history")
    unreadable = sum(each.unreadable for each in counts)
    if unreadable:
        lines.append(f"history: {unreadable} rows are no events: they cannot be compared")
    duplicates = sum(each.duplicates for each in stats)
    if duplicates:
        lines.append(
            f"history: {duplicates} events repeat another one of the same user, time and values; "
            "each counts, as each is a row"
        )
    if ready.unit == NO_UNIT:
        lines.append(
            f"history: no ages: column {history.time.column} holds no dates and no seconds or "
            "parts of them since 1970"
        )
    return lines
