"""Rows of all files, written in the order of their users' hashes, and read by users again.

    <output_dir>/unfinished/history/
        rows/<file>-<table>.rows.npy        see `history_rows.Table`
        rows/<file>-<table>.texts.npy
        rows/<file>.json                    written last: counts, and the file's sha256

A range of hashes lies together in each table, so that the rows of some users are read without those
of others. Hashes are spread evenly, so a range can be made as small as memory asks for, down to one
user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.artifacts import opened_atomically, sha256, write_json
from lt4rec_tf.core.time_units import are_mixed, unit_of_most
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.convert.history_rows import Table, tables_of
from lt4rec_tf.data.convert.history_settings import Counts
from lt4rec_tf.data.convert.shards import Job, history_dir
from lt4rec_tf.data.formats.discovery import same_layout
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.schema.fitted import FINGERPRINTS

HASHES = FINGERPRINTS  # users' hashes are below it
_COPIES = 4  # of a row that are held while its history is made


@dataclass(frozen=True)
class Spilled:
    """A file whose rows were written.

    Attributes:
        name: Relative to the job's root.
        sha256: Of what the file held.
        tables: How many tables were written; -1: none, Beam passed them on.
        counts: What was counted in it.
    """

    name: str
    sha256: str
    tables: int
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Spilled:
        """Makes it from its fields in JSON."""
        return cls(**{**value, "counts": Counts(**value["counts"])})


def read_spilled(output_dir: Path, index: int) -> Spilled | None:
    """Reads what is known of a file whose rows were read; None: they were not."""
    path = _counts_path(output_dir, index)
    return Spilled.from_json(read_typed(path, Spilled)) if path.exists() else None


def spill_file(job: Job, index: int, path: Path) -> None:
    """Writes the rows of a file, unless they were written before.

    Args:
        job: Settings of the conversion, with a history.
        index: The file's index among all.
        path: The file.

    Raises:
        DataError: The file cannot be read.
    """
    before = read_spilled(job.output_dir, index)
    if before is not None and before.tables >= 0:
        return
    counts, tables = Counts(), 0
    for table in read_tables(job, path, counts):
        for name, array in table._asdict().items():
            _save(_table_path(job.output_dir, index, tables, name), array)
        tables += 1
    write_counts(job, index, path, tables, counts)


def read_tables(job: Job, path: Path, counts: Counts) -> Iterator[Table]:
    """Reads the rows of a file as tables, and adds up what is counted.

    Raises:
        DataError: The file cannot be read, or has other columns than the first one.
    """
    if job.layout.format != "parquet":
        same_layout(path, job.layout)
    assert job.history is not None
    yield from tables_of(job.history, job.root, path, job.layout, counts)


def write_counts(job: Job, index: int, path: Path, tables: int, counts: Counts) -> None:
    """Writes what is known of a file, once its rows are where they are read from."""
    name = path.relative_to(job.root).as_posix()
    spilled = Spilled(name, sha256(path), tables, counts)
    write_json(_counts_path(job.output_dir, index), asdict(spilled))


def unit_of_all(files: Sequence[Spilled]) -> str:
    """Finds the unit that all times have but for a hundredth, as training does.

    Args:
        files: All files.

    Returns:
        One of `time_units.unit_of`.

    Raises:
        DataError: The times have several units, so that they are in no order.
    """
    total = sum(file.counts.times for file in files)
    rows: dict[str, int] = {}
    for file in files:
        for unit, count in file.counts.units.items():
            rows[unit] = rows.get(unit, 0) + count

    if are_mixed(list(rows.values()), total):
        firsts = {unit: next(f.name for f in files if unit in f.counts.units) for unit in rows}
        found = ", ".join(f"{unit} (first in {name})" for unit, name in firsts.items())
        raise DataError(f"--history: found times of several units, {found}, expected one")
    return unit_of_most(rows, total)


class Spill:
    """The rows of all files, from which those of some users are read.

    Args:
        output_dir: Of the conversion.
        tables: By file, how many tables of it were written.
    """

    def __init__(self, output_dir: Path, tables: Sequence[int]) -> None:
        self._paths = [
            (index, _table_path(output_dir, index, table, "rows"))
            for index, count in enumerate(tables)
            for table in range(count)
        ]

    def ranges(self, most_bytes: float) -> list[tuple[int, int]]:
        """Cuts the users into ranges of hashes whose rows fit in memory, or are of one hash.

        Args:
            most_bytes: Of the rows of a range, with what is made of them.

        Returns:
            Pairs (first hash, hash behind the last), none of which is without a row.
        """
        ranges, waiting = [], [(0, HASHES)]
        while waiting:
            first, end = waiting.pop()
            size = _COPIES * sum(_table(path).bytes_of(first, end) for _, path in self._paths)
            if size > most_bytes and end - first > 1:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]  # the lower ones come first
            elif size:
                ranges.append((first, end))
        return ranges

    def read(self, first: int, end: int) -> list[tuple[int, Table]]:
        """Reads the rows of a range of users: pairs of a file's index and a table of it."""
        return [(index, _table(path).of_users(first, end)) for index, path in self._paths]


def _save(path: Path, array: np.ndarray) -> None:
    with opened_atomically(path) as file:
        np.save(file, array, allow_pickle=False)


def _counts_path(output_dir: Path, index: int) -> Path:
    return history_dir(output_dir) / "rows" / f"{index:05d}.json"


def _table_path(output_dir: Path, index: int, table: int, name: str) -> Path:
    return history_dir(output_dir) / "rows" / f"{index:05d}-{table:04d}.{name}.npy"


def _table(rows_path: Path) -> Table:
    """Opens a table without reading it."""
    texts_path = rows_path.with_name(rows_path.name.replace(".rows.", ".texts."))
    return Table(np.load(rows_path, "r"), np.load(texts_path, "r"))
