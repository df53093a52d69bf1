"""Rows of a CSV, each feature's value of its dtype; no package needed."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import InputError, shown
from signature import Feature

INT64 = range(-(2**63), 2**63)
_WHOLE = re.compile(r"\s*([+-]?[0-9]+)(\.0*)?\s*")  # pandas writes 7.0 beside a null
_BOOLEANS = {"true": "1", "false": "0"}


@dataclass(frozen=True)
class Reading:
    """Settings for reading a CSV.

    Args:
        path: A CSV, or a CSV compressed to .gz; its first line names the columns.
        columns: Feature -> column, where they differ.
        missing: Feature -> what an empty cell stands for and lists are padded with.
        list_separator: Between the values of a list; "json": a list is written in JSON.
        list_width: Places of every list; 0: as many as the longest of a request has.
        candidates: Numbers of candidates, ascending, to the next of which a request's are filled
            up with its last one; (): requests have as many as they have rows.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    list_separator: str = "|"
    list_width: int = 0
    candidates: tuple[int, ...] = ()

    def column(self, feature: str) -> str:
        """Returns the column that holds a feature."""
        return self.columns.get(feature, feature)


@dataclass(frozen=True)
class Row:
    """A line of the CSV: its number, its cells by column, and its features' values.

    A value is None, or an empty list, where the cell is empty.
    """

    line: int
    cells: Mapping[str, str]
    values: Mapping[str, Any]


def read_rows(reading: Reading, features: Sequence[Feature]) -> Iterator[Row]:
    """Reads the CSV line by line.

    Raises:
        InputError: No such file, not UTF-8, damaged, a column absent or named twice, a line with
            another number of cells than the first, or a value that is not of its feature's dtype.
    """
    line = 0
    try:
        opened = gzip.open if reading.path.suffix == ".gz" else open
        with opened(reading.path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            _check_header(reading, header, features)
            line = lines.line_num
            for cells in lines:
                line = lines.line_num
                if cells:
                    yield _row(reading, line, header, cells, features)
    except (OSError, ValueError, csv.Error, EOFError, zlib.error) as error:
        raise InputError(
            f"{reading.path}: cannot be read as CSV ({error}; after line {line})"
        ) from error


def _check_header(reading: Reading, header: list[str], features: Sequence[Feature]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{reading.path}: columns named twice: {', '.join(twice)}")
    absent = [name for feature in features if (name := reading.column(feature.name)) not in header]
    if absent:
        raise InputError(
            f"{reading.path}: no column {', '.join(absent)}; found {', '.join(header) or 'none'}"
        )


def _row(
    reading: Reading, line: int, header: list[str], texts: list[str], features: Sequence[Feature]
) -> Row:
    if len(texts) != len(header):
        raise InputError(f"{reading.path}:{line}: {len(texts)} cells, expected {len(header)}")
    cells = dict(zip(header, texts, strict=True))
    values = {}
    for feature in features:
        column = reading.column(feature.name)
        try:
            values[feature.name] = _value(feature, cells[column], reading.list_separator)
        except ValueError as error:
            raise InputError(
                f"{reading.path}:{line}, column {column}: found {shown(cells[column])}, "
                f"expected {feature.dtype}"
            ) from error
    return Row(line, cells, values)


def _value(feature: Feature, text: str, separator: str) -> Any:
    if feature.is_list and separator == "json":
        return [scalar(feature.dtype, part) for part in _json_list(text)]
    if feature.is_list:
        return [scalar(feature.dtype, part) for part in text.split(separator) if part]
    return scalar(feature.dtype, text) if text else None


def _json_list(text: str) -> list[str]:
    """Returns the texts of a JSON list's values, without null and "", as training reads it."""
    try:
        values = json.loads(text or "[]", parse_int=str, parse_float=str)
    except RecursionError as error:
        raise ValueError("lists in lists") from error
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
        raise ValueError(text)
    texts = [str(value).lower() if isinstance(value, bool) else value for value in values]
    return [str(value) for value in texts if value not in (None, "")]


def scalar(dtype: str, text: str) -> str | int | float:
    """Reads one value of a dtype; raises ValueError where the text is none."""
    if dtype == "float32":
        if "_" in text or not text.isascii():  # which Python alone reads as a number
            raise ValueError(text)
        return float(_BOOLEANS.get(text.strip().lower(), text))
    if dtype == "int64":
        whole = _WHOLE.fullmatch(_BOOLEANS.get(text.strip().lower(), text))
        if whole is None or int(whole[1]) not in INT64:
            raise ValueError(text)
        return int(whole[1])
    text.encode("utf-8")  # refuses half of a surrogate pair, which JSON may spell
    return text
