"""Lines of any file, in bounded memory: those longer than a limit are given as what they are.

A packed file of a few megabytes may hold a line of many gigabytes. No row is that long: one that is
gives way to a short line that says so, which no reader takes for a row.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import IO

MOST = 64 << 20  # bytes of a line or record
_CHUNK = 1 << 20  # bytes
_SHOWN = 200  # bytes of a long line that are kept
_NO_MARKS = bytes.maketrans(b'",\t\r\n', b"     ")  # without them it is one value, of no row
_MOST_TOGETHER = 64 << 20  # bytes of records


def lines_of_rows(file: IO[bytes]) -> Iterator[bytes]:
    """Reads lines with their ends, LF, CR LF or CR; of long ones `stand_in`."""
    return _lines(file, bytes.splitlines, (b"\n", b"\r"))


def lines_of_json(file: IO[bytes]) -> Iterator[bytes]:
    """Reads lines that end with LF, with it; of long ones `stand_in`."""
    return _lines(file, lambda chunk, _: io.BytesIO(chunk).readlines(), (b"\n",))


def _lines(
    file: IO[bytes], split: Callable[[bytes, bool], list[bytes]], ends: tuple[bytes, ...]
) -> Iterator[bytes]:
    parts: list[bytes] = []  # of a line that goes on in the next chunk
    size = 0  # of that line so far, in bytes
    for chunk in _chunks(file):
        lines = split(chunk, True)
        rest = b"" if lines[-1].endswith(ends) else lines.pop()
        if lines:
            yield _line([*parts, lines[0]], size + len(lines[0]))
            yield from lines[1:]
            parts, size = [], 0
        if size <= MOST:
            parts.append(rest)
        size += len(rest)
    if size:
        yield _line(parts, size)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Reads chunks that end with no CR, which may be the first half of CR LF."""
    held = b""
    while chunk := file.read(_CHUNK):
        chunk = held + chunk
        held = b"\r" if chunk.endswith(b"\r") else b""
        if len(chunk) > len(held):
            yield chunk.removesuffix(held)
    if held:
        yield held


def _line(parts: list[bytes], size: int) -> bytes:
    """Joins the parts of a line; of one that is too long only some are there."""
    if size <= MOST:
        return b"".join(parts)
    end = next((end for end in (b"\r\n", b"\n", b"\r") if parts[-1].endswith(end)), b"")
    return stand_in(parts[0]) + end


def stand_in(start: bytes) -> bytes:
    """Returns what takes the place of a line that begins so and is too long.

    >>> stand_in(b"1,2,3")
    b'longer than 64 MiB: 1 2 3'
    """
    return b"longer than %d MiB: " % (MOST >> 20) + start[:_SHOWN].translate(_NO_MARKS)


def together(records: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    """Gives some records at a time, which together do not fill the memory.

    Args:
        records: Each of `MOST` bytes or fewer.
        most: The number of records.
    """
    some: list[bytes] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record)
        if len(some) == most or size >= _MOST_TOGETHER:
            yield some
            some, size = [], 0
    if some:
        yield some
