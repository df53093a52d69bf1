"""One pass over all logs before training: what they hold, and what in them cannot be used.

Nothing vanishes silently: every record is a usable row of one split or is counted under one reason.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.audit.counts import Audit, Counts
from lt4rec_tf.data.audit.duplicates import Duplicates
from lt4rec_tf.data.formats.files import DataError, refuse_broken_gzip
from lt4rec_tf.data.input.change_guard import refuse_changed
from lt4rec_tf.data.input.labels import EXCLUDED, REASONS, USABLE
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import Progress, read_all
from lt4rec_tf.data.input.source import Source, place_files
from lt4rec_tf.data.input.splits import SPLITS, boundaries_for
from lt4rec_tf.schema.types import Schema, Task

_SAMPLED_TIMES = 1_000_000
_NAMED = 10  # files that a text names


def audit(
    source: Source, progress: Progress | None = None, listed: IO[bytes] | None = None
) -> Audit:
    """Reads all files in order and counts what they hold.

    A split by time without boundaries takes one more pass before, which finds them.

    Args:
        source: From `open_source`.
        progress: Called now and then with the file being read and the records read so far.
        listed: Takes a line, as `bad_rows.write` makes it, for each row of a log that
            `bad_row_count` counts and for each row of a side table that is left out.

    Raises:
        DataError: A file is broken, as a whole or from some record on, or changes meanwhile.
    """
    quarantine: set[int] = set()
    for path in source.files:
        refuse_broken_gzip(path)
    if source.split.needs_boundaries:
        source = _with_boundaries(source, quarantine, progress)
    counts = Counts(source, listed or _Nowhere())
    file_splits = place_files(source) if source.split.kind == "files" else {}

    def summary(rows: Rows) -> dict[str, Any]:
        return {
            "reasons": rows.labels.reasons,
            "split": rows.split,
            "labels": rows.labels.labels,
            "weights": rows.labels.weights,
            "faults": tf.nest.map_structure(_count, rows.faults),
            "absent": tf.nest.map_structure(_count, rows.absent),
            "misses": tf.nest.map_structure(_count, rows.misses),
            "unlabelled": tf.nest.map_structure(_count, rows.labels.unlabelled),
        }

    for path, records, values in read_all(source, summary, quarantine, progress):
        counts.add(path, records, values, file_splits.get(path))
    refuse_changed(source, source.files)
    return counts.result(sorted(quarantine))


class _Nowhere(io.BytesIO):
    """Keeps nothing that is written to it."""

    def write(self, line: object) -> int:
        return 0


def _count(rows: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(rows)


def _with_boundaries(source: Source, quarantine: set[int], progress: Progress | None) -> Source:
    sample = _TimeSample()

    def times(rows: Rows) -> dict[str, Any]:
        return {"times": rows.times, "usable": rows.labels.reasons == USABLE}

    for _, _, values in read_all(source, times, quarantine, progress):
        sample.add(values["times"][values["usable"]])
    if not len(sample.times):
        raise DataError(f"{source.data_dir}: found no usable row, expected some to split by time")
    validation_from, test_from = boundaries_for(source.split, sample.times)
    split = dataclasses.replace(source.split, validation_from=validation_from, test_from=test_from)
    return dataclasses.replace(source, split=split)


class _TimeSample:
    """A uniform sample of rows: those with the smallest of random keys; exact while they fit."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._keys = np.empty(0)
        self.times = np.empty(0)

    def add(self, times: np.ndarray) -> None:
        self._keys = np.concatenate([self._keys, self._random.random(len(times))])
        self.times = np.concatenate([self.times, times])
        if len(self.times) > _SAMPLED_TIMES:
            kept = np.sort(np.argpartition(self._keys, _SAMPLED_TIMES)[:_SAMPLED_TIMES])
            self._keys, self.times = self._keys[kept], self.times[kept]


def complete(source: Source, audit: Audit) -> Source:
    """Returns the source with what the audit found: now `pipeline.batches` can read it.

    Its schema knows the amounts' mean and deviation in train, which networks and losses need.
    """
    return dataclasses.replace(
        source,
        schema=standardised(source.schema, audit),
        split=dataclasses.replace(
            source.split, validation_from=audit.validation_from, test_from=audit.test_from
        ),
        quarantine=audit.quarantine,
        files_of_split={
            split: {source.data_dir / name: rows for name, rows in files.items()}
            for split, files in audit.files.items()
        },
    )


def standardised(schema: Schema, audit: Audit) -> Schema:
    """Returns the schema with the amounts' mean and deviation in train."""
    counts = audit.splits["train"].tasks

    def told(task: Task) -> Task:
        if task.kind != "amount":
            return task
        found = counts[task.name]
        return dataclasses.replace(
            task, mean=found.label_mean, scale=found.label_deviation or task.scale
        )

    return dataclasses.replace(schema, tasks=tuple(told(task) for task in schema.tasks))


