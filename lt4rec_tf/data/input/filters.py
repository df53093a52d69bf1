"""Filters of a schema, applied to a batch: which rows are left out, and by which filter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from lt4rec_tf.data.formats.values import id_text, single
from lt4rec_tf.schema.types import Filter

_COMPARED: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "==": tf.equal,
    "!=": tf.equal,
    "<": tf.less,
    "<=": tf.less_equal,
    ">": tf.greater,
    ">=": tf.greater_equal,
    "in": tf.equal,
    "not_in": tf.equal,
}
_NEGATED = ("!=", "not_in")


class LeftOut(NamedTuple):
    """The rows of a batch that filters leave out.

    Attributes:
        by: int32 (batch,), the first filter that does not hold; -1 where all hold.
        unreadable: Bool (batch,): the row holds something that this filter cannot compare.
    """

    by: tf.Tensor
    unreadable: tf.Tensor


def left_out(
    filters: Sequence[Filter],
    columns: Mapping[str, tf.Tensor | tf.RaggedTensor],
    broken: tf.Tensor,
) -> LeftOut:
    """Finds the rows that filters leave out.

    A number is compared with numbers ("5.0" is 5, true is 1), a text with texts ("5.0" is "5" too,
    as in ids). Of an absent value, NaN among them, "!=" and "not_in" hold, and nothing else. Of a
    text where a number is compared nothing holds.

    Args:
        filters: The schema's.
        columns: Raw columns (batch,) or (batch, values), texts of absent values emptied already.
        broken: Bool (batch,): records of which no column can be read. They are not left out.
    """
    by = tf.fill(tf.shape(broken), -1)
    unreadable = tf.zeros_like(broken)
    for index in reversed(range(len(filters))):  # the first of the list is written last
        holds, is_unreadable = _holds(filters[index], columns[filters[index].column])
        fails = ~holds & ~broken
        by = tf.where(fails, index, by)
        unreadable = tf.where(fails, is_unreadable, unreadable)
    return LeftOut(by, unreadable)


def _holds(rule: Filter, column: tf.Tensor | tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Tells of each row, bool (batch,), if a filter holds, and if it cannot compare the value."""
    values, present, valid = _values(rule, column)
    others = _others(rule, column.dtype)
    matches = [_COMPARED[rule.comparison](values, other) for other in others]
    matching = valid & functools.reduce(tf.logical_or, matches)

    unreadable = present & ~valid
    if rule.comparison in _NEGATED:
        return ~matching & ~unreadable, unreadable
    return matching, unreadable


def _values(
    rule: Filter, column: tf.Tensor | tf.RaggedTensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns a column's values, and bool: there is one, and it is of the filter's kind."""
    if isinstance(rule.values[0], str):
        read = single(column, tf.string)
        return id_text(read.values), read.present, read.valid

    read = single(column, tf.float64)
    # Of a text that is no number the value is NaN as well, but it is there.
    present = read.present & ~(read.valid & tf.math.is_nan(read.values))
    return read.values, present, read.valid & present


def _others(rule: Filter, dtype: tf.DType) -> list[tf.Tensor]:
    """Returns what a column of raw values of a dtype is compared with."""
    if isinstance(rule.values[0], str):
        return [id_text(tf.constant(value)) for value in rule.values]
    numbers = [tf.constant(value, tf.float64) for value in rule.values]
    if dtype == tf.float32:  # there .1 is another number than in float64
        numbers = [tf.cast(tf.cast(number, dtype), tf.float64) for number in numbers]
    return numbers
