"""Counts records that occur more than once, by distinct fingerprints, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REMEMBERED = 20_000_000  # fingerprints of 8 bytes
_PENDING = 1 << 18  # fingerprints that are worked on together, or more among many


@dataclass(frozen=True)
class Duplicates:
    """Records that equal an earlier one byte for byte.

    Attributes:
        rows: The number of these records.
        estimated: True if there were too many distinct records to count them all.
        one_in: Of so many distinct records one is in the sample that was compared; 1: all were.
    """

    rows: int
    estimated: bool
    one_in: int = 1


class DistinctCounter:
    """Counts distinct numbers: exactly as long as they fit, then from those below a threshold.

    The threshold is halved whenever those below it no longer fit, so what is kept depends on the
    numbers alone, not on their order. Of d distinct ones about d times the threshold's share lie
    below it (Bar-Yossef et al., 2002): the relative error is about 1 / sqrt(kept).

    >>> counter = DistinctCounter(kept=4, numbers=2**62)
    >>> counter.add(np.array([7, 7, 9]))
    >>> counter.duplicates()
    Duplicates(rows=1, estimated=False, one_in=1)

    Args:
        kept: The most distinct numbers in memory; up to half as many wait to be sorted in.
        numbers: The numbers are spread evenly over 0..numbers-1.
    """

    def __init__(self, kept: int, numbers: int) -> None:
        self._kept, self._numbers = kept, numbers
        self._below = numbers
        self._rows = 0
        self._distinct = np.zeros(0, np.int64)  # rising; no view, as it is resized
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
        """Merges the pending numbers into the distinct ones; halves the threshold if need be.

        All of it in one array, which grows and shrinks where it lies.
        """
        marks, filled = self._distinct, len(self._distinct)
        marks.resize(filled + self._waiting, refcheck=False)
        for pending in self._pending:
            marks[filled : filled + len(pending)] = pending
            filled += len(pending)
        self._pending, self._waiting = [], 0
        marks.sort()

        kept = _gather_distinct(marks)
        while kept > self._kept:
            self._below //= 2
            kept = int(np.searchsorted(marks[:kept], self._below))
        marks.resize(kept, refcheck=False)

    def distinct(self) -> int:
        """Returns how many of the added numbers are distinct, or an estimate."""
        self._sort_in()
        return len(self._distinct) * (self._numbers // self._below)

    def duplicates(self) -> Duplicates:
        """Returns how many of the added numbers repeat an earlier one; at least 0 if estimated."""
        distinct = self.distinct()
        one_in = self._numbers // self._below
        return Duplicates(max(0, self._rows - distinct), one_in > 1, one_in)


def _gather_distinct(marks: np.ndarray) -> int:
    """Moves each distinct number of a sorted array to its front; returns how many there are."""
    kept = 0
    for start in range(0, len(marks), _PENDING):
        block = marks[start : start + _PENDING].copy()
        is_first = np.ones(len(block), bool)
        np.not_equal(block[1:], block[:-1], out=is_first[1:])
        is_first[0] = kept == 0 or block[0] != marks[kept - 1]

        first = block[is_first]
        marks[kept : kept + len(first)] = first
        kept += len(first)
    return kept