def bad_row_count(found: Audit) -> int:
    """Returns the number of rows that cannot be used, without those that the schema excludes."""
    return sum(n for reason, n in found.unusable.items() if reason != REASONS[EXCLUDED])


def check(
    found: Audit,
    max_bad_fraction: float,
    max_duplicate_fraction: float = 1.0,
    listed: Path | None = None,
    splits: Sequence[str] = SPLITS,
) -> None:
    """Refuses data that cannot be trained on.

    Args:
        found: The audit.
        max_bad_fraction: Share of unusable rows, in [0, 1], above which data are refused.
        max_duplicate_fraction: Share of duplicate rows, in [0, 1], above which data are refused.
        listed: The file that lists all unusable rows, if there is one.
        splits: Those that must hold rows.

    Raises:
        DataError: There are too many unusable or duplicate rows; or there is no row in train, or,
            where the data are split, in validation or test; or a task has no population in train.
    """
    bad = bad_row_count(found)
    if found.rows == 0:
        raise DataError("the logs: found no row, expected some")
    if bad > max_bad_fraction * found.rows:
        examples = "\n".join(
            f"  {e.file} record {e.record}: {e.reason}: {e.text!r}" for e in found.examples
        )
        place = f" All are listed in {listed}." if listed else ""
        raise DataError(
            f"found {bad} unusable rows of {found.rows} ({_reasons_text(found.unusable)}) in "
            f"{_some(found.unusable_by_file)}; expected at most a fraction {max_bad_fraction}."
            f"{place} The first of each reason:\n{examples}"
        )
    if found.duplicates and found.duplicates.rows > max_duplicate_fraction * found.rows:
        raise DataError(
            f"the logs: found {_duplicates_text(found, found.duplicates)}, expected at most a "
            f"fraction {max_duplicate_fraction} (--max_duplicate_fraction); are some files copies "
            "of others?"
        )
    for split in splits:
        counts = found.splits[split]
        if counts.rows == 0:
            raise DataError(f"{split}: found no usable row, expected some; see the split's flags")
        for task, numbers in counts.tasks.items():
            if numbers.rows == 0 and split == "train":
                raise DataError(f"train: found no row in the population of task {task}")


def check_validation(found: Audit, schema: Schema) -> None:
    """Refuses a validation split on which some task's metric is undefined: nothing is chosen by it.

    Args:
        found: The audit.
        schema: Its tasks are those that are trained.

    Raises:
        DataError: A task has no population in validation, or a binary one has one class alone.
    """
    for task in schema.tasks:
        counts = found.splits["validation"].tasks[task.name]
        if counts.rows == 0:
            raise DataError(f"validation: found no row in the population of task {task.name}")
        if task.kind == "binary" and counts.label_mean in (0.0, 1.0):
            raise DataError(
                f"validation: found label {counts.label_mean:.0f} alone in all {counts.rows} rows "
                f"of task {task.name}, expected rows of both classes; see the split's flags"
            )


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join([*names][:_NAMED]) + more


def _duplicates_text(found: Audit, duplicates: Duplicates) -> str:
    about = ", estimated" if duplicates.estimated else ""
    share = duplicates.rows / max(1, found.rows)
    return f"duplicate rows: {duplicates.rows} ({100 * share:.2f} %{about})"


def _reasons_text(unusable: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in unusable.items()) or "none"


def describe(found: Audit) -> str:
    """Writes an audit as text for people, one fact a line."""
    lines = [f"{found.rows} records, {sum(found.unusable.values())} without use"]
    lines += [f"  {reason:<24}{count:>12}" for reason, count in found.unusable.items()]
    lines += [
        f"  kept without {label:<11}{count:>12}"
        for label, count in found.unlabelled.items()
        if count
    ]
    if found.duplicates is not None:
        lines.append(_duplicates_text(found, found.duplicates))
    if found.empty_files:
        lines.append(f"files without rows: {len(found.empty_files)} ({_some(found.empty_files)})")
    splits = {split: counts for split, counts in found.splits.items() if counts.rows}
    for split, counts in splits.items():
        tasks = "  ".join(
            f"{task}: {numbers.rows} rows, label mean {numbers.label_mean:.4f}"
            for task, numbers in counts.tasks.items()
        )
        lines.append(f"{split:<12}{counts.rows:>12} rows  {tasks}")
    if found.validation_from is not None:
        lines.append(
            f"validation from {found.validation_from:.16g}, test from {found.test_from:.16g}"
        )
    for file, count in found.join_misses.items():
        left_out = found.join_unusable_rows[file]
        lines.append(
            f"{file}: {count} records without a row there, {left_out} of its rows left out"
        )
    for feature, files in found.features_absent_in.items():
        lines.append(f"feature {feature}: no value in any record of {_some(files)}")
    for feature, count in found.feature_faults.items():
        if count:
            lines.append(
                f"feature {feature}: {count} values could not be read and count as missing"
            )
    return "\n".join(lines)
