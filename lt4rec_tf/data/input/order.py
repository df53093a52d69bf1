"""The order of a pass over a split."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """The order of one pass over a split, and the batch with which it begins.

    Attributes:
        shuffle_seed: Together with `epoch` decides the order; None: the order of the files.
        epoch: The number of passes before this one.
        skip_batches: Batches to leave out at the start, to resume in the middle of a pass.
        shuffle_buffer: Records in memory for shuffling; rows in memory need no buffer.
    """

    shuffle_seed: int | None = None
    epoch: int = 0
    skip_batches: int = 0
    shuffle_buffer: int = 100_000


OF_FILES = Order()
