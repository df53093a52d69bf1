"""JSON Lines to quoted lines: a row is an object, a column one of its keys.

Numbers are kept as they are written, so that no digit is lost; lists of texts and numbers are
lists; objects and lists of other things are their JSON. A key that a row lacks, or whose value is
null or NaN, has no value there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lt4rec_tf.data.formats.bad_rows import shown
from lt4rec_tf.data.formats.files import READ_ERRORS, DataError, open_binary
from lt4rec_tf.data.formats.long_lines import lines_of_json, together
from lt4rec_tf.data.formats.quoted_lines import LIST_MARK, quoted_line
from lt4rec_tf.data.formats.values import EXACT_IN_FLOAT64

_PROBED_ROWS = 10_000  # of each file


def keys_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """Reads the keys of the first rows of files, in the order in which they come.

    Raises:
        DataError: A file cannot be read, or no row is an object.
    """
    names: dict[str, None] = {}
    for path in paths:
        for number, row in enumerate(itertools.islice(_rows(path), _PROBED_ROWS)):
            if not number and isinstance(row, _NoRow) and row.text.strip() == b"[":
                raise DataError(f"{path}: found a JSON list, expected JSON Lines: an object a line")
            if isinstance(row, dict):
                names |= dict.fromkeys(row)
    if not names:
        raise DataError(f"{paths[0]}: found no JSON object, expected one a line")
    return tuple(names)


def late_keys(paths: Sequence[Path], wanted: Collection[str]) -> tuple[str, ...]:
    """Looks for keys that no row at the beginning has, in all rows until each was seen."""
    missing = set(wanted)
    found: dict[str, None] = {}
    for row in itertools.chain.from_iterable(map(_rows, paths)):
        if not missing:
            break
        if isinstance(row, dict):
            new = missing & set(row)
            found |= dict.fromkeys(sorted(new))
            missing -= new
    return tuple(found)


def read_lines(
    path: Path,
    names: Sequence[str],
    listed: Collection[str],
    rows: int,
    placed: Collection[str] = (),
) -> Iterator[np.ndarray]:
    """Reads some keys of a file's rows; blank lines are no rows.

    Args:
        path: The file, plain or packed.
        names: The keys, in the order of a line.
        listed: Those whose lists are kept whole; of others the first value is read.
        rows: The number of rows of a batch.
        placed: Those in whose lists a value that is absent keeps its place.

    Yields:
        Lines as `quoted_lines` says, bytes in an array of objects. A line that is no JSON object is
        a row with a fault.

    Raises:
        DataError: The file is broken from some row on.
    """
    lines = (_line(row, names, listed, placed) for row in _rows(path))
    for some in together(lines, rows):
        batch = np.empty(len(some), object)
        batch[:] = some
        yield batch


def is_object(line: bytes) -> bool:
    """Tells if a line is a JSON object."""
    return isinstance(_object(line), dict)


class _NoRow(NamedTuple):
    """What stands where a JSON object should, and why it is none."""

    text: bytes
    why: str


def _rows(path: Path) -> Iterator[Mapping[str, Any] | _NoRow]:
    number = 0
    try:
        with open_binary(path) as file:
            for number, line in enumerate(lines_of_json(file), start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield _object(text)
    except READ_ERRORS as error:
        raise DataError(f"{path}: cannot be read past line {number} ({error})") from error


def _object(line: bytes) -> Mapping[str, Any] | _NoRow:
    try:
        row = _DECODER.decode(line.decode("utf-8", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        return _NoRow(line, f"no JSON ({error})")
    return row if isinstance(row, dict) else _NoRow(line, "no JSON object")


class _Number(str):
    """The text of a number with a fraction, which is no text of the row."""

    __slots__ = ()


def _fraction(text: str) -> _Number:
    """Keeps a number's digits; 7.0 is the number 7, as it is where a column has no null."""
    whole = text.rstrip("0").removesuffix(".") if text.endswith("0") else text
    is_exact = whole.lstrip("-").isdigit() and abs(int(whole)) < EXACT_IN_FLOAT64
    return _Number(whole if is_exact else text)


def _constant(text: str) -> _Number | None:
    return None if text == "NaN" else _Number(text)


# Made once: `json.loads` and `json.dumps` make one for every call.
_DECODER = json.JSONDecoder(parse_float=_fraction, parse_constant=_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(part, dict | list) for part in value)


def _line(
    row: Mapping[str, Any] | _NoRow,
    names: Sequence[str],
    listed: Collection[str],
    placed: Collection[str],
) -> bytes:
    if isinstance(row, _NoRow):
        return quoted_line([f"{row.why}: {shown(row.text.rstrip())}"] + [""] * len(names))

    values = [""]
    for name in names:
        value = row.get(name)
        parts = value if isinstance(value, list) and _is_list(value) else [value]
        texts = [_text(part) for part in parts if part is not None or name in placed]
        if name in listed and any(LIST_MARK in text for text in texts):
            values[0] = f"{name}: found U+001F in a text of a list"
        values.append(LIST_MARK.join(texts if name in listed else texts[:1]))
    return quoted_line(values)


def _text(value: Any) -> str:
    if isinstance(value, str):  # numbers with a fraction too
        return value
    return "" if value is None else _json(value)


def _json(value: Any) -> str:
    """Writes a value as JSON, numbers as they were written."""
    if value is True or value is False or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | _Number):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_json(name)}: {_json(inner)}' for name, inner in value.items())}}}"
    return _ENCODER.encode(value)
