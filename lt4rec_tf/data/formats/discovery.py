"""Log files as a user names them: where they lie, and which format they are in."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lt4rec_tf.data.formats import discovery, parquet, records
from lt4rec_tf.data.formats.files import (
    DELIMITERS,
    DataError,
    expand,
    header,
    open_binary,
    refuse_other_columns,
)
from lt4rec_tf.data.formats.records import Layout, tfrecord_layout

FORMATS = ("csv", "tsv", "parquet", "tfrecord")
_LONGEST_LINE = 1 << 20  # bytes of a first line that are looked at


@dataclass(frozen=True)
class LogFiles:
    """Files of one format, with the same columns.

    Attributes:
        root: The folder below which all of them lie.
        patterns: Globs relative to it.
        paths: The files, sorted.
        layout: How their records are built; of Parquet the names of the columns alone.
    """

    root: Path
    patterns: tuple[str, ...]
    paths: tuple[Path, ...]
    layout: Layout


def find(globs: Sequence[str]) -> tuple[Path, tuple[str, ...], tuple[Path, ...]]:
    """Finds files, and the folder in which all of them lie.

    Args:
        globs: Absolute, or relative to the working folder.

    Returns:
        The folder, the globs relative to it, and the files, sorted.

    Raises:
        DataError: A glob matches no file.
    """
    fixed = [_fixed_folder(Path(pattern)) for pattern in globs]
    root = Path(os.path.commonpath([folder.absolute() for folder in fixed]))
    patterns = tuple(str(Path(pattern).absolute().relative_to(root)) for pattern in globs)
    return root, patterns, expand(root, patterns)


def _fixed_folder(pattern: Path) -> Path:
    """The part of a glob before its first wildcard, at most its folder."""
    parts = []
    for part in pattern.parts[:-1]:
        if re.search(r"[*?\[]", part):
            break
        parts.append(part)
    return Path(*parts)


def format_of(path: Path) -> str:
    """Finds out the format of a file: binary ones by their first bytes, text by suffix and line.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with open_binary(path) as file:
            start = file.read(12)
            line = (start + file.readline(_LONGEST_LINE)).split(b"\n")[0]
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if start[:4] == b"PAR1":
        return "parquet"
    # A record begins with its length in eight bytes; text holds no four zero bytes in a row.
    if len(start) == 12 and struct.unpack("<Q", start[:8])[0] < 1 << 31:
        return "tfrecord"
    told = [form for form in DELIMITERS if f".{form}" in path.suffixes]
    cuts = {form: line.count(mark.encode()) for form, mark in DELIMITERS.items()}
    if told and cuts[told[0]]:
        return told[0]
    return "tsv" if cuts["tsv"] >= cuts["csv"] and cuts["tsv"] else "csv"


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuses column names that no schema can hold.

    Raises:
        DataError: A name is empty, or is no UTF-8.
    """
    for place, name in enumerate(names, 1):
        try:
            name.encode()
        except UnicodeEncodeError:
            name = ""
        if not name:
            raise DataError(f"{path}: column {place}: found no name in UTF-8, expected one")


def text_layout(paths: Sequence[Path], form: str, columns: Sequence[str], quoted: bool) -> Layout:
    """How CSV or TSV files are built, by the first that is not empty.

    Args:
        paths: The files.
        form: "csv" or "tsv".
        columns: Their names where files have no header line, else nothing.
        quoted: Whether values may stand in double quotes.

    Raises:
        DataError: The header is no line of distinct names, or there is one column alone.
    """
    path, names = paths[0], tuple(columns)
    if not names:
        headers = ((path, header(path, form)) for path in paths)
        path, names = next((found for found in headers if found[1]), (path, ()))
    if not names:
        raise DataError(f"{path}: found an empty file, expected the column names")
    check_names(path, names)
    return records.text_layout(path, form, names, quoted, not columns)


def same_layout(path: Path, layout: Layout) -> None:
    """Refuses a text file whose header is not the other files'.

    Raises:
        DataError: It is not.
    """
    if layout.header_lines:
        names = header(path, layout.format)
        if names:  # an empty file is one without rows
            refuse_other_columns(path, names, layout.columns, "the first file")


def open_logs(
    globs: Sequence[str], form: str = "", columns: Sequence[str] = (), quoted: bool | None = None
) -> LogFiles:
    """Finds log files, their format and their columns.

    Args:
        globs: Absolute, or relative to the working folder.
        form: One of `log_files.FORMATS`; "": found out.
        columns: Of CSV and TSV without a header line.
        quoted: Whether values may stand in double quotes; None: in CSV they may.

    Raises:
        DataError: There is no file, formats differ, or the first file cannot be read.
    """
    root, patterns, paths = discovery.find(globs)
    formats = {path: form or discovery.format_of(path) for path in paths}
    form = formats[paths[0]]
    for path, other in formats.items():
        if other != form:
            raise DataError(f"{path}: found {other}, expected {form} as in {paths[0]}")
    if columns and form not in ("csv", "tsv"):
        raise DataError(f"--columns: found {columns[0]!r}, expected nothing: {form} has names")
    if form == "parquet":
        layout = Layout("parquet", tuple(parquet.columns(paths[0])))
        discovery.check_names(paths[0], layout.columns)
    elif form == "tfrecord":
        layout = tfrecord_layout(paths)
    else:
        may_quote = form == "csv" if quoted is None else quoted
        layout = discovery.text_layout(paths, form, columns, may_quote)
    return LogFiles(root, patterns, paths, layout)
