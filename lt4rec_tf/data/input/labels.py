"""Hybrid labels: clicks that every row has, watch ratios or amounts that only some rows have.

A task's population is a weight: label 0 with weight 0 outside it; inside it the row's own weight, 1
unless a column says it. Populations nest, and a label is missing only where it is defined and a
task needs it: in the rows of the task's scenario. A row that cannot be used gets the code of one
reason, the first that applies in the order of `REASONS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.bad_rows import BadRow
from lt4rec_tf.data.formats.records import Layout, shown_record
from lt4rec_tf.data.formats.values import Values, single
from lt4rec_tf.data.input.filters import LeftOut
from lt4rec_tf.data.input.populations import find_populations, outside_scenarios
from lt4rec_tf.schema.types import Label, Schema

REASONS = (
    "usable",
    "columns",  # a line with another number of values, or with quotes that do not close
    "unparseable",  # no tf.train.Example, or one with values of another kind
    "filtered",  # a filter of the schema does not hold: the row is left out, whatever else it holds
    "bad_time",  # a split by time, and no time
    "bad_weight",  # no number, below 0 or infinite; or none at all
    "missing_label",  # absent where a task is learned
    "bad_label",  # no number, a click that is neither 0 nor 1, a ratio or amount below 0
    "bad_negatives_kept",  # label 0, and no share above 0 and at most 1 of rows that were kept
    "negative_play_time",  # or not a number
    "zero_duration",  # no length above 0, and the schema calls that bad
    "excluded_zero_duration",  # the same, and the schema excludes such rows
    "far_time",  # a split by time, and a time so far from all others that it must be a mistake
)
USABLE = 0
FILTERED = REASONS.index("filtered")
EXCLUDED = REASONS.index("excluded_zero_duration")
FAR_TIME = REASONS.index("far_time")
UNIT_SECONDS = {"s": 1.0, "ms": 0.001}

Columns = Mapping[str, tf.Tensor | tf.RaggedTensor]


class Labels(NamedTuple):
    """The labels of a batch.

    Attributes:
        labels: By task, float32 (batch,); 0 outside the population.
        weights: By task, float32 (batch,): the row's weight in the population, 0 outside.
        reasons: int32 (batch,), indices in `REASONS`; 0 where the row can be used.
        culprits: int32 (batch,), the index of the label, in the schema's order, that made the row
            unusable; -1 where no label did.
        unlabelled: By label, bool (batch,): kept without this label for want of a duration.
        above_one: By ratio label, bool (batch,): the ratio was above 1, and is clipped to it.
        kept: By task with a column of them, float32 (batch,): the share of rows like this one that
            the log still holds; 1 unless the label is 0.
        duration: float32 (batch,), the length in seconds of the row's video, as the first label
            that names such a column has it; NaN where it is unknown.
        outside: By task with a scenario, which rows its conditions leave outside.
        clipped: By label of an amount that can be so large at most, bool (batch,): it was larger.
    """

    labels: dict[str, tf.Tensor]
    weights: dict[str, tf.Tensor]
    reasons: tf.Tensor
    culprits: tf.Tensor
    unlabelled: dict[str, tf.Tensor]
    above_one: dict[str, tf.Tensor]
    kept: dict[str, tf.Tensor]
    duration: tf.Tensor
    outside: dict[str, LeftOut]
    clipped: dict[str, tf.Tensor]


class ParsedLabel(NamedTuple):
    """A label, its video's length in seconds, by reason the rows it makes unusable; (batch,)."""

    value: tf.Tensor
    present: tf.Tensor
    unlabelled: tf.Tensor
    duration: tf.Tensor | None
    faults: dict[str, tf.Tensor]
    above: tf.Tensor | None = None  # the ratio was above 1, the amount above what it can be


