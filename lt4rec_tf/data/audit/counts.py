"""What an audit counts, and how it adds up while the logs are read."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.audit.duplicates import KEPT, DistinctCounter, Duplicates
from lt4rec_tf.data.formats import bad_rows as quarantine
from lt4rec_tf.data.formats.fingerprints import FINGERPRINTS, fingerprint
from lt4rec_tf.data.input.labels import REASONS, USABLE, bad_rows
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.input.splits import SPLITS


@dataclass(frozen=True)
class Example:
    """A row that cannot be used, to show in an error."""

    file: str
    record: int  # from 1, header lines not counted
    reason: str
    text: str


@dataclass(frozen=True)
class TaskCounts:
    """A task's population in one split: its rows, mean and standard deviation of their labels."""

    rows: int
    label_mean: float
    label_deviation: float


@dataclass(frozen=True)
class SplitCounts:
    """A split's usable rows, and by task its population."""

    rows: int
    tasks: dict[str, TaskCounts]


@dataclass(frozen=True)
class Audit:
    """What a data set holds; a plain tree that survives JSON.

    Attributes:
        rows: Records read, usable or not.
        unusable: By reason of `REASONS`, records that are no row of any split.
        unusable_by_file: By file (relative to the data folder) and reason.
        examples: The first unusable record of each reason.
        feature_faults: By feature, records whose value was replaced by "missing" because it was
            none of the feature's dtype.
        join_misses: By side table, records whose key it does not hold.
        join_unusable_rows: By side table, its own rows that were left out.
        unlabelled: By label, usable rows without this label for want of a duration.
        splits: By split its counts.
        files: By split the files that hold rows of it, with their number.
        validation_from: First time of validation; None unless split by time.
        test_from: First time of test.
        quarantine: Fingerprints of malformed Examples.
        features_absent_in: By feature, files with usable rows of which no record holds a value of
            it: a column that is left empty there, or renamed.
        empty_files: Files that hold no record.
        duplicates: Records, usable or not, that equal an earlier one; None in audits of versions
            that did not count them.
    """

    rows: int
    unusable: dict[str, int]
    unusable_by_file: dict[str, dict[str, int]]
    examples: tuple[Example, ...]
    feature_faults: dict[str, int]
    join_misses: dict[str, int]
    join_unusable_rows: dict[str, int]
    unlabelled: dict[str, int]
    splits: dict[str, SplitCounts]
    files: dict[str, dict[str, int]]
    validation_from: float | None
    test_from: float | None
    quarantine: tuple[int, ...]
    features_absent_in: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    empty_files: tuple[str, ...] = ()
    duplicates: Duplicates | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the audit as JSON's own types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Audit:
        """Makes an audit from what `to_json` returned, after JSON if need be."""
        splits = {
            name: SplitCounts(
                counts["rows"],
                {task: TaskCounts(**numbers) for task, numbers in counts["tasks"].items()},
            )
            for name, counts in value["splits"].items()
        }
        duplicates = value.get("duplicates")
        return cls(
            **{
                **value,
                "features_absent_in": {
                    name: tuple(files)
                    for name, files in value.get("features_absent_in", {}).items()
                },
                "empty_files": tuple(value.get("empty_files", ())),
                "duplicates": Duplicates(**duplicates) if duplicates else None,
                "examples": tuple(Example(**example) for example in value["examples"]),
                "splits": splits,
                "quarantine": tuple(value["quarantine"]),
            }
        )


