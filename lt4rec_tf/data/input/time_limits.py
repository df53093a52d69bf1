"""Boundaries that are dates, and limits of time, by the first times of the logs."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from lt4rec_tf.core.time_units import NO_UNIT, from_date, limits_of, unit_of, with_date
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import mixed_kinds
from lt4rec_tf.data.formats.odd_files import oddity
from lt4rec_tf.data.formats.records import OtherKinds
from lt4rec_tf.data.input.labels import USABLE
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import read_all
from lt4rec_tf.data.input.source import Source

_LEAST_TIMES = 100  # by which a unit is found
_MOST_FILES = 16  # in which they are looked for


def usable_times(rows: Rows) -> dict[str, Any]:
    """Selects what `chosen_times` takes of a batch of rows."""
    return {"times": rows.times, "usable": rows.labels.reasons == USABLE}


def chosen_times(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the times of the usable rows that have one."""
    times = values["times"][values["usable"]]
    return times[np.isfinite(times)]


def with_dates(source: Source, dates: Mapping[str, str]) -> Source:
    """Returns a source whose split by time begins at dates, in the unit of its times.

    Args:
        source: From `open_source`, split by time.
        dates: "validation_from" or "test_from", or both, in ISO 8601.

    Raises:
        DataError: The logs' times have no dates, or none so fine; or the boundaries are no order.
    """
    times = _first_times_unaudited(source)
    unit = unit_of(times)
    column = source.schema.time.column if source.schema.time else ""
    boundaries: dict[str, Any] = {}
    for name, text in dates.items():
        if unit == NO_UNIT:
            seen = ", ".join(f"{time:.16g}" for time in times[:3]) or "no time"
            raise DataError(
                f"--{name}: found the date {text!r}, expected a number: column {column} holds no "
                f"dates and no seconds or parts of them since 1970 ({seen})"
            )
        try:
            boundaries[name] = from_date(text, unit)
        except ValueError as error:
            raise DataError(
                f"--{name}: found {error}, expected a date as column {column} has them, "
                f"such as {with_date(float(times[0]), unit)}"
            ) from error

    split = dataclasses.replace(source.split, **boundaries)
    if not split.needs_boundaries and split.validation_from > split.test_from:  # type: ignore[operator]
        raise DataError(
            f"--test_from: found {dates.get('test_from', split.test_from)!r}, expected it not "
            "before --validation_from"
        )
    return dataclasses.replace(source, split=split)


def with_limits(source: Source) -> Source:
    """Returns a source that is split at given boundaries, with limits beyond which times are far.

    The boundaries lie within them, so the first times are enough: no pass over the logs is needed.
    Files may come in any order, so earlier times than the first ones are not far.
    """
    boundaries = (source.split.validation_from, source.split.test_from)
    inside = [time for time in boundaries if time is not None and math.isfinite(time)]
    times = first_times(source)
    if not len(times):
        return source
    limits = -sys.float_info.max, sys.float_info.max
    if len(inside) == len(boundaries):
        unit = unit_of(times)
        if unit != NO_UNIT:
            inside.append(from_date("1990-01-01", unit))
        limits = limits_of(times, unit, inside)
    return dataclasses.replace(source, split=dataclasses.replace(source.split, limits=limits))


def first_times(source: Source) -> np.ndarray:
    """Returns the times of the first usable rows, a batch or a few of them; float64."""
    parts = [np.empty(0)]
    for _, _, values in read_all(source, usable_times, set()):
        parts.append(chosen_times(values))
        if sum(map(len, parts)) >= _LEAST_TIMES:
            break
    return np.concatenate(parts)


def _first_times_unaudited(source: Source) -> np.ndarray:
    """Returns the same of a source of which no audit has said yet how its files must be read."""
    files = source.files[:_MOST_FILES]
    odd_files = source.odd_files
    if source.layout.form is not None:  # Python reads any text file, and none to its end unasked
        odd_files = frozenset(files)
    elif not source.layout.by_python:
        odd_files = frozenset(path for path in files if oddity(path, None))

    source = dataclasses.replace(source, files=files, odd_files=odd_files)
    try:
        return first_times(source)
    except OtherKinds:
        layout, mixed_files = mixed_kinds(source.layout, source.files)
        odd_files |= frozenset(mixed_files)
        return first_times(dataclasses.replace(source, layout=layout, odd_files=odd_files))
