"""Rows of a batch of records: features, labels, split, and why some cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.fingerprints import fingerprint
from lt4rec_tf.data.formats.records import parse
from lt4rec_tf.data.formats.values import Values, id_text, raw_feature, single, without_nulls
from lt4rec_tf.data.input.aligned_lists import unequal_rows, without_events
from lt4rec_tf.data.input.filters import LeftOut, left_out
from lt4rec_tf.data.input.labels import Labels, read_labels
from lt4rec_tf.data.input.side_tables import look_up
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.input.splits import (
    is_far,
    row_times,
    split_at_random,
    split_of_times,
    split_of_users,
)
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.schema.types import Schema


class Rows(NamedTuple):
    """A batch of records, taken apart; rows that cannot be used are still among them.

    Attributes:
        raw: By feature, raw values as `features_to_ids` takes them.
        faults: By feature, bool (batch,): the text was no value of the feature's dtype.
        absent: By feature, bool (batch,): there was no text.
        labels: Labels, weights and reasons.
        split: int32 (batch,), indices in `SPLITS`.
        times: float64 (batch,), NaN where there is none.
        user: int64 (batch,), a hash of the user; `NO_USER` where the row has none, or the schema
            names none.
        unequal: By sequence of several lists, bool (batch,): they are not equally long, and the row
            has no event.
        misses: By side table's file, bool (batch,): its key was not found.
        left_out: Which rows the schema's filters leave out. Faults, unequal lists and misses
            count none of them, and in all of them every feature is absent.
    """

    raw: dict[str, tf.Tensor]
    faults: dict[str, tf.Tensor]
    absent: dict[str, tf.Tensor]
    labels: Labels
    split: tf.Tensor
    times: tf.Tensor
    user: tf.Tensor
    unequal: dict[str, tf.Tensor]
    misses: dict[str, tf.Tensor]
    left_out: LeftOut


def examine(
    source: Source, records: tf.Tensor, unparseable: tf.Tensor, *, whole_lists: bool = False
) -> Rows:
    """Takes a batch of records apart.

    Args:
        source: The data set.
        records: Strings (batch,).
        unparseable: Bool (batch,): Examples known to be malformed.
        whole_lists: Keeps all raw values of lists, as a client sends them.
    """
    schema = source.schema
    parsed, broken = parse(source.layout, records, source.columns, unparseable)
    columns, misses = with_side_tables(source, parsed, broken)

    filtered = left_out(schema.filters, columns, broken)
    is_left_out = filtered.by >= 0
    raw, faults, absent, unequal = read_features(schema, columns, whole_lists=whole_lists)

    times = tf.fill(tf.shape(records), tf.constant(np.nan, tf.float64))
    if schema.time is not None:
        times = row_times(schema.time, columns[schema.time.column])
    users = _users(columns[schema.user]) if schema.user else None

    unusable = {"columns" if source.layout.form else "unparseable": broken}
    if schema.filters:
        unusable["filtered"] = is_left_out
        faults = {name: rows & ~is_left_out for name, rows in faults.items()}
        absent = {name: rows | is_left_out for name, rows in absent.items()}
        misses = {name: rows & ~is_left_out for name, rows in misses.items()}
        unequal = {name: rows & ~is_left_out for name, rows in unequal.items()}
    if source.split.kind == "time":
        unusable["bad_time"] = tf.math.is_nan(times) | (times < 0.0)
        unusable["far_time"] = is_far(source.split, times)

    return Rows(
        raw=raw,
        faults=faults,
        absent=absent,
        labels=read_labels(schema, columns, unusable),
        split=_split(source, records, times, users),
        times=times,
        user=_hashes(records, users),
        unequal=unequal,
        misses=misses,
        left_out=filtered,
    )


def with_side_tables(
    source: Source, parsed: Mapping[str, tf.Tensor | tf.RaggedTensor], broken: tf.Tensor
) -> tuple[dict[str, tf.Tensor | tf.RaggedTensor], dict[str, tf.Tensor]]:
    """Adds the columns of side tables to those of a batch of records.

    Args:
        source: The data set.
        parsed: Raw columns by name, of `records.parse`.
        broken: Bool (batch,): the record could not be taken apart.

    Returns:
        All columns, texts of absent values emptied; and by side table's file, bool (batch,): its
        key was not found.
    """
    nulls = source.schema.nulls
    columns = {name: without_nulls(column, nulls) for name, column in parsed.items()}
    misses = {}
    for side in source.side_tables:
        joined, missed = look_up(side, columns[side.join.key])
        columns |= {name: without_nulls(column, nulls) for name, column in joined.items()}
        misses[side.join.file] = missed & ~broken
    return columns, misses


class RawFeatures(NamedTuple):
    """The features of a batch, each by its name as `Rows` has it; sequences by theirs."""

    raw: dict[str, tf.Tensor]
    faults: dict[str, tf.Tensor]
    absent: dict[str, tf.Tensor]
    unequal: dict[str, tf.Tensor]


def read_features(
    schema: Schema,
    columns: Mapping[str, tf.Tensor | tf.RaggedTensor],
    *,
    whole_lists: bool = False,
) -> RawFeatures:
    """Reads features from raw columns.

    Args:
        schema: The features.
        columns: Of `with_side_tables`.
        whole_lists: As `examine` takes it.
    """
    raw, faults, absent = {}, {}, {}
    for feature in schema.features:
        name, column = feature.name, columns[feature.column]
        read = raw_feature(feature, column, whole_lists=whole_lists)
        raw[name], faults[name], absent[name] = read
    unequal = unequal_rows(schema, columns)
    return RawFeatures(without_events(schema, raw, unequal), faults, absent, unequal)


def _users(column: tf.Tensor | tf.RaggedTensor) -> Values:
    """Reads each row's user as the text that names it, however its file writes numbers."""
    read = single(column, tf.string)
    return read._replace(values=id_text(read.values))


def _hashes(records: tf.Tensor, users: Values | None) -> tf.Tensor:
    """Returns each row's hash of its user, int64 (batch,)."""
    absent = tf.fill(tf.shape(records), tf.constant(NO_USER, tf.int64))
    if users is None:
        return absent
    return tf.where(users.present, fingerprint(users.values), absent)


def _split(source: Source, records: tf.Tensor, times: tf.Tensor, users: Values | None) -> tf.Tensor:
    """Returns each row's split; 0 where whole files split, or the boundaries are not known yet."""
    if source.split.kind == "time" and not source.split.needs_boundaries:
        return split_of_times(source.split, times)
    if source.split.kind == "user" and users is not None:
        return split_of_users(source.split, users, records)
    if source.split.kind == "random":
        return split_at_random(source.split, records)
    return tf.zeros_like(records, tf.int32)
