"""Counts records that occur more than once, by distinct fingerprints, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEPT = 20_000_000  # fingerprints of 8 bytes
_PENDING = 1 << 18  # fingerprints that are sorted in together, or more among many


@dataclass(frozen=True)
class Duplicates:
    """Records that equal an earlier one byte for byte.

    Attributes:
        rows: The number of these records.
        estimated: True if there were too many distinct records to count them all.
    """

    rows: int
    estimated: bool


class DistinctCounter:
    """Counts distinct numbers: exactly as long as they fit, then from those below a threshold.

    The threshold is halved whenever those below it no longer fit, so what is kept depends on the
    numbers alone, not on their order. Of d distinct ones about d times the threshold's share lie
    below it (Bar-Yossef et al., 2002): the relative error is about 1 / sqrt(kept).

    >>> counter = DistinctCounter(kept=4, numbers=2**62)
    >>> counter.add(np.array([7, 7, 9]))
    >>> counter.duplicates()
    Duplicates(rows=1, estimated=False)

    Args:
        kept: The most distinct numbers in memory; up to half as many wait to be sorted in.
        numbers: The numbers are spread evenly over 0..numbers-1.
    """

    def __init__(self, kept: int, numbers: int) -> None:
        self._kept, self._numbers = kept, numbers
        self._below = numbers
        self._rows = 0
        self._distinct = np.zeros(0, np.int64)  # rising
        self._pending: list[np.ndarray] = []
        self._waiting = 0

    def add(self, marks: np.ndarray) -> None:
        """Adds numbers, int64 (n,)."""
        self._rows += len(marks)
        if self._below < self._numbers:
            marks = marks[marks < self._below]
        self._pending.append(marks)
        self._waiting += len(marks)
        if self._waiting >= max(min(_PENDING, self._kept), len(self._distinct) // 4):
            self._sort_in()

    def _sort_in(self) -> None:
        """Merges the pending numbers into the distinct ones; halves the threshold if need be."""
        pending = np.concatenate([np.zeros(0, np.int64), *self._pending])
        self._pending, self._waiting = [], 0
        pending.sort()

        marks = np.concatenate([self._distinct, pending])
        self._distinct = pending[:0]  # frees the old array: one copy of many numbers is enough
        marks.sort(kind="stable")  # which merges two runs that are sorted, in one pass
        first = np.ones(len(marks), bool)
        np.not_equal(marks[1:], marks[:-1], out=first[1:])
        self._distinct = marks[first]

        while len(self._distinct) > self._kept:
            self._below //= 2
            self._distinct = self._distinct[: np.searchsorted(self._distinct, self._below)].copy()

    def distinct(self) -> int:
        """Returns how many of the added numbers are distinct, or an estimate."""
        self._sort_in()
        return len(self._distinct) * (self._numbers // self._below)

    def duplicates(self) -> Duplicates:
        """Returns how many of the added numbers repeat an earlier one; at least 0 if estimated."""
        distinct = self.distinct()
        return Duplicates(max(0, self._rows - distinct), self._below < self._numbers)
