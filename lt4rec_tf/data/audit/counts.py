"""Sums of an audit while the logs are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.audit.column_counts import ColumnCounts
from lt4rec_tf.data.audit.duplicates import DistinctCounter
from lt4rec_tf.data.audit.filtered import FilterCounts
from lt4rec_tf.data.audit.findings import Audit, Example, SplitCounts
from lt4rec_tf.data.audit.scenarios import ScenarioSums
from lt4rec_tf.data.audit.task_counts import TaskSums
from lt4rec_tf.data.audit.times import TimeCounts
from lt4rec_tf.data.formats.bad_rows import write
from lt4rec_tf.data.formats.fingerprints import FINGERPRINTS, fingerprint
from lt4rec_tf.data.formats.records import shown_record
from lt4rec_tf.data.input.labels import (
    FAR_TIME,
    FILTERED,
    REASONS,
    USABLE,
    bad_rows,
    columns_at_fault,
)
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.schema.fitted import with_dropout

_NO_ROW = ("columns", "unparseable")  # of a record that is none, as where a file was cut off


class Counts:
    """Adds up the batches of a pass.

    Args:
        source: The data set that is read.
        listed: Takes a line for each row that cannot be used, as `bad_rows.write` makes it.
        remembered: The most distinct rows by which duplicates are counted.
    """

    def __init__(self, source: Source, listed: IO[bytes], remembered: int) -> None:
        self._source, self._listed = source, listed
        for side in source.side_tables:
            write(listed, side.left_out)

        self._columns = ColumnCounts(source.schema)
        self._distinct = DistinctCounter(remembered, FINGERPRINTS)
        self._reasons: dict[str, np.ndarray] = {}  # by file, (reasons,)
        self._split_rows: dict[str, np.ndarray] = {}  # by file, (splits,)
        self._absent: dict[str, np.ndarray] = {}  # by file, (features,)
        self._tasks = TaskSums(source.schema.tasks, weighted=source.schema.weight is not None)
        self._anonymous = np.zeros(len(SPLITS), int)
        self._totals: dict[str, Counter[str]] = {}
        self._culprits: Counter[tuple[int, int]] = Counter()  # by reason and label
        self._filtered = FilterCounts(source.schema.filters)
        self._scenarios = ScenarioSums(source.schema.tasks)
        self._times = TimeCounts()
        self._examples: dict[str, Example] = {}
        self._read: Counter[str] = Counter()
        self._last_reasons: dict[str, int] = {}  # by file, of its last record

    def add(
        self, path: Path, records: tf.Tensor, values: dict[str, Any], file_split: str | None
    ) -> None:
        """Adds one batch.

        Args:
            path: The file from which it was read.
            records: The raw records.
            values: The values that `audit.audit` selects of them, as NumPy arrays.
            file_split: The split in which the whole file lies, where files split.
        """
        name = self._name(path)
        layout = self._source.layout
        reasons, split = values["reasons"], values["split"]
        if file_split is not None:
            split = np.full_like(split, SPLITS.index(file_split))

        self._columns.add(values, split)
        if not layout.by_python:  # which holds no more of a row than is asked for
            self._distinct.add(fingerprint(records).numpy())
        self._filtered.add(values["left_out"])
        self._scenarios.add(reasons == USABLE, values["outside"])
        first = self._read[name] + 1
        write(self._listed, bad_rows(name, first, records, reasons, layout))
        timed = np.isin(reasons, (USABLE, FAR_TIME)) & np.isfinite(values["times"])
        self._times.add(name, np.flatnonzero(timed) + first, values["times"][timed])
        self._note_examples(name, records, reasons)
        self._read[name] += len(reasons)
        self._last_reasons[name] = int(reasons[-1])

        _add_to(self._reasons, name, np.bincount(reasons, minlength=len(REASONS)))
        usable_split = split[reasons == USABLE]
        _add_to(self._split_rows, name, np.bincount(usable_split, minlength=len(SPLITS)))
        anonymous = (reasons == USABLE) & values["without_user"]
        self._anonymous += np.bincount(split[anonymous], minlength=len(SPLITS))
        absent = [values["absent"][feature.name] for feature in self._source.schema.features]
        _add_to(self._absent, name, np.array(absent))

        pairs, counts_of_pairs = np.unique(
            np.stack([reasons, values["culprits"]]), axis=1, return_counts=True
        )
        for reason, label, count in zip(*pairs.tolist(), counts_of_pairs.tolist(), strict=True):
            self._culprits[reason, label] += count

        for task, weights in values["weights"].items():
            self._tasks.add(task, split, values["labels"][task], weights, anonymous)
        for task, kept in values["kept"].items():
            labels, weights = values["labels"][task], values["weights"][task]
            self._tasks.add_kept(task, split, labels, weights, kept)
        for key in ("faults", "misses", "unequal", "unlabelled", "clipped"):
            counts = {counted: int(number) for counted, number in values[key].items()}
            self._totals.setdefault(key, Counter()).update(counts)

    def _note_examples(self, name: str, records: tf.Tensor, reasons: np.ndarray) -> None:
        codes, first_rows = np.unique(reasons, return_index=True)
        for code, row_index in zip(codes, first_rows.tolist(), strict=True):
            reason = REASONS[code]
            if code not in (USABLE, FILTERED) and reason not in self._examples:
                text = shown_record(self._source.layout, records[row_index].numpy())
                record = self._read[name] + row_index + 1
                self._examples[reason] = Example(name, record, reason, text)

    def result(self, malformed: list[int], oddities: Mapping[Path, str]) -> Audit:
        """Returns the sums as an audit.

        Args:
            malformed: Fingerprints of malformed Examples.
            oddities: By file that Python reads, why.
        """
        source, kinds = self._source, self._source.layout.kinds
        reasons = sum(self._reasons.values(), np.zeros(len(REASONS), int))
        unusable_by_file = {name: _by_reason(counts) for name, counts in self._reasons.items()}
        names = [self._name(path) for path in source.files]
        vocabularies = self._columns.vocabularies()
        features = self._columns.features(vocabularies)
        numbers = self._columns.numbers()
        unknown = {name: counts.unknown for name, counts in features.items()}

        return Audit(
            rows=int(reasons.sum()),
            unusable=_by_reason(reasons),
            unusable_by_file={name: counts for name, counts in unusable_by_file.items() if counts},
            examples=tuple(self._examples.values()),
            feature_faults=dict(self._totals.get("faults", {})),
            join_misses=dict(self._totals.get("misses", {})),
            unequal_lists=dict(self._totals.get("unequal", {})),
            join_unusable_rows={side.join.file: len(side.left_out) for side in source.side_tables},
            unlabelled=dict(self._totals.get("unlabelled", {})),
            clipped=dict(self._totals.get("clipped", {})),
            splits={split: self._split_counts(split) for split in SPLITS},
            files={split: self._files(split) for split in SPLITS},
            validation_from=source.split.validation_from,
            test_from=source.split.test_from,
            quarantine=tuple(malformed),
            features_absent_in=self._absent_features(),
            passed_over=tuple(map(self._name, source.passed_over)),
            empty_files=tuple(name for name in names if name not in self._reasons),
            cut_files=tuple(n for n, r in self._last_reasons.items() if REASONS[r] in _NO_ROW),
            odd_files={self._name(path): what for path, what in oddities.items()},
            kinds={name: kinds[name] for name in source.columns if kinds},
            duplicates=None if source.layout.by_python else self._distinct.duplicates(),
            unusable_where=self._unusable_where(),
            features=features,
            ratios=self._columns.ratios(),
            deciding=self._columns.deciding(),
            filtered=self._filtered.result(),
            scenarios=self._scenarios.rows(),
            in_no_scenario=self._scenarios.in_none(),
            times=self._times.result(source.split.limits),
            vocabularies=with_dropout(vocabularies, source.schema, unknown),
            numbers=numbers,
            label_quantiles=self._columns.label_quantiles(),
            spreads=self._columns.spreads(numbers),
        )

    def _unusable_where(self) -> dict[str, dict[str, int]]:
        """Returns by reason the labels, or the time or weight, with columns and the records."""
        schema = self._source.schema
        where: dict[str, dict[str, int]] = {}
        for (code, label), count in sorted(self._culprits.items()):
            reason = REASONS[code]
            if label >= 0:
                text = columns_at_fault(schema.labels[label], reason)
            elif reason in ("bad_time", "far_time") and schema.time is not None:
                text = f"column {schema.time.column}"
            elif reason == "bad_weight":
                text = f"column {schema.weight}"
            elif reason == "bad_negatives_kept":
                columns = {task.kept_column for task in schema.tasks if task.kept_column}
                text = f"column{'s' * (len(columns) > 1)} {', '.join(sorted(columns))}"
            else:
                continue
            where.setdefault(reason, {})[text] = count
        return where

    def _absent_features(self) -> dict[str, tuple[str, ...]]:
        """Returns by feature the files with usable rows in which no record has a value of it."""
        usable_files = [name for name, counts in self._reasons.items() if counts[USABLE]]
        absent_in: dict[str, tuple[str, ...]] = {}
        for index, feature in enumerate(self._source.schema.features):
            files = [name for name in usable_files if self._absent[name][index] == self._read[name]]
            if files:
                absent_in[feature.name] = tuple(files)
        return absent_in

    def _name(self, path: Path) -> str:
        return path.relative_to(self._source.data_dir).as_posix()

    def _files(self, split: str) -> dict[str, int]:
        """Returns the files that hold usable rows of a split, with their number."""
        rows = {name: int(counts[SPLITS.index(split)]) for name, counts in self._split_rows.items()}
        return {name: number for name, number in rows.items() if number}

    def _split_counts(self, split: str) -> SplitCounts:
        rows = sum(self._files(split).values())
        anonymous = int(self._anonymous[SPLITS.index(split)])
        return SplitCounts(rows, self._tasks.result(split), anonymous)


def _add_to(totals: dict[str, np.ndarray], name: str, counts: np.ndarray) -> None:
    totals[name] = totals[name] + counts if name in totals else counts


def _by_reason(counts: np.ndarray) -> dict[str, int]:
    return {
        reason: int(count)
        for code, (reason, count) in enumerate(zip(REASONS, counts, strict=True))
        if code not in (USABLE, FILTERED) and count
    }
