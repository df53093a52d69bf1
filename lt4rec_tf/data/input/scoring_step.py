"""Raw records to answers: the parser of training, the features, what is at fault in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.bad_rows import SHOWN, shown
from lt4rec_tf.data.formats.records import parse
from lt4rec_tf.data.formats.values import single
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.labels import seconds_of
from lt4rec_tf.data.input.parsed_rows import read_features, with_side_tables
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.types import Schema

GOOD, BROKEN = -1, -2  # of `first_fault`; else a place among `fault_names`

Step = Callable[[tf.Tensor, tf.Tensor], dict[str, Any]]
Answer = Callable[[Mapping[str, tf.Tensor], tf.Tensor | None], dict[str, tf.Tensor]]


def fault_names(schema: Schema) -> list[str]:
    """Returns what can be at fault in a row: its features, then sequences of several lists."""
    several = [sequence.name for sequence in sequences_of(schema) if len(sequence.lists) > 1]
    return [*(feature.name for feature in schema.features), *several]


def scoring_step(
    source: Source, answer: Answer, carried: Sequence[str] = (), *, as_missing: bool = False
) -> Step:
    """Makes the function of records to answers, which is traced once.

    Args:
        source: The opened rows.
        answer: Ids by feature, and seconds where predictions read them -> float32 (batch,) by name.
        carried: Columns that are handed on as they are.
        as_missing: Whether a value that is none of its feature's dtype is missing, as in training;
            otherwise it is the row's fault.

    Returns:
        (records, strings (batch,); bool (batch,), the malformed ones) -> "answers"; "first_fault",
        int32 (batch,), of a row that can be scored `GOOD`; "carried", by column its "values", and
        the "lengths" of lists; "misses", by side table the number of rows whose key it lacks.
    """
    schema = source.schema

    def step(records: tf.Tensor, unparseable: tf.Tensor) -> dict[str, Any]:
        parsed, broken = parse(source.layout, records, source.columns, unparseable)
        columns, misses = with_side_tables(source, parsed, broken)
        read = read_features(schema, columns)
        seconds = None
        if schema.labels:
            length = single(columns[str(schema.labels[0].duration)], tf.float64)
            seconds = seconds_of(schema.labels[0], length)

        first = tf.fill(tf.shape(records), GOOD)
        faults = [*read.faults.values(), *read.unequal.values()]
        for place in reversed(range(0 if as_missing else len(faults))):
            first = tf.where(faults[place], place, first)
        return {
            "answers": answer(features_to_ids(schema, read.raw), seconds),
            "first_fault": tf.where(broken, BROKEN, first),
            "carried": {name: _pieces(parsed[name]) for name in carried},
            "misses": {file: tf.math.count_nonzero(rows) for file, rows in misses.items()},
        }

    signature = [tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,), tf.bool)]
    return tf.function(step, input_signature=signature, autograph=False)


def _pieces(column: tf.Tensor | tf.RaggedTensor) -> dict[str, tf.Tensor]:
    if isinstance(column, tf.RaggedTensor):
        return {"values": column.flat_values, "lengths": column.row_lengths()}
    return {"values": column}


def reasons_of(source: Source, records: tf.Tensor, first_fault: np.ndarray) -> list[str]:
    """Says why rows cannot be scored.

    Args:
        source: Of the rows.
        records: Strings (batch,): these rows, eager.
        first_fault: int32 (batch,), none `GOOD`.
    """
    broken = first_fault == BROKEN
    parsed, _ = parse(source.layout, records, source.columns, tf.constant(broken))
    columns, _ = with_side_tables(source, parsed, tf.constant(broken))
    names, reasons = fault_names(source.schema), []
    for row, place in enumerate(first_fault.tolist()):
        if place == BROKEN:
            reasons.append(_broken(source, records[row].numpy()))
        elif place >= len(source.schema.features):
            reasons.append(f"{names[place]}: found lists of several lengths, expected one")
        else:
            feature = source.schema.features[place]
            value = _text(columns[feature.column], row)
            reasons.append(f"{feature.column}: found {value!r}, expected {feature.dtype}")
    return reasons


def _broken(source: Source, record: bytes) -> str:
    """Says why a record cannot be taken apart."""
    if not source.layout.by_python:
        return "columns" if source.layout.form else "unparseable"
    # A quoted line begins with its fault.
    width = len(source.layout.columns) + 1
    fault, *_ = tf.io.decode_csv([record], [""] * width)
    return shown(fault[0].numpy())


def _text(column: tf.Tensor | tf.RaggedTensor, row: int) -> str:
    values = np.atleast_1d(column[row].numpy()).tolist()
    texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]
    return "|".join(texts)[:SHOWN]
