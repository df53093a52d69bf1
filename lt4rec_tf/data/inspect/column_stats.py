"""Statistics of each column of a sample: type, distinct values, share missing, spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.column_types import ColumnType, to_type
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.iso_times import times_of
from lt4rec_tf.data.inspect.log_sample import Sample
from lt4rec_tf.schema.types import JSON_LISTS

# A column grows where more than this share of its distinct values, and more than this number, came
# first in the second half of the rows.
GROWTH, LEAST_GROWTH = 0.1, 5
_MOST_COMMON = 50
_FIRST = 100  # values
_LEAST_TIMES = 0.99  # of a column's values are times
_DAY = 86_400_000  # ms


@dataclass(frozen=True)
class ColumnStats:
    """One column of a sample.

    Attributes:
        name: The column.
        kind: Its type.
        rows: Number of rows of the sample.
        missing: Share of rows without a value, in [0, 1].
        distinct: Number of distinct values.
        grows: Whether the second half of the rows still brought many new values.
        longest: Largest number of values in a row.
        commonest: The most frequent values with their number of times, the first met first; of
            text that is no UTF-8 with replacement signs.
        numbers: The finite values, sorted, int64 or float64; of text none.
        times: The values as times, sorted, float64, dates in ms since 1970; none where more than
            a hundredth of them are no times.
        lengths: Number of values of each row, int (rows,).
        values: The distinct values; none of numbers with a fraction.
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
    times: np.ndarray
    lengths: np.ndarray
    values: frozenset[bytes | int]

    @property
    def are_dates(self) -> bool:
        """True if the values are times that are written as dates."""
        is_text = len(self.times) > 0 and self.kind.dtype == "string"
        return is_text and any("-" in text or "/" in text for text, _ in self.commonest)

    @property
    def has_clock_times(self) -> bool:
        """True if the values are dates, some with another time of day than midnight."""
        return self.are_dates and bool(np.any(self.times % _DAY))

    @property
    def is_binary(self) -> bool:
        """True if all values are the numbers 0 and 1."""
        few = 0 < self.distinct <= 2
        return few and self.only_finite and set(self.numbers.tolist()) <= {0.0, 1.0}

    @property
    def only_finite(self) -> bool:
        """True if all values are finite numbers, one a row."""
        return self.longest == 1 and len(self.numbers) == round(self.rows * (1 - self.missing))

    @property
    def are_objects(self) -> bool:
        """True if all values are JSON objects, as far as their ends tell."""
        texts = [text for text, _ in self.commonest if text]
        return bool(texts) and all(text[0] == "{" and text[-1] == "}" for text in texts)

    @property
    def mean(self) -> float:
        """Mean of the finite values."""
        return float(self.numbers.mean())


def column_stats(name: str, sample: Sample) -> ColumnStats:
    """Counts what a column of a sample holds."""
    kind = sample.types[name]
    column, _ = to_type(kind, sample.columns[name])
    values = frozenset(column.values.tolist())
    commonest = Counter(column.values.tolist()).most_common(_MOST_COMMON)

    numbers = np.empty(0)
    if column.values.dtype.kind != "O":
        numbers = np.sort(column.values[np.isfinite(column.values)])
        if kind.dtype == "float32":
            numbers = numbers.astype(np.float64)

    return ColumnStats(
        name=name,
        kind=kind,
        rows=sample.rows,
        missing=float((column.lengths == 0).mean()),
        distinct=len(values),
        grows=_grows(column, len(values)),
        longest=int(column.lengths.max(initial=0)),
        commonest=tuple((_text(value), count) for value, count in commonest),
        numbers=numbers,
        times=_times(column, numbers),
        lengths=column.lengths,
        values=frozenset() if kind.dtype == "float32" else values,
    )


def _times(column: Ragged, numbers: np.ndarray) -> np.ndarray:
    """Returns a column's values as times, sorted; none where they are none."""
    values = column.values
    if values.dtype.kind != "O":
        return numbers.astype(np.float64) if len(numbers) == len(values) else np.empty(0)

    for some in (values[:_FIRST], values):  # texts are rarely times: a few tell that at once
        times = times_of(tf.constant(some, tf.string)).numpy()
        times = times[np.isfinite(times)]
        if not len(some) or len(times) < _LEAST_TIMES * len(some):
            return np.empty(0)
    return np.sort(times)


def _grows(column: Ragged, distinct: int) -> bool:
    """Tells whether the second half of the rows brought many of a column's distinct values."""
    half = int(column.lengths[: len(column.lengths) // 2].sum())
    new = distinct - len(set(column.values[:half].tolist()))
    return new > max(GROWTH * distinct, LEAST_GROWTH)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(columns: Sequence[ColumnStats]) -> str:
    """Writes the statistics of columns as a table for people, one column a line."""
    rows = [("column", "type", "distinct", "missing", "values"), *map(_cells, columns)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    widths[-1] = 0  # of long texts, after which nothing follows

    lines = []
    for cells in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cells(stats: ColumnStats) -> tuple[str, str, str, str, str]:
    kind = stats.kind.dtype
    if stats.kind.separator == JSON_LISTS:
        kind = f"list of {kind}, JSON"
    elif stats.kind.separator:
        kind = f"list of {kind}, cut by {stats.kind.separator!r}"
    elif stats.longest > 1:
        kind = f"list of {kind}"

    distinct = f"{stats.distinct}{', growing' if stats.grows else ''}"
    return (_printable(stats.name), kind, distinct, f"{stats.missing:.1%}", _spread(stats))


def _spread(stats: ColumnStats) -> str:
    if stats.is_binary:
        return f"1 in {stats.mean:.1%}"

    if len(stats.numbers):
        least, most = stats.numbers[0].item(), stats.numbers[-1].item()
        ends = [str(end) if isinstance(end, int) else f"{end:.7g}" for end in (least, most)]
        return f"least {ends[0]}, mean {stats.mean:.6g}, most {ends[1]}"

    rows = max(1, stats.rows)
    texts = [f"{_printable(text)!r} {count / rows:.1%}" for text, count in stats.commonest[:3]]
    return ", ".join(texts)


def _printable(text: str, length: int = 30) -> str:
    """Returns the start of a text, with "?" in place of what no terminal prints."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= length else f"{printable[: length - 1]}…"