def read_labels(schema: Schema, columns: Columns, faults: Mapping[str, tf.Tensor]) -> Labels:
    """Makes every task's labels and weights.

    A watch ratio is clip(play time / duration, 0, 1), both in seconds; an amount made of them is
    clipped to what it can be at most, if the schema says that.

    Args:
        schema: Its labels and tasks.
        columns: The raw columns from which the labels are made.
        faults: By reason, bool (batch,): rows known to be unusable already.
    """
    parsed = {label.name: parse_label(label, columns) for label in schema.labels}
    everywhere = tf.ones_like(next(iter(parsed.values())).present)
    positive = {name: label.value == 1.0 for name, label in parsed.items()}
    outside = outside_scenarios(schema, columns, ~everywhere)
    populations, needed = find_populations(schema, positive, outside)

    all_faults = dict(faults)
    row_weights = None
    if schema.weight is not None:
        row_weights, all_faults["bad_weight"] = _row_weights(columns[schema.weight])
    kept, bad_kept = _kept(schema, columns, parsed, populations)
    if kept:
        all_faults["bad_negatives_kept"] = bad_kept

    faults_by_label = {}
    for name, label in parsed.items():
        missing = needed[name] & ~label.present & ~label.unlabelled
        faults_by_label[name] = {"missing_label": missing, **label.faults}
        for reason, rows in faults_by_label[name].items():
            all_faults[reason] = all_faults[reason] | rows if reason in all_faults else rows
    reasons = _first_reason(all_faults, everywhere)

    labels, weights = {}, {}
    for task in schema.tasks:
        label = parsed[task.label]
        weighs = populations[task.name] & label.present & ~label.unlabelled & (reasons == USABLE)
        labels[task.name] = tf.where(weighs, tf.cast(label.value, tf.float32), 0.0)
        inside = tf.cast(weighs, tf.float32)
        weights[task.name] = inside if row_weights is None else row_weights * inside

    unlabelled = {name: label.unlabelled & (reasons == USABLE) for name, label in parsed.items()}
    durations = [label.duration for label in parsed.values() if label.duration is not None]
    duration = durations[0] if durations else tf.fill(tf.shape(everywhere), math.nan)
    culprits = _culprits([*faults_by_label.values()], reasons)
    above = {name: label.above for name, label in parsed.items() if label.above is not None}
    above_one = {name: rows for name, rows in above.items() if schema.label(name).kind == "ratio"}
    clipped = {n: rows & (reasons == USABLE) for n, rows in above.items() if n not in above_one}
    return Labels(
        labels, weights, reasons, culprits, unlabelled, above_one, kept, duration, outside, clipped
    )


