"""A call of `predict`: what to score and how, and the results of its files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf.core.flags import expect
from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.input.scoring import ScoringLogs, find_logs, opened_logs
from lt4rec_tf.data.input.scoring_step import Step, scoring_step
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.predictor import Predictor, open_predictor

UNFINISHED = "_unfinished"  # folder of the results of parts until all are there


@dataclass(frozen=True)
class Job:
    """What the files of one call share, in a form that other processes can take.

    Attributes:
        run: RUN.
        model: One of the run's.
        data_dir: The folder of side tables; "": that of the run's logs.
        globs: Of the logs.
        columns: Of CSV and TSV without a header line.
        id_columns: Columns that predictions carry along.
        output: The folder of the parts.
        file_format: One of `parts.SUFFIXES`.
        part_rows: Rows after which a part ends.
        max_bad_fraction: Share of a file's rows, in [0, 1], that may get no predictions.
        as_missing: Whether a value that is none of its feature's dtype is missing, as in training.
    """

    run: Path
    model: str
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


def part_result_path(output: Path, index: int, number: int) -> Path:
    """Returns the path of a part's result, which is kept until all files are done."""
    return output / UNFINISHED / f"{index:05d}-{number:04d}.json"


def listed_path(output: Path, index: int, number: int) -> Path:
    """Returns the path of the list of a part's rows that were not scored."""
    return output / UNFINISHED / f"{index:05d}-{number:04d}.tsv"


@dataclass(frozen=True, eq=False)
class OpenedJob:
    """A job with its model and its logs, opened once in a process.

    Attributes:
        job: What all files share.
        predictor: The model.
        logs: All of them, with the id columns that are carried along.
        source: They, opened, with their side tables.
    """

    job: Job
    predictor: Predictor
    logs: ScoringLogs
    source: Source

    @property
    def by_columns(self) -> bool:
        """Tells if id columns are read by themselves, in types of their own."""
        return self.logs.layout.format == "parquet" and bool(self.logs.carried)

    @functools.cached_property
    def step(self) -> Step:
        """Returns what scores records of the source's layout."""
        carried = () if self.by_columns else self.logs.carried
        as_missing = self.job.as_missing
        return scoring_step(self.source, self.predictor.answers, carried, as_missing=as_missing)

    def of_layout(self, layout: Layout) -> OpenedJob:
        """Returns the job for files whose records have another structure."""
        return dataclasses.replace(self, source=dataclasses.replace(self.source, layout=layout))


@functools.lru_cache(maxsize=1)
def opened_job(job: Job) -> OpenedJob:
    """Opens a job's model and finds its logs, once in a process.

    Raises:
        DataError: The logs cannot be scored.
        RunError: The model cannot be read.
    """
    predictor = open_predictor(job.run, job.model, job.data_dir)
    logs = find_logs(predictor.scored, job.globs, predictor.side_dir, job.columns, job.id_columns)
    refused = sorted({*predictor.outputs} & {*job.id_columns})
    expect(not refused, "id_columns", refused, "no column that is named like a prediction")
    return OpenedJob(job, predictor, logs, opened_logs(logs))
