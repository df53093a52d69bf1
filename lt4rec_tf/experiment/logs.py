"""A run's logs: opened, audited once, read as batches."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lt4rec_tf.config.settings import DataSettings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import from_settings
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.audit import checks
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.task_counts import TaskCounts
from lt4rec_tf.data.input.change_guard import refuse_changed
from lt4rec_tf.data.input.contents import changed_contents, contents_of
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SPLITS, SplitRule
from lt4rec_tf.data.input.time_limits import with_dates
from lt4rec_tf.data.public import datasets, published
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.experiment.paths import (
    AUDIT,
    LABEL_QUANTILES,
    NUMBERS,
    QUARANTINE,
    STANDARDS,
    STATISTICS,
    VOCABULARIES,
    has_begun,
)
from lt4rec_tf.schema.fitted import read_vocabularies, write_vocabularies
from lt4rec_tf.schema.label_quantiles import read_label_quantiles, write_label_quantiles
from lt4rec_tf.schema.numbers import read_numbers, write_numbers
from lt4rec_tf.schema.types import Schema

AUDIT_SECONDS = 5.0  # between two lines of progress


def simulate_if_asked(data: DataSettings) -> None:
    """Writes the simulated feed to the data folder, unless it is there already."""
    if data.simulate_rows:
        feed = from_settings(FeedSettings, data, prefix="simulate_")
        artifacts.change(lambda: simulate(Path(data.data_dir), feed))


def prepare_if_asked(data: DataSettings) -> None:
    """Prepares the named data set by TensorFlow Datasets, unless it is there already."""
    if data.dataset:
        artifacts.change(lambda: datasets.prepare(data.dataset, data.data_dir, data.manual_dir))


def open_logs(data: DataSettings, schema: Schema) -> Source:
    """Opens the logs that the settings name; reads their headers, and the first rows for dates.

    Raises:
        DataError: As `open_source`, or --validation_from or --test_from is a date and the logs'
            times have none.
    """
    boundaries = {"validation_from": data.validation_from, "test_from": data.test_from}
    numbers: dict[str, Any] = {
        name: None if isinstance(boundary, str) else boundary
        for name, boundary in boundaries.items()
    }
    rule = from_settings(SplitRule, data, kind=data.split, **numbers)
    if data.dataset:
        source = datasets.open_prepared(data.dataset, data.data_dir, schema, rule)
    else:
        source = open_source(schema, data.data_dir, rule)

    dates = {name: date for name, date in boundaries.items() if isinstance(date, str)}
    return with_dates(source, dates) if dates and data.split == "time" else source


def file_sizes(source: Source) -> dict[str, int]:
    """Returns each file's size in bytes by name, side tables too: other logs have other sizes."""
    return {
        path.relative_to(source.data_dir).as_posix(): stamp.size
        for path, stamp in source.stamps.items()
    }


def audited(
    source: Source,
    folder: Path,
    data: DataSettings,
    say: Callable[[str], None],
    *,
    all_tasks: bool = True,
    lists: bool = True,
) -> tuple[Source, Audit]:
    """Reads all logs once and counts what is in them; once training began, reads the counts back.

    Args:
        source: The opened logs.
        folder: RUN; gets the audit, and a list of all rows that cannot be used.
        data: Names the shares of unusable and of duplicate rows at which the run stops.
        say: Called with what is counted.
        all_tasks: Whether each task must have rows to train on; otherwise one must.
        lists: Whether an error names the list of rows that cannot be used: the folder stays.

    Raises:
        DataError: Too many unusable or duplicate rows, or a split or population without rows.
        RunError: Training began with other logs of the same sizes.
    """
    if has_begun(folder):
        refuse_other_contents(source, folder)
    else:
        artifacts.change(lambda: _audit_into(folder, source, data.duplicate_rows_remembered, say))
    audit = read_audit(folder)
    say(describe(audit))

    splits = ("train",) if source.split.kind == "none" else SPLITS
    limits = data.max_bad_fraction, data.max_duplicate_fraction
    listed, nulls = folder / QUARANTINE if lists else None, source.schema.nulls
    checks.check(audit, *limits, listed, splits, nulls, all_tasks=all_tasks)
    if source.split.kind != "none":
        checks.check_validation(audit, source.schema)
    return _completed(source, audit, folder), audit


def refuse_other_contents(source: Source, folder: Path) -> None:
    """Refuses logs that hold something else than what a run's audit read, whatever their size.

    Args:
        source: The opened logs, of the audit's names and sizes.
        folder: RUN; of an older version, which noted sizes alone, nothing is compared.

    Raises:
        RunError: A log or a side table holds something else, or the run has no audit; names each.
    """
    changed = changed_contents(source, read_audit(folder).contents)
    if changed:
        listed = "\n  ".join(str(source.data_dir / name) for name in changed)
        raise artifacts.RunError(
            f"the logs are not those of {folder}; found another content of the same size in:\n"
            f"  {listed}\nPut them back as they were, or begin another run."
        )


