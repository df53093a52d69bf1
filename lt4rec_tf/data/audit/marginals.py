"""Counts logs column by column: rows, label means, and how often each id occurs.

Memory is one count for each row of a feature's table, and a bounded number of unknown values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.row_sums import RowSums, codes_of
from lt4rec_tf.data.audit.times import TimeCounts
from lt4rec_tf.data.formats.values import has_ids, id_text
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.labels import USABLE
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import Progress, read_all
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.schema.types import FIRST_VALUE_ID, Feature, IdRule, Schema

UNKNOWN_ID = 1
# Of standardised numbers, which have no ids: quarters of a scale, and what lies beyond three.
NUMBER_EDGES = np.linspace(-3.0, 3.0, 25)
MOST_UNSEEN = 1_000_000  # distinct values of a feature that are noted


@dataclass(frozen=True)
class Marginals:
    """Counts of a period's usable rows.

    Attributes:
        rows: The number of rows.
        first_time: Of the rows, in the unit of the schema's time column; None where none has one.
            Times that are far from all others do not count.
        last_time: The last one.
        tasks: Task -> {"rows": of its population, "label_mean": over it, rows counted by their
            weights, None without rows}.
        counts: Feature -> int64 (rows of its table,), values by id; of a list all its values, and
            id 0 once where it has none. Numbers: missing, then bins between `NUMBER_EDGES`, or
            those of a piecewise linear rule.
        unseen: Vocabulary feature -> unknown value -> how often it occurs.
        not_noted: Vocabulary feature -> unknown values beyond the first `MOST_UNSEEN` distinct.
        row_sums: By file the sum of its rows, see `row_sums`; empty in those of earlier versions.
    """

    rows: int
    first_time: float | None
    last_time: float | None
    tasks: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, np.ndarray]
    unseen: Mapping[str, Mapping[str, int]]
    not_noted: Mapping[str, int]
    row_sums: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def missing(self, feature: str) -> float:
        """Returns the share of rows in which a feature is missing."""
        return float(self.counts[feature][0]) / max(self.rows, 1)

    def unknown(self, feature: Feature) -> float | None:
        """Returns the share of a feature's values without an own id; None: each has one."""
        if feature.ids.kind not in ("vocabulary", "fitted", "integer"):
            return None
        counts = self.counts[feature.name]
        return float(counts[UNKNOWN_ID]) / max(int(counts.sum()), 1)


def count(source: Source, progress: Progress | None = None) -> Marginals:
    """Reads all logs once, in order, and counts the usable rows of every split.

    Args:
        source: A data set that went through `audit.complete`.
        progress: See `read_all`.

    Raises:
        DataError: A file is broken from some record on.
    """
    counted = _Counting(source.schema)

    def select(rows: Rows) -> dict[str, Any]:
        return _selected(source.schema, rows)

    for path, _, values in read_all(source, select, set(source.quarantine), progress):
        counted.add(path.relative_to(source.data_dir).as_posix(), values)
    return counted.result()


def _selected(schema: Schema, rows: Rows) -> dict[str, Any]:
    """Selects, in graph, the usable rows' times, labels, weights, ids and unknown values."""
    usable = tf.where(rows.labels.reasons == USABLE)[:, 0]
    columns = {
        "raw": rows.raw,
        "times": rows.times,
        "labels": rows.labels.labels,
        "weights": rows.labels.weights,
    }
    selected = tf.nest.map_structure(lambda values: tf.gather(values, usable), columns)

    raw = selected.pop("raw")
    ids = features_to_ids(schema, raw)
    unseen = {}
    for feature in _vocabularies(schema):
        values = tf.boolean_mask(raw[feature.name], ids[feature.name] == UNKNOWN_ID)
        values = values if values.dtype == tf.string else tf.strings.as_string(values)
        unseen[feature.name] = id_text(values) if has_ids(feature) else values

    per_task = [*selected["labels"].values(), *selected["weights"].values()]
    codes = codes_of(schema, raw, [selected["times"], *per_task])
    return selected | {"ids": ids, "unseen": unseen, "codes": codes}


def _vocabularies(schema: Schema) -> list[Feature]:
    return [feature for feature in schema.features if feature.ids.kind == "vocabulary"]


