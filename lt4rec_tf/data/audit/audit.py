"""Audits logs before training: one pass that counts what they hold and what cannot be used.

Nothing vanishes silently: every record is a usable row of one split or is counted under one reason.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.audit.counts import Audit, Counts
from lt4rec_tf.data.audit.duplicates import Duplicates
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import mixed_kinds
from lt4rec_tf.data.formats.odd_files import oddity
from lt4rec_tf.data.formats.records import OtherKinds
from lt4rec_tf.data.input.change_guard import refuse_changed
from lt4rec_tf.data.input.labels import EXCLUDED, REASONS, USABLE
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import Progress, read_all
from lt4rec_tf.data.input.source import Source, place_files
from lt4rec_tf.data.input.splits import SPLITS, boundaries_for
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.schema.types import Schema, Task

_SAMPLED_TIMES = 1_000_000
_NAMED = 10  # files that a text names


def audit(
    source: Source, progress: Progress | None = None, listed: IO[bytes] | None = None
) -> Audit:
    """Reads all files in order and counts their rows, labels and faults.

    A split by time without boundaries takes one more pass before, which finds them.

    Args:
        source: From `open_source`.
        progress: Called now and then with the file being read and the records read so far.
        listed: Takes a line, as `bad_rows.write` makes it, for each row of a log that
            `bad_row_count` counts and for each row of a side table that is left out.

    Raises:
        DataError: A file is broken, as a whole or from some record on, or changes meanwhile.
    """
    listed = listed or _Nowhere()
    oddities = _oddities(source)
    begun_at = listed.tell()
    try:
        return _count_rows(source, oddities, progress, listed)
    except OtherKinds:
        layout, mixed_files = mixed_kinds(source.layout, source.files)

    listed.seek(begun_at)
    listed.truncate()
    source = dataclasses.replace(source, layout=layout)
    return _count_rows(source, mixed_files | oddities, progress, listed)


def _count_rows(
    source: Source, oddities: Mapping[Path, str], progress: Progress | None, listed: IO[bytes]
) -> Audit:
    quarantine: set[int] = set()
    source = dataclasses.replace(source, odd_files=frozenset(oddities))
    if source.split.needs_boundaries:
        source = _with_boundaries(source, quarantine, progress)

    counts = Counts(source, listed)
    file_splits = place_files(source) if source.split.kind == "files" else {}

    def summary(rows: Rows) -> dict[str, Any]:
        return _summary(rows, schema_names_users=source.schema.user is not None)

    for path, records, values in read_all(source, summary, quarantine, progress):
        counts.add(path, records, values, file_splits.get(path))

    refuse_changed(source, source.files)
    return counts.result(sorted(quarantine), oddities)


def _oddities(source: Source) -> dict[Path, str]:
    """Finds by log that TensorFlow would not read as it is what makes it so."""
    oddities = {path: oddity(path, source.layout.form) for path in source.files}
    return {path: what for path, what in oddities.items() if what}


def _summary(rows: Rows, *, schema_names_users: bool) -> dict[str, Any]:
    """Selects what `Counts.add` takes of a batch of rows."""
    return {
        "reasons": rows.labels.reasons,
        "culprits": rows.labels.culprits,
        "split": rows.split,
        "labels": rows.labels.labels,
        "weights": rows.labels.weights,
        "without_user": (rows.user == NO_USER) & schema_names_users,
        "faults": tf.nest.map_structure(_count, rows.faults),
        "absent": tf.nest.map_structure(_count, rows.absent),
        "misses": tf.nest.map_structure(_count, rows.misses),
        "unlabelled": tf.nest.map_structure(_count, rows.labels.unlabelled),
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
    sample = _TimeSample()

    def times(rows: Rows) -> dict[str, Any]:
        return {"times": rows.times, "usable": rows.labels.reasons == USABLE}

    for _, _, values in read_all(source, times, quarantine, progress):
        sample.add(values["times"][values["usable"]])
    if not len(sample.times):
        return source

    validation_from, test_from = boundaries_for(source.split, sample.times)
    split = dataclasses.replace(source.split, validation_from=validation_from, test_from=test_from)
    return dataclasses.replace(source, split=split)


class _TimeSample:
    """A uniform sample of rows' times: those with the smallest random keys; exact while they fit.

    Attributes:
        times: float64 (at most `_SAMPLED_TIMES`,), in the order of the rows.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._keys = np.empty(0)
        self.times = np.empty(0)

    def add(self, times: np.ndarray) -> None:
        """Adds the times of a batch of rows."""
        self._keys = np.concatenate([self._keys, self._random.random(len(times))])
        self.times = np.concatenate([self.times, times])
        if len(self.times) > _SAMPLED_TIMES:
            smallest = np.sort(np.argpartition(self._keys, _SAMPLED_TIMES)[:_SAMPLED_TIMES])
            self._keys, self.times = self._keys[smallest], self.times[smallest]


