"""Rows of a CSV as requests of a served model's signatures; no package needed.

For a signature that scores candidates, the rows of one request lie together in the CSV: features
of the candidates become lists with one place a row, features of the request must agree in all.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signature import Feature, InputError, Signature

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
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    list_separator: str = "|"
    list_width: int = 0

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


@dataclass(frozen=True)
class Request:
    """Rows that are sent in one call.

    Args:
        rows: In the CSV's order.
        inputs: By input, for the predict call: arrays as nested lists.
        examples: For tf.Example signatures: one per row, feature -> value or list; absent
            features are left out.
    """

    rows: tuple[Row, ...]
    inputs: Mapping[str, list] | None = None
    examples: tuple[Mapping[str, Any], ...] = ()


def read_rows(reading: Reading, features: Sequence[Feature]) -> Iterator[Row]:
    """Reads the CSV line by line.

    Raises:
        InputError: No such file, not UTF-8, a column absent or named twice, a line with another
            number of cells than the first, or a value that is not of its feature's dtype.
    """
    try:
        opened = gzip.open if reading.path.suffix == ".gz" else open
        with opened(reading.path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            _check_header(reading, header, features)
            for cells in lines:
                if cells:
                    yield _row(reading, lines.line_num, header, cells, features)
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise InputError(f"{reading.path}: cannot be read as CSV ({error})") from error


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
                f"{reading.path}:{line}, column {column}: found {cells[column]!r}, "
                f"expected {feature.dtype}"
            ) from error
    return Row(line, cells, values)


def _value(feature: Feature, text: str, separator: str) -> Any:
    if feature.is_list and separator == "json":
        return [_scalar(feature.dtype, part) for part in _json_list(text)]
    if feature.is_list:
        return [_scalar(feature.dtype, part) for part in text.split(separator) if part]
    return _scalar(feature.dtype, text) if text else None


def _json_list(text: str) -> list[str]:
    """Returns the texts of a JSON list's values, without null and "", as training reads it."""
    values = json.loads(text or "[]", parse_int=str, parse_float=str)
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
        raise ValueError(text)
    texts = [str(value).lower() if isinstance(value, bool) else value for value in values]
    return [str(value) for value in texts if value not in (None, "")]


def _scalar(dtype: str, text: str) -> str | int | float:
    if dtype == "float32":
        return float(_BOOLEANS.get(text.strip().lower(), text))
    if dtype == "int64":
        whole = _WHOLE.fullmatch(_BOOLEANS.get(text.strip().lower(), text))
        if whole is None or int(whole[1]) not in INT64:
            raise ValueError(text)
        return int(whole[1])
    return text


def make_requests(
    signature: Signature, reading: Reading, batch_size: int, request_column: str = ""
) -> Iterator[Request]:
    """Makes requests of a signature from the CSV's rows.

    Args:
        signature: To call.
        reading: The CSV.
        batch_size: Rows per request, unless the signature scores candidates.
        request_column: For a signature that scores candidates: neighbouring rows with one value
            of it are one request.

    Raises:
        InputError: As `read_rows`; a request column is missing; the rows of a request disagree.
    """
    _check_flags(reading, signature.features)

    rows = read_rows(reading, signature.features)
    if signature.kind == "candidates":
        if not request_column:
            raise InputError(
                f"signature {signature.name} scores the candidates of a request: "
                "--request_column found nothing, expected the column that tells requests apart"
            )
        for group in _groups(rows, reading, request_column):
            yield Request(group, inputs=_inputs_of_candidates(signature, reading, group))
        return

    while batch := tuple(itertools.islice(rows, batch_size)):
        if signature.kind == "rows":
            columns = {f.name: _column(f, reading, batch) for f in signature.features}
            yield Request(batch, inputs=columns)
        else:
            yield Request(batch, examples=tuple(_example(row.values) for row in batch))


def _check_flags(reading: Reading, features: Sequence[Feature]) -> None:
    known = {feature.name: feature for feature in features}
    for flag, named in (("--column", reading.columns), ("--missing", reading.missing)):
        unknown = sorted(set(named) - set(known))
        if unknown:
            raise InputError(f"{flag}: found {unknown[0]}, expected one of {', '.join(known)}")
    for name, text in reading.missing.items():
        try:
            _scalar(known[name].dtype, text)
        except ValueError as error:
            raise InputError(
                f"--missing: found {name}={text}, expected {known[name].dtype}"
            ) from error


def _groups(rows: Iterable[Row], reading: Reading, column: str) -> Iterator[tuple[Row, ...]]:
    def request(row: Row) -> str:
        if column not in row.cells:
            raise InputError(f"{reading.path}: no column {column}, which --request_column names")
        return row.cells[column]

    for _, group in itertools.groupby(rows, request):
        yield tuple(group)


def _inputs_of_candidates(
    signature: Signature, reading: Reading, rows: tuple[Row, ...]
) -> dict[str, list]:
    inputs = {}
    for feature in signature.features:
        if feature.of_candidate:
            inputs[feature.name] = [_column(feature, reading, rows)]
            continue
        for row in rows:
            if row.values[feature.name] != rows[0].values[feature.name]:
                raise InputError(
                    f"{reading.path}:{row.line}, column {reading.column(feature.name)}: differs "
                    f"from line {rows[0].line}, expected one value in the rows of a request"
                )
        inputs[feature.name] = _column(feature, reading, rows[:1])
    return inputs


def _column(feature: Feature, reading: Reading, rows: Sequence[Row]) -> list:
    """Returns a feature's values, one per row; lists are made equally long."""
    values = [row.values[feature.name] for row in rows]
    if not feature.is_list:
        return [
            _missing(feature, reading, row) if value is None else value
            for value, row in zip(values, rows, strict=True)
        ]
    width = reading.list_width or max(1, *map(len, values))
    for value, row in zip(values, rows, strict=True):
        if len(value) > width:
            raise InputError(
                f"{reading.path}:{row.line}, column {reading.column(feature.name)}: "
                f"{len(value)} values, expected at most --list_width={width}"
            )

    return [
        value + [_missing(feature, reading, row)] * (width - len(value)) if len(value) < width
        else value
        for value, row in zip(values, rows, strict=True)
    ]  # fmt: skip


def _missing(feature: Feature, reading: Reading, row: Row) -> str | int | float:
    """Returns the value of an empty cell: every rule reads "" and NaN as missing, integers none."""
    if feature.name in reading.missing:
        return _scalar(feature.dtype, reading.missing[feature.name])
    if feature.dtype == "int64":
        raise InputError(
            f"{reading.path}:{row.line}, column {reading.column(feature.name)}: nothing there; "
            f"--missing={feature.name}=<integer> says what stands for that"
        )
    return "" if feature.dtype == "string" else math.nan


def _example(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row without its absent features; the model fills in their missing values."""
    return {name: value for name, value in values.items() if value is not None and value != []}
