"""Batches of a run's logs, for training and for measuring, in one process or in parts."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.settings import DataSettings, Settings
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.change_guard import Reading, fault_of, refuse_changed
from lt4rec_tf.data.input.in_memory import HeldRows, RowsTooLargeError, hold
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches, epoch_seeds, files_of, part_batches
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.distributed.parameter_server import Pass
from lt4rec_tf.distributed.replicas import by_parameter_server, this_process, workers_of_servers
from lt4rec_tf.distributed.shards import WHOLE, Shard, has_own_files, own_files, steps_of
from lt4rec_tf.training.plan import Batches, Feed

PARTS_PER_WORKER = 4  # of a parameter server's pass, so that none waits long for the last
# Evaluation holds no gradients, so its batches can be larger than training's.
EVALUATION_BATCH = 4096
# What the rows of a split that is measured many times may take, where logs are read as a stream.
HELD_GIB = 0.5


def split_batches(source: Source, split: str, shard: Shard = WHOLE) -> Reading:
    """Reads a whole split in the order of its files, or one process's share of it."""
    return batches(source, split, EVALUATION_BATCH, shard=shard)


def measuring_batches(source: Source, split: str, data: DataSettings) -> Batches:
    """Returns the batches of a whole split for predictions, by the distribution of this process.

    With --reading=memory the rows come from memory.
    """
    if by_parameter_server():
        refuse_changed(source, files_of(source, split))
        return _pass_in_parts(source, split)
    if data.reading == "memory":
        return _rows_in_memory(source, split, data.memory_limit_gib).batches(EVALUATION_BATCH)
    return split_batches(source, split, this_process())


def repeated_batches(source: Source, split: str, data: DataSettings) -> Batches:
    """Returns what `measuring_batches` does, for a split that this process measures many times.

    A small split is read once and stays in memory. Parsing all files again for each of many
    networks would take longer than their predictions.
    """
    if data.reading == "memory":
        return measuring_batches(source, split, data)
    held = _small_split(source, split)
    return split_batches(source, split) if held is None else held.batches(EVALUATION_BATCH)


def training_feed(source: Source, audit: Audit, settings: Settings) -> Feed:
    """Returns the logs for the trainer: whole, this process's share, or parts for workers."""

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
            Order(settings.seed, epoch, skip, data.shuffle_buffer),
            shard,
        )
        return read if shard == WHOLE else _lengthened(read, steps - skip)

    def remember(epoch: int, skip: int) -> Batches:
        rows = _rows_in_memory(source, "train", data.memory_limit_gib)
        return rows.batches(training.batch_size, Order(settings.seed, epoch, skip))

    return Feed(
        train=remember if data.reading == "memory" else stream,
        validation=None if data.split == "none" else validation,
        steps_per_epoch=steps,
    )


def _lengthened(read: Reading, steps: int) -> Iterator[Any]:
    """Adds empty batches after the last, for a process whose share is shorter than others'.

    All processes take as many steps, since each step waits for all of them.
    """
    spec = read.element_spec
    empty = tf.nest.map_structure(lambda s: tf.zeros([n or 0 for n in s.shape], s.dtype), spec)
    count = 0
    for batch in read:
        count += 1
        yield batch
    yield from itertools.repeat(empty, steps - count)


def _feed_in_parts(
    source: Source, audit: Audit, settings: Settings, validation: Callable[[], Batches]
) -> Feed:
    """Returns the training logs in parts, each a step that a parameter server's worker takes."""
    training, count = settings.training, _parts_of(source, "train")
    rows = _rows_of_parts([*audit.files["train"].values()], count)
    files = files_of(source, "train")

    def opened(part: tf.Tensor, seeds: tf.Tensor) -> tf.data.Dataset:
        buffer = settings.data.shuffle_buffer
        return part_batches(source, "train", training.batch_size, part, count, seeds, buffer)

    def train(epoch: int, skip: int) -> Batches:
        refuse_changed(source, files)
        order = np.random.default_rng([settings.seed, epoch]).permutation(count)[skip:]
        rows_in_order = tuple(rows[part] for part in order)
        seeds = epoch_seeds(settings.seed, epoch)
        fault = functools.partial(fault_of, source, files)
        return Pass(opened, tuple(map(int, order)), rows_in_order, seeds, fault)

    def measured() -> Batches:
        refuse_changed(source, files)  # workers have just read these: they check nothing themselves
        return validation()

    return Feed(
        train=train,
        validation=measured,
        steps_per_epoch=count,
        batches_per_step=math.ceil(sum(rows) / count / training.batch_size),
    )


@functools.lru_cache(maxsize=4)
def _pass_in_parts(source: Source, split: str) -> Pass:
    """Returns a split in the order of its files; the same object each time: each is compiled."""
    count = _parts_of(source, split)

    def opened(part: tf.Tensor, seeds: tf.Tensor) -> tf.data.Dataset:
        return part_batches(source, split, EVALUATION_BATCH, part, count, None, 1)

    order = tuple(range(count))
    fault = functools.partial(fault_of, source, files_of(source, split))
    return Pass(opened, order, (0.0,) * count, np.zeros(2, np.int64), fault)


def _parts_of(source: Source, split: str) -> int:
    """Returns the number of a split's parts: one for each file, or a few for each worker.

    Raises:
        DataError: A file is one that only this process can read.
    """
    read_by_python = source.files if source.layout.by_python else source.odd_files
    if read_by_python:
        raise DataError(
            f"{min(read_by_python)}: found a file that TensorFlow cannot read as it is (see the "
            "audit above), expected none with --distribution=parameter_server; convert the logs "
            "(python -m lt4rec_tf.data.convert), or write TFRecords anew"
        )
    return max(len(files_of(source, split)), PARTS_PER_WORKER * workers_of_servers())


def _rows_of_parts(rows_by_file: list[int], parts: int) -> list[float]:
    """Returns the number of rows of each part, exact if parts are files, else the mean."""
    if not has_own_files(rows_by_file, Shard(0, parts)):
        return [sum(rows_by_file) / parts] * parts
    shards = [Shard(part, parts) for part in range(parts)]
    return [float(sum(own_files(rows_by_file, shard))) for shard in shards]


@functools.lru_cache(maxsize=4)
def _rows_in_memory(source: Source, split: str, limit_gib: float) -> HeldRows:
    """Reads a split's parsed rows once; they stay in memory as long as the process lives."""
    return hold(split_batches(source, split), limit_gib)


@functools.lru_cache(maxsize=4)
def _small_split(source: Source, split: str) -> HeldRows | None:
    """Reads a split's parsed rows once; None where they take more than `HELD_GIB`."""
    try:
        return hold(split_batches(source, split), HELD_GIB)
    except RowsTooLargeError:
        return None