def compare_with_published(
    data: DataSettings, source: Source, audit: Audit, folder: Path, say: Callable[[str], None]
) -> None:
    """Compares a named data set with its published numbers.

    Args:
        data: Names the data set.
        source: It, audited.
        audit: Its audit.
        folder: RUN; gets the counts.
        say: Called with both numbers, line by line.
    """
    if not data.dataset:
        return
    expected, item = datasets.published(data.dataset)
    path = folder / STATISTICS

    def count() -> None:
        if not path.exists():
            artifacts.write_json(path, published.statistics(source, audit, item))

    artifacts.change(count)
    say(published.comparison(read_typed(path, dict[str, int | float | None]), expected))


def _audit_into(folder: Path, source: Source, remembered: int, say: Callable[[str], None]) -> None:
    """Audits the logs; writes unusable rows and what is fitted to train, then the counts."""
    with artifacts.opened_atomically(folder / QUARANTINE) as quarantine:
        audit = auditing.audit(source, _audit_progress(say), quarantine, remembered)
    audit = dataclasses.replace(audit, contents=contents_of(source))
    refuse_changed(source, source.stamps)  # what was noted is what the audit read
    write_vocabularies(folder / VOCABULARIES, audit.vocabularies)
    write_numbers(folder / NUMBERS, audit.numbers)
    write_label_quantiles(folder / LABEL_QUANTILES, audit.label_quantiles)
    artifacts.write_json(folder / AUDIT, audit.to_json())


def _audit_progress(say: Callable[[str], None]) -> Callable[[str, int], None]:
    """Makes a function that reports an audit's progress from time to time: it may take long."""
    last_report = time.monotonic()

    def report(file: str, records: int) -> None:
        nonlocal last_report
        if time.monotonic() - last_report >= AUDIT_SECONDS:
            last_report = time.monotonic()
            say(f"reading the logs once: {records:,} records, now in {file}")

    return report


def read_audited(source: Source, folder: Path) -> Source:
    """Returns the opened logs with the results of the run's audit.

    Raises:
        RunError: The run has no audit yet.
    """
    return _completed(source, read_audit(folder), folder)


def _completed(source: Source, audit: Audit, folder: Path) -> Source:
    """Returns the source with the audit's results; amounts in the units of the network's outputs.

    A network that continues from another run's weights predicts in that run's units, whatever mean
    and deviation the new logs have.
    """
    source = auditing.complete(source, audit)
    counts = audit.splits["train"].tasks
    return dataclasses.replace(source, schema=_with_standards(source.schema, counts, folder))


def _with_standards(schema: Schema, counts: Mapping[str, TaskCounts], folder: Path) -> Schema:
    path = folder / STANDARDS
    if not path.exists():
        return schema
    standards_by_task = read_typed(path, dict[str, _Standard])

    tasks = []
    for task in schema.tasks:
        standards = standards_by_task[task.name]
        mean, scale = standards["mean"], standards["scale"]
        if not (math.isfinite(mean) and 0 < scale < math.inf):
            raise artifacts.RunError(
                f"{path}: {task.name}: found mean {mean} and scale {scale}, expected a number and "
                "one above 0"
            )
        kept = standards.get("negatives_kept", 1.0)
        if not 0 < kept <= 1:
            raise artifacts.RunError(
                f"{path}: {task.name}: found negatives_kept {kept}, expected a number in (0, 1]"
            )
        if counts[task.name].negatives_kept is not None:
            standards.pop("negatives_kept", None)  # the logs themselves say it
        tasks.append(dataclasses.replace(task, **standards))
    return dataclasses.replace(schema, tasks=tuple(tasks))


class _Standard(TypedDict):
    mean: float
    scale: float
    negatives_kept: NotRequired[float]


def keep_standards(folder: Path, schema: Schema) -> None:
    """Saves the units of another run's amounts, in which this run's networks predict.

    Of a task whose logs say how many negatives they kept, that share too: logs without a negative
    say none.

    Args:
        folder: RUN.
        schema: That run's, as `learned_schema` gives it.
    """
    standards = {}
    for task in schema.tasks:
        standards[task.name] = {"mean": task.mean, "scale": task.scale}
        if task.kept_column is not None:
            standards[task.name]["negatives_kept"] = task.negatives_kept
    artifacts.write_json(folder / STANDARDS, standards)


def learned_schema(schema: Schema, folder: Path) -> Schema:
    """Returns a run's schema with the amounts' means and deviations of its networks' training.

    Raises:
        RunError: The run has no audit yet.
    """
    audit = read_audit(folder)
    counts = audit.splits["train"].tasks
    return _with_standards(auditing.standardised(schema, audit), counts, folder)


def read_audit(folder: Path) -> Audit:
    """Reads a run's audit.

    Raises:
        RunError: The run has no audit yet.
    """
    audit = Audit.from_json(read_typed(folder / AUDIT, Audit))
    return dataclasses.replace(
        audit,
        vocabularies=read_vocabularies(folder / VOCABULARIES),
        numbers=read_numbers(folder / NUMBERS),
        label_quantiles=read_label_quantiles(folder / LABEL_QUANTILES),
    )
