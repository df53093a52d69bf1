"""Which rows are read by each of several processes that train together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

File = TypeVar("File")


@dataclass(frozen=True)
class Shard:
    """One process of several.

    Attributes:
        index: Its place, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1


WHOLE = Shard()


def has_own_files(files: Sequence[File], shard: Shard) -> bool:
    """Whether there are files enough for each process to read its own and no others."""
    return shard.count <= max(1, len(files))


def own_files(files: Sequence[File], shard: Shard) -> Sequence[File]:
    """Every `count`-th file.

    >>> own_files(["a", "b", "c", "d", "e"], Shard(1, 2))
    ['b', 'd']
    """
    return files[shard.index :: shard.count]


def own_rows(rows: Any, shard: Shard) -> slice:
    """The part of a batch that is a process's own; the parts differ by one row at most.

    Args:
        rows: Of the batch: int, or in graph a tensor.
        shard: The process.

    >>> [own_rows(8, Shard(index, 3)) for index in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(rows * shard.index // shard.count, rows * (shard.index + 1) // shard.count)


def own_batch_size(batch_size: int, shard: Shard) -> int:
    """Rows that a process of its own files gives to a full batch of all processes."""
    mine = own_rows(batch_size, shard)
    return mine.stop - mine.start


def steps_of(rows_by_file: Sequence[int], batch_size: int, count: int) -> int:
    """Batches until the last of `count` processes has read its rows.

    >>> steps_of([100], 32, 1), steps_of([100], 32, 2), steps_of([100, 20, 60], 32, 2)
    (4, 4, 10)
    """
    if not has_own_files(rows_by_file, Shard(0, count)):
        return -(-sum(rows_by_file) // batch_size)
    shards = [Shard(index, count) for index in range(count)]
    return max(
        -(-sum(own_files(rows_by_file, shard)) // own_batch_size(batch_size, shard))
        for shard in shards
    )
