"""A run's logs: opened, audited once, read as batches."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.settings import DataSettings, Settings
from lt4rec_tf.core import artifacts as runs
from lt4rec_tf.data.audit import audit as auditing
from lt4rec_tf.data.audit.counts import Audit
from lt4rec_tf.data.input.change_guard import Reading, fault_of, refuse_changed
from lt4rec_tf.data.input.in_memory import HeldRows, hold
from lt4rec_tf.data.input.pipeline import batches, epoch_seeds, files_of, part_batches
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SPLITS, SplitRule
from lt4rec_tf.data.public import datasets, published
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.distributed.parameter_server import Pass
from lt4rec_tf.distributed.replicas import by_parameter_server, this_process, workers_of_servers
from lt4rec_tf.distributed.shards import WHOLE, Shard, has_own_files, own_files, steps_of
from lt4rec_tf.experiment.paths import AUDIT, QUARANTINE, STANDARDS, STATISTICS, has_begun
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.plan import Batches, Feed

AUDIT_SECONDS = 5.0  # between two lines of progress
PARTS_PER_WORKER = 4  # of a parameter server's pass, so that none waits long for the last
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
            purchases=data.simulate_purchases,
        )
        runs.change(lambda: simulate(Path(data.data_dir), feed))


def prepare_if_asked(data: DataSettings) -> None:
    """Has TensorFlow Datasets prepare the named data set, unless it is there already."""
    if data.dataset:
        runs.change(lambda: datasets.prepare(data.dataset, data.data_dir, data.manual_dir))


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
        runs.change(lambda: _audit_into(folder, source, say))
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
            runs.write_json(path, published.statistics(source, audit, item))

    runs.change(count)
    say(published.comparison(runs.read_json(path), known))


def _audit_into(folder: Path, source: Source, say: Callable[[str], None]) -> None:
    with runs.opened_atomically(folder / QUARANTINE) as listed:
        found = auditing.audit(source, _audit_progress(say), listed)
    runs.write_json(folder / AUDIT, found.to_json())


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
    kept = runs.read_json(path)
    tasks = tuple(dataclasses.replace(task, **kept[task.name]) for task in schema.tasks)
    return dataclasses.replace(schema, tasks=tasks)


def keep_standards(folder: Path, schema: Schema) -> None:
    """Keeps the units of another run's amounts, which this run's networks go on with.

    Args:
        folder: RUN.
        schema: That run's, as `learned_schema` gives it.
    """
    kept = {task.name: {"mean": task.mean, "scale": task.scale} for task in schema.tasks}
    runs.write_json(folder / STANDARDS, kept)


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
    return Audit.from_json(runs.read_json(folder / AUDIT))


def split_batches(source: Source, split: str, shard: Shard = WHOLE) -> Reading:
    """A whole split in the order of its files, for measuring; or one process's share of it."""
    return batches(source, split, EVALUATION_BATCH, shard=shard)


def measuring_batches(source: Source, split: str, data: DataSettings) -> Batches:
    """What predictions of a whole split are made from, wherever this process trains.

    With --reading=memory the rows come from memory.
    """
    if by_parameter_server():
        refuse_changed(source, files_of(source, split))
        return _pass_in_parts(source, split)
    if data.reading == "memory":
        return _held(source, split, data.memory_limit_gib).batches(EVALUATION_BATCH)
    return split_batches(source, split, this_process())


def training_feed(source: Source, audit: Audit, settings: Settings) -> Feed:
    """The logs as the trainer wants them: whole, this process's share, or parts for workers."""

    def validation() -> Batches:
        return measuring_batches(source, "validation", settings.data)

    if by_parameter_server():
        return _feed_in_parts(source, audit, settings, validation)
    training, data, shard = settings.training, settings.data, this_process()
    rows_by_file = [*audit.files["train"].values()]
    steps = steps_of(rows_by_file, training.batch_size, shard.count)

    def stream(epoch: int, skip: int) -> Batches:
        read = batches(
            source,
            "train",
            training.batch_size,
            shuffle_seed=settings.seed,
            shuffle_buffer=data.shuffle_buffer,
            epoch=epoch,
            skip_batches=skip,
            shard=shard,
        )
        return read if shard == WHOLE else _lengthened(read, steps - skip)

    def remember(epoch: int, skip: int) -> Batches:
        return _held(source, "train", data.memory_limit_gib).batches(
            training.batch_size, shuffle_seed=settings.seed, epoch=epoch, skip_batches=skip
        )

    return Feed(
        train=remember if data.reading == "memory" else stream,
        validation=None if data.split == "none" else validation,
        steps_per_epoch=steps,
    )


def _lengthened(read: Reading, steps: int) -> Iterator[Any]:
    """Batches without rows after the last, for a process that has read its share before others."""
    spec = read.element_spec
    empty = tf.nest.map_structure(lambda s: tf.zeros([n or 0 for n in s.shape], s.dtype), spec)
    given = 0
    for batch in read:
        given += 1
        yield batch
    yield from itertools.repeat(empty, steps - given)


def _feed_in_parts(
    source: Source, audit: Audit, settings: Settings, validation: Callable[[], Batches]
) -> Feed:
    training, count = settings.training, _parts_of(source, "train")

    def opened(part: tf.Tensor, seeds: tf.Tensor) -> tf.data.Dataset:
        buffer = settings.data.shuffle_buffer
        return part_batches(source, "train", training.batch_size, part, count, seeds, buffer)

    rows = _rows_of_parts([*audit.files["train"].values()], count)
    files = files_of(source, "train")

    def train(epoch: int, skip: int) -> Batches:
        refuse_changed(source, files)
        order = np.random.default_rng([settings.seed, epoch]).permutation(count)[skip:]
        of_parts = tuple(rows[part] for part in order)
        seeds = epoch_seeds(settings.seed, epoch)
        fault = functools.partial(fault_of, source, files)
        return Pass(opened, tuple(map(int, order)), of_parts, seeds, fault)

    def measured() -> Batches:
        refuse_changed(source, files)  # which workers have just read: they do not look themselves
        return validation()

    return Feed(
        train=train,
        validation=measured,
        steps_per_epoch=count,
        batches_per_step=math.ceil(sum(rows) / count / training.batch_size),
    )


@functools.lru_cache(maxsize=4)
def _pass_in_parts(source: Source, split: str) -> Pass:
    """A split in the order of its files; one object, since each is compiled."""
    count = _parts_of(source, split)

    def opened(part: tf.Tensor, seeds: tf.Tensor) -> tf.data.Dataset:
        return part_batches(source, split, EVALUATION_BATCH, part, count, None, 1)

    order = tuple(range(count))
    fault = functools.partial(fault_of, source, files_of(source, split))
    return Pass(opened, order, (0.0,) * count, np.zeros(2, np.int64), fault)


def _parts_of(source: Source, split: str) -> int:
    """How many parts a split is read in: one a file, or where files are few, a few a worker."""
    return max(len(files_of(source, split)), PARTS_PER_WORKER * workers_of_servers())


def _rows_of_parts(rows_by_file: list[int], parts: int) -> list[float]:
    if has_own_files(rows_by_file, Shard(0, parts)):
        return [float(sum(own_files(rows_by_file, Shard(part, parts)))) for part in range(parts)]
    return [sum(rows_by_file) / parts] * parts


@functools.lru_cache(maxsize=4)
def _held(source: Source, split: str, limit_gib: float) -> HeldRows:
    """A split's parsed rows, kept for as long as the process lives."""
    return hold(split_batches(source, split), limit_gib)
