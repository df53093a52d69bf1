"""Finds the files of a data set, opens plain and packed ones, and refuses broken ones."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.locations import in_store

_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}  # by first bytes
_NAMED = 10  # files that a text names
READ_ERRORS = (EOFError, OSError, zlib.error)  # of plain and packed files


class DataError(InputError):
    """Logs or side tables cannot be used; the message names the file and what was expected."""


class Found(NamedTuple):
    """The files that patterns name.

    Attributes:
        paths: The files, sorted, each once.
        passed_over: Files that hold no rows by their name or size, sorted: hidden ones, those whose
            name or folder begins with "_" (`_SUCCESS`, `_temporary`), Parquet or JSON files without
            a byte, and schemas.
    """

    paths: tuple[Path, ...]
    passed_over: tuple[Path, ...]


def expand(data_dir: Path, patterns: Sequence[str]) -> Found:
    """Finds files.

    Args:
        data_dir: The folder to which patterns are relative.
        patterns: Globs, files, or folders, of which all files at any depth are meant.

    Raises:
        DataError: A pattern matches no file, cannot be one, or leads out of the folder by an
            absolute path; or a file's name is no UTF-8.
    """
    paths: set[Path] = set()
    passed_over: set[Path] = set()
    for pattern in patterns:
        try:
            matches = {path for path in _matches(data_dir, pattern) if path.is_file()}
        except (OSError, ValueError) as error:
            raise DataError(f"{data_dir}: found {pattern!r} ({error}), expected a glob") from error
        kept = {path for path in matches if not _is_marker(data_dir, pattern, path)}
        if not kept:
            only = (
                f" but {some_of(sorted(path.name for path in matches))}, which hold no rows"
                if matches
                else ""
            )
            raise DataError(f"{data_dir}: no file matches {pattern!r}{only}; expected one or more")
        _check_paths(data_dir, pattern, kept)
        paths |= kept
        passed_over |= matches - kept
    return Found(tuple(sorted(paths)), tuple(sorted(passed_over - paths)))


def _matches(data_dir: Path, pattern: str) -> Iterable[Path]:
    """Gives what a pattern names; of a folder all that lies in it."""
    literal = folder_of(data_dir, pattern)
    folder, parts = data_dir, Path(pattern).parts
    while len(parts) > 1 and not in_store(data_dir) and (folder / parts[0]).is_dir():
        folder, parts = folder / parts[0], parts[1:]  # brackets of its name are no pattern
    rest = pattern if folder is data_dir else "/".join(parts)
    found = [literal] if literal.exists() else folder.glob(rest)
    for path in found:
        yield from path.rglob("*") if path.is_dir() else [path]


def _check_paths(data_dir: Path, pattern: str, paths: Iterable[Path]) -> None:
    """Refuses files whose names neither TensorFlow nor JSON holds, or that lie elsewhere."""
    for path in paths:
        if not in_store(data_dir) and not path.is_relative_to(data_dir):
            raise DataError(f"{data_dir}: found {pattern!r}, expected a glob relative to it")
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{str(path)!a}: found a name that is no UTF-8") from error


def folder_of(data_dir: Path, pattern: str) -> Path:
    """Returns the file or folder that a pattern is, if it is one; "." of a URL is not resolved."""
    return data_dir if pattern == "." else data_dir / pattern


def _is_marker(data_dir: Path, pattern: str, path: Path) -> bool:
    """Tells if writers of data sets left a file for themselves, as no part of the data.

    What the pattern itself says by name is meant.
    """
    said = set(Path(pattern).parts)
    parts = path.relative_to(data_dir).parts if path.is_relative_to(data_dir) else (path.name,)
    # A folder such as _day=7 is a partition.
    is_hidden = any(p[0] in "._" and "=" not in p for p in parts if p not in said)
    # A text file without a byte is one without rows; one of Parquet is none.
    is_no_text = bool({".parquet", ".json", ".jsonl"}.intersection(path.suffixes))
    is_empty = is_no_text and not path.stat().st_size
    return is_hidden or (path.name not in said and (is_empty or path.suffix == ".toml"))


def some_of(names: Collection[str]) -> str:
    """Writes the first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join([*names][:_NAMED]) + more


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


def compression(path: Path) -> str:
    """Tells by its first bytes, not by its name, how a file is packed.

    Returns:
        "gzip", "bzip2", "zstd", or "" where it is not.

    Raises:
        DataError: The file is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a file") from error
    return next((name for magic, name in _PACKINGS.items() if start.startswith(magic)), "")


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Opens a plain or packed file; reading fails where a packed one was cut off.

    Args:
        path: The file; a path of `etils` may lie in a store.
    """
    packing = compression(path)
    with path.open("rb") as file, _unpacked(file, packing) as content:
        yield content


def _unpacked(file: IO[bytes], packing: str) -> IO[bytes]:
    """Returns a file that holds what another holds, all of its members unpacked."""
    if packing == "gzip":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if packing == "bzip2":
        return bz2.BZ2File(file)
    if packing == "zstd":
        stream = pyarrow_or_advice("zstd").CompressedInputStream(file, "zstd")
        return io.BufferedReader(stream)
    return file


def pyarrow_or_advice(what: str) -> Any:
    """Imports pyarrow, which logs in other formats do without.

    Args:
        what: What needs it, as an error names it.

    Raises:
        DataError: It is not installed; says how to.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{what} files need pyarrow ({error}): pip install 'lt4rec_tf[parquet]'"
        ) from error
    return pyarrow


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
