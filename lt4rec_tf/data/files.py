"""The files of a data set on disk: which there are, how they are packed, what columns they have."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

DELIMITERS = {"csv": ",", "tsv": "\t"}
_CHUNK = 1 << 20  # bytes


class DataError(Exception):
    """Logs or side tables cannot be used; the message names the file and what was expected."""


def expand(data_dir: Path, globs: Sequence[str]) -> tuple[Path, ...]:
    """Finds the files that globs name, sorted, each once.

    Raises:
        DataError: A glob matches no file.
    """
    found: dict[Path, None] = {}
    for pattern in globs:
        matches = sorted(path for path in data_dir.glob(pattern) if path.is_file())
        if not matches:
            raise DataError(f"{data_dir}: no file matches {pattern!r}; expected one or more")
        found.update(dict.fromkeys(matches))
    return tuple(sorted(found))


def is_gzip(path: Path) -> bool:
    """Whether a file is packed with gzip, told by its first bytes and not by its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_binary(path: Path) -> IO[bytes]:
    """Opens a plain or gzip file for reading."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def refuse_broken_gzip(path: Path) -> None:
    """Reads a gzip file to its end.

    TensorFlow takes a gzip file that was cut off for one that ends there, so this asks Python.

    Raises:
        DataError: The file is cut off or damaged.
    """
    if not is_gzip(path):
        return
    try:
        with gzip.open(path, "rb") as file:
            while file.read(_CHUNK):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path}: found a broken gzip file ({error}), expected a whole one"
        ) from error


def text_rows(path: Path, file_format: str) -> Iterator[list[str]]:
    """Reads the rows of a CSV (RFC 4180) or TSV file; bytes that are no UTF-8 survive as they are.

    Raises:
        DataError: The file cannot be read.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if file_format == "csv" else csv.QUOTE_NONE
    try:
        with (
            open_binary(path) as file,
            io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text,
        ):
            yield from csv.reader(text, delimiter=DELIMITERS[file_format], quoting=quoting)
    except (EOFError, OSError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def to_bytes(text: str) -> bytes:
    """The bytes that `text_rows` read as this text."""
    return text.encode("utf-8", errors="surrogateescape")


def header(path: Path, file_format: str) -> tuple[str, ...]:
    """Reads the column names in a file's first line.

    Raises:
        DataError: The file is empty, or two columns have one name.
    """
    names = tuple(next(text_rows(path, file_format), ()))
    if not names:
        raise DataError(f"{path}: found an empty first line, expected the column names")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: found column {twice[0]!r} twice, expected distinct names")
    return names


def common_header(paths: Sequence[Path], file_format: str) -> tuple[str, ...]:
    """Reads the column names of files, which must be the same in all.

    Raises:
        DataError: Naming the first file that differs, and how.
    """
    first = header(paths[0], file_format)
    for path in paths[1:]:
        names = header(path, file_format)
        if names != first:
            raise DataError(
                f"{path}: found the columns {', '.join(names)}, "
                f"expected those of {paths[0]}: {', '.join(first)}"
            )
    return first
