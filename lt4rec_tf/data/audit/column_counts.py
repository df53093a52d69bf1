"""Counts of what features and ratio labels hold, by which an audit warns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt4rec_tf.data.audit.feature_values import (
    are_unknown,
    listed,
    measured,
    missing_keys,
    named,
)
from lt4rec_tf.data.audit.label_samples import LabelSamples
from lt4rec_tf.data.audit.number_counts import NumberCounts
from lt4rec_tf.data.audit.number_spreads import NumberSpread, NumberSpreads
from lt4rec_tf.data.audit.row_sample import RowSample
from lt4rec_tf.data.audit.value_counts import ValueCounts, ValueTable
from lt4rec_tf.data.audit.vocabulary_counts import VocabularyCounts
from lt4rec_tf.data.input.labels import USABLE
from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.schema.buckets import shared_values
from lt4rec_tf.schema.fitted import Vocabulary, with_vocabularies
from lt4rec_tf.schema.label_quantiles import LabelQuantiles
from lt4rec_tf.schema.numbers import Numbers
from lt4rec_tf.schema.types import Feature, Schema

_TRAIN = SPLITS.index("train")
# Of all features together: values that are kept, and occurrences that wait to be counted.
_VALUES, _LEAST_VALUES, _MOST_VALUES = 4_000_000, 1_000, 200_000
_LEAST_PENDING, _MOST_PENDING = 4_096, 262_144
TINY = 0.01  # a ratio below it, but for 0, is hardly a share of a video


@dataclass(frozen=True)
class FeatureCounts:
    """Values of a feature over usable rows; missing ones do not count.

    Attributes:
        distinct: Different values.
        estimated: True if there were too many to keep them all: then all numbers are estimates
            from an even sample of the values.
        buckets: Of a hashed feature.
        sharing: Of a hashed feature: the expected share of its values that share a bucket.
        unknown: By split, the share of occurrences of values outside vocabulary or range; None
            without any occurrence.
        new: By split but train, the share of occurrences of values that train has not, without
            those that are unknown anyway.
    """

    distinct: int
    estimated: bool
    buckets: int | None
    sharing: float | None
    unknown: dict[str, float | None]
    new: dict[str, float | None]


@dataclass(frozen=True)
class RatioCounts:
    """A ratio label over a task's population in train.

    Attributes:
        rows: The population.
        above_one: Ratios above 1, which are clipped.
        zero: Ratios of 0.
        tiny: Ratios above 0 and below `TINY`.
    """

    rows: int
    above_one: int
    zero: int
    tiny: int


class ColumnCounts:
    """Adds up the batches of a pass.

    Args:
        schema: Its features and tasks.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        features = [*named(schema), *listed(schema)]
        share = _VALUES // max(1, len(features))
        kept = min(_MOST_VALUES, max(_LEAST_VALUES, share))
        pending = min(_MOST_PENDING, max(_LEAST_PENDING, share))
        self._vocabularies = VocabularyCounts(schema)
        self._numbers = NumberCounts(schema)
        self._spreads = NumberSpreads(schema)
        self._values = {feature.name: ValueCounts(kept, pending) for feature in features}
        self._ratios = {t.name: np.zeros(4, int) for t in schema.tasks if t.kind == "continuous"}
        self._sample = RowSample(schema)
        self._labels = LabelSamples(schema)

    def add(self, values: Mapping[str, Any], split: np.ndarray) -> None:
        """Adds a batch.

        Args:
            values: What `audit.audit` selects of it, as NumPy arrays.
            split: The rows' splits, indices in `SPLITS`.
        """
        usable = values["reasons"] == USABLE
        for name, keys, rows in _occurrences(self._schema, values["columns"], usable):
            self._values[name].add(keys, split[rows])
            checks = values["columns"].get(f"check/{name}")
            if checks is not None:
                self._vocabularies.add(name, keys, checks[usable].ravel(), split[rows] == _TRAIN)

        in_train = usable & (split == _TRAIN)
        self._labels.add(values, in_train)
        for name, counts in self._ratios.items():
            inside = in_train & (values["weights"][name] > 0)
            ratios = values["labels"][name][inside]
            tiny = (ratios > 0) & (ratios < TINY)
            above_one = values["above_one"][self._schema.task(name).label][inside]
            counts += [int(inside.sum()), above_one.sum(), (ratios == 0).sum(), tiny.sum()]

        columns = values["columns"].items()
        train = {
            name: column[in_train] for name, column in columns if not name.startswith("check/")
        }
        for index, feature in enumerate(measured(self._schema)):
            numbers = train["numbers"][:, index]
            self._numbers.add(feature.name, numbers)
            self._spreads.add(feature.name, numbers)
        labels = {name: column[in_train] for name, column in values["labels"].items()}
        weights = {name: column[in_train] for name, column in values["weights"].items()}
        self._sample.add(train, labels, weights)

    def vocabularies(self) -> dict[str, Vocabulary]:
        """Returns by table with a fitted vocabulary the values of train that it holds."""
        return self._vocabularies.fit()

    def numbers(self) -> dict[str, Numbers]:
        """Returns by table whose rule is fitted to numbers what train has of them."""
        return self._numbers.fit()

    def label_quantiles(self) -> dict[str, LabelQuantiles]:
        """Returns by task that is no classification the quantiles of its label in train."""
        return self._labels.fit()

    def spreads(self, numbers: Mapping[str, Numbers]) -> dict[str, NumberSpread]:
        """Returns by feature of one number a row how its numbers spread.

        Args:
            numbers: What `numbers` returned.
        """
        return self._spreads.result(numbers, self._sample.numbers())

    def features(self, vocabularies: Mapping[str, Vocabulary]) -> dict[str, FeatureCounts]:
        """Returns by feature whose values have ids of their own its counts.

        Args:
            vocabularies: What `vocabularies` returned.
        """
        fitted_schema, counts = with_vocabularies(self._schema, vocabularies), {}
        for name, values in self._values.items():
            feature = fitted_schema.feature(name)
            counts[name] = _counts_of(
                feature, values.table(), missing_keys(feature, self._schema.nulls)
            )
        return counts

    def ratios(self) -> dict[str, RatioCounts]:
        """Returns by task on a ratio its counts."""
        return {name: RatioCounts(*counts.tolist()) for name, counts in self._ratios.items()}

    def deciding(self) -> dict[str, dict[str, float]]:
        """Returns by feature and task the AUC of features that tell a label alone."""
        return self._sample.deciding()


