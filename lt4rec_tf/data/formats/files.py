"""The files of a data set on disk: which there are, how they are packed, what columns they have."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from lt4rec_tf.core.errors import InputError

DELIMITERS = {"csv": ",", "tsv": "\t"}
_CHUNK = 1 << 20  # bytes
_LISTED = 600  # characters of column names in an error


class DataError(InputError):
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


class Stamp(NamedTuple):
    """What tells a file from what it becomes when it is written to."""

    size: int  # bytes
    written_ns: int


def stamp_of(path: Path) -> Stamp:
    """Looks a file's size and time of writing up.

    Raises:
        DataError: It is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return Stamp(found.st_size, found.st_mtime_ns)


def is_gzip(path: Path) -> bool:
    """Whether a file is packed with gzip, told by its first bytes and not by its name.

    Raises:
        DataError: The file is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a file") from error


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


def refuse_utf16(path: Path) -> None:
    """Reads a text file's first bytes.

    Raises:
        DataError: They are a mark that only UTF-16 and UTF-32 have, or they cannot be read.
    """
    try:
        with open_binary(path) as file:
            mark = file.read(2)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(
            f"{path}: found a byte order mark of UTF-16 ({mark.hex(' ')}), expected text in UTF-8"
        )


class TextRow(NamedTuple):
    """A row of a text file; in quotes it may hold line ends, so it may have several lines."""

    line: int  # the first one, from 1
    lines: tuple[str, ...]
    values: list[str] | None  # None: its quotes do not fit


def text_rows(path: Path, file_format: str) -> Iterator[TextRow]:
    """Reads the rows of a CSV (RFC 4180) or TSV file; bytes that are no UTF-8 survive as they are.

    Raises:
        DataError: The file cannot be read, or is UTF-16.
    """
    refuse_utf16(path)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if file_format == "csv" else csv.QUOTE_NONE
    lines: list[str] = []  # of the row that is being read

    def noted(text: Iterable[str]) -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    try:
        with (
            open_binary(path) as file,
            io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text,
        ):
            # Strict: a quote that is never closed would take up the lines below it silently.
            rows = csv.reader(
                noted(text), delimiter=DELIMITERS[file_format], quoting=quoting, strict=True
            )
            first = 1
            while (values := _next_values(rows)) is not _END:
                yield TextRow(first, tuple(line.rstrip("\r\n") for line in lines), values)
                first += len(lines)
                lines.clear()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


_END: list[str] = []


def _next_values(rows: Iterator[list[str]]) -> list[str] | None:
    try:
        return next(rows, _END)
    except csv.Error:  # the next call begins with the next line
        return None


def to_bytes(text: str) -> bytes:
    """The bytes that `text_rows` read as this text."""
    return text.encode("utf-8", errors="surrogateescape")


def header(path: Path, file_format: str) -> tuple[str, ...]:
    """Reads the column names in a file's first line; none of a file without a single byte.

    Raises:
        DataError: The first line is empty or unreadable, or two columns have one name.
    """
    names = _first_line(path, file_format)
    _refuse_twins(path, names)
    return names


def _first_line(path: Path, file_format: str) -> tuple[str, ...]:
    first = next(text_rows(path, file_format), None)
    if first is None:
        return ()
    if not first.values:
        raise DataError(f"{path}: found an empty first line, expected the column names")
    if "\0" in first.lines[0]:
        raise DataError(
            f"{path}: found NUL bytes among the column names, expected text in UTF-8; UTF-16 "
            "without a byte order mark looks like this"
        )
    return tuple(first.values)


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: found column {twice[0]!r} twice, expected distinct names")


def common_header(paths: Sequence[Path], file_format: str) -> tuple[str, ...]:
    """Reads the column names of files, which must be the same in all that are not empty.

    Raises:
        DataError: All are empty; or naming the first file that differs from most, and how.
    """
    headers = {path: names for path in paths if (names := _first_line(path, file_format))}
    if not headers:
        raise DataError(f"{paths[0]}: found {len(paths)} files without a byte, expected some rows")
    most = Counter(headers.values()).most_common(1)[0][0]
    example = next(path for path, names in headers.items() if names == most)
    for path, names in headers.items():
        refuse_other_columns(path, names, most, str(example))
    _refuse_twins(example, most)
    return most


def refuse_other_columns(
    path: Path, found: Sequence[str], expected: Sequence[str], whose: str
) -> None:
    """Refuses a file whose columns are not another's, in the same order.

    Args:
        path: The file.
        found: Its columns.
        expected: The other's.
        whose: The other, as the message names it.

    Raises:
        DataError: They differ; says how.
    """
    if tuple(found) != tuple(expected):
        raise DataError(
            f"{path}: found the columns {_listed(found)}, expected those of {whose}: "
            f"{_listed(expected)}; {_difference(found, expected)}"
        )


def _difference(found: Sequence[str], expected: Sequence[str]) -> str:
    absent = [name for name in expected if name not in found]
    other = [name for name in found if name not in expected]
    if not absent and not other:
        return "they are the same in another order"
    if len(absent) == len(expected):
        return "none is the same: is the line with the names absent?"
    parts = {"absent": absent, "not expected": other}
    return "; ".join(f"{what}: {_listed(names)}" for what, names in parts.items() if names)


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _LISTED else f"{text[:_LISTED]}..."