def complete(source: Source, audit: Audit) -> Source:
    """Returns the source with the audit's results: now `pipeline.batches` can read it.

    Its schema has the amounts' mean and deviation in train, which networks and losses need.
    """
    split = dataclasses.replace(
        source.split, validation_from=audit.validation_from, test_from=audit.test_from
    )

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
    """Returns the schema with the amounts' mean and deviation in train."""
    counts_by_task = audit.splits["train"].tasks

    def with_standards(task: Task) -> Task:
        if task.kind != "amount":
            return task
        counts = counts_by_task[task.name]
        return dataclasses.replace(
            task, mean=counts.label_mean, scale=counts.label_deviation or task.scale
        )

    return dataclasses.replace(schema, tasks=tuple(map(with_standards, schema.tasks)))


def bad_row_count(audit: Audit) -> int:
    """Returns the number of rows that cannot be used, without those that the schema excludes."""
    return sum(n for reason, n in audit.unusable.items() if reason != REASONS[EXCLUDED])


def check(
    audit: Audit,
    max_bad_fraction: float,
    max_duplicate_fraction: float = 1.0,
    listed: Path | None = None,
    splits: Sequence[str] = SPLITS,
) -> None:
    """Refuses data that cannot be trained on.

    Args:
        audit: The audit of the data.
        max_bad_fraction: Share of unusable rows, in [0, 1], above which data are refused.
        max_duplicate_fraction: Share of duplicate rows, in [0, 1], above which data are refused.
        listed: The file that lists all unusable rows, if there is one.
        splits: The splits that must hold rows.

    Raises:
        DataError: There are too many unusable or duplicate rows; or there is no row in train, or,
            where the data are split, in validation or test; or a task has no population in train.
    """
    if audit.rows == 0:
        raise DataError("the logs: found no row, expected some")
    if bad_row_count(audit) > max_bad_fraction * audit.rows:
        raise DataError(_bad_rows_text(audit, max_bad_fraction, listed))
    if audit.duplicates and audit.duplicates.rows > max_duplicate_fraction * audit.rows:
        raise DataError(
            f"the logs: found {_duplicates_text(audit, audit.duplicates)}, expected at most a "
            f"fraction {max_duplicate_fraction} (--max_duplicate_fraction); are some files copies "
            "of others?"
        )

    for split in splits:
        counts = audit.splits[split]
        if counts.rows == 0:
            raise DataError(f"{split}: found no usable row, expected some; see the split's flags")
        for task, numbers in counts.tasks.items():
            if numbers.rows == 0 and split == "train":
                raise DataError(f"train: found no row in the population of task {task}")


def _bad_rows_text(audit: Audit, max_bad_fraction: float, listed: Path | None) -> str:
    examples = "\n".join(
        f"  {e.file} record {e.record}: {e.reason}: {e.text!r}" for e in audit.examples
    )
    list_file = f" All are listed in {listed}." if listed else ""
    return (
        f"found {bad_row_count(audit)} unusable rows of {audit.rows} "
        f"({_reasons_text(audit)}) in {_some(audit.unusable_by_file)}; expected at most "
        f"a fraction {max_bad_fraction}.{list_file} The first of each reason:\n{examples}"
    )


