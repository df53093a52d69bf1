"""Lists that hold the same events, position by position: rows in which they cannot."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from lt4rec_tf.data.formats.values import DTYPES, list_lengths
from lt4rec_tf.schema.events import EventSequence, sequences_of
from lt4rec_tf.schema.types import Schema

Columns = Mapping[str, tf.Tensor | tf.RaggedTensor]


def unequal_rows(schema: Schema, columns: Columns) -> dict[str, tf.Tensor]:
    """Tells in which rows the lists of a sequence are not equally long.

    Which value belongs to which event is not known there.

    Args:
        schema: The features.
        columns: Raw columns by name.

    Returns:
        By sequence of several lists, bool (batch,).
    """
    several = [sequence for sequence in sequences_of(schema) if len(sequence.lists) > 1]
    return {sequence.name: _unequal(sequence, columns) for sequence in several}


def _unequal(sequence: EventSequence, columns: Columns) -> tf.Tensor:
    lengths = [list_lengths(columns[f.column], f.separator) for f in sequence.lists]
    # A list of one absent value is written as an empty one is.
    lengths = [tf.maximum(length, 1) for length in lengths]
    return tf.reduce_any([other != lengths[0] for other in lengths[1:]], axis=0)


def without_events(
    schema: Schema, raw: Mapping[str, tf.Tensor], rows: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns raw features in which some rows have no event.

    Args:
        schema: The features.
        raw: By feature, lists (batch, values).
        rows: By sequence, bool (batch,): in which rows.
    """
    changed = dict(raw)
    for sequence in sequences_of(schema):
        if sequence.name in rows:
            for feature in sequence.lists:
                missing = tf.constant(feature.missing, DTYPES[feature.dtype])
                values, emptied = raw[feature.name], rows[sequence.name][:, tf.newaxis]
                changed[feature.name] = tf.where(emptied, missing, values)
    return changed
