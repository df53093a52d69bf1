"""Shards: the files and rows that each of several processes reads when they train together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

File = TypeVar("File")


@dataclass(frozen=True)
class Shard:
    """The share of one process among several.

    Attributes:
        index: Number of the process, from 0.
        count: Number of processes.
    """

    index: int = 0
    count: int = 1


WHOLE = Shard()


def has_own_files(files: Sequence[File], shard: Shard) -> bool:
    """Tells if there are enough files for each process to read files of its own."""
    return shard.count <= max(1, len(files))


def own_files(files: Sequence[File], shard: Shard) -> Sequence[File]:
    """Returns every `count`-th file.

    >>> own_files(["a", "b", "c", "d", "e"], Shard(1, 2))
    ['b', 'd']
    """
    return files[shard.index :: shard.count]


def own_rows(rows: Any, shard: Shard) -> slice:
    """Returns a process's part of a batch; the parts' sizes differ by one row at most.

    Args:
        rows: Number of rows of the batch: int, or in graph a tensor.
        shard: The process.

    >>> [own_rows(8, Shard(index, 3)) for index in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(rows * shard.index // shard.count, rows * (shard.index + 1) // shard.count)


def own_batch_size(batch_size: int, shard: Shard) -> int:
    """Returns a process's number of rows in a full batch, if it reads files of its own."""
    rows = own_rows(batch_size, shard)
    return rows.stop - rows.start


def steps_of(rows_by_file: Sequence[int], batch_size: int, count: int) -> int:
    """Returns the number of batches until each of `count` processes has read its rows.

    >>> steps_of([100], 32, 1), steps_of([100], 32, 2), steps_of([100, 20, 60], 32, 2)
    (4, 4, 10)
    """
    if not has_own_files(rows_by_file, Shard(0, count)):
        return -(-sum(rows_by_file) // batch_size)

    steps_by_process = []
    for index in range(count):
        shard = Shard(index, count)
        rows = sum(own_files(rows_by_file, shard))
        steps_by_process.append(-(-rows // own_batch_size(batch_size, shard)))
    return max(steps_by_process)
