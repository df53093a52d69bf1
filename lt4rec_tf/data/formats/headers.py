"""The column names of log files and side tables, and refusals of files whose names differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lt4rec_tf.data.formats.files import DataError, open_binary
from lt4rec_tf.data.formats.text_rows import text_rows

_LISTED = 600  # characters of column names in an error


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
    if first is None and not _holds_bytes(path):
        return ()
    if first is None or not first.values or first.line > 1:
        raise DataError(f"{path}: found an empty first line, expected the column names")
    if b"\0" in first.text:
        raise DataError(
            f"{path}: found NUL bytes among the column names, expected text in UTF-8; UTF-16 "
            "without a byte order mark looks like this"
        )
    return _with_all_names(first.values)


def _with_all_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names, those that are empty by their places, as of an index or a comma at the end.

    >>> _with_all_names(["", "user", "click", ""]), _with_all_names(["", ""])
    (('unnamed_1', 'user', 'click', 'unnamed_4'), ('', ''))
    """
    if not any(names):
        return tuple(names)
    return tuple(name or f"unnamed_{place}" for place, name in enumerate(names, start=1))


def _holds_bytes(path: Path) -> bool:
    with open_binary(path) as file:
        return bool(file.read(1))


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: found column {twice[0]!r} twice, expected distinct names")


def common_header(paths: Sequence[Path], file_format: str) -> tuple[str, ...]:
    """Reads the column names of files, which must be the same in all that are not empty.

    Raises:
        DataError: All are empty; or a file differs from most: names the first, and how.
    """
    headers = {path: names for path in paths if (names := _first_line(path, file_format))}
    if not headers:
        raise DataError(f"{paths[0]}: found {len(paths)} files without a byte, expected some rows")

    # Most files are right: the message then names the odd one, even where it is the first.
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
