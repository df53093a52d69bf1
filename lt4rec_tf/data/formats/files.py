"""Finds the files of a data set, opens plain and gzip ones, and refuses broken ones."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lt4rec_tf.core.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"  # the first bytes of every gzip file
READ_ERRORS = (EOFError, OSError, zlib.error)  # of plain and gzip files


class DataError(InputError):
    """Logs or side tables cannot be used; the message names the file and what was expected."""


def expand(data_dir: Path, globs: Sequence[str]) -> tuple[Path, ...]:
    """Finds the files that globs name, sorted, each once.

    Raises:
        DataError: A glob matches no file.
    """
    paths: set[Path] = set()
    for pattern in globs:
        matches = [path for path in data_dir.glob(pattern) if path.is_file()]
        if not matches:
            raise DataError(f"{data_dir}: no file matches {pattern!r}; expected one or more")
        paths.update(matches)
    return tuple(sorted(paths))


class Stamp(NamedTuple):
    """The size of a file and when it was written, by which a change is noticed."""

    size: int  # bytes
    written_ns: int


def stamp_of(path: Path) -> Stamp:
    """Returns a file's size and time of writing.

    Raises:
        DataError: It is not there.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return Stamp(status.st_size, status.st_mtime_ns)


def is_gzip(path: Path) -> bool:
    """Tells by its first bytes, not by its name, if a file is packed with gzip.

    Raises:
        DataError: The file is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a file") from error


def open_binary(path: Path) -> IO[bytes]:
    """Opens a plain or gzip file for reading."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def refuse_utf16(path: Path) -> None:
    """Reads a text file's first bytes.

    Raises:
        DataError: They are a mark that only UTF-16 and UTF-32 have, or they cannot be read.
    """
    try:
        with open_binary(path) as file:
            mark = file.read(2)
    except READ_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(
            f"{path}: found a byte order mark of UTF-16 ({mark.hex(' ')}), expected text in UTF-8"
        )
