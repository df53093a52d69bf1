"""Finds log files as a user names them, their format and their columns."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lt4rec_tf.core.locations import in_store, location, url_parts
from lt4rec_tf.data.formats import json_lines, layouts
from lt4rec_tf.data.formats.files import (
    READ_ERRORS,
    DataError,
    Found,
    expand,
    folder_of,
    open_binary,
)
from lt4rec_tf.data.formats.headers import header, refuse_other_columns
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.formats.text_rows import DELIMITERS

FORMATS = ("csv", "tsv", "parquet", "tfrecord", "jsonl")
_LONGEST_LINE = 1 << 20  # bytes of a first line that are looked at


@dataclass(frozen=True)
class LogFiles:
    """Files of one format, with the same columns.

    Attributes:
        root: The folder below which all of them lie.
        patterns: Globs relative to it.
        paths: The files, sorted.
        layout: The structure of their records; of Parquet the columns and what they hold.
        left_out: By column of Parquet that is not read, why.
        passed_over: Files that hold no rows, see `files.Found`.
    """

    root: Path
    patterns: tuple[str, ...]
    paths: tuple[Path, ...]
    layout: Layout
    left_out: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[Path, ...] = ()


def find(globs: Sequence[str]) -> tuple[Path, tuple[str, ...], Found]:
    """Finds files, and the folder in which all of them lie.

    Args:
        globs: Globs, files or folders, absolute, relative to the working folder, or URLs.

    Returns:
        The folder, the globs relative to it, and the files.

    Raises:
        DataError: A glob matches no file.
    """
    anchors, parts = zip(*map(_parts, globs), strict=True)
    if len(set(anchors)) > 1:
        raise DataError(f"{globs[0]}, {globs[-1]}: found files of two stores, expected one")
    fixed = [_fixed_folder(anchors[0], names) for names in parts]
    alike = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*fixed, strict=False))
    shared = [names[0] for names in alike]

    root = location(anchors[0] + "/".join(shared))
    patterns = ["/".join(names[len(shared) :]) or "." for names in parts]
    found = expand(root, patterns)
    narrowed = tuple(_of_one_suffix(root, pattern, found.paths) for pattern in patterns)
    return root, narrowed, found


def _parts(pattern: str) -> tuple[str, list[str]]:
    """Takes a glob apart: the store's name, or "/", and the names on the way."""
    if in_store(pattern):
        return url_parts(pattern)
    anchor, *names = Path(pattern).absolute().parts
    return anchor, names


def _fixed_folder(anchor: str, names: list[str]) -> list[str]:
    """Returns the names before the first wildcard: at most the folder of what is meant."""
    if location(anchor + "/".join(names)).is_dir():
        return names
    fixed: list[str] = []
    for name in names[:-1]:
        # Brackets in the name of a folder that is there are no pattern.
        is_pattern = (
            re.search(r"[*?\[]", name) and not location(anchor + "/".join([*fixed, name])).is_dir()
        )
        if is_pattern:
            break
        fixed.append(name)
    return fixed


def _of_one_suffix(root: Path, pattern: str, paths: Sequence[Path]) -> str:
    """Returns a glob in place of a folder whose logs all end alike: what is added later may not."""
    folder = folder_of(root, pattern)
    if not folder.is_dir():
        return pattern
    suffixes = {path.suffix for path in paths if path.is_relative_to(folder)}
    return str(Path(pattern, "**", f"*{suffixes.pop()}")) if len(suffixes) == 1 else pattern