def _row_weights(column: tf.Tensor | tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads the rows' weights, float32 (batch,), and bool (batch,): there is none that can be used.

    These are 0.
    """
    read = single(column, tf.float64)
    weights = tf.cast(read.values, tf.float32)
    usable = read.valid & (weights >= 0.0) & tf.math.is_finite(weights)
    return tf.where(usable, weights, 0.0), ~usable


def _kept(
    schema: Schema,
    columns: Columns,
    parsed: Mapping[str, ParsedLabel],
    populations: Mapping[str, tf.Tensor],
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Reads the shares of kept negatives by task, and bool (batch,): one cannot be used."""
    kept = {}
    bad = tf.zeros_like(next(iter(populations.values())))
    for task in schema.tasks:
        if task.kept_column is not None:
            read = single(columns[task.kept_column], tf.float64)
            shares = tf.cast(read.values, tf.float32)
            label = parsed[task.label]
            negative = populations[task.name] & label.present & (label.value == 0.0)
            usable = read.valid & (shares > 0.0) & (shares <= 1.0)
            bad |= negative & ~usable
            kept[task.name] = tf.where(negative & usable, shares, 1.0)
    return kept, bad


def _first_reason(faults: Mapping[str, tf.Tensor], like: tf.Tensor) -> tf.Tensor:
    reasons = tf.zeros_like(like, tf.int32)
    for code in reversed(range(1, len(REASONS))):  # the first of the list is written last
        if REASONS[code] in faults:
            reasons = tf.where(faults[REASONS[code]], code, reasons)
    return reasons


def _culprits(faults_by_label: Sequence[Mapping[str, tf.Tensor]], reasons: tf.Tensor) -> tf.Tensor:
    """Returns the index of the first label that has the row's fault, int32 (batch,); -1: none."""
    culprits = -tf.ones_like(reasons)
    for index in reversed(range(len(faults_by_label))):
        for reason, rows in faults_by_label[index].items():
            guilty = rows & (reasons == REASONS.index(reason))
            culprits = tf.where(guilty, index, culprits)
    return culprits


def columns_at_fault(label: Label, reason: str) -> str:
    """Names a label and the columns in which a reason of `REASONS` lies.

    >>> click = Label("click", "binary", "is_click", None, None, "s", "s", "bad")
    >>> columns_at_fault(click, "bad_label")
    'click: column is_click'
    """
    times = {
        "negative_play_time": [label.play_time],
        "zero_duration": [label.duration],
        "excluded_zero_duration": [label.duration],
    }
    own = [label.column] if label.column is not None else [label.play_time, label.duration]
    names = [name for name in times.get(reason, own) if name is not None]
    return f"{label.name}: column{'s' * (len(names) > 1)} {', '.join(names)}"


def parse_label(label: Label, columns: Columns) -> ParsedLabel:
    """Reads one label of every row, whatever its population; 0 where none can be used.

    Args:
        label: The label.
        columns: The raw columns from which it is made.
    """
    duration = None
    if label.duration is not None:
        duration = single(columns[label.duration], tf.float64)
    if label.play_time is not None and duration is not None:
        play_time = single(columns[label.play_time], tf.float64)
        return _of_times(label, play_time, duration)
    if label.column is None:
        raise ValueError(f"label {label.name}: found neither a column nor times, expected one")

    column = single(columns[label.column], tf.float64)
    seconds = seconds_of(label, duration) if duration is not None else None
    above = None
    if label.kind == "binary":
        valid = column.valid & ((column.values == 0.0) | (column.values == 1.0))
        value = column.values
    else:
        valid = column.valid & (column.values >= 0.0) & tf.math.is_finite(column.values)
        if label.kind == "amount":
            value = column.values * label.multiplier
            valid &= tf.math.is_finite(tf.cast(value, tf.float32))  # as batches hold it
            if label.is_clipped:
                most = _most(label, seconds)
                value, above = tf.minimum(value, most), valid & (value > most)
        else:
            value, above = tf.minimum(column.values, 1.0), valid & (column.values > 1.0)

    return ParsedLabel(
        value=tf.where(valid, value, 0.0),
        present=column.present,
        unlabelled=tf.zeros_like(column.present),
        duration=seconds,
        faults={"bad_label": column.present & ~valid},
        above=above,
    )


def _most(label: Label, seconds: tf.Tensor | None) -> tf.Tensor:
    """Returns the most that an amount can be, float64: any where a duration is unknown."""
    if not label.within_duration or seconds is None:
        return tf.constant(label.at_most, tf.float64)
    unknown = tf.constant(math.inf, tf.float64)
    return tf.where(tf.math.is_nan(seconds), unknown, tf.cast(seconds, tf.float64))


def _of_times(label: Label, play_time: Values, duration: Values) -> ParsedLabel:
    """Makes play time / duration, both in seconds: at most 1, or what an amount can be."""
    infinite = tf.math.is_inf(play_time.values) | tf.math.is_inf(duration.values)
    unreadable = (play_time.present & ~play_time.valid) | (duration.present & ~duration.valid)

    # NaN is tested for by name: TensorFlow's graph optimiser turns not (x >= 0) into x < 0.
    not_a_number = (tf.math.is_nan(play_time.values), tf.math.is_nan(duration.values))
    negative = play_time.valid & ((play_time.values < 0.0) | not_a_number[0])
    no_length = duration.valid & ((duration.values <= 0.0) | not_a_number[1])

    usable = play_time.valid & duration.valid & ~(infinite | negative | no_length)
    scale = UNIT_SECONDS[label.play_time_unit] / UNIT_SECONDS[label.duration_unit]
    ratio = tf.math.divide_no_nan(play_time.values * scale, duration.values)
    most = 1.0 if label.kind == "ratio" else label.at_most
    # Batches hold float32.
    infinite |= (most == math.inf) & tf.math.is_inf(tf.cast(ratio, tf.float32)) & usable

    faults = {"bad_label": unreadable | infinite, "negative_play_time": negative}
    if label.zero_duration != "unlabelled":
        excluded = label.zero_duration == "exclude"
        faults["excluded_zero_duration" if excluded else "zero_duration"] = no_length

    return ParsedLabel(
        value=tf.where(usable, tf.clip_by_value(ratio, 0.0, most), 0.0),
        present=play_time.present & duration.present,
        unlabelled=no_length & (label.zero_duration == "unlabelled"),
        duration=seconds_of(label, duration),
        faults=faults,
        above=usable & (ratio > most) if most < math.inf else None,
    )


def seconds_of(label: Label, duration: Values) -> tf.Tensor:
    """Returns a video's length, float32 (batch,); NaN where there is none above 0."""
    seconds = tf.cast(duration.values * UNIT_SECONDS[label.duration_unit], tf.float32)
    valid = duration.valid & (seconds > 0.0) & tf.math.is_finite(seconds)
    return tf.where(valid, seconds, math.nan)


def bad_rows(
    name: str, first: int, records: tf.Tensor, reasons: np.ndarray, layout: Layout
) -> Iterable[BadRow]:
    """Returns the rows of a batch that are listed: unusable ones, but those the schema leaves out.

    Args:
        name: The file.
        first: The number of the first record, from 1.
        records: Strings (batch,), eager.
        reasons: int (batch,), indices in `REASONS`.
        layout: The structure of the records.
    """
    row_indices = np.flatnonzero(~np.isin(reasons, (USABLE, FILTERED, EXCLUDED)))
    if not len(row_indices):
        return

    bad = tf.gather(records, row_indices).numpy()
    for row_index, record in zip(row_indices.tolist(), bad, strict=True):
        text = shown_record(layout, record)
        yield BadRow(name, first + row_index, REASONS[reasons[row_index]], text)
