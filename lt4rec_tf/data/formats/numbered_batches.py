"""Batches of records that Python reads, as a tf.data source that TensorFlow takes for pure.

`Dataset.from_generator` keeps a state that TensorFlow sees, for which it gives up parallel reading
and parsing wherever determinism is asked for. Here batch i of a file is a function of file and i,
which it is: whoever asks for batch i + 1 after batch i goes on where the file is open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.locations import location

_MOST_OPEN = 64  # files of passes that were given up
_END = np.array([], "S1")


class NumberedBatches:
    """Reads batches of files by their number."""

    def __init__(self, read: Callable[[Path], Iterator[np.ndarray]]) -> None:
        """Takes the function that reads a file: some records at a time, bytes in an array."""
        self._read = read
        self._lock = threading.Lock()
        # By file and the number of the next batch, so that passes side by side do not meet.
        self._open: dict[tuple[bytes, int], list[Iterator[np.ndarray]]] = {}

    def dataset(self, path: tf.Tensor, *, when: tf.Tensor | bool = True) -> tf.data.Dataset:
        """Returns the records of a file, strings ().

        Args:
            path: String ().
            when: Bool (); where it is false there are none.
        """
        count = tf.where(when, tf.int64.max, tf.constant(0, tf.int64))

        def batch(number: tf.Tensor) -> tf.Tensor:
            some = tf.numpy_function(self._batch, [path, number], tf.string, stateful=False)
            return tf.ensure_shape(some, [None])

        # TensorFlow would ask for several pure ones at a time, and so for one before the last.
        numbered = tf.data.Dataset.range(count).map(batch, synchronous=True)
        # Files that are read in turns come to the end of their batches together: one is read ahead.
        numbered = numbered.take_while(lambda some: tf.size(some) > 0).prefetch(1)
        return numbered.unbatch()

    def _batch(self, path: bytes, number: int) -> np.ndarray:
        """Returns a batch of a file, an empty one behind its end."""
        batches = self._at(path, int(number))
        found = next(batches, None)
        if found is None:
            return _END
        with self._lock:
            self._open.setdefault((path, int(number) + 1), []).append(batches)
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        return found

    def _at(self, path: bytes, number: int) -> Iterator[np.ndarray]:
        """Returns the batches of a file from a number on: of an open one if possible."""
        with self._lock:
            waiting = self._open.get((path, number))
            if waiting:
                batches = waiting.pop()
                if not waiting:
                    del self._open[path, number]
                return batches

        batches = self._read(location(path.decode()))
        for _ in range(number):
            next(batches, None)
        return batches
