"""What an audit found: a plain tree that survives JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lt4rec_tf.data.audit.column_counts import FeatureCounts, RatioCounts
from lt4rec_tf.data.audit.duplicates import Duplicates
from lt4rec_tf.data.audit.filtered import FilteredRows
from lt4rec_tf.data.audit.number_spreads import NumberSpread
from lt4rec_tf.data.audit.scenarios import ScenarioRows
from lt4rec_tf.data.audit.task_counts import TaskCounts
from lt4rec_tf.data.audit.times import Times
from lt4rec_tf.data.input.contents import Content
from lt4rec_tf.schema.fitted import Vocabularies
from lt4rec_tf.schema.label_quantiles import QuantilesByTask
from lt4rec_tf.schema.numbers import NumbersByTable

_APART = ("vocabularies", "numbers", "label_quantiles")  # each has a file of its own in a run


@dataclass(frozen=True)
class Example:
    """A row that cannot be used, to quote in an error."""

    file: str
    record: int  # from 1, header lines not counted
    reason: str
    text: str


@dataclass(frozen=True)
class SplitCounts:
    """A split's usable rows, by task its population, and its rows without a user."""

    rows: int
    tasks: dict[str, TaskCounts]
    without_user: int = 0


@dataclass(frozen=True)
class Audit:
    """The counts of a data set; a plain tree that survives JSON.

    Attributes:
        rows: Records read, usable or not.
        unusable: By reason of `REASONS`, records that are no row of any split.
        unusable_by_file: By file (relative to the data folder) and reason.
        examples: The first unusable record of each reason.
        feature_faults: By feature, records whose value was replaced by "missing" because it was
            none of the feature's dtype.
        unequal_lists: By list with which others are aligned, records in which they are not equally
            long, and which have no event therefore.
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
        passed_over: Files that are no logs, see `files.Found`.
        cut_files: Files whose last record is no row: they may have been cut off.
        odd_files: By file that TensorFlow would cut short or alter, and Python reads: why.
        kinds: Of TFRecords: by column that is read the dtype of its values.
        unusable_where: By reason of `REASONS`, what is at fault, such as "click: column is_click",
            with the records.
        duplicates: Records, usable or not, that equal an earlier one; None of Parquet and JSON
            Lines, of whose rows no more is read than is asked for.
        features: By feature whose values have ids of their own, its values.
        ratios: By task on a ratio, what the ratios are in train.
        deciding: By feature and task, the AUC of features that tell a label alone.
        warnings: Lines of `warnings.warnings_of`.
        filtered: By filter, records that it left out; they are no part of `unusable`.
        scenarios: By task that has one, the rows of its scenario.
        in_no_scenario: Usable rows that no task's scenario holds, where every task has one.
        times: The times of the usable rows, and those that are far from all others; None where the
            schema names no time, or no row has one.
        vocabularies: By table with a fitted vocabulary, what it holds; no part of the JSON.
        numbers: By table whose rule is fitted to numbers, what train has of them; no part of the
            JSON.
        label_quantiles: By task that is no classification, the quantiles of its label in train; no
            part of the JSON.
        spreads: By feature of one number a row, but those cut at boundaries, how its numbers spread
            in train.
        clipped: By label of an amount that can be so large at most, usable rows with a larger one.
        contents: By log and side table what it held; empty in audits of versions that did not note
            it.
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
    passed_over: tuple[str, ...] = ()
    cut_files: tuple[str, ...] = ()
    odd_files: dict[str, str] = dataclasses.field(default_factory=dict)
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    duplicates: Duplicates | None = None
    unusable_where: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    features: dict[str, FeatureCounts] = dataclasses.field(default_factory=dict)
    ratios: dict[str, RatioCounts] = dataclasses.field(default_factory=dict)
    deciding: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    filtered: dict[str, FilteredRows] = dataclasses.field(default_factory=dict)
    scenarios: dict[str, ScenarioRows] = dataclasses.field(default_factory=dict)
    in_no_scenario: int = 0
    times: Times | None = None
    vocabularies: Vocabularies = dataclasses.field(default_factory=dict, repr=False, compare=False)
    numbers: NumbersByTable = dataclasses.field(default_factory=dict, repr=False, compare=False)
    label_quantiles: QuantilesByTask = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    spreads: dict[str, NumberSpread] = dataclasses.field(default_factory=dict)
    unequal_lists: dict[str, int] = dataclasses.field(default_factory=dict)
    clipped: dict[str, int] = dataclasses.field(default_factory=dict)
    contents: dict[str, Content] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def left_out(self) -> int:
        """The records that filters left out."""
        return sum(counts.rows for counts in self.filtered.values())

    def to_json(self) -> dict[str, Any]:
        """Returns the audit as JSON's own types, without what runs keep in other files."""
        apart: dict[str, Any] = {name: {} for name in _APART}
        values = dataclasses.asdict(dataclasses.replace(self, **apart))
        for name in apart:
            del values[name]
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Audit:
        """Makes an audit from what `to_json` returned, after JSON if need be."""
        splits = {}
        for name, counts in value["splits"].items():
            tasks = {task: TaskCounts(**numbers) for task, numbers in counts["tasks"].items()}
            splits[name] = SplitCounts(counts["rows"], tasks, counts.get("without_user", 0))

        # Absent in audits of versions that did not count them.
        absent_in = value.get("features_absent_in", {})
        features, ratios = value.get("features", {}), value.get("ratios", {})
        duplicates, times = value.get("duplicates"), value.get("times")
        contents, scenarios = value.get("contents", {}), value.get("scenarios", {})

        typed = {
            "features_absent_in": {name: tuple(files) for name, files in absent_in.items()},
            "empty_files": tuple(value.get("empty_files", ())),
            "cut_files": tuple(value.get("cut_files", ())),
            "passed_over": tuple(value.get("passed_over", ())),
            "duplicates": Duplicates(**duplicates) if duplicates else None,
            "times": Times.from_json(times) if times else None,
            "examples": tuple(Example(**example) for example in value["examples"]),
            "splits": splits,
            "quarantine": tuple(value["quarantine"]),
            "features": {name: FeatureCounts(**counts) for name, counts in features.items()},
            "ratios": {name: RatioCounts(**counts) for name, counts in ratios.items()},
            "spreads": {name: NumberSpread(**n) for name, n in value.get("spreads", {}).items()},
            "warnings": tuple(value.get("warnings", ())),
            "contents": {name: Content(**content) for name, content in contents.items()},
            "scenarios": {task: ScenarioRows(**rows) for task, rows in scenarios.items()},
            "filtered": {text: FilteredRows(**n) for text, n in value.get("filtered", {}).items()},
        }
        return cls(**{**value, **typed})