def format_of(path: Path) -> str:
    """Finds out the format of a file: binary ones by their first bytes, text by suffix and line.

    Returns:
        One of `FORMATS`; "" of a file that holds nothing, once it is unpacked.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with open_binary(path) as file:
            start = file.read(12)
            line = (start + file.readline(_LONGEST_LINE)).split(b"\n")[0]
    except READ_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error})") from error

    if not start:
        return ""
    if start[:4] == b"PAR1":
        return "parquet"
    # A record begins with its length in eight bytes; text holds no four zero bytes in a row.
    if len(start) == 12 and struct.unpack("<Q", start[:8])[0] < 1 << 31:
        return "tfrecord"

    if json_lines.is_object(line) or path.suffixes[-1:] in ([".jsonl"], [".ndjson"]):
        return "jsonl"
    if line.lstrip()[:1] == b"[" and {".json", ".jsonl"} & set(path.suffixes):
        raise DataError(f"{path}: found a JSON array, expected JSON Lines: an object on each line")

    # A suffix is believed only where its delimiter is in the first line.
    of_suffix = [name for name in DELIMITERS if f".{name}" in path.suffixes]
    counts = {name: line.count(mark.encode()) for name, mark in DELIMITERS.items()}
    if of_suffix and counts[of_suffix[0]]:
        return of_suffix[0]
    return "tsv" if counts["tsv"] >= counts["csv"] and counts["tsv"] else "csv"


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuses column names that no schema can hold.

    Raises:
        DataError: A name is empty, or is no UTF-8.
    """
    for number, name in enumerate(names, 1):
        try:
            name.encode()
        except UnicodeEncodeError:
            name = ""
        if not name:
            raise DataError(f"{path}: column {number}: found no name in UTF-8, expected one")


def text_layout(
    paths: Sequence[Path], file_format: str, columns: Sequence[str], quoted: bool
) -> Layout:
    """Returns the layout of CSV or TSV files, by the first that is not empty.

    Args:
        paths: The files.
        file_format: "csv" or "tsv".
        columns: Their names where files have no header line, else nothing.
        quoted: True if values may stand in double quotes.

    Raises:
        DataError: The header is no line of distinct names, or there is one column alone.
    """
    path, names = paths[0], tuple(columns)
    if not names:
        headers = ((path, header(path, file_format)) for path in paths)
        path, names = next((pair for pair in headers if pair[1]), (path, ()))
    if not names:
        raise DataError(f"{path}: found an empty file, expected the column names")
    check_names(path, names)
    return layouts.text_layout(path, file_format, names, quoted, not columns)


def same_layout(path: Path, layout: Layout) -> None:
    """Refuses a text file whose header is not the other files'.

    Raises:
        DataError: It is not.
    """
    if layout.header_lines:
        names = header(path, layout.format)
        if names:  # an empty file is one without rows
            refuse_other_columns(path, names, layout.file_columns, "the first file")


def open_logs(
    globs: Sequence[str],
    file_format: str = "",
    columns: Sequence[str] = (),
    quoted: bool | None = None,
    needed: Collection[str] | None = None,
) -> LogFiles:
    """Finds log files, their format and their columns.

    Args:
        globs: Absolute, or relative to the working folder.
        file_format: One of `FORMATS`; "": the one that `format_of` finds.
        columns: Of CSV and TSV without a header line.
        quoted: True if values may stand in double quotes; None: in CSV they may.
        needed: Columns of Parquet that must be readable; None: all files must have all columns.

    Raises:
        DataError: There is no file, formats differ, the first file cannot be read, or a needed
            column has types that do not fit together.
    """
    root, patterns, listing = find(globs)
    paths = listing.paths
    formats = {path: file_format or format_of(path) for path in paths}
    example, first = next(((p, found) for p, found in formats.items() if found), (paths[0], "csv"))
    for path, other in formats.items():
        if other and other != first:
            raise DataError(f"{path}: found {other}, expected {first} as in {example}")
    if columns and first not in ("csv", "tsv"):
        raise DataError(f"--columns: found {columns[0]!r}, expected nothing: {first} has names")

    left_out: dict[str, str] = {}
    if first == "parquet":
        layout, left_out = layouts.parquet_layout(paths, needed)
        check_names(paths[0], layout.columns)
    elif first == "tfrecord":
        layout = layouts.tfrecord_layout(paths)
    elif first == "jsonl":
        layout = layouts.jsonl_layout(paths)
        check_names(paths[0], layout.columns)
    else:
        may_quote = first == "csv" if quoted is None else quoted
        layout = text_layout(paths, first, columns, may_quote)
    layout = layouts.with_partitions(layout, paths)
    return LogFiles(root, patterns, paths, layout, left_out, listing.passed_over)
