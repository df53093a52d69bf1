"""Rows of a CSV as requests of a served model's signatures; no package needed.

For a signature that scores candidates, the rows of one request lie together in the CSV: features
of the candidates become lists with one place a row, features of the request must agree in all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import InputError
from rows import Reading, Row, read_rows, scalar
from signature import Feature, Signature


@dataclass(frozen=True)
class Request:
    """Rows that are sent in one call.

    Args:
        rows: In the CSV's order.
        inputs: By input, for the predict call: arrays as nested lists.
        examples: For tf.Example signatures: one per row, feature -> value or list; absent
            features are left out.
        candidates: Places of each list of candidates; 0: the request has no such lists.
    """

    rows: tuple[Row, ...]
    inputs: Mapping[str, list] | None = None
    examples: tuple[Mapping[str, Any], ...] = ()
    candidates: int = 0


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
        InputError: As `read_rows`; a request column is missing; the rows of a request disagree, or
            are more than `reading.candidates` has places for.
    """
    _check_flags(reading, signature)

    rows = read_rows(reading, signature.features)
    if signature.kind == "candidates":
        if not request_column:
            raise InputError(
                f"signature {signature.name} scores the candidates of a request: "
                "--request_column found nothing, expected the column that tells requests apart"
            )
        for group in _groups(rows, reading, request_column):
            places = _candidates(reading, group)
            inputs = _inputs_of_candidates(signature, reading, group, places)
            request = Request(group, inputs=inputs, candidates=places)
            check_candidates(signature, request, reading.path)
            yield request
        return

    while batch := tuple(itertools.islice(rows, batch_size)):
        if signature.kind == "rows":
            columns = {f.name: _column(f, reading, batch) for f in signature.features}
            yield Request(batch, inputs=columns)
        else:
            yield Request(batch, examples=tuple(_example(row.values) for row in batch))


def _check_flags(reading: Reading, signature: Signature) -> None:
    if reading.candidates and signature.kind != "candidates":
        raise InputError(
            f"--candidates: found with signature {signature.name}, which scores no candidates"
        )

    known = {feature.name: feature for feature in signature.features}
    for flag, named in (("--column", reading.columns), ("--missing", reading.missing)):
        unknown = sorted(set(named) - set(known))
        if unknown:
            raise InputError(f"{flag}: found {unknown[0]}, expected one of {', '.join(known)}")
    for name, text in reading.missing.items():
        try:
            scalar(known[name].dtype, text)
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


def _candidates(reading: Reading, rows: tuple[Row, ...]) -> int:
    """Returns the places of a request's lists of candidates."""
    if not reading.candidates:
        return len(rows)
    for places in reading.candidates:
        if len(rows) <= places:
            return places
    raise InputError(
        f"{reading.path}:{rows[0].line}-{rows[-1].line}: found {len(rows)} candidates of one "
        f"request, expected at most {reading.candidates[-1]} (--candidates)"
    )


def check_candidates(signature: Signature, request: Request, path: Path) -> None:
    """Checks that a request's lists of candidates are equally long.

    A server that fills up shorter lists would invent values and answer all the same.

    Args:
        signature: To call.
        request: To send.
        path: Of the CSV.

    Raises:
        InputError: A list of another length.
    """
    for feature in signature.features:
        if not feature.of_candidate:
            continue
        lengths = [len(of_one_request) for of_one_request in (request.inputs or {})[feature.name]]
        if lengths != [request.candidates]:
            raise InputError(
                f"{path}:{request.rows[0].line}-{request.rows[-1].line}: {feature.name}: "
                f"found {lengths} candidates, expected [{request.candidates}]"
            )


def _inputs_of_candidates(
    signature: Signature, reading: Reading, rows: tuple[Row, ...], places: int
) -> dict[str, list]:
    inputs = {}
    for feature in signature.features:
        if feature.of_candidate:
            values = _column(feature, reading, rows)
            inputs[feature.name] = [values + values[-1:] * (places - len(values))]
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
        return scalar(feature.dtype, reading.missing[feature.name])
    if feature.dtype == "int64":
        raise InputError(
            f"{reading.path}:{row.line}, column {reading.column(feature.name)}: nothing there; "
            f"--missing={feature.name}=<integer> says what stands for that"
        )
    return "" if feature.dtype == "string" else math.nan


def _example(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row without its absent features; the model fills in their missing values."""
    return {name: value for name, value in values.items() if value is not None and value != []}
