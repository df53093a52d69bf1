"""Reads and joins text files of any size as Apache Beam pipelines.

Beam is loaded when a pipeline is made: it is an extra of the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from lt4rec_tf.data.formats.beam import import_beam
from lt4rec_tf.data.formats.text_rows import line_values, named

RANGE_BYTES = 1 << 26  # of a file that one worker reads at a time

Row = tuple[str, dict[str, str]]  # (file name and byte, texts by column)


def beam() -> Any:
    """Imports Apache Beam.

    Raises:
        DataError: It is not installed.
    """
    return import_beam(
        "Apache Beam cannot be loaded ({error}); install it by pip install 'lt4rec_tf[beam]'"
    )


def rows(
    paths: Iterable[epath.PathLike],
    names: Sequence[str] | None = None,
    range_bytes: int = RANGE_BYTES,
) -> Any:
    """Makes a transform that reads plain CSV files without line breaks inside values.

    Args:
        paths: The files.
        names: The columns; None: each file's first line names them.
        range_bytes: Bytes that one worker reads at a time.

    Returns:
        A PTransform from a pipeline to `Row`s; a row's key, its file and byte, is unique.
    """
    ranges = []
    for path in paths:
        for file_range in _ranges(epath.Path(path), range_bytes):
            ranges.append((*file_range, names))

    pipe = beam()
    return pipe.Create(ranges) | pipe.Reshuffle() | pipe.FlatMapTuple(rows_between)


def _ranges(path: epath.Path, size: int) -> list[tuple[str, int, int]]:
    """Cuts a file into (path, first byte, end)."""
    length = path.stat().length
    return [(str(path), start, min(start + size, length)) for start in range(0, length, size)]


def rows_between(
    path: str, start: int, end: int, names: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yields the rows whose first byte lies in [start, end).

    Raises:
        DataError: A row has another number of values than there are columns, or is no UTF-8.
    """
    name = epath.Path(path).name
    with epath.Path(path).open("rb") as file:
        header = names or line_values(file.readline(), f"{path}: first line")
        if start > file.tell():
            file.seek(start - 1)
            file.readline()  # what began before, or the end of the line before

        position = file.tell()
        while position < end and (line := file.readline()):
            where = f"{path}: byte {position}"
            yield f"{name}:{position}", named(header, line_values(line, where), where)
            position = file.tell()


def left_join(left: Any, right: Any, key: str) -> Any:
    """Adds to each row the columns of the other table's row of the same key.

    Args:
        left: PCollection of `Row`s.
        right: PCollection of `Row`s; of several with one key the first in the files counts.
        key: The column that both share.

    Returns:
        PCollection of the left's `Row`s; where the other table has none they are as they were.
    """
    pipe = beam()

    def keyed(row: Row) -> tuple[str, Row]:
        return row[1][key].strip(), row

    return (
        {"left": left | f"key left by {key}" >> pipe.Map(keyed),
         "right": right | f"key right by {key}" >> pipe.Map(keyed)}
        | f"group by {key}" >> pipe.CoGroupByKey()
        | f"join by {key}" >> pipe.FlatMapTuple(_joined)
    )  # fmt: skip


def _joined(key: str, sides: Mapping[str, Sequence[Row]]) -> Iterator[Row]:
    """Yields the left rows of a key, each with the columns of the first right row."""
    del key
    matches = sorted(sides["right"], key=_in_files)
    right_row = matches[0][1] if matches else {}
    for row_key, row in sides["left"]:
        yield row_key, right_row | row


def _in_files(row: Row) -> tuple[str, int]:
    """Returns a row's file and byte, by which rows are in the order of the files."""
    name, _, position = row[0].rpartition(":")
    return name, int(position)
