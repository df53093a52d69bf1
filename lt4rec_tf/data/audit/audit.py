"""Audits logs before training: one pass that counts what they hold and what cannot be used.

Nothing vanishes silently: every record is a usable row of one split or is counted under one reason.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import tensorflow as tf

from lt4rec_tf.core.time_units import limits_of, unit_of
from lt4rec_tf.data.audit.counts import Counts
from lt4rec_tf.data.audit.duplicates import REMEMBERED
from lt4rec_tf.data.audit.feature_values import values_of
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.times import SAMPLED, units_text
from lt4rec_tf.data.audit.warnings import warnings_of
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import mixed_kinds
from lt4rec_tf.data.formats.odd_files import oddity
from lt4rec_tf.data.formats.records import OtherKinds
from lt4rec_tf.data.input.change_guard import refuse_changed
from lt4rec_tf.data.input.even_sample import EvenSample
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import Progress, read_all
from lt4rec_tf.data.input.source import Source, place_files
from lt4rec_tf.data.input.splits import SplitRule, boundaries_for
from lt4rec_tf.data.input.time_limits import chosen_times, usable_times, with_limits
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.schema.fitted import with_vocabularies
from lt4rec_tf.schema.label_quantiles import with_label_quantiles
from lt4rec_tf.schema.numbers import with_numbers
from lt4rec_tf.schema.types import Schema, Task


def audit(
    source: Source,
    progress: Progress | None = None,
    listed: IO[bytes] | None = None,
    remembered: int = REMEMBERED,
) -> Audit:
    """Reads all files in order and counts their rows, labels and faults.

    A split by time without boundaries takes one more pass before, which finds them.

    Args:
        source: From `open_source`.
        progress: Called now and then with the file being read and the records read so far.
        listed: Takes a line, as `bad_rows.write` makes it, for each row of a log that
            `bad_row_count` counts and for each row of a side table that is left out.
        remembered: The most distinct rows by which duplicates are counted exactly.

    Raises:
        DataError: A file is broken, as a whole or from some record on, or changes meanwhile.
    """
    listed = listed or _Nowhere()
    oddities = _oddities(source)
    begun_at = listed.tell()
    try:
        return _count_rows(source, oddities, progress, listed, remembered)
    except OtherKinds:
        layout, mixed_files = mixed_kinds(source.layout, source.files)

    listed.seek(begun_at)
    listed.truncate()
    source = dataclasses.replace(source, layout=layout)
    return _count_rows(source, mixed_files | oddities, progress, listed, remembered)


def _count_rows(
    source: Source,
    oddities: Mapping[Path, str],
    progress: Progress | None,
    listed: IO[bytes],
    remembered: int,
) -> Audit:
    quarantine: set[int] = set()
    source = dataclasses.replace(source, odd_files=frozenset(oddities))
    if source.split.needs_boundaries:
        source = _with_boundaries(source, quarantine, progress)
    elif source.split.kind == "time":
        source = with_limits(source)

    counts = Counts(source, listed, remembered)
    file_splits = place_files(source) if source.split.kind == "files" else {}

    def summary(rows: Rows) -> dict[str, Any]:
        return _summary(source.schema, rows)

    for path, records, values in read_all(source, summary, quarantine, progress):
        counts.add(path, records, values, file_splits.get(path))

    refuse_changed(source, source.files)
    counted = counts.result(sorted(quarantine), oddities)
    if source.split.kind == "time":
        _refuse_units(source, counted)
    warnings = warnings_of(counted, source.schema, source.split.kind)
    return dataclasses.replace(counted, warnings=warnings)


def _oddities(source: Source) -> dict[Path, str]:
    """Finds by log that TensorFlow would not read as it is what makes it so."""
    if source.layout.by_python:
        return {}
    oddities = {path: oddity(path, source.layout.form) for path in source.files}
    return {path: what for path, what in oddities.items() if what}


def _summary(schema: Schema, rows: Rows) -> dict[str, Any]:
    """Selects what `Counts.add` takes of a batch of rows."""
    return {
        "reasons": rows.labels.reasons,
        "culprits": rows.labels.culprits,
        "split": rows.split,
        "times": rows.times,
        "left_out": rows.left_out._asdict(),
        "labels": rows.labels.labels,
        "weights": rows.labels.weights,
        "kept": rows.labels.kept,
        "outside": {task: rows._asdict() for task, rows in rows.labels.outside.items()},
        "without_user": (rows.user == NO_USER) & (schema.user is not None),
        "columns": values_of(schema, rows.raw),
        "above_one": rows.labels.above_one,
        "duration": rows.labels.duration,
        "faults": tf.nest.map_structure(_count, rows.faults),
        "absent": tf.nest.map_structure(_count, rows.absent),
        "misses": tf.nest.map_structure(_count, rows.misses),
        "unequal": tf.nest.map_structure(_count, rows.unequal),
        "unlabelled": tf.nest.map_structure(_count, rows.labels.unlabelled),
        "clipped": tf.nest.map_structure(_count, rows.labels.clipped),
    }


class _Nowhere(io.BytesIO):
    """A file that keeps nothing that is written to it."""

    def write(self, line: object) -> int:
        return 0


def _count(rows: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(rows)


def _with_boundaries(source: Source, quarantine: set[int], progress: Progress | None) -> Source:
    """Returns the source with the boundaries of its split by time, found by one pass.

    Where no row is usable there are none: the rows are counted all the same, to say why.
    """
    sample = EvenSample(SAMPLED)
    for _, _, values in read_all(source, usable_times, quarantine, progress):
        sample.add(chosen_times(values))
    times = sample.numbers
    if not len(times):
        return source

    earliest, latest = limits = limits_of(times, unit_of(times), _given(source.split))
    near = times[(times >= earliest) & (times <= latest)]
    validation_from, test_from = boundaries_for(source.split, near)
    split = dataclasses.replace(
        source.split, validation_from=validation_from, test_from=test_from, limits=limits
    )
    return dataclasses.replace(source, split=split)


def _refuse_units(source: Source, audit: Audit) -> None:
    """Refuses to split by times that have several units: smaller numbers are not earlier times.

    Raises:
        DataError: They have.
    """
    if source.schema.time is not None and audit.times is not None and audit.times.units:
        raise DataError(
            f"{source.data_dir}: column {source.schema.time.column}: found times in several units "
            f"({units_text(audit.times.units)}), expected one, by which rows can be split"
        )


def _given(split: SplitRule) -> list[float]:
    """Returns the boundaries that are given, which are never far from the times."""
    boundaries = (split.validation_from, split.test_from)
    return [time for time in boundaries if time is not None and math.isfinite(time)]


def complete(source: Source, audit: Audit) -> Source:
    """Returns the source with the audit's results: now `pipeline.batches` can read it.

    Its schema has the amounts' mean and deviation in train, which networks and losses need, the
    share of kept negatives there, which predictions need, and what was fitted to train:
    vocabularies, bins and scales.
    """
    split = dataclasses.replace(
        source.split, validation_from=audit.validation_from, test_from=audit.test_from
    )
    if audit.times is not None:
        limits = audit.times.earliest, audit.times.latest
        split = dataclasses.replace(split, limits=limits)

    files_of_split: dict[str, dict[Path, int]] = {}
    for split_name, files in audit.files.items():
        files_of_split[split_name] = {source.data_dir / name: n for name, n in files.items()}

    return dataclasses.replace(
        source,
        schema=standardised(source.schema, audit),
        split=split,
        layout=dataclasses.replace(source.layout, kinds={**source.layout.kinds, **audit.kinds}),
        odd_files=frozenset(source.data_dir / name for name in audit.odd_files),
        quarantine=audit.quarantine,
        files_of_split=files_of_split,
        records=audit.rows,
    )


def standardised(schema: Schema, audit: Audit) -> Schema:
    """Returns the schema with what train says of its tasks, its fitted vocabularies and numbers.

    Of tasks that is the mean and deviation of amounts, the quantiles of labels that are no classes,
    and the share of kept negatives where a column says it row by row.
    """
    counts_by_task = audit.splits["train"].tasks

    def with_standards(task: Task) -> Task:
        if task.kept_column is not None:
            kept = counts_by_task[task.name].negatives_kept
            return dataclasses.replace(task, negatives_kept=kept or 1.0)
        if task.kind != "amount":
            return task
        counts = counts_by_task[task.name]
        return dataclasses.replace(
            task, mean=counts.label_mean, scale=counts.label_deviation or task.scale
        )

    schema = with_vocabularies(schema, audit.vocabularies)
    schema = with_numbers(schema, audit.numbers)
    schema = with_label_quantiles(schema, audit.label_quantiles)
    return dataclasses.replace(schema, tasks=tuple(map(with_standards, schema.tasks)))
