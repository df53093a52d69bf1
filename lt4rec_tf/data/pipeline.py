"""Files to batches: shuffle files, interleave, shuffle, batch, parse whole batches, keep, rebatch.

The same seed and epoch give the same batches in the same order. Nothing is cached and memory is
bounded by the shuffle buffer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.features import features_to_ids
from lt4rec_tf.data.files import DataError, is_gzip
from lt4rec_tf.data.labels import USABLE
from lt4rec_tf.data.records import is_quarantined, records_of
from lt4rec_tf.data.rows import Rows, examine
from lt4rec_tf.data.source import Source, open_source
from lt4rec_tf.data.splits import SPLITS, SplitRule

__all__ = ["SPLITS", "Source", "SplitRule", "batches", "open_source", "raw_batches"]

_PARSED_TOGETHER = 4096  # records
_OPEN_FILES = 8
_PREFETCHED = 2  # batches


def batches(
    source: Source,
    split: str,
    batch_size: int,
    shuffle_seed: int | None = None,
    shuffle_buffer: int = 100_000,
    epoch: int = 0,
    skip_batches: int = 0,
) -> tf.data.Dataset:
    """Reads the usable rows of a split, once.

    Args:
        source: A data set that went through `audit.complete`.
        split: One of `SPLITS`.
        batch_size: Rows of a batch; the last one may hold fewer.
        shuffle_seed: Together with `epoch` decides the order; None: the order of the files.
        shuffle_buffer: Records held in memory for shuffling.
        epoch: How many passes went before.
        skip_batches: Batches to leave out at the start, to go on in the middle of a pass.

    Returns:
        Batches {"features": {name: ids as `features_to_ids` gives them},
        "labels": {task: float32 (batch,)}, "weights": {task: float32 (batch,)},
        "user": int64 (batch,), "duration": float32 (batch,)}: the length of the row's video in
        seconds, NaN where it is unknown. Labels outside their task's population are 0 with
        weight 0.

    Raises:
        DataError: The source was not audited, or the split is none of `SPLITS`.
    """
    records = _records(source, split, shuffle_seed, shuffle_buffer, epoch)
    rows = _parsed(records, _batch_parser(source), split)
    return rows.rebatch(batch_size).skip(skip_batches).prefetch(_PREFETCHED)


def raw_batches(source: Source, split: str, batch_size: int) -> tf.data.Dataset:
    """Reads the usable rows of a split as a served model would be asked, in the files' order.

    Returns:
        Batches {feature: raw values}, of the shapes and dtypes of `features.raw_specs`.

    Raises:
        DataError: As `batches`.
    """
    records = _records(source, split, None, 1, 0)
    return _parsed(records, _raw_parser(source), split).rebatch(batch_size).prefetch(_PREFETCHED)


def _records(
    source: Source, split: str, shuffle_seed: int | None, shuffle_buffer: int, epoch: int
) -> tf.data.Dataset:
    if split not in SPLITS:
        raise DataError(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
    if source.files_of_split is None:
        raise DataError(
            f"{source.data_dir}: found no audit, expected audit.complete before reading"
        )
    paths = [str(path) for path in source.files_of_split[split]]
    packings = ["GZIP" if is_gzip(path) else "" for path in source.files_of_split[split]]
    files = tf.data.Dataset.from_tensor_slices(
        (tf.constant(paths, tf.string), tf.constant(packings, tf.string))
    )
    if shuffle_seed is None:
        return files.flat_map(lambda path, packing: records_of(path, packing, source.layout))
    file_seed, row_seed = np.random.SeedSequence([shuffle_seed, epoch]).generate_state(2)
    readers = max(1, min(_OPEN_FILES, len(paths)))  # a split may have no file
    files = files.shuffle(max(1, len(paths)), seed=int(file_seed), reshuffle_each_iteration=False)
    records = files.interleave(
        lambda path, packing: records_of(path, packing, source.layout),
        cycle_length=readers,
        num_parallel_calls=readers,
        deterministic=True,
    )
    return records.shuffle(shuffle_buffer, seed=int(row_seed), reshuffle_each_iteration=False)


def _parsed(records: tf.data.Dataset, parser: Callable[..., Any], split: str) -> tf.data.Dataset:
    place = tf.constant(SPLITS.index(split))
    return records.batch(_PARSED_TOGETHER).map(
        lambda lines: parser(lines, place),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


@functools.lru_cache(maxsize=4)
def _batch_parser(source: Source) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """The graph of `batches`, traced once for a source: a new pass costs next to nothing."""

    def parse(source: Source, rows: Rows) -> dict[str, Any]:
        return {
            "features": features_to_ids(source.schema, rows.raw),
            "labels": rows.labels.labels,
            "weights": rows.labels.weights,
            "user": rows.user,
            "duration": rows.labels.duration,
        }

    return _parser(source, parse)


@functools.lru_cache(maxsize=4)
def _raw_parser(source: Source) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    return _parser(source, lambda _, rows: rows.raw)


def _parser(
    source: Source, select: Callable[[Source, Rows], dict[str, Any]]
) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """Makes the function that takes records apart and keeps the usable rows of one split."""

    @tf.function(
        input_signature=[tf.TensorSpec((None,), tf.string), tf.TensorSpec((), tf.int32)],
        autograph=False,
    )
    def parse(records: tf.Tensor, split: tf.Tensor) -> dict[str, Any]:
        rows = examine(source, records, is_quarantined(records, source.quarantine))
        kept = rows.labels.reasons == USABLE
        if source.split.kind != "files":  # whose files were chosen before
            kept &= rows.split == split
        places = tf.where(kept)[:, 0]
        return tf.nest.map_structure(lambda values: tf.gather(values, places), select(source, rows))

    return parse