class _Counting:
    """Adds up the batches of a pass."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._rows = 0
        self._sums = {task.name: np.zeros(3) for task in schema.tasks}  # rows, weights, labels
        self._times = TimeCounts()
        self._counts = {f.name: np.zeros(id_count(f), np.int64) for f in schema.features}
        self._unseen: dict[str, Counter[bytes]] = {f.name: Counter() for f in _vocabularies(schema)}
        self._not_noted: Counter[str] = Counter()
        self._row_sums = RowSums()

    def add(self, file: str, values: Mapping[str, Any]) -> None:
        """Adds one batch of the values that `_selected` returns of a file's rows."""
        self._row_sums.add(file, values["codes"])
        times = values["times"]
        self._rows += len(times)
        finite = np.flatnonzero(np.isfinite(times))
        self._times.add("", finite, times[finite])

        for task, weights in values["weights"].items():
            labels = values["labels"][task].astype(np.float64)
            weight = weights.sum(dtype=np.float64)
            self._sums[task] += [np.count_nonzero(weights), weight, np.sum(weights * labels)]

        for feature in self._schema.features:
            ids = _flat_ids(feature, values["ids"][feature.name])
            counts = self._counts[feature.name]
            counts += np.bincount(ids, minlength=len(counts))
        for name, texts in values["unseen"].items():
            self._note(name, Counter(texts.tolist()))

    def _note(self, name: str, occurrences: Counter[bytes]) -> None:
        totals = self._unseen[name]
        for value in sorted(occurrences):  # so that the same logs always note the same values
            if value in totals or len(totals) < MOST_UNSEEN:
                totals[value] += occurrences[value]
            else:
                self._not_noted[name] += occurrences[value]

    def result(self) -> Marginals:
        """Returns the sums."""
        times = self._times.result()
        tasks = {}
        for task, (rows, weight, labels) in self._sums.items():
            mean = float(labels / weight) if rows else None
            tasks[task] = {"rows": int(rows), "label_mean": mean}

        return Marginals(
            rows=self._rows,
            first_time=None if times is None else times.first,
            last_time=None if times is None else times.last,
            tasks=tasks,
            counts=self._counts,
            unseen={name: _texts(values) for name, values in self._unseen.items()},
            not_noted={name: n for name, n in self._not_noted.items() if n},
            row_sums=self._row_sums.result(),
        )


def id_count(feature: Feature) -> int:
    """Returns the number of counts of a feature: its table's rows, or bins and missing."""
    return len(_number_edges(feature.ids)) + 2 if feature.ids.gives_numbers else feature.ids.rows


def _number_edges(rule: IdRule) -> np.ndarray:
    """Returns the edges between the bins in which a rule's numbers are counted."""
    # A number's position among its own bins: 0 to 1 in the first one.
    return np.arange(1.0, rule.bins) if rule.kind == "piecewise_linear" else NUMBER_EDGES


def _flat_ids(feature: Feature, ids: np.ndarray) -> np.ndarray:
    """Returns the ids to count; of a list the real ones, or one 0."""
    if feature.ids.gives_numbers:
        bins = np.searchsorted(_number_edges(feature.ids), ids, side="right") + 1
        return np.where(np.isfinite(ids), bins, 0)
    if not feature.multivalued:
        return ids
    without = int(np.sum(~(ids > 0).any(axis=1)))
    return np.concatenate([ids[ids > 0], np.zeros(without, np.int64)])


def _texts(values: Mapping[bytes, int]) -> dict[str, int]:
    """Returns counts by text, without bytes that are not UTF-8: a schema cannot hold those."""
    counts = {}
    for value, number in values.items():
        with contextlib.suppress(UnicodeDecodeError):
            counts[value.decode("utf-8")] = number
    return counts


