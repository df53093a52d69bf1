"""Vocabularies that an audit fits on train: which values have embedding rows of their own.

A run keeps one file a table, the values' fingerprints as a NumPy array in the order of their rows,
and a list of these files with their checksums.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict
from urllib.parse import quote

import numpy as np

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.schema.types import Feature, IdRule, Schema

INDEX = "vocabularies.json"
_COUNTED = ("earlier", "distinct", "rare", "beyond", "shared", "estimated")
FINGERPRINTS = 2**62  # fingerprints of values lie below it


def searchable(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns fingerprints in rising order and the index of each in `known`.

    Both end with an entry for what is not found: a fingerprint above all, so that no search ends
    past the array, and the number of fingerprints.

    >>> [array.tolist() for array in searchable(np.array([30, 10]))] == [[10, 30, 2**62], [1, 0, 2]]
    True
    """
    order = np.argsort(known, kind="stable")
    return np.append(known[order], FINGERPRINTS), np.append(order, len(known)).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The values of a table that have a row of their own.

    Attributes:
        marks: int64 (values,), distinct fingerprints in [0, 2^62): value k has id k + 2.
        earlier: Of them, those that the run before had already: the first ones.
        distinct: Different values of train, those without a row of their own included.
        rare: Of them, those that occur less than `min_count` times.
        beyond: Of them, those frequent enough, left out because `max_size` are kept.
        shared: Fingerprints that two values of train or more have, which share a row.
        estimated: True if train had more values than are counted at once: the rarest of each part
            were dropped, so a value's count may be too small.
        dropout: By feature, the share of its known values that training takes for unknown, so that
            unknown ones come as often as in validation.
    """

    marks: np.ndarray
    earlier: int = 0
    distinct: int = 0
    rare: int = 0
    beyond: int = 0
    shared: int = 0
    estimated: bool = False
    dropout: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def searchable(self) -> tuple[np.ndarray, np.ndarray]:
        """The marks as `searchable` orders them."""
        return searchable(self.marks)

    def holds(self, marks: np.ndarray) -> np.ndarray:
        """Tells of fingerprints, bool, if their values have a row of their own.

        >>> Vocabulary(np.array([7, 3])).holds(np.array([3, 4])).tolist()
        [True, False]
        """
        rising, _ = self.searchable
        return np.equal(rising[np.searchsorted(rising, marks)], marks)


Vocabularies = Mapping[str, Vocabulary]  # by table
Shares = Mapping[str, Mapping[str, float | None]]  # by feature and split


def fitted_tables(schema: Schema) -> dict[str, tuple[int, int]]:
    """Returns by table with a fitted vocabulary its `min_count` and `max_size`."""
    return {
        feature.table: (feature.ids.min_count, feature.ids.max_size)
        for feature in schema.features
        if feature.ids.kind == "fitted"
    }


def with_vocabularies(schema: Schema, vocabularies: Vocabularies) -> Schema:
    """Returns the schema with the vocabularies of the tables that have one."""

    def with_vocabulary(feature: Feature) -> IdRule:
        if feature.ids.kind != "fitted" or feature.table not in vocabularies:
            return feature.ids
        return dataclasses.replace(feature.ids, fitted=vocabularies[feature.table])

    return schema.with_rules(with_vocabulary)


def vocabularies_of(schema: Schema) -> dict[str, Vocabulary]:
    """Returns by table the vocabularies that were fitted."""
    return {
        feature.table: feature.ids.fitted
        for feature in schema.features
        if feature.ids.fitted is not None
    }


def with_dropout(vocabularies: Vocabularies, schema: Schema, shares: Shares) -> Vocabularies:
    """Returns the vocabularies with a dropout after which unknown values are as many as later on.

    Where a share u of a feature's values is unknown in train already, for being rare, and v in
    validation, p = (v - u) / (1 - u) of those known are taken for unknown too: u + (1 - u) p = v.

    Args:
        vocabularies: Of the schema's tables.
        schema: Its features.
        shares: By feature and split, the share of occurrences of unknown values; None without any.
    """
    dropout: dict[str, dict[str, float]] = {}
    for feature in schema.features:
        known = shares.get(feature.name, {})
        before, after = known.get("train"), known.get("validation")
        if feature.table not in vocabularies or before is None or after is None:
            continue
        if before < after:
            share = (after - before) / (1.0 - before)
            dropout.setdefault(feature.table, {})[feature.name] = share
    return {
        table: dataclasses.replace(vocabulary, dropout=dropout.get(table, vocabulary.dropout))
        for table, vocabulary in vocabularies.items()
    }


def write_vocabularies(folder: Path, vocabularies: Vocabularies) -> None:
    """Writes a file for each table, then the list of them, each atomically.

    Args:
        folder: Made when absent.
        vocabularies: By table.
    """
    if not vocabularies and not (folder / INDEX).exists():
        return
    entries = {}
    for table, vocabulary in vocabularies.items():
        content = io.BytesIO()
        np.save(content, vocabulary.marks, allow_pickle=False)
        name = f"{quote(table, safe='')}.npy"  # a table may have any name
        artifacts.write_atomically(folder / name, content.getvalue())
        entries[table] = {
            "file": name,
            "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
            "values": len(vocabulary.marks),
            **{name: getattr(vocabulary, name) for name in _COUNTED},
            "dropout": dict(vocabulary.dropout),
        }
    artifacts.write_json(folder / INDEX, entries)


class _Entry(TypedDict):
    file: str
    sha256: str
    earlier: NotRequired[int]
    distinct: NotRequired[int]
    rare: NotRequired[int]
    beyond: NotRequired[int]
    shared: NotRequired[int]
    estimated: NotRequired[bool | int]
    dropout: NotRequired[dict[str, float]]


def read_vocabularies(folder: Path) -> dict[str, Vocabulary]:
    """Reads back what `write_vocabularies` wrote; nothing where the folder is absent.

    Raises:
        RunError: A file is absent, or is not the one that was written.
    """
    if not (folder / INDEX).exists():
        return {}
    vocabularies = {}
    for table, entry in read_typed(folder / INDEX, dict[str, _Entry]).items():
        counted = [entry.get(name, 0) for name in _COUNTED]  # versions before lack `shared`
        dropout = entry.get("dropout", {})  # absent in runs of versions without it
        vocabularies[table] = _read_vocabulary(
            folder / entry["file"], entry["sha256"], tuple(counted), tuple(dropout.items())
        )
    return vocabularies


@functools.lru_cache(maxsize=64)
def _read_vocabulary(
    path: Path, sha256: str, counted: tuple[Any, ...], dropout: tuple[tuple[str, float], ...]
) -> Vocabulary:
    """Reads a table's file once a process: a run's readers share what is found by a search."""
    content = path.read_bytes() if path.exists() else b""
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise artifacts.RunError(
            f"{path}: found {f'sha256 {digest}' if content else 'no file'}, "
            f"expected sha256 {sha256}, which {path.with_name(INDEX)} says"
        )
    marks = np.load(io.BytesIO(content), allow_pickle=False)
    numbers = dict(zip(_COUNTED, counted, strict=True))
    return Vocabulary(marks, **numbers, dropout=dict(dropout))
