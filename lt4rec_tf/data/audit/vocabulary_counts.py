"""Counts the values of train, exactly as long as they fit, and fits vocabularies on them."""

from __future__ import annotations

import numpy as np

from lt4rec_tf.data.audit.feature_values import missing_keys
from lt4rec_tf.schema.fitted import Vocabulary, fitted_tables, vocabularies_of
from lt4rec_tf.schema.types import Schema

_LEAST_PENDING = 262_144  # occurrences that wait to be counted together
_MORE_THAN_KEPT = 2  # times `max_size`: the values that are counted at once


class TrainValues:
    """Counts how often each value of a table occurs, in memory bounded by the values.

    Args:
        most: The most values that are counted at once: where there are more, the rarest go, with
            their counts. What stays has counts that are too small by what it lost before.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._marks = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._checks = np.zeros(0, np.int32)  # of a mark that is shared: one of its values'
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0
        self.dropped = 0  # values, each time that it went
        self.shared = np.zeros(0, np.int64)  # marks, rising, that two values or more have

    def add(self, marks: np.ndarray, checks: np.ndarray | None = None) -> None:
        """Adds occurrences.

        Args:
            marks: Fingerprints, int64 (n,).
            checks: int32 (n,), numbers by which values of one mark differ; None where each mark is
                the value itself.
        """
        self._pending.append((marks, np.zeros(len(marks), np.int32) if checks is None else checks))
        self._waiting += len(marks)
        # More wait as more are known, so that merging stays a constant cost for each occurrence.
        if self._waiting >= max(_LEAST_PENDING, len(self._marks) // 2):
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        marks, checks = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._pending, self._waiting = [], 0
        found, times, least, most = _by_mark(marks, checks)

        places = np.searchsorted(self._marks, found)
        known = np.zeros(len(found), bool)
        inside = places < len(self._marks)
        known[inside] = self._marks[places[inside]] == found[inside]
        is_shared = least != most
        is_shared[known] |= self._checks[places[known]] != least[known]
        if is_shared.any():
            self.shared = np.union1d(self.shared, found[is_shared])

        self._counts[places[known]] += times[known]
        self._marks = np.insert(self._marks, places[~known], found[~known])
        self._counts = np.insert(self._counts, places[~known], times[~known])
        self._checks = np.insert(self._checks, places[~known], least[~known])

        if len(self._marks) > self._most:
            kept = np.sort(_most_frequent(self._marks, self._counts)[: self._most * 3 // 4])
            self.dropped += len(self._marks) - len(kept)
            self._marks, self._counts = self._marks[kept], self._counts[kept]
            self._checks = self._checks[kept]

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns fingerprints and counts, the most frequent first, equal ones by fingerprint."""
        self._merge()
        order = _most_frequent(self._marks, self._counts)
        return self._marks[order], self._counts[order]


def _by_mark(marks: np.ndarray, checks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the distinct marks, rising, how often each occurs, its least and its largest check.

    >>> [part.tolist() for part in _by_mark(np.array([7, 3, 7]), np.array([1, 5, 2]))]
    [[3, 7], [1, 2], [5, 1], [5, 2]]
    """
    order = np.argsort(marks)
    marks, checks = marks[order], checks[order]
    first = np.flatnonzero(np.append(True, marks[1:] != marks[:-1])[: len(marks)])
    if not len(first):
        return marks, np.zeros(0, np.int64), checks, checks
    times = np.diff(np.append(first, len(marks)))
    least, most = np.minimum.reduceat(checks, first), np.maximum.reduceat(checks, first)
    return marks[first], times, least, most


def _most_frequent(marks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.lexsort((marks, -counts))


class VocabularyCounts:
    """Counts the values of all tables whose vocabularies are fitted.

    Args:
        schema: Its features; of vocabularies that are fitted already the values keep their ids.
    """

    def __init__(self, schema: Schema) -> None:
        self._tables = fitted_tables(schema)
        self._earlier = vocabularies_of(schema)
        fitted = [feature for feature in schema.features if feature.table in self._tables]
        self._table_of = {feature.name: feature.table for feature in fitted}
        self._missing = {feature.name: missing_keys(feature, schema.nulls) for feature in fitted}
        self._values = {
            table: TrainValues(_MORE_THAN_KEPT * most) for table, (_, most) in self._tables.items()
        }

    def add(
        self, feature: str, marks: np.ndarray, checks: np.ndarray, in_train: np.ndarray
    ) -> None:
        """Adds occurrences, of which those in train count, of a feature with a fitted vocabulary.

        Args:
            feature: Its name.
            marks: Fingerprints, int64 (n,).
            checks: int32 (n,), numbers by which values of one fingerprint differ.
            in_train: bool (n,).
        """
        counted = in_train & ~np.isin(marks, self._missing[feature])
        self._values[self._table_of[feature]].add(marks[counted], checks[counted])

    def fit(self) -> dict[str, Vocabulary]:
        """Returns by table the values that occur often enough, the most frequent first.

        New values stand behind those of a vocabulary that was fitted before.
        """
        vocabularies = {}
        for table, (min_count, max_size) in self._tables.items():
            values = self._values[table]
            marks, counts = values.result()
            frequent = marks[counts >= min_count]

            earlier = self._earlier.get(table)
            kept_before = np.zeros(0, np.int64) if earlier is None else earlier.marks
            new = frequent if earlier is None else frequent[~earlier.holds(frequent)]
            added = new[: max(0, max_size - len(kept_before))]
            vocabularies[table] = Vocabulary(
                np.concatenate([kept_before, added]),
                earlier=len(kept_before),
                distinct=len(marks) + values.dropped,
                rare=len(marks) - len(frequent),
                beyond=len(new) - len(added),
                shared=len(values.shared),
                estimated=values.dropped > 0,
                dropout={} if earlier is None else earlier.dropout,
            )
        return vocabularies
