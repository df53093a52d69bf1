"""Counts the rows that a schema's filters leave out, filter by filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.schema.types import Filter


@dataclass(frozen=True)
class FilteredRows:
    """What one filter left out.

    Attributes:
        rows: Records for which it is the first filter, in the schema's order, that does not hold.
        unreadable: Those of them that hold something which it cannot compare.
    """

    rows: int
    unreadable: int


class FilterCounts:
    """Adds up the batches of a pass.

    Args:
        filters: The schema's.
    """

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._texts = [rule.text for rule in filters]
        self._rows = np.zeros(len(filters), int)
        self._unreadable = np.zeros(len(filters), int)

    def add(self, left_out: Mapping[str, np.ndarray]) -> None:
        """Adds one batch of `filters.LeftOut`, by name."""
        by, unreadable = left_out["by"], left_out["unreadable"]
        self._rows += np.bincount(by[by >= 0], minlength=len(self._texts))
        self._unreadable += np.bincount(by[unreadable], minlength=len(self._texts))

    def result(self) -> dict[str, FilteredRows]:
        """Returns the counts by filter, in the schema's order."""
        pairs = zip(self._rows.tolist(), self._unreadable.tolist(), strict=True)
        counts = [FilteredRows(*pair) for pair in pairs]
        return dict(zip(self._texts, counts, strict=True))
