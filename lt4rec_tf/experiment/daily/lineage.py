"""Which logs a chain of runs has been trained on: files by content, rows, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.experiment.paths import DAYS


class DayError(InputError):
    """Logs must not be trained on: a chain has seen them, or later ones."""


def identify(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What tells logs from others whatever they are called.

    Args:
        files: Name -> path.

    Returns:
        Name -> {"bytes", "sha256"} of its content as it lies on disk.
    """
    return {
        name: {"bytes": path.stat().st_size, "sha256": artifacts.sha256(path)}
        for name, path in files.items()
    }


def read_days(folder: Path) -> list[dict[str, Any]]:
    """The days of a run's chain, in order; none for a run that began one."""
    path = folder / DAYS
    return artifacts.read_json(path) if path.exists() else []


def refuse_known_files(files: Mapping[str, Mapping[str, Any]], days: Sequence[Any]) -> None:
    """Refuses logs whose content a chain was trained on, under whatever names.

    Logs that are gone left no checksum: name and size tell them then.

    Args:
        files: As `identify` returns them.
        days: Of the chain, each with such "files".

    Raises:
        DayError: Naming each file with the day that held it.
    """
    by_content: dict[Any, str] = {}
    for day in days:
        for name, known in day["files"].items():
            by_content[_identity(name, known)] = f"{name} of day {day['name']!r}"
    found = []
    for name, file in files.items():
        of_content, of_name = (file["bytes"], file["sha256"]), (file["bytes"], name)
        known = by_content.get(of_content) or by_content.get(of_name)
        if known:
            found.append(f"{name} is {known}")
    if found:
        listed = "\n  ".join(found)
        raise DayError(
            f"--data_dir: found logs that this chain was trained on, expected a new day "
            f"(--retrain_day trains on them again):\n  {listed}"
        )


def _identity(name: str, file: Mapping[str, Any]) -> tuple[int, str]:
    return file["bytes"], file["sha256"] or name


def refuse_earlier_day(last_time: float | None, days: Sequence[Any]) -> None:
    """Refuses a day that ends before one that was trained on: the network would go back in time.

    Two deliveries of one time (a day's morning and evening, say) may follow each other.

    Args:
        last_time: Of the day, in the unit of the schema's time column; None where it has none.
        days: Of the chain, each with its "last_time".

    Raises:
        DayError: Naming the later day.
    """
    timed = [day for day in days if day["last_time"] is not None]
    if last_time is None or not timed:
        return
    latest = max(timed, key=lambda day: day["last_time"])
    if last_time < latest["last_time"]:
        raise DayError(
            f"--data_dir: found logs that end at {last_time:.16g}, expected some that end at "
            f"{latest['last_time']:.16g} or later, as day {latest['name']!r} of this chain does "
            "(--retrain_day trains on them nevertheless)"
        )
