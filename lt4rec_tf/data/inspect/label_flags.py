"""Labels that flags name: columns of 0 and 1, and ratios, each with its population."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.inspect.column_stats import ColumnStats

EVERYWHERE = "all"


@dataclass(frozen=True)
class NamedLabel:
    """A column that a flag makes a label.

    Attributes:
        column: The column.
        kind: "binary" or "ratio".
        population: A column of 0 and 1 or the name of a label, `EVERYWHERE`, or "": clicks where
            one is known.
        flag: The flag that names it.
    """

    column: str
    kind: str
    population: str
    flag: str


def named_labels(
    binary: Sequence[str], ratios: Sequence[str], columns: Mapping[str, ColumnStats]
) -> tuple[NamedLabel, ...]:
    """Reads --binary_labels and --ratio_labels.

    Args:
        binary: Texts COLUMN or COLUMN:POPULATION.
        ratios: The same.
        columns: By name.

    Raises:
        DataError: A text names no column, one that another names, or one that holds other values.
    """
    labels: dict[str, NamedLabel] = {}
    for flag, kind, texts in (
        ("binary_labels", "binary", binary),
        ("ratio_labels", "ratio", ratios),
    ):
        for text in texts:
            label = _named(flag, kind, text, columns)
            if label.column in labels:
                raise DataError(f"--{flag}: found {label.column!r} twice, expected it once")
            labels[label.column] = label
    return tuple(labels.values())


def _named(flag: str, kind: str, text: str, columns: Mapping[str, ColumnStats]) -> NamedLabel:
    column, population = text, ""
    if text not in columns and ":" in text:
        column, _, population = text.rpartition(":")
    if column not in columns:
        raise DataError(f"--{flag}: found {column!r}, expected one of {', '.join(columns)}")

    stats = columns[column]
    if kind == "binary" and not stats.is_binary:
        raise DataError(f"--{flag}: found {column!r}, expected a column of 0 and 1")
    if kind == "ratio" and not (len(stats.numbers) and stats.only_finite and stats.numbers[0] >= 0):
        raise DataError(f"--{flag}: found {column!r}, expected a column of numbers of 0 or more")
    return NamedLabel(column, kind, population, flag)


def schema_names(columns: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Turns names of columns into distinct ones that a schema allows.

    >>> schema_names(["is_like", "is-like", "2nd"])
    ['is_like', 'is_like_', 'f_2nd']

    Args:
        columns: The names.
        taken: Names that others have already.
    """
    names: list[str] = []
    for column in columns:
        name = re.sub(r"[^A-Za-z0-9_]", "_", column)
        name = name if name[0].isalpha() else f"f_{name}"
        while name in names or name in taken:
            name += "_"
        names.append(name)
    return names
