"""Lineage of a chain of runs: the logs that it was trained on, by content, and their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.time_units import NO_UNIT, with_date
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.row_sums import is_sum, total
from lt4rec_tf.data.audit.times import Times
from lt4rec_tf.experiment.paths import DAYS
from lt4rec_tf.reports.daily import Day


class DayError(InputError):
    """Logs must not be trained on: a chain has seen them, or later ones."""


def identify(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Identifies logs by their content, whatever their names.

    Args:
        files: Name -> path.

    Returns:
        Name -> {"bytes", "sha256"} of its content on disk.
    """
    return {
        name: {"bytes": path.stat().st_size, "sha256": artifacts.sha256(path)}
        for name, path in files.items()
    }


def read_days(folder: Path) -> list[dict[str, Any]]:
    """Reads the days of a run's chain, in order; none for a run that began one.

    Raises:
        RunError: The file holds something else.
    """
    path = folder / DAYS
    days: list[dict[str, Any]] = read_typed(path, list[Day]) if path.exists() else []
    for place, day in enumerate(days):
        for name, file in day["files"].items():
            if "rows" in file and not is_sum(file["rows"]):
                raise artifacts.RunError(
                    f"{path}: [{place}].files.{name}.rows: found {file['rows']!r}, expected 16 "
                    "hexadecimal digits"
                )
    return days


def refuse_known_files(files: Mapping[str, Mapping[str, Any]], days: Sequence[Any]) -> None:
    """Refuses logs whose content a chain was trained on, under whatever names.

    Logs that are gone left no checksum: they are then known by name and size.

    Args:
        files: As `identify` returns them.
        days: Of the chain, each with such "files".

    Raises:
        DayError: Naming each file with the day that held it.
    """
    known = known_files(files, days)
    if known:
        listed = "\n  ".join(f"{name} is {earlier}" for name, earlier in known.items())
        others = len(files) - len(known)
        advice = (
            f"\n{others} of {len(files)} files are new: of a day that comes in parts, each part is "
            "trained on from a folder that holds it alone"
        )
        raise DayError(
            "--data_dir: found logs that this chain was trained on, expected a new day "
            f"(--retrain_day trains on them again):\n  {listed}{advice * bool(others)}"
        )


def known_files(files: Mapping[str, Mapping[str, Any]], days: Sequence[Any]) -> dict[str, str]:
    """Finds the files whose content a chain was trained on.

    Args:
        files: As `identify` returns them.
        days: Of the chain, each with such "files".

    Returns:
        Name -> the file and day that held it, in words.
    """
    by_content: dict[Any, str] = {}
    for day in days:
        for name, file in day["files"].items():
            by_content[_identity(name, file)] = f"{name} of day {day['name']!r}"

    known = {}
    for name, file in files.items():
        content_key, name_key = (file["bytes"], file["sha256"]), (file["bytes"], name)
        earlier_file = by_content.get(content_key) or by_content.get(name_key)
        if earlier_file:
            known[name] = earlier_file
    return known


def _identity(name: str, file: Mapping[str, Any]) -> tuple[int, str]:
    return file["bytes"], file["sha256"] or name


def refuse_known_rows(row_sums: Mapping[str, str], days: Sequence[Any]) -> None:
    """Refuses rows that a chain was trained on, in files of another content.

    Packed, sorted or written otherwise, a file's rows have the same sum; cut into other files,
    those of the whole day have.

    Args:
        row_sums: By file, of the new day, see `row_sums`.
        days: Of the chain; "rows" of their files are such sums, absent in days of earlier versions
            and of logs that are gone.

    Raises:
        DayError: Naming the files, or the day.
    """
    file_by_sum: dict[str, str] = {}
    day_by_sum: dict[str, str] = {}
    for day in days:
        sums = {name: file["rows"] for name, file in day["files"].items() if file.get("rows")}
        file_by_sum |= {rows: f"{name} of day {day['name']!r}" for name, rows in sums.items()}
        if sums and len(sums) == len(day["files"]):
            day_by_sum[total(sums.values())] = day["name"]

    repeated = [
        f"{name} holds the rows of {file_by_sum[rows]}"
        for name, rows in row_sums.items()
        if rows in file_by_sum
    ]
    day_name = day_by_sum.get(total(row_sums.values()))
    if day_name is not None and not repeated:
        repeated = [f"all files together hold the rows of day {day_name!r}"]
    if repeated:
        listed = "\n  ".join(repeated)
        raise DayError(
            "--data_dir: found rows that this chain was trained on, in other files, expected a new "
            f"day (--retrain_day trains on them again):\n  {listed}"
        )


def refuse_earlier_day(
    last_time: float | None, days: Sequence[Any], times: Times | None = None
) -> None:
    """Refuses a day that ends before one that was trained on: the network would go back in time.

    Two parts of one day, such as its morning and evening, may follow each other.

    Args:
        last_time: Of the day, in the unit of the schema's time column; None where it has none.
        days: Of the chain, each with its "last_time".
        times: Of the day, as its audit has them.

    Raises:
        DayError: Naming the later day.
    """
    unit = NO_UNIT if times is None else times.unit
    timed = [day for day in days if day["last_time"] is not None]
    if times is not None and unit != NO_UNIT:
        # Days of earlier versions may end at a time that is far from all others.
        timed = [day for day in timed if day["last_time"] <= times.latest]
    if last_time is None or not timed:
        return
    latest = max(timed, key=lambda day: day["last_time"])
    if last_time < latest["last_time"]:
        raise DayError(
            f"--data_dir: found logs that end at {with_date(last_time, unit)}, expected some that "
            f"end at {with_date(latest['last_time'], unit)} or later, as day {latest['name']!r} of "
            "this chain does "
            "(--retrain_day trains on them nevertheless)"
        )
