"""Scores one log file: parts of predictions, and a list of the rows that have none."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.artifacts import appearing_whole, sha256, write_json
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.formats.bad_rows import BadRow, write
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import mixed_kinds
from lt4rec_tf.data.formats.odd_files import oddity
from lt4rec_tf.data.formats.parquet import pyarrow
from lt4rec_tf.data.formats.records import OtherKinds, shown_record
from lt4rec_tf.data.input.change_guard import refuse_changed
from lt4rec_tf.data.input.scan import read_with
from lt4rec_tf.data.input.scoring_step import GOOD, reasons_of
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.scoring.carried import ParquetColumns, arrays_of
from lt4rec_tf.experiment.scoring.job import (
    Job,
    OpenedJob,
    Part,
    Scored,
    listed_path,
    opened_job,
    part_result_path,
    result_path,
)
from lt4rec_tf.experiment.scoring.parts import SUFFIXES, PartWriter

_SAY_SECONDS = 5.0  # between two lines about one file


def score_file(job: Job, index: int, path: Path) -> Scored:
    """Scores a file; the same file gives the same parts. Parts that are there are not made again.

    Args:
        job: What all files share.
        index: The file's index among all, from 0; names its parts.
        path: The file.

    Raises:
        DataError: The file cannot be read, or too many of its rows cannot be scored.
    """
    opened = opened_job(job)
    name = path.relative_to(opened.source.data_dir).as_posix()
    layout = opened.source.layout
    try:
        is_odd = not layout.by_python and bool(oddity(path, layout.form))
        parts = _score(opened, index, path, is_odd)
    except OtherKinds:
        layout, _ = mixed_kinds(layout, [path])
        for number in range(len(parts_before(job, index))):  # their columns have other types
            part_result_path(job.output, index, number).unlink()
        parts = _score(opened.of_layout(layout), index, path, is_odd=True)

    rows = sum(part.rows for part in parts)
    not_scored = sum(part.not_scored for part in parts)
    if not_scored > job.max_bad_fraction * rows:
        listed = [listed_path(job.output, index, number) for number in range(len(parts))]
        raise DataError(
            f"{path}: found {not_scored} rows of {rows} that cannot be scored, expected at most a "
            f"fraction {job.max_bad_fraction} (--max_bad_fraction). The first:\n{_start_of(listed)}"
        )
    result = Scored(name, rows, not_scored, tuple(parts))
    refuse_changed(opened.source, [path])
    write_json(result_path(job.output, index), asdict(result))
    return result


def _score(opened: OpenedJob, index: int, path: Path, is_odd: bool) -> list[Part]:
    """Makes the parts of a file that are not there yet."""
    job = opened.job
    parts = parts_before(job, index)
    batches = _batches(opened, path, is_odd, sum(part.rows for part in parts))
    for first in batches:
        parts.append(_write_part(job, index, len(parts), itertools.chain([first], batches)))
    return parts


def parts_before(job: Job, index: int) -> list[Part]:
    """Reads a file's parts that an earlier process finished, up to the first that is not there."""
    parts: list[Part] = []
    while True:
        path = part_result_path(job.output, index, len(parts))
        if not path.exists():
            return parts
        part = Part(**read_typed(path, Part))
        written = job.output / part.name
        if not written.exists() or written.stat().st_size != part.bytes:
            return parts
        parts.append(part)


@dataclass(frozen=True)
class _Batch:
    """Some rows with their predictions, columns as Arrow's arrays."""

    columns: dict[str, Any]
    bad: list[BadRow]
    misses: dict[str, int]


def _batches(opened: OpenedJob, path: Path, is_odd: bool, skip: int) -> Iterator[_Batch]:
    """Scores the rows of a file behind the first `skip`, batch by batch."""
    odd_files = frozenset([path] if is_odd else [])
    source = dataclasses.replace(opened.source, files=(path,), odd_files=odd_files)
    name = path.relative_to(source.data_dir).as_posix()
    by_columns = None
    if opened.by_columns:
        by_columns = ParquetColumns(path, opened.logs.carried, opened.logs.layout.partitions)
        by_columns.skip(skip)
    lists = {f.column for f in source.schema.features if f.multivalued}

    row, say = skip, _Speed(name)
    for _, records, values in read_with(source, opened.step, set(), skip=skip):
        rows, is_bad = len(records), values["first_fault"] != GOOD
        kept = by_columns.next_rows(rows) if by_columns else arrays_of(values["carried"], lists)
        columns = {name: kept[name] for name in opened.logs.carried}
        for output, scores in values["answers"].items():
            columns[output] = pyarrow().array(scores, mask=is_bad)
        bad = _bad_rows(source, name, row, records, values["first_fault"])
        misses = {file: int(count) for file, count in values["misses"].items()}
        yield _Batch(columns, bad, misses)
        row += rows
        say.tell(row - skip)


def _bad_rows(
    source: Source, name: str, before: int, records: tf.Tensor, faults: np.ndarray
) -> list[BadRow]:
    bad = np.flatnonzero(faults != GOOD)
    if not len(bad):
        return []
    some = tf.gather(records, bad)
    reasons = reasons_of(source, some, faults[bad])
    texts = [shown_record(source.layout, record) for record in some.numpy()]
    places = (before + bad + 1).tolist()
    return [BadRow(name, *row) for row in zip(places, reasons, texts, strict=True)]


def _write_part(job: Job, index: int, number: int, batches: Iterator[_Batch]) -> Part:
    """Writes batches until a part is full; then its list of bad rows, then its result."""
    name = f"part-{index:05d}-{number:04d}{SUFFIXES[job.file_format]}"
    path, listed = job.output / name, listed_path(job.output, index, number)
    not_scored, misses = 0, Counter[str]()
    listed.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(appearing_whole(listed))
        bad_file = stack.enter_context(temporary.open("wb"))
        writer = stack.enter_context(PartWriter(path, job.file_format))
        for batch in batches:
            writer.add(batch.columns)
            write(bad_file, batch.bad)
            not_scored += len(batch.bad)
            misses.update(batch.misses)
            if writer.rows >= job.part_rows:
                break

    part = Part(name, writer.rows, not_scored, path.stat().st_size, sha256(path), dict(misses))
    write_json(part_result_path(job.output, index, number), asdict(part))
    return part


class _Speed:
    """Says from time to time how far a file is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = self._last = time.monotonic()

    def tell(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._last >= _SAY_SECONDS:
            self._last = now
            speed = rows / (now - self._begun)
            print(f"{self._name}: {rows:,} rows scored, {speed:,.0f} rows/s", flush=True)


def _start_of(listed: list[Path], lines: int = 5) -> str:
    found: list[str] = []
    for path in listed:
        with path.open(encoding="utf-8") as file:
            found += itertools.islice(file, lines - len(found))
    return "".join(f"  {line}" for line in found).rstrip()
