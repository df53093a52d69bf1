"""Scores one log file: parts of predictions, and a list of the rows that have none."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.artifacts import appearing_whole, sha256, write_json
from lt4rec_tf.core.flags import expect
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.formats.bad_rows import BadRow, write
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import mixed_kinds
from lt4rec_tf.data.formats.odd_files import oddity
from lt4rec_tf.data.formats.parquet import pyarrow
from lt4rec_tf.data.formats.records import Layout, OtherKinds, shown_record
from lt4rec_tf.data.input.scan import read_with
from lt4rec_tf.data.input.scoring import (
    GOOD,
    ScoringLogs,
    Step,
    find_logs,
    opened_logs,
    reasons_of,
    scoring_step,
)
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.predictor import Predictor, open_predictor
from lt4rec_tf.experiment.scoring.carried import ParquetColumns, arrays_of
from lt4rec_tf.experiment.scoring.parts import SUFFIXES, PartWriter

UNFINISHED = "_unfinished"  # folder of the results of parts until all are there
_SAY_SECONDS = 5.0  # between two lines about one file


@dataclass(frozen=True)
class Job:
    """What the files of one call share, in a form that other processes can take.

    Attributes:
        run: RUN.
        row: One of the run's.
        data_dir: The folder of side tables; "": that of the run's logs.
        globs: Of the logs.
        columns: Of CSV and TSV without a header line.
        id_columns: Columns that predictions carry along.
        output: The folder of the parts.
        file_format: One of `SUFFIXES`.
        part_rows: Rows after which a part ends.
        max_bad_fraction: Share of a file's rows, in [0, 1], that may get no predictions.
        as_missing: Whether a value that is none of its feature's dtype is missing, as in training.
    """

    run: Path
    row: str
    data_dir: str
    globs: tuple[str, ...]
    columns: tuple[str, ...]
    id_columns: tuple[str, ...]
    output: Path
    file_format: str
    part_rows: int
    max_bad_fraction: float
    as_missing: bool


@dataclass(frozen=True)
class Part:
    """A file of predictions; the name is relative to the output folder."""

    name: str
    rows: int
    not_scored: int
    bytes: int
    sha256: str
    misses: dict[str, int]


@dataclass(frozen=True)
class Scored:
    """The result of one file; the name is relative to the root of all."""

    name: str
    rows: int
    not_scored: int
    parts: tuple[Part, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scored:
        """Makes a result from its fields in JSON."""
        return cls(**{**value, "parts": tuple(Part(**part) for part in value["parts"])})


def result_path(output: Path, index: int) -> Path:
    """Returns the path of a file's result, which is kept until all files are done."""
    return output / UNFINISHED / f"{index:05d}.json"


def _part_result(output: Path, index: int, number: int) -> Path:
    return output / UNFINISHED / f"{index:05d}-{number:04d}.json"


def listed_path(output: Path, index: int, number: int) -> Path:
    """Returns the path of the list of a part's rows that were not scored."""
    return output / UNFINISHED / f"{index:05d}-{number:04d}.tsv"


@dataclass(frozen=True, eq=False)
class OpenedJob:
    """A job with its row and its logs, opened once in a process.

    Attributes:
        job: What all files share.
        predictor: The row.
        logs: All of them, with the id columns that are carried along.
        source: They, opened, with their side tables.
        by_columns: Whether these are read by themselves, in types of their own.
        step: Scores records of the source's layout.
    """

    job: Job
    predictor: Predictor
    logs: ScoringLogs
    source: Source
    by_columns: bool
    step: Step

    def of_layout(self, layout: Layout) -> OpenedJob:
        """Returns the job for files whose records have another structure."""
        source = dataclasses.replace(self.source, layout=layout)
        return dataclasses.replace(self, source=source, step=_step(self, source))


def _step(opened: OpenedJob, source: Source) -> Step:
    carried, job = () if opened.by_columns else opened.logs.carried, opened.job
    return scoring_step(source, opened.predictor.answers, carried, as_missing=job.as_missing)


@functools.lru_cache(maxsize=1)
def opened_job(job: Job) -> OpenedJob:
    """Opens a job's row and finds its logs, once in a process.

    Raises:
        DataError: The logs cannot be scored.
        RunError: The row cannot be read.
    """
    predictor = open_predictor(job.run, job.row, job.data_dir)
    logs = find_logs(predictor.scored, job.globs, predictor.side_dir, job.columns, job.id_columns)
    refused = sorted({*predictor.outputs} & {*job.id_columns})
    expect(not refused, "id_columns", refused, "no column that is named like a prediction")
    source, by_columns = opened_logs(logs), logs.layout.format == "parquet" and bool(logs.carried)
    opened = OpenedJob(job, predictor, logs, source, by_columns, lambda *_: {})
    return dataclasses.replace(opened, step=_step(opened, source))


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
        for number in range(len(_parts_before(job, index))):  # their columns have other types
            _part_result(job.output, index, number).unlink()
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
    write_json(result_path(job.output, index), asdict(result))
    return result


def _score(opened: OpenedJob, index: int, path: Path, is_odd: bool) -> list[Part]:
    """Makes the parts of a file that are not there yet."""
    job = opened.job
    parts = _parts_before(job, index)
    batches = _batches(opened, path, is_odd, sum(part.rows for part in parts))
    for first in batches:
        parts.append(_write_part(job, index, len(parts), itertools.chain([first], batches)))
    return parts


def _parts_before(job: Job, index: int) -> list[Part]:
    """Reads the parts that an earlier process finished, up to the first that is not there."""
    parts: list[Part] = []
    while True:
        path = _part_result(job.output, index, len(parts))
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
        by_columns.next_rows(skip)
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
    write_json(_part_result(job.output, index, number), asdict(part))
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
