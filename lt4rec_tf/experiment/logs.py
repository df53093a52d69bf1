"""A run's logs: opened, audited once, read as batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from lt4rec_tf.config.settings import DataSettings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import from_settings
from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.audit.counts import Audit
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SPLITS, SplitRule
from lt4rec_tf.data.public import datasets, published
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.experiment.paths import AUDIT, QUARANTINE, STANDARDS, STATISTICS, has_begun
from lt4rec_tf.schema.types import Schema

AUDIT_SECONDS = 5.0  # between two lines of progress


def simulate_if_asked(data: DataSettings) -> None:
    """Writes the simulated feed to the data folder, unless it is there already."""
    if data.simulate_rows:
        feed = from_settings(FeedSettings, data, prefix="simulate_")
        artifacts.change(lambda: simulate(Path(data.data_dir), feed))


def prepare_if_asked(data: DataSettings) -> None:
    """Has TensorFlow Datasets prepare the named data set, unless it is there already."""
    if data.dataset:
        artifacts.change(lambda: datasets.prepare(data.dataset, data.data_dir, data.manual_dir))


def open_logs(data: DataSettings, schema: Schema) -> Source:
    """Opens the logs that the settings name; cheap, reads headers only."""
    if data.dataset:
        return datasets.open_prepared(data.dataset, data.data_dir, schema)
    rule = from_settings(SplitRule, data, kind=data.split)
    return open_source(schema, data.data_dir, rule)


def file_sizes(source: Source) -> dict[str, int]:
    """What tells these logs from others: each file's size in bytes by name, side tables too."""
    return {
        path.relative_to(source.data_dir).as_posix(): stamp.size
        for path, stamp in source.stamps.items()
    }


def audited(
    source: Source, folder: Path, data: DataSettings, say: Callable[[str], None]
) -> tuple[Source, Audit]:
    """Reads all logs once and counts what is in them; once training began, reads that back.

    Args:
        source: The opened logs.
        folder: RUN; the audit is kept there, and a list of all rows that cannot be used.
        data: Says at which shares of unusable and of duplicate rows the run stops.
        say: Told what was found.

    Raises:
        DataError: Too many unusable or duplicate rows, or a split or population without rows.
    """
    if not has_begun(folder):
        artifacts.change(lambda: _audit_into(folder, source, say))
    found = read_audit(folder)
    say(auditing.describe(found))
    splits = ("train",) if source.split.kind == "none" else SPLITS
    limits = data.max_bad_fraction, data.max_duplicate_fraction
    auditing.check(found, *limits, folder / QUARANTINE, splits)
    if source.split.kind != "none":
        auditing.check_validation(found, source.schema)
    return _completed(source, found, folder), found


def compare_with_published(
    data: DataSettings, source: Source, audit: Audit, folder: Path, say: Callable[[str], None]
) -> None:
    """Says what a named data set holds beside what is published of it.

    Args:
        data: Names the data set.
        source: It, audited.
        audit: What the audit found.
        folder: RUN; what was counted is kept there.
        say: Told each number.
    """
    if not data.dataset:
        return
    known, item = datasets.published(data.dataset)
    path = folder / STATISTICS

    def count() -> None:
        if not path.exists():
            artifacts.write_json(path, published.statistics(source, audit, item))

    artifacts.change(count)
    say(published.comparison(artifacts.read_json(path), known))


def _audit_into(folder: Path, source: Source, say: Callable[[str], None]) -> None:
    with artifacts.opened_atomically(folder / QUARANTINE) as listed:
        found = auditing.audit(source, _audit_progress(say), listed)
    artifacts.write_json(folder / AUDIT, found.to_json())


def _audit_progress(say: Callable[[str], None]) -> Callable[[str, int], None]:
    """Says now and then how far an audit is: large logs take a while."""
    said = time.monotonic()

    def tell(file: str, records: int) -> None:
        nonlocal said
        if time.monotonic() - said >= AUDIT_SECONDS:
            said = time.monotonic()
            say(f"reading the logs once: {records:,} records, now in {file}")

    return tell


def read_audited(source: Source, folder: Path) -> Source:
    """The opened logs with what the run's audit found.

    Raises:
        RunError: The run has no audit yet.
    """
    return _completed(source, read_audit(folder), folder)


def _completed(source: Source, found: Audit, folder: Path) -> Source:
    """The source with what the audit found; amounts in the units that the network has learned.

    A network that goes on from another run's weights answers in that run's units, whatever mean
    and deviation the new logs have.
    """
    source = auditing.complete(source, found)
    return dataclasses.replace(source, schema=_with_standards(source.schema, folder))


def _with_standards(schema: Schema, folder: Path) -> Schema:
    path = folder / STANDARDS
    if not path.exists():
        return schema
    kept = artifacts.read_json(path)
    tasks = tuple(dataclasses.replace(task, **kept[task.name]) for task in schema.tasks)
    return dataclasses.replace(schema, tasks=tasks)


def keep_standards(folder: Path, schema: Schema) -> None:
    """Keeps the units of another run's amounts, which this run's networks go on with.

    Args:
        folder: RUN.
        schema: That run's, as `learned_schema` gives it.
    """
    kept = {task.name: {"mean": task.mean, "scale": task.scale} for task in schema.tasks}
    artifacts.write_json(folder / STANDARDS, kept)


def learned_schema(schema: Schema, folder: Path) -> Schema:
    """A run's schema with the amounts' means and deviations that its networks have learned.

    Raises:
        RunError: The run has no audit yet.
    """
    return _with_standards(auditing.standardised(schema, read_audit(folder)), folder)


def read_audit(folder: Path) -> Audit:
    """What a run's audit found.

    Raises:
        RunError: The run has no audit yet.
    """
    return Audit.from_json(artifacts.read_json(folder / AUDIT))