def check_validation(audit: Audit, schema: Schema) -> None:
    """Refuses a validation split on which some task's metric is undefined: nothing is chosen by it.

    Args:
        audit: The audit of the data.
        schema: The schema whose tasks are trained.

    Raises:
        DataError: A task has no population in validation, or a binary one has one class alone, or
            a task's metric is GAUC and no row has a user.
    """
    for task in schema.tasks:
        counts = audit.splits["validation"].tasks[task.name]
        if counts.rows == 0:
            raise DataError(f"validation: found no row in the population of task {task.name}")
        if task.kind == "binary" and counts.label_mean in (0.0, 1.0):
            raise DataError(
                f"validation: found label {counts.label_mean:.0f} alone in all {counts.rows} rows "
                f"of task {task.name}, expected rows of both classes; see the split's flags"
            )
        if task.metric == "gauc" and (schema.user is None or counts.without_user == counts.rows):
            raise DataError(
                f"validation: found no row with a user in the {counts.rows} rows of task "
                f"{task.name}, expected some: its metric is gauc (tasks.metric in {schema.path})"
            )


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join([*names][:_NAMED]) + more


def _duplicates_text(audit: Audit, duplicates: Duplicates) -> str:
    about = ", estimated" if duplicates.estimated else ""
    share = duplicates.rows / max(1, audit.rows)
    return f"duplicate rows: {duplicates.rows} ({100 * share:.2f} %{about})"


def _reasons_text(audit: Audit) -> str:
    texts = []
    for reason, count in audit.unusable.items():
        places = audit.unusable_where.get(reason, {})
        where = [f"{place} {n}" if len(places) > 1 else place for place, n in places.items()]
        texts.append(f"{reason} {count}" + (f" ({'; '.join(where)})" if where else ""))
    return ", ".join(texts) or "none"


def describe(audit: Audit) -> str:
    """Writes an audit as text for people, one fact a line."""
    return "\n".join([*_describe_rows(audit), *_describe_splits(audit), *_describe_columns(audit)])


def _describe_rows(audit: Audit) -> Iterator[str]:
    yield f"{audit.rows} records, {sum(audit.unusable.values())} without use"
    for reason, count in audit.unusable.items():
        where = ", ".join(audit.unusable_where.get(reason, ()))
        yield f"  {reason:<24}{count:>12}" + (f"  {where}" if where else "")
    for label, count in audit.unlabelled.items():
        if count:
            yield f"  kept without {label:<11}{count:>12}"

    if audit.duplicates is not None:
        yield _duplicates_text(audit, audit.duplicates)
    if audit.empty_files:
        yield f"files without rows: {len(audit.empty_files)} ({_some(audit.empty_files)})"
    for what, names in _by_oddity(audit.odd_files).items():
        yield f"files read by Python for {what}: {len(names)} ({_some(names)})"


def _by_oddity(odd_files: Mapping[str, str]) -> dict[str, list[str]]:
    names_by_oddity: dict[str, list[str]] = {}
    for name, what in odd_files.items():
        names_by_oddity.setdefault(what, []).append(name)
    return names_by_oddity


def _describe_splits(audit: Audit) -> Iterator[str]:
    for split, counts in audit.splits.items():
        if counts.rows:
            tasks = "  ".join(
                f"{task}: {numbers.rows} rows, label mean {numbers.label_mean:.4f}"
                for task, numbers in counts.tasks.items()
            )
            yield f"{split:<12}{counts.rows:>12} rows  {tasks}"
            if counts.without_user:
                yield f"  without a user        {counts.without_user:>12}"

    if audit.validation_from is not None:
        yield f"validation from {audit.validation_from:.16g}, test from {audit.test_from:.16g}"


def _describe_columns(audit: Audit) -> Iterator[str]:
    for file, count in audit.join_misses.items():
        left_out = audit.join_unusable_rows[file]
        yield f"{file}: {count} records without a row there, {left_out} of its rows left out"

    for feature, files in audit.features_absent_in.items():
        yield f"feature {feature}: no value in any record of {_some(files)}"
    for feature, count in audit.feature_faults.items():
        if count:
            yield f"feature {feature}: {count} values could not be read and count as missing"
