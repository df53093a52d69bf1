"""Counts how often each value of a column occurs in each split, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lt4rec_tf.data.input.splits import SPLITS

_MARKS = 2**63


class ValueTable(NamedTuple):
    """Values with their occurrences.

    Attributes:
        keys: int64 (values,), rising.
        counts: int64 (values, splits).
        times: Of how many distinct values one is kept; 1: all are.
    """

    keys: np.ndarray
    counts: np.ndarray
    times: int


class ValueCounts:
    """Counts values, all as long as they fit, then those whose marks lie below a threshold.

    A mark is a number that the value alone decides, so that a value is kept with all its
    occurrences or not at all, and shares are estimated from an even sample of the values.

    Args:
        kept: The most values in memory.
        pending: Occurrences that wait to be counted together.
    """

    def __init__(self, kept: int, pending: int) -> None:
        self._kept, self._most_pending = kept, pending
        self._below = _MARKS
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros((0, len(SPLITS)), np.int64)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def add(self, keys: np.ndarray, splits: np.ndarray) -> None:
        """Adds occurrences: values, int64 (n,), and the splits of their rows, int (n,)."""
        if self._below < _MARKS:
            is_kept = marks_of(keys) < self._below
            keys, splits = keys[is_kept], splits[is_kept]
        self._pending.append((keys, splits.astype(np.int8)))
        self._waiting += len(keys)
        if self._waiting >= self._most_pending:
            self._count()

    def _count(self) -> None:
        """Counts what waits; halves the threshold until the values fit."""
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._pending)])
        splits = np.concatenate([np.zeros(0, np.int8), *(splits for _, splits in self._pending)])
        self._pending, self._waiting = [], 0

        known = len(self._keys)
        self._keys, places = np.unique(keys, return_inverse=True)
        counts = np.zeros((len(self._keys), len(SPLITS)), np.int64)
        counts[places[:known]] = self._counts
        cells = places[known:] * len(SPLITS) + splits
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
        self._counts = counts

        while len(self._keys) > self._kept:
            self._below //= 2
            is_kept = marks_of(self._keys) < self._below
            self._keys, self._counts = self._keys[is_kept], self._counts[is_kept]

    def table(self) -> ValueTable:
        """Returns what was counted."""
        self._count()
        return ValueTable(self._keys, self._counts, _MARKS // self._below)


def marks_of(keys: np.ndarray) -> np.ndarray:
    """Returns a number in [0, 2^63) for each value, spread evenly however the values lie.

    Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (OOPSLA 2014),
    the finalizer of SplitMix64.
    """
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
