"""Hive partitions: columns whose values stand in the names of folders, such as dt=2026-11-20."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from lt4rec_tf.data.formats.examples import encode_row

_FOLDER = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)")
_NULL = "__HIVE_DEFAULT_PARTITION__"  # what Hive and Spark write for an absent value


def values_of(path: Path) -> dict[str, str]:
    """Returns by partition of a file its value, "" for an absent one.

    >>> values_of(Path("/logs/dt=2026-11-20/city=S%C3%A3o%20Paulo/part-0.parquet"))
    {'dt': '2026-11-20', 'city': 'São Paulo'}
    """
    values = {}
    for folder in path.absolute().parent.parts:
        found = _FOLDER.fullmatch(folder)
        if found:
            values[found[1]] = "" if found[2] == _NULL else unquote(found[2])
    return values


def common_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Returns the partitions that all files have, in the order of the folders."""
    by_folder = {path.parent: values_of(path) for path in paths}
    first, *others = by_folder.values()
    return tuple(name for name in first if all(name in values for values in others))


def mark_of(path: Path, names: Sequence[str], delimiter: str, quoted: bool) -> bytes:
    """Returns what adds a file's partitions to each of its records.

    Args:
        path: The file.
        names: Its partitions.
        delimiter: Between two values of a line, to whose end the mark is added; "": records are
            Examples, before whose beginning it stands. Protocol buffers that follow each other are
            read as one.
        quoted: True if a line's values may stand in double quotes.
    """
    values = values_of(path)
    if not delimiter:
        texts = {name: values[name].encode() for name in names}
        columns = {name: ("string", [text] if text else []) for name, text in texts.items()}
        return encode_row(columns)

    parts = [values[name] for name in names]
    if quoted:
        parts = ['"' + part.replace('"', '""') + '"' for part in parts]
    return "".join(delimiter + part for part in parts).encode(errors="surrogateescape")
