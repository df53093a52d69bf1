"""An even sample of numbers from a stream of any length."""

from __future__ import annotations

import numpy as np


class EvenSample:
    """A uniform sample of rows' numbers: those with the smallest random keys; all while they fit.

    Args:
        size: The most numbers that are kept.
        seed: Of the keys. The usual 0 may have drawn what the logs hold.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._largest_key = 1.0
        self._keys = [np.empty(0)]
        self._numbers = [np.empty(0)]
        self._held = 0

    def add(self, numbers: np.ndarray) -> None:
        """Adds the numbers of a batch of rows."""
        keys = self._random.random(len(numbers))
        if self._largest_key < 1.0:
            chosen = keys < self._largest_key
            keys, numbers = keys[chosen], numbers[chosen]
        self._keys.append(keys)
        self._numbers.append(numbers)
        self._held += len(keys)
        if self._held > 1.25 * self._size:
            self._prune()

    def _prune(self) -> None:
        keys, numbers = np.concatenate(self._keys), np.concatenate(self._numbers)
        if len(keys) > self._size:
            smallest = np.sort(np.argpartition(keys, self._size)[: self._size])
            keys, numbers = keys[smallest], numbers[smallest]
            self._largest_key = float(keys.max())
        self._keys, self._numbers, self._held = [keys], [numbers], len(keys)

    @property
    def numbers(self) -> np.ndarray:
        """Returns the sample, float64 (at most size,), in the order of the rows."""
        self._prune()
        return self._numbers[0]
