"""Times of a pass over the logs: a sample of them, the first and the last, and those far away."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt4rec_tf.core.time_units import are_mixed, by_unit, limits_of, unit_of, with_date
from lt4rec_tf.data.input.even_sample import EvenSample

SAMPLED = 1_000_000  # of which boundaries are made
_KEPT = 100_000  # of which unit and limits are made
_EXTREMES = 100  # distinct times that are kept at either end


@dataclass(frozen=True)
class FarTime:
    """A row whose time is far from all others."""

    file: str
    record: int  # from 1, header lines not counted
    time: float


@dataclass(frozen=True)
class UnitRows:
    """Rows whose times have one unit: how many, and the first of them."""

    unit: str
    rows: int
    file: str
    record: int
    time: float


def units_text(units: Sequence[UnitRows]) -> str:
    """Writes units, each with its rows and the first of them."""
    return "; ".join(
        f"{unit.unit} in {unit.rows} rows, first {with_date(unit.time, unit.unit)} "
        f"in {unit.file} record {unit.record}"
        for unit in units
    )


class UnitCounts:
    """Adds up the times of a pass by their units."""

    def __init__(self) -> None:
        self._found: dict[str, UnitRows] = {}
        self._total = 0

    def add(self, file: str, records: np.ndarray, times: np.ndarray) -> None:
        """Adds the times of a batch of rows, see `TimeCounts.add`."""
        self._total += len(times)
        for unit, has_unit in by_unit(times).items():
            row = int(np.argmax(has_unit))
            first = UnitRows(unit, 0, file, int(records[row]), float(times[row]))
            found = self._found.get(unit, first)
            rows = found.rows + int(has_unit.sum())
            self._found[unit] = dataclasses.replace(found, rows=rows)

    def mixed(self) -> tuple[UnitRows, ...]:
        """Returns the units of the times, the first met first; none where all have one, or none."""
        found = tuple(self._found.values())
        return found if are_mixed([unit.rows for unit in found], self._total) else ()


@dataclass(frozen=True)
class Times:
    """The times of the rows of a pass; a plain tree that survives JSON.

    Attributes:
        unit: Of `time_units.unit_of`.
        earliest: What is less is far from the others.
        latest: What is greater is far.
        first: The first time that is not far.
        last: The last one.
        far: Rows whose time is far: it counts nowhere.
        first_far: The first of them, in the order of the logs.
        units: Where times have several units, the rows of each.
    """

    unit: str
    earliest: float
    latest: float
    first: float
    last: float
    far: int = 0
    first_far: FarTime | None = None
    units: tuple[UnitRows, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Times:
        """Makes times from what `dataclasses.asdict` made of them, after JSON if need be."""
        far = value.get("first_far")
        units = tuple(UnitRows(**unit) for unit in value.get("units", ()))
        return cls(**{**value, "first_far": FarTime(**far) if far else None, "units": units})


@dataclass
class _Rows:
    """The rows of one time: the first one's place among all, its file and record; how many."""

    place: int
    file: str
    record: int
    count: int = 0


class TimeCounts:
    """Adds up the times of a pass.

    A far time is among the lowest or the highest: of these few distinct ones each is kept with the
    number of its rows and its first row, so that nothing needs to be known before the pass.
    """

    def __init__(self) -> None:
        self._sample = EvenSample(_KEPT)
        self._units = UnitCounts()
        self._lowest: dict[float, _Rows] = {}
        self._highest: dict[float, _Rows] = {}
        self._seen = 0

    def add(self, file: str, records: np.ndarray, times: np.ndarray) -> None:
        """Adds the times of a batch of rows.

        Args:
            file: Its name.
            records: int (rows,), the number of each row in it.
            times: float64 (rows,), finite.
        """
        if not len(times):
            return
        self._sample.add(times)
        self._units.add(file, records, times)
        distinct, first_rows, counts = np.unique(times, return_index=True, return_counts=True)

        rows_by_time = []
        for index in {*range(len(distinct))[:_EXTREMES], *range(len(distinct))[-_EXTREMES:]}:
            row = int(first_rows[index])
            rows = _Rows(self._seen + row, file, int(records[row]), int(counts[index]))
            rows_by_time.append((float(distinct[index]), rows))
        _keep(self._lowest, rows_by_time, 1.0)
        _keep(self._highest, rows_by_time, -1.0)
        self._seen += len(times)

    def result(self, limits: tuple[float, float] | None = None) -> Times | None:
        """Returns the sums; None: no row has a time.

        Args:
            limits: (earliest, latest), where they were known before the pass; None: from the times.
        """
        times = self._sample.numbers
        if not len(times):
            return None
        unit = unit_of(times)
        earliest, latest = limits or limits_of(times, unit)

        extremes = self._lowest | self._highest  # few distinct times are at both ends
        far = {time: rows for time, rows in extremes.items() if not earliest <= time <= latest}
        near = np.array([*(extremes.keys() - far.keys()), *times])
        within = near[(near >= earliest) & (near <= latest)]
        near = within if len(within) else times

        first_far = None
        if far:
            time, rows = min(far.items(), key=lambda item: item[1].place)
            first_far = FarTime(rows.file, rows.record, time)
        count = sum(rows.count for rows in far.values())
        first, last = float(near.min()), float(near.max())
        units = self._units.mixed()
        return Times(unit, earliest, latest, first, last, count, first_far, units)


def _keep(extremes: dict[float, _Rows], times: Iterable[tuple[float, _Rows]], sign: float) -> None:
    """Adds times and the rows of each, and keeps the lowest; with a sign of -1 the highest."""
    for time, rows in times:
        extremes.setdefault(time, dataclasses.replace(rows, count=0)).count += rows.count
    for time in sorted(extremes, key=lambda time: sign * time)[_EXTREMES:]:
        del extremes[time]
