"""Rows of CSV (RFC 4180) and TSV files, read by Python.

Python reads what is small or read once: headers, side tables, archives of public data sets. The
lines of logs go through `records.parse` instead, a whole batch at a time inside TensorFlow's graph,
because a Python step per row would cost more than training on the row. Both give the same values,
as `lines` says which line ends end a row.

There are two ways to treat a broken row. `text_rows` passes over it and gives its text, so that it
can be listed. `named_rows` stops, because a published file holds none.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lt4rec_tf.data.formats.files import (
    READ_ERRORS,
    DataError,
    open_binary,
    refuse_utf16,
)
from lt4rec_tf.data.formats.lines import TextForm, read_rows
from lt4rec_tf.data.formats.long_lines import lines_of_rows, stand_in

DELIMITERS = {"csv": ",", "tsv": "\t"}


class TextRow(NamedTuple):
    """A row of a text file."""

    line: int  # its first one, from 1
    text: bytes
    values: list[str] | None  # None: its quotes do not fit


def text_rows(path: Path, file_format: str, columns: int = 0) -> Iterator[TextRow]:
    """Reads the rows of a CSV or TSV file; bytes that are not UTF-8 are kept, see `to_bytes`.

    Args:
        path: The file, plain or gzip.
        file_format: "csv" or "tsv".
        columns: The number of values of a row; 0: any.

    Raises:
        DataError: The file cannot be read, or is UTF-16.
    """
    refuse_utf16(path)
    form = TextForm(DELIMITERS[file_format], file_format == "csv", columns)
    try:
        with open_binary(path) as file:
            for line, _, row in read_rows(file, form):
                text = row.removeprefix(codecs.BOM_UTF8) if line == 1 else row
                yield TextRow(line, text, _values(text, form))
    except READ_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _values(text: bytes, form: TextForm) -> list[str] | None:
    row = text.decode("utf-8", errors="surrogateescape")
    if not form.quoted:
        return row.split(form.delimiter)
    try:
        return next(csv.reader([row], delimiter=form.delimiter, strict=True))
    except csv.Error:
        return None


def to_bytes(text: str) -> bytes:
    """Returns the bytes that `text_rows` read as this text."""
    return text.encode("utf-8", errors="surrogateescape")


def named_rows(
    path: Path, names: Sequence[str] | None = None, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Reads the rows of a CSV file, up to the first that is broken.

    Args:
        path: The file, plain or gzip; a path of `etils` may lie in a store.
        names: The columns; None: the first line names them.
        delimiter: Between two values.

    Yields:
        (row from 1, texts by column).

    Raises:
        DataError: The file is empty, broken or not UTF-8, a row has another number of values, or a
            line is longer than any row.
    """
    try:
        with open_binary(path) as file:
            lines = csv.reader(_decoded(file, path), delimiter=delimiter)
            header = list(names) if names is not None else next(lines, [])
            if not header:
                raise DataError(f"{path}: found an empty first line, expected the column names")

            for number, values in enumerate(lines, start=1):
                yield number, named(header, values, f"{path}: row {number}")
    except (*READ_ERRORS, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def named(header: Sequence[str], values: Sequence[str], where: str) -> dict[str, str]:
    """Returns a row's values by column.

    Args:
        header: The column names.
        values: The row's values.
        where: What a message calls the row.

    Raises:
        DataError: There are more or fewer values than columns.
    """
    if len(values) != len(header):
        raise DataError(f"{where}: found {len(values)} values, expected {len(header)}")
    return dict(zip(header, values, strict=True))


def line_values(line: bytes, where: str) -> list[str]:
    """Takes one line of CSV apart, for readers that begin in the middle of a file.

    Args:
        line: With or without its end.
        where: What a message calls the line.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")]), [])
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: found no UTF-8 ({error}), expected text") from error


def _decoded(file: IO[bytes], path: Path) -> Iterator[str]:
    """Yields lines with their ends, without the byte order mark."""
    too_long = stand_in(b"")
    for number, line in enumerate(lines_of_rows(file), start=1):
        if line.startswith(too_long):
            found = too_long.decode().removesuffix(": ")
            raise DataError(f"{path}: line {number}: found one {found}, expected a row")
        yield line.decode("utf-8-sig" if number == 1 else "utf-8")
