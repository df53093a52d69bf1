"""A run's logs: opened, audited once, read as batches."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from lt4rec_tf import runs
from lt4rec_tf.config import DataSettings, Settings
from lt4rec_tf.data import audit as auditing
from lt4rec_tf.data import datasets
from lt4rec_tf.data.audit import Audit
from lt4rec_tf.data.memory import HeldRows, hold
from lt4rec_tf.data.pipeline import batches
from lt4rec_tf.data.simulator import FeedSettings, simulate
from lt4rec_tf.data.source import Source, open_source
from lt4rec_tf.data.splits import SplitRule
from lt4rec_tf.schema import Schema
from lt4rec_tf.training.plan import Batches, Feed

AUDIT = "data.json"
AUDIT_SECONDS = 5.0  # between two lines of progress
# Evaluation holds no gradients, so its batches can be larger than training's.
EVALUATION_BATCH = 4096


def simulate_if_asked(data: DataSettings) -> None:
    """Writes the simulated feed to the data folder, unless it is there already."""
    if data.simulate_rows:
        feed = FeedSettings(
            rows=data.simulate_rows,
            seed=data.simulate_seed,
            click_rate=data.simulate_click_rate,
            conflict=data.simulate_conflict,
        )
        simulate(Path(data.data_dir), feed)


def prepare_if_asked(data: DataSettings) -> None:
    """Has TensorFlow Datasets prepare the named data set, unless it is there already."""
    if data.dataset:
        datasets.prepare(data.dataset, data.data_dir)


def open_logs(data: DataSettings, schema: Schema) -> Source:
    """Opens the logs that the settings name; cheap, reads headers only."""
    if data.dataset:
        return datasets.open_prepared(data.dataset, data.data_dir, schema)
    rule = SplitRule(
        kind=data.split,
        validation_from=data.validation_from,
        test_from=data.test_from,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        validation_files=data.validation_files,
        test_files=data.test_files,
    )
    return open_source(schema, data.data_dir, rule)


def file_sizes(source: Source) -> dict[str, int]:
    """What tells these logs from others: each file's size in bytes by name, side tables too."""
    joined = [source.data_dir / join.file for join in source.schema.joins]
    return {
        path.relative_to(source.data_dir).as_posix(): path.stat().st_size
        for path in [*source.files, *joined]
    }


def audited(
    source: Source, folder: Path, max_bad_fraction: float, say: Callable[[str], None]
) -> tuple[Source, Audit]:
    """Reads all logs once and counts what is in them; once training began, reads that back.

    Args:
        source: The opened logs.
        folder: RUN; the audit is kept there.
        max_bad_fraction: Share of unusable rows above which the run stops.
        say: Told what was found.

    Raises:
        DataError: Too many unusable rows, or a split or population without rows.
    """
    path = folder / AUDIT
    if not runs.has_begun(folder):
        runs.write_json(path, auditing.audit(source, _audit_progress(say)).to_json())
    found = Audit.from_json(runs.read_json(path))
    say(auditing.describe(found))
    auditing.check(found, max_bad_fraction)
    auditing.check_validation(found, source.schema)
    return auditing.complete(source, found), found


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
    return auditing.complete(source, read_audit(folder))


def read_audit(folder: Path) -> Audit:
    """What a run's audit found.

    Raises:
        RunError: The run has no audit yet.
    """
    return Audit.from_json(runs.read_json(folder / AUDIT))


def split_batches(source: Source, split: str) -> tf.data.Dataset:
    """A whole split in the order of its files, for measuring."""
    return batches(source, split, EVALUATION_BATCH)


def measuring_batches(source: Source, split: str, data: DataSettings) -> Batches:
    """`split_batches`, or the same rows from memory with --reading=memory."""
    if data.reading == "memory":
        return _held(source, split, data.memory_limit_gib).batches(EVALUATION_BATCH)
    return split_batches(source, split)


def training_feed(source: Source, audit: Audit, settings: Settings) -> Feed:
    """The logs as the trainer wants them."""
    training, data = settings.training, settings.data

    def stream(epoch: int, skip: int) -> Batches:
        return batches(
            source,
            "train",
            training.batch_size,
            shuffle_seed=settings.seed,
            shuffle_buffer=data.shuffle_buffer,
            epoch=epoch,
            skip_batches=skip,
        )

    def remember(epoch: int, skip: int) -> Batches:
        return _held(source, "train", data.memory_limit_gib).batches(
            training.batch_size, shuffle_seed=settings.seed, epoch=epoch, skip_batches=skip
        )

    return Feed(
        train=remember if data.reading == "memory" else stream,
        validation=lambda: measuring_batches(source, "validation", data),
        steps_per_epoch=math.ceil(audit.splits["train"].rows / training.batch_size),
    )


@functools.lru_cache(maxsize=4)
def _held(source: Source, split: str, limit_gib: float) -> HeldRows:
    """A split's parsed rows, kept for as long as the process lives."""
    return hold(split_batches(source, split), limit_gib)