class Counts:
    """Adds up what a pass sees.

    Args:
        source: What is read.
        listed: Takes a line for each row that cannot be used, as `quarantine.write` makes it.
    """

    def __init__(self, source: Source, listed: IO[bytes]) -> None:
        self._source, self._listed = source, listed
        for side in source.side_tables:
            quarantine.write(listed, side.left_out)
        self._distinct = DistinctCounter(KEPT, FINGERPRINTS)
        self._reasons: dict[str, np.ndarray] = {}  # by file, (reasons,)
        self._split_rows: dict[str, np.ndarray] = {}  # by file, (splits,)
        self._absent: dict[str, np.ndarray] = {}  # by file, (features,)
        self._task_rows = {task.name: np.zeros(len(SPLITS)) for task in source.schema.tasks}
        self._task_sums = {task.name: np.zeros(len(SPLITS)) for task in source.schema.tasks}
        self._task_squares = {task.name: np.zeros(len(SPLITS)) for task in source.schema.tasks}
        self._totals: dict[str, Counter[str]] = {}
        self._examples: dict[str, Example] = {}
        self._read: Counter[str] = Counter()

    def add(
        self, path: Path, records: tf.Tensor, values: dict[str, Any], file_split: str | None
    ) -> None:
        """Adds one batch.

        Args:
            path: The file it was read from.
            records: The raw records.
            values: What `audit.audit` selects of them, as NumPy arrays.
            file_split: The split in which the whole file lies, where files split.
        """
        name = self._name(path)
        reasons, split = values["reasons"], values["split"]
        if file_split is not None:
            split = np.full_like(split, SPLITS.index(file_split))
        self._distinct.add(fingerprint(records).numpy())
        first = self._read[name] + 1
        quarantine.write(self._listed, bad_rows(name, first, records, reasons))
        self._note_examples(name, records, reasons)
        self._read[name] += len(reasons)
        _add_to(self._reasons, name, np.bincount(reasons, minlength=len(REASONS)))
        _add_to(
            self._split_rows, name, np.bincount(split[reasons == USABLE], minlength=len(SPLITS))
        )
        absent = values["absent"]
        order = [feature.name for feature in self._source.schema.features]
        _add_to(self._absent, name, np.array([absent[feature] for feature in order]))
        for task, weights in values["weights"].items():
            labels = values["labels"][task].astype(np.float64)
            for sums, summed in (
                (self._task_rows, weights),
                (self._task_sums, weights * labels),
                (self._task_squares, weights * labels**2),
            ):
                sums[task] += np.bincount(split, summed, minlength=len(SPLITS))
        for key in ("faults", "misses", "unlabelled"):
            counted = {name: int(number) for name, number in values[key].items()}
            self._totals.setdefault(key, Counter()).update(counted)

    def _note_examples(self, name: str, records: tf.Tensor, reasons: np.ndarray) -> None:
        codes, places = np.unique(reasons, return_index=True)
        for code, place in zip(codes, places, strict=True):
            reason = REASONS[code]
            if code != USABLE and reason not in self._examples:
                text = quarantine.shown(records[int(place)].numpy())
                record = self._read[name] + int(place) + 1
                self._examples[reason] = Example(name, record, reason, text)

    def result(self, malformed: list[int]) -> Audit:
        """Returns the sums as an audit, with the fingerprints of malformed Examples."""
        source = self._source
        reasons = sum(self._reasons.values(), np.zeros(len(REASONS), int))
        rows = sum(self._split_rows.values(), np.zeros(len(SPLITS), int))
        return Audit(
            rows=int(reasons.sum()),
            unusable=_by_reason(reasons),
            unusable_by_file={
                name: _by_reason(counts)
                for name, counts in self._reasons.items()
                if counts[USABLE + 1 :].any()
            },
            examples=tuple(self._examples.values()),
            feature_faults=dict(self._totals.get("faults", {})),
            join_misses=dict(self._totals.get("misses", {})),
            join_unusable_rows={side.join.file: len(side.left_out) for side in source.side_tables},
            unlabelled=dict(self._totals.get("unlabelled", {})),
            splits={
                split: SplitCounts(int(rows[place]), self._tasks(place))
                for place, split in enumerate(SPLITS)
            },
            files={
                split: {
                    name: int(counts[place])
                    for name, counts in self._split_rows.items()
                    if counts[place]
                }
                for place, split in enumerate(SPLITS)
            },
            validation_from=source.split.validation_from,
            test_from=source.split.test_from,
            quarantine=tuple(malformed),
            features_absent_in=self._absent_features(),
            empty_files=tuple(
                name for path in source.files if (name := self._name(path)) not in self._reasons
            ),
            duplicates=self._distinct.duplicates(),
        )

    def _absent_features(self) -> dict[str, tuple[str, ...]]:
        used = [name for name, counts in self._reasons.items() if counts[USABLE]]
        found = {
            feature.name: tuple(name for name in used if self._absent[name][i] == self._read[name])
            for i, feature in enumerate(self._source.schema.features)
        }
        return {name: files for name, files in found.items() if files}

    def _name(self, path: Path) -> str:
        return path.relative_to(self._source.data_dir).as_posix()

    def _tasks(self, place: int) -> dict[str, TaskCounts]:
        found = {}
        for task, rows in self._task_rows.items():
            count = max(rows[place], 1.0)
            mean = float(self._task_sums[task][place] / count)
            variance = max(0.0, float(self._task_squares[task][place] / count) - mean**2)
            found[task] = TaskCounts(int(rows[place]), mean, math.sqrt(variance))
        return found


def _add_to(totals: dict[str, np.ndarray], name: str, counts: np.ndarray) -> None:
    totals[name] = totals[name] + counts if name in totals else counts


def _by_reason(counts: np.ndarray) -> dict[str, int]:
    return {
        reason: int(count)
        for code, (reason, count) in enumerate(zip(REASONS, counts, strict=True))
        if code != USABLE and count
    }