def _occurrences(
    schema: Schema, columns: Mapping[str, np.ndarray], usable: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Gives by feature the keys of usable rows, and the row of each."""
    rows = np.flatnonzero(usable)
    keys = columns["keys"][rows].T.copy()  # a feature's values side by side
    for index, feature in enumerate(named(schema)):
        yield feature.name, keys[index], rows
    for feature in listed(schema):
        keys = columns[f"list/{feature.name}"][rows]
        yield feature.name, keys.reshape(-1), np.repeat(rows, keys.shape[1])


def _counts_of(feature: Feature, table: ValueTable, missing: np.ndarray) -> FeatureCounts:
    is_value = ~np.isin(table.keys, missing)
    keys, counts = table.keys[is_value], table.counts[is_value]
    unknown = are_unknown(feature, keys)
    new = (counts[:, _TRAIN] == 0) & ~unknown

    distinct = len(keys) * table.times
    buckets = feature.ids.buckets if feature.ids.kind == "hash" else None
    new_by_split = _shares(counts, new)
    del new_by_split["train"]
    return FeatureCounts(
        distinct=distinct,
        estimated=table.times > 1,
        buckets=buckets,
        sharing=shared_values(distinct, buckets) if buckets else None,
        unknown={} if buckets else _shares(counts, unknown),
        new=new_by_split,
    )


def _shares(counts: np.ndarray, wanted: np.ndarray) -> dict[str, float | None]:
    """Returns by split the share of occurrences of wanted values."""
    totals, parts = counts.sum(axis=0), counts[wanted].sum(axis=0)
    shares: dict[str, float | None] = {}
    for split, total, part in zip(SPLITS, totals.tolist(), parts.tolist(), strict=True):
        shares[split] = part / total if total else None
    return shares
