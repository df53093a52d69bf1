"""Lists of rows that cannot be used, one a line: file, record, reason, start of the text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO, NamedTuple

SHOWN = 200  # characters of a row's text
_MOST_BYTES = 4  # of a character in UTF-8
_FIRST_SURROGATE = 0xDC00  # surrogateescape adds the byte to it


class BadRow(NamedTuple):
    """A row that cannot be used.

    Attributes:
        file: Relative to the data folder.
        record: From 1, header lines not counted.
        reason: Why it cannot be used.
        text: The start of its text, as `shown` writes it.
    """

    file: str
    record: int
    reason: str
    text: str


def shown(text: bytes, length: int = SHOWN) -> str:
    r"""Writes the start of any bytes as text without tabs and line ends.

    Two that differ within the first `length` characters are written differently.

    >>> print(shown("7\té".encode() + b"\xe9\0"))
    7\té\xe9\x00

    Args:
        text: UTF-8, or anything else.
        length: Characters that are written at most.
    """
    start = text[: length * _MOST_BYTES].decode("utf-8", "surrogateescape")[:length]
    if start.isprintable() and "\\" not in start:
        return start
    return "".join(map(_escaped, start))


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 128:
        return character.encode("unicode_escape").decode()
    if character.isprintable():
        return character

    # A byte that is not UTF-8 is written as the byte it was.
    if _FIRST_SURROGATE <= code < _FIRST_SURROGATE + 256:
        return f"\\x{code - _FIRST_SURROGATE:02x}"
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def write(out: IO[bytes], rows: Iterable[BadRow]) -> None:
    """Writes rows as lines of tab-separated values in UTF-8."""
    for row in rows:
        name = shown(os.fsencode(row.file), len(row.file))
        out.write(f"{name}\t{row.record}\t{row.reason}\t{row.text}\n".encode())
