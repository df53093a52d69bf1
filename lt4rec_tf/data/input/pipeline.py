"""Files to batches: shuffle files, interleave, shuffle, batch, parse whole batches, keep, rebatch.

The same seed and epoch give the same batches in the same order. Nothing is cached and memory is
bounded by the shuffle buffer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.record_files import packing_of, records_of
from lt4rec_tf.data.formats.records import is_quarantined, without_blank_lines
from lt4rec_tf.data.formats.values import DTYPES
from lt4rec_tf.data.input.change_guard import Reading, refuse_changed
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.labels import USABLE
from lt4rec_tf.data.input.order import OF_FILES, Order
from lt4rec_tf.data.input.parsed_rows import Rows, examine
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.distributed.shards import (
    WHOLE,
    Shard,
    has_own_files,
    own_batch_size,
    own_files,
    own_rows,
)

_PARSED_TOGETHER = 4096  # records
_OPEN_FILES = 8
_RUN = 64  # records of one file in a row, before they are shuffled
_PREFETCHED = 2  # batches


def batches(
    source: Source,
    split: str,
    batch_size: int,
    order: Order = OF_FILES,
    shard: Shard = WHOLE,
) -> Reading:
    """Reads the usable rows of a split, once.

    Args:
        source: A data set that went through `audit.complete`.
        split: One of `SPLITS`.
        batch_size: Rows of a batch; the last one may hold fewer.
        order: The order of the rows, and the first batch.
        shard: The place of this process among those that train together. It reads files of its own
            and gives its share of a batch; where there are fewer files than processes, it reads
            them all and gives its rows of each batch, so that together they are what one would
            read.

    Returns:
        Batches {"features": {name: ids as `features_to_ids` gives them},
        "labels": {task: float32 (batch,)}, "weights": {task: float32 (batch,)},
        "user": int64 (batch,), "duration": float32 (batch,)}: the length of the row's video in
        seconds, NaN where it is unknown. Labels outside their task's population are 0 with
        weight 0; inside it the weight is the row's, 1 unless the schema names a column of weights.
        Where tasks name a column of the share at which negatives were kept, also
        "negatives_kept": {task: float32 (batch,)}, 1 on positives.

    Raises:
        DataError: The source was not audited, or the split is none of `SPLITS`. While it is read:
            a file is gone, or no longer what the audit read; names it.
    """
    files = files_of(source, split)
    apart = has_own_files(files, shard)
    mine = own_files(files, shard) if apart else files
    size = own_batch_size(batch_size, shard) if apart else batch_size

    rows = _parsed(_records(source, mine, order), _batch_parser(source), split)
    rows = rows.rebatch(size).skip(order.skip_batches)
    if not apart:
        rows = rows.map(lambda batch: _own_part(batch, shard))

    due = None  # of a process's rows of each batch the number is not known beforehand
    if apart or shard == WHOLE:
        due = _rows_of(source, split, mine, size * order.skip_batches)
    return Reading(source, mine, rows.prefetch(_PREFETCHED), due)


def _rows_of(source: Source, split: str, files: Sequence[Path], skipped: int = 0) -> int:
    """Returns the number of rows that the audit counted in files, less those that are skipped."""
    counts = (source.files_of_split or {})[split]
    return max(0, sum(counts[path] for path in files) - skipped)


def _own_part(batch: dict[str, Any], shard: Shard) -> dict[str, Any]:
    """Returns a process's rows of a batch."""
    mine = own_rows(tf.shape(batch["user"])[0], shard)
    return tf.nest.map_structure(lambda values: values[mine], batch)


