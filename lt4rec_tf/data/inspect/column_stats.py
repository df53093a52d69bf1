"""What a sample of logs says of each column: type, distinct values, missing ones, their spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.column_types import ColumnType, to_type
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.inspect.log_sample import Sample

# A column grows where more than this share of its distinct values, and more than this number, came
# first in the second half of the rows.
GROWTH, LEAST_GROWTH = 0.1, 5
_MOST_COMMON = 50


@dataclass(frozen=True)
class ColumnStats:
    """One column of a sample.

    Attributes:
        name: The column.
        kind: Its type.
        rows: Of the sample.
        missing: Share of rows without a value.
        distinct: How many values differ.
        grows: Whether the second half of the rows still brought many new values.
        longest: Most values of a row.
        commonest: The most frequent values with their number of times, the first met first; of
            text that is no UTF-8 with replacement signs.
        numbers: The finite values, sorted, float64; of text none.
    """

    name: str
    kind: ColumnType
    rows: int
    missing: float
    distinct: int
    grows: bool
    longest: int
    commonest: tuple[tuple[str, int], ...]
    numbers: np.ndarray

    @property
    def is_binary(self) -> bool:
        """Whether all values are the numbers 0 and 1."""
        return self.distinct > 0 and self.only_finite and set(self.numbers.tolist()) <= {0.0, 1.0}

    @property
    def only_finite(self) -> bool:
        """Whether all values are finite numbers, one a row."""
        return self.longest == 1 and len(self.numbers) == round(self.rows * (1 - self.missing))

    @property
    def mean(self) -> float:
        """Of the finite values."""
        return float(self.numbers.mean())


def column_stats(name: str, sample: Sample) -> ColumnStats:
    """Counts what a column of a sample holds."""
    kind = sample.types[name]
    column, _ = to_type(kind, sample.columns[name])
    lengths = column.lengths
    distinct, grows = _growth(column)
    counted = Counter(column.values.tolist()).most_common(_MOST_COMMON)
    numbers = np.empty(0)
    if column.values.dtype.kind != "O":
        numbers = np.sort(column.values[np.isfinite(column.values)].astype(np.float64))
    return ColumnStats(
        name=name,
        kind=kind,
        rows=sample.rows,
        missing=float((lengths == 0).mean()),
        distinct=distinct,
        grows=grows,
        longest=int(lengths.max(initial=0)),
        commonest=tuple((_text(value), count) for value, count in counted),
        numbers=numbers,
    )


def _growth(column: Ragged) -> tuple[int, bool]:
    """How many values differ, and whether the second half of the rows brought many of them."""
    half = int(column.lengths[: len(column.lengths) // 2].sum())
    everything = set(column.values.tolist())
    new = len(everything) - len(set(column.values[:half].tolist()))
    return len(everything), new > max(GROWTH * len(everything), LEAST_GROWTH)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(columns: Sequence[ColumnStats]) -> str:
    """The columns as a table for people."""
    head = ("column", "type", "distinct", "missing", "values")
    lines = [head, *(_line(stats) for stats in columns)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head) - 1)]
    text = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        text.append("  ".join([*cells, line[-1]]).rstrip())
    return "\n".join(text)


def _line(stats: ColumnStats) -> tuple[str, str, str, str, str]:
    kind = stats.kind.dtype
    if stats.kind.separator:
        kind = f"list of {kind}, cut by {stats.kind.separator!r}"
    elif stats.longest > 1:
        kind = f"list of {kind}"
    distinct = f"{stats.distinct}{', growing' if stats.grows else ''}"
    return (_shown(stats.name), kind, distinct, f"{stats.missing:.1%}", _values(stats))


def _values(stats: ColumnStats) -> str:
    if stats.is_binary:
        return f"1 in {stats.mean:.1%}"
    if len(stats.numbers):
        least, most = stats.numbers[0], stats.numbers[-1]
        digits = 15 if stats.kind.dtype == "int64" else 7
        return f"least {least:.{digits}g}, mean {stats.mean:.6g}, most {most:.{digits}g}"
    total = max(1, stats.rows)
    return ", ".join(
        f"{_shown(value)!r} {count / total:.1%}" for value, count in stats.commonest[:3]
    )


def _shown(text: str, length: int = 30) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
