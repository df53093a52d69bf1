"""An even sample of rows from a stream of any length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class EvenSample:
    """A uniform sample of rows: those with the smallest random keys; all while they fit.

    Args:
        size: The most rows that are kept; up to a quarter more are held for a moment.
        seed: Of the keys. The usual 0 may have drawn what the logs hold.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._largest_key = 1.0
        self._keys = [np.empty(0)]
        self._parts: list[Sequence[np.ndarray]] = []  # of the rows held, their columns
        self._held = 0

    def add(self, *columns: np.ndarray) -> None:
        """Adds a batch of rows by its columns, each (rows, ...); always equally many."""
        keys, part = self._random.random(len(columns[0])), list(columns)
        if self._largest_key < 1.0:
            chosen = keys < self._largest_key
            keys, part = keys[chosen], [column[chosen] for column in part]
        self._keys.append(keys)
        self._parts.append(part)
        self._held += len(keys)
        if self._held > 1.25 * self._size:
            self._prune()

    def _prune(self) -> None:
        keys = np.concatenate(self._keys)
        columns = [np.concatenate(pieces) for pieces in zip(*self._parts, strict=True)]
        if len(keys) > self._size:
            smallest = np.sort(np.argpartition(keys, self._size)[: self._size])
            keys, columns = keys[smallest], [column[smallest] for column in columns]
            self._largest_key = float(keys.max())
        self._keys, self._held = [keys], len(keys)
        self._parts = [columns] if columns else []

    @property
    def columns(self) -> Sequence[np.ndarray]:
        """Returns the sample's columns, each (at most size, ...), in the order of the rows."""
        self._prune()
        return self._parts[0] if self._parts else []

    @property
    def numbers(self) -> np.ndarray:
        """Returns the first column; empty where nothing was added."""
        columns = self.columns
        return columns[0] if columns else np.empty(0)