def part_batches(
    source: Source,
    split: str,
    batch_size: int,
    part: tf.Tensor,
    parts: int,
    seeds: tf.Tensor | None,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Reads one of a split's parts; in graph, so that any free worker can do it.

    Args:
        source: As `batches` takes it.
        split: One of `SPLITS`.
        batch_size: Rows of a batch.
        part: int64, which part.
        parts: The number of parts. Each has files of its own; where there are fewer files, it has
            every `parts`-th batch of all.
        seeds: int64 (2,), of `epoch_seeds`; None: the order of the files.
        shuffle_buffer: Records that are shuffled among themselves.

    Returns:
        Batches as `batches` gives them.
    """
    files = files_of(source, split)
    apart = has_own_files(files, Shard(0, parts))

    opened_by = _opened_by(source, files)
    if seeds is not None:  # tf.data shuffles by numbers that are known when it is traced
        order = tf.random.experimental.stateless_shuffle(tf.range(len(files)), [seeds[0], 0])
        opened_by = tf.nest.map_structure(lambda values: tf.gather(values, order), opened_by)
    named = tf.data.Dataset.from_tensor_slices(opened_by)
    records = _interleaved(source, named.shard(parts, part) if apart else named, len(files))

    if seeds is not None:
        blocks = records.batch(_filled(source, shuffle_buffer)).enumerate()
        records = blocks.map(
            lambda i, block: tf.random.experimental.stateless_shuffle(block, [seeds[1], i])
        ).unbatch()

    rows = _parsed(records, _batch_parser(source), split).rebatch(batch_size)
    return (rows if apart else rows.shard(parts, part)).prefetch(_PREFETCHED)


def raw_batches(source: Source, split: str, batch_size: int) -> Reading:
    """Reads the usable rows of a split as requests to a served model, in the files' order.

    Returns:
        Batches {feature: raw values}, of the shapes and dtypes of `features.raw_specs`.

    Raises:
        DataError: As `batches`.
    """
    files = files_of(source, split)
    rows = _parsed(_records(source, files, OF_FILES), _raw_parser(source), split)
    rows = rows.rebatch(batch_size)
    return Reading(source, files, rows.prefetch(_PREFETCHED), _rows_of(source, split, files))


def request_rows(source: Source, split: str, rows: int) -> dict[str, np.ndarray]:
    """Reads the first usable rows of a split as a client would send them: lists are whole.

    Args:
        source: As `batches` takes it.
        split: One of `SPLITS`.
        rows: Their number, if the split holds as many.

    Returns:
        By feature: (rows,), or (rows, values) padded with the missing value to the longest list.

    Raises:
        DataError: As `batches`.
    """
    files = files_of(source, split)
    read = _parsed(_records(source, files, OF_FILES), _whole_parser(source), split)
    padding = {}
    for feature in source.schema.features:
        padding[feature.name] = tf.constant(feature.missing, DTYPES[feature.dtype])
    (batch,) = read.unbatch().padded_batch(rows, padding_values=padding).take(1)
    return {name: values.numpy() for name, values in batch.items()}


def files_of(source: Source, split: str) -> tuple[Path, ...]:
    """Returns the files that hold rows of a split.

    Raises:
        DataError: As `batches`.
    """
    if split not in SPLITS:
        raise DataError(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
    if source.files_of_split is None:
        raise DataError(
            f"{source.data_dir}: found no audit, expected audit.complete before reading"
        )
    return tuple(source.files_of_split[split])


def epoch_seeds(shuffle_seed: int, epoch: int) -> np.ndarray:
    """Returns the seeds of a pass, int64 (2,): of the order of its files and of its records."""
    return np.random.SeedSequence([shuffle_seed, epoch]).generate_state(2).astype(np.int64)


def _records(source: Source, files: Sequence[Path], order: Order) -> tf.data.Dataset:
    """Reads the records of files: shuffled, or in their order."""
    refuse_changed(source, files)

    named = tf.data.Dataset.from_tensor_slices(_opened_by(source, files))
    if order.shuffle_seed is None:
        return named.flat_map(_opener(source))

    seeds = epoch_seeds(order.shuffle_seed, order.epoch)
    named = named.shuffle(max(1, len(files)), seed=seeds[0], reshuffle_each_iteration=False)
    records = _interleaved(source, named, len(files))
    buffer = _filled(source, order.shuffle_buffer)
    return records.shuffle(buffer, seed=seeds[1], reshuffle_each_iteration=False)


def _filled(source: Source, shuffle_buffer: int) -> int:
    """Returns the part of a shuffle buffer that the logs can fill.

    TensorFlow allocates a buffer whole. One that holds all records gives the same order whatever
    its size.
    """
    return shuffle_buffer if source.records is None else min(shuffle_buffer, max(1, source.records))


def _interleaved(source: Source, named: tf.data.Dataset, most: int) -> tf.data.Dataset:
    """Reads several files at a time, of which there are `most` at most."""
    readers = max(1, min(_OPEN_FILES, most))  # a split may have no file
    return named.interleave(
        _opener(source),
        cycle_length=readers,
        block_length=_RUN,  # a turn of one record costs more than to read and parse it
        num_parallel_calls=readers,
        deterministic=True,
    )


def _opener(source: Source) -> Callable[..., tf.data.Dataset]:
    any_odd = bool(source.odd_files)
    return lambda path, packing, mark: records_of(path, packing, mark, source.layout, any_odd)


def _opened_by(source: Source, files: Sequence[Path]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the files' paths, how each is packed, and its partitions, strings (files,)."""
    layout = source.layout
    return (
        tf.constant([str(path) for path in files], tf.string),
        tf.constant([packing_of(path, layout, source.odd_files) for path in files], tf.string),
        tf.constant([layout.mark_of(path) for path in files], tf.string),
    )


def _parsed(records: tf.data.Dataset, parser: Callable[..., Any], split: str) -> tf.data.Dataset:
    split_index = tf.constant(SPLITS.index(split))
    return records.batch(_PARSED_TOGETHER).map(
        lambda lines: parser(lines, split_index),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


@functools.lru_cache(maxsize=4)
def _batch_parser(source: Source) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """Makes the parser of `batches`, traced once for a source: a new pass costs next to nothing."""

    def parse(source: Source, rows: Rows) -> dict[str, Any]:
        batch = {
            "features": features_to_ids(source.schema, rows.raw),
            "labels": rows.labels.labels,
            "weights": rows.labels.weights,
            "user": rows.user,
            "duration": rows.labels.duration,
        }
        return batch | ({"negatives_kept": rows.labels.kept} if rows.labels.kept else {})

    return _parser(source, parse)


@functools.lru_cache(maxsize=4)
def _raw_parser(source: Source) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    return _parser(source, lambda _, rows: rows.raw)


@functools.lru_cache(maxsize=4)
def _whole_parser(source: Source) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    return _parser(source, lambda _, rows: rows.raw, whole_lists=True)


def _parser(
    source: Source,
    select: Callable[[Source, Rows], dict[str, Any]],
    *,
    whole_lists: bool = False,
) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """Makes the function that takes records apart and keeps the usable rows of one split."""

    @tf.function(
        input_signature=[tf.TensorSpec((None,), tf.string), tf.TensorSpec((), tf.int32)],
        autograph=False,
    )
    def parse(records: tf.Tensor, split: tf.Tensor) -> dict[str, Any]:
        records = without_blank_lines(source.layout, records)
        unparseable = is_quarantined(records, source.quarantine)
        rows = examine(source, records, unparseable, whole_lists=whole_lists)
        wanted = rows.labels.reasons == USABLE
        if source.split.kind != "files":  # whose files were chosen before
            wanted &= rows.split == split

        indices = tf.where(wanted)[:, 0]
        selected = select(source, rows)
        return tf.nest.map_structure(lambda values: tf.gather(values, indices), selected)

    return parse