def new_values(schema: Schema, marginals: Marginals, least: int) -> dict[str, tuple[str, ...]]:
    """Returns the unknown values that are frequent enough to join the vocabularies.

    Args:
        schema: The schema of the vocabularies.
        marginals: The marginals of the logs.
        least: How often a value must occur in all features of a table together; 0: no value joins.

    Returns:
        Table -> values, the most frequent first, equals by their text; tables without are left out.
    """
    by_table: dict[str, Counter[str]] = {}
    for feature in _vocabularies(schema):
        by_table.setdefault(feature.table, Counter()).update(marginals.unseen[feature.name])

    growth = {}
    for table, values in by_table.items():
        frequent = [(-times, value) for value, times in values.items() if least and times >= least]
        if frequent:
            growth[table] = tuple(value for _, value in sorted(frequent))
    return growth


def recounted(marginals: Marginals, schema: Schema) -> Marginals:
    """Returns the marginals of the same logs by a schema whose vocabularies have grown since.

    Args:
        marginals: The marginals by the schema before.
        schema: The schema after.
    """
    counts, unseen = dict(marginals.counts), dict(marginals.unseen)
    for feature in _vocabularies(schema):
        name = feature.name
        added = feature.ids.vocabulary[len(counts[name]) - FIRST_VALUE_ID :]
        added_counts = np.array([unseen[name].get(value, 0) for value in added], np.int64)

        # What was counted as unknown now has ids of its own.
        counts[name] = np.concatenate([counts[name], added_counts])
        counts[name][UNKNOWN_ID] -= added_counts.sum()
        unseen[name] = {v: n for v, n in unseen[name].items() if v not in set(added)}
    return dataclasses.replace(marginals, counts=counts, unseen=unseen)


def write(path: Path, marginals: Marginals) -> None:
    """Writes marginals as JSON, atomically: of each feature the ids that occur."""
    counts = {}
    for name, feature_counts in marginals.counts.items():
        ids = np.flatnonzero(feature_counts)
        counts[name] = {
            "size": len(feature_counts),
            "ids": ids.tolist(),
            "counts": feature_counts[ids].tolist(),
        }
    values = vars(marginals) | {"counts": counts}
    artifacts.write_atomically(path, json.dumps(values, ensure_ascii=False) + "\n")


class _Stored(TypedDict):
    """Of a feature the ids that occur, of as many as its size."""

    size: int
    ids: list[int]
    counts: list[int]


class _StoredTask(TypedDict):
    rows: int
    label_mean: float | None


class _StoredMarginals(TypedDict):
    rows: int
    first_time: float | None
    last_time: float | None
    tasks: dict[str, _StoredTask]
    counts: dict[str, _Stored]
    unseen: dict[str, dict[str, int]]
    not_noted: dict[str, int]
    row_sums: NotRequired[dict[str, str]]  # absent in those of earlier versions


def read(path: Path, schema: Schema) -> Marginals:
    """Reads marginals back.

    Args:
        path: The file that `write` wrote.
        schema: By which they were counted; its vocabularies may have grown since.

    Raises:
        RunError: The file is absent, or holds something else; names the key.
    """
    values = read_typed(path, _StoredMarginals)
    counts = {}
    for feature in schema.features:
        key = f"{path}: counts.{feature.name}"
        counts[feature.name] = _spread(values["counts"][feature.name], id_count(feature), key)
    unseen = {feature.name: values["unseen"][feature.name] for feature in _vocabularies(schema)}
    return Marginals(
        rows=values["rows"],
        first_time=values["first_time"],
        last_time=values["last_time"],
        tasks=values["tasks"],
        counts=counts,
        unseen=unseen,
        not_noted=values["not_noted"],
        row_sums=values.get("row_sums", {}),
    )


def _spread(stored: _Stored, most: int, key: str) -> np.ndarray:
    """Returns the counts of all ids, of at most so many; the key is for the error."""
    size, ids = stored["size"], np.array(stored["ids"], np.int64)
    if not min(FIRST_VALUE_ID, most) <= size <= most:
        raise artifacts.RunError(f"{key}.size: found {size}, expected at most {most} ids")
    if len(ids) != len(stored["counts"]) or not np.all((ids >= 0) & (ids < size)):
        raise artifacts.RunError(
            f"{key}: found {len(stored['counts'])} counts of {len(ids)} ids up to "
            f"{ids.max(initial=0)}, expected one for each id, below {size}"
        )
    counts = np.zeros(size, np.int64)
    counts[ids] = stored["counts"]
    return counts
