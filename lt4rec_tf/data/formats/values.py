"""Raw columns of logs to numbers and lists, a whole batch at a time; no value makes it fail.

A raw column is a string tensor (batch,) from a text file, or a ragged tensor of strings, int64 or
float32 (batch, values) from TFRecords of `tf.train.Example`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from lt4rec_tf.data.formats import json_lists
from lt4rec_tf.schema.types import JSON_LISTS, Feature

# Below it a float that is whole is the number that was meant; from it on it may be a neighbour.
EXACT_IN_FLOAT32, EXACT_IN_FLOAT64 = 2.0**24, 2.0**53
# Some of TensorFlow's threads take what is smaller for 0, and others do not: it is 0 in all.
SMALLEST_FLOAT32, SMALLEST_FLOAT64 = 2.0**-126, 2.0**-1022
_SMALLEST = {tf.float32: SMALLEST_FLOAT32, tf.float64: SMALLEST_FLOAT64}
DTYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


def _up_to(limit: int) -> str:
    """Returns a regular expression for the decimals 0..limit without leading zeros."""
    digits = str(limit)
    alternatives = [f"[0-9]{{1,{len(digits) - 1}}}", digits]

    # As long as the limit, and smaller from some digit on.
    for position, digit in enumerate(digits):
        if digit != "0":
            rest = len(digits) - position - 1
            alternatives.append(f"{digits[:position]}[0-{int(digit) - 1}][0-9]{{{rest}}}")
    return "(?:" + "|".join(alternatives) + ")"


# A writer of floats, as "7.0" is from, holds no more digits: beyond, it may be a neighbour.
_OF_FLOAT = rf"{_up_to(int(EXACT_IN_FLOAT64) - 1)}\.0*"
_INTEGER = rf"\s*[+-]?0*(?:{_up_to(2**63 - 1)}|{_OF_FLOAT})\s*"
_ID_OF_FLOAT = rf"\s*[+-]?0*{_OF_FLOAT}\s*"
_FLOAT = r"(?i)\s*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)\s*"


class Values(NamedTuple):
    """Values of one column.

    Attributes:
        values: (batch,) or (batch, values).
        present: bool, same shape: the log held something there.
        valid: bool, same shape: it could be read as the wanted dtype; values that are not
            valid, or not present, are 0, NaN or "".
    """

    values: tf.Tensor
    present: tf.Tensor
    valid: tf.Tensor


def _with_numbers_of_booleans(text: tf.Tensor, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Writes 1 for "true" and 0 for "false", as databases and pandas write booleans into text.

    Args:
        text: The texts.
        valid: Bool, in their shape: they are numbers already.

    Returns:
        The texts, and bool: they are numbers now.
    """

    def replaced() -> tuple[tf.Tensor, tf.Tensor]:
        is_true = tf.strings.regex_full_match(text, r"(?i)\s*true\s*")
        is_false = tf.strings.regex_full_match(text, r"(?i)\s*false\s*")
        numbers = tf.where(is_true, "1", tf.where(is_false, "0", text))
        return numbers, valid | is_true | is_false

    # Few columns hold booleans: others are not searched for them.
    all_read = tf.reduce_all(valid | (text == ""))
    return tf.cond(all_read, lambda: (text, valid), replaced)


def text_to_int64(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads decimals such as "7", " 7 " and "7.0" (below 2^53), and "true" and "false" as 1 and 0.

    Returns:
        int64 values, 0 where the text is no such number, and bool "is one", in the text's shape.
    """
    text, valid = _with_numbers_of_booleans(text, tf.strings.regex_full_match(text, _INTEGER))
    digits = tf.strings.regex_replace(text, r"\.0*\s*$", "")
    return tf.strings.to_number(tf.where(valid, digits, "0"), tf.int64), valid


def text_to_float(text: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads decimals, scientific notation, "nan" and "inf", and "true" and "false" as 1 and 0.

    Returns:
        Values, NaN where the text is no number, and bool "is one", in the text's shape.
    """
    text, valid = _with_numbers_of_booleans(text, tf.strings.regex_full_match(text, _FLOAT))
    return tf.strings.to_number(tf.where(valid, text, "nan"), dtype), valid


def convert(values: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns strings, int64 or float32 into another dtype.

    A float32 that is whole becomes the whole number that it means, or its text; from 2^24 on it may
    mean a neighbour, and cannot be converted.

    Returns:
        The values in the new dtype and, in the same shape, bool: each could be converted.
    """
    everywhere = tf.ones_like(values, tf.bool)
    values = _without_subnormal(values)
    if values.dtype == dtype:
        return values, everywhere

    if values.dtype == tf.string and dtype == tf.int64:
        return text_to_int64(values)
    if values.dtype == tf.string:
        numbers, valid = text_to_float(values, dtype)
        return _without_subnormal(numbers), valid
    if not values.dtype.is_floating:
        text = dtype == tf.string
        return (tf.strings.as_string(values) if text else tf.cast(values, dtype)), everywhere

    if dtype.is_floating:
        return tf.cast(values, dtype), everywhere
    is_whole = tf.math.is_finite(values) & (tf.math.floor(values) == values)
    is_exact = is_whole & (tf.abs(values) < EXACT_IN_FLOAT32)
    whole = tf.cast(tf.where(is_exact, values, 0.0), tf.int64)
    if dtype == tf.int64:
        return whole, is_exact
    valid = is_exact | ~is_whole
    text = tf.where(is_exact, tf.strings.as_string(whole), _text_of_fractions(values))
    return tf.where(valid, text, ""), valid


def _without_subnormal(values: tf.Tensor) -> tf.Tensor:
    """Takes numbers too small for a float's whole precision for 0; others stay as they are."""
    if not values.dtype.is_floating:
        return values
    return tf.where(tf.abs(values) < _SMALLEST[values.dtype], tf.zeros_like(values), values)


def _text_of_fractions(values: tf.Tensor) -> tf.Tensor:
    """Writes float32 in six digits where these mean the number, else in the nine that always do."""
    short = tf.strings.as_string(values, shortest=True)
    is_exact = tf.strings.to_number(short, values.dtype) == values
    return tf.where(is_exact, short, tf.strings.as_string(values, precision=9, shortest=True))


def id_text(text: tf.Tensor) -> tf.Tensor:
    """Writes whole numbers in one way: "7.0", as pandas writes 7 beside a null, as "7".

    From 2^53 on a float may stand for a neighbour: its text stays as it is, an id of its own.

    >>> id_text(tf.constant(["7.0", "7", "7.5", "a.0", "9007199254740993.0"])).numpy().tolist()
    [b'7', b'7', b'7.5', b'a.0', b'9007199254740993.0']
    """

    def replaced() -> tf.Tensor:
        is_exact = tf.strings.regex_full_match(text, _ID_OF_FLOAT)
        whole = tf.strings.regex_replace(text, r"^\s*([+-]?[0-9]+)\.0*\s*$", r"\1")
        return tf.where(is_exact, whole, text)

    # Few columns hold any: one cheap look tells.
    some = tf.reduce_any(tf.strings.regex_full_match(text, r"\s*[+-]?[0-9]+\.0*\s*"))
    return tf.cond(some, replaced, lambda: text)


def id_of(text: str) -> str:
    """Does what `id_text` does to one text."""
    is_of_float = re.fullmatch(_ID_OF_FLOAT, text, re.ASCII)
    return text.strip().partition(".")[0] if is_of_float else text


def has_ids(feature: Feature) -> bool:
    """Tells if a feature's texts are ids, which `id_text` writes in one way.

    Those of a vocabulary are if it lists whole numbers, and no text such as "7.0", which it would
    tell from "7".
    """
    if feature.dtype != "string" or feature.ids.kind != "vocabulary":
        return feature.dtype == "string"
    texts = feature.ids.vocabulary
    lists_numbers = any(re.fullmatch("[+-]?[0-9]+", text) for text in texts)
    return lists_numbers and all(id_of(text) == text for text in texts)


def without_nulls(
    column: tf.Tensor | tf.RaggedTensor, nulls: Sequence[str]
) -> tf.Tensor | tf.RaggedTensor:
    """Empties the texts of a column that stand for absent values; numbers stay as they are."""
    if not nulls or column.dtype != tf.string:
        return column
    if isinstance(column, tf.RaggedTensor):
        return column.with_flat_values(without_nulls(column.flat_values, nulls))
    return tf.where(is_null(column, nulls), "", column)


def is_null(text: tf.Tensor, nulls: Sequence[str]) -> tf.Tensor:
    """Tells of each text, bool in its shape, if it stands for an absent value."""
    found = tf.zeros_like(text, tf.bool)
    for mark in nulls:
        found |= text == mark
    return found


def single(column: tf.Tensor | tf.RaggedTensor, dtype: tf.DType) -> Values:
    """Reads one value per row (the first one of a list), shape (batch,)."""
    if isinstance(column, tf.RaggedTensor):
        values, present = _padded(column, 1)
        values, present = values[:, 0], present[:, 0]
    else:
        values, present = column, column != ""
    converted, valid = convert(values, dtype)
    return Values(converted, present, valid & present)


def multiple(
    column: tf.Tensor | tf.RaggedTensor,
    dtype: tf.DType,
    separator: str,
    max_values: int | None,
    *,
    placed: bool = False,
) -> Values:
    """Reads a list per row, its first `max_values` values, padded; shape (batch, max_values).

    Args:
        column: The raw column.
        dtype: The dtype of the values.
        separator: What stands between two values of a text, or `JSON_LISTS`; "" where lists are
            cut already.
        max_values: The number of values that are kept; None: all, and the shape is (batch, values
            of the longest).
        placed: Whether an absent value keeps its place where a JSON list says null.
    """
    values, present = _padded(_cut(column, separator, placed), max_values)
    converted, valid = convert(values, dtype)
    if separator == JSON_LISTS and dtype == tf.string:  # elsewhere it is no number anyway
        valid &= converted != json_lists.BROKEN
    return Values(converted, present, valid & present)


def list_lengths(column: tf.Tensor | tf.RaggedTensor, separator: str) -> tf.Tensor:
    """Returns the number of values of each row's list, int64 (batch,); 0 where it is empty.

    >>> list_lengths(tf.constant(["a|b", "", "a||c"]), "|").numpy().tolist()
    [2, 0, 3]

    Args:
        column: The raw column.
        separator: As `multiple` takes it.
    """
    lengths = _cut(column, separator, placed=True).row_lengths()
    if isinstance(column, tf.RaggedTensor):
        return lengths
    return tf.where(column == "", tf.zeros_like(lengths), lengths)


def _cut(column: tf.Tensor | tf.RaggedTensor, separator: str, placed: bool) -> tf.RaggedTensor:
    """Returns the list of each row, cut if it is not yet."""
    if not isinstance(column, tf.RaggedTensor):
        return cut_texts(column, separator, placed=placed)
    if separator and column.dtype == tf.string:
        cut = cut_texts(column.flat_values, separator, placed=placed)
        return column.with_flat_values(cut).merge_dims(1, 2)
    return column


def cut_texts(texts: tf.Tensor, separator: str, *, placed: bool = False) -> tf.RaggedTensor:
    """Cuts texts (n,) into lists; what should be a JSON list and is none is `BROKEN`."""
    if separator != JSON_LISTS:
        return tf.strings.split(texts, separator)
    lists, _ = json_lists.cut(tf.where(texts == "", "[]", texts), placed=placed)
    return lists


def _padded(column: tf.RaggedTensor, length: int | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first values of each row, (batch, length), and bool: the row has one there."""
    values = column.to_tensor(shape=(None, length))
    if length is None:
        length = tf.shape(values, tf.int64)[1]
    present = tf.sequence_mask(tf.minimum(column.row_lengths(), length), length)
    return values, present & (values != "") if values.dtype == tf.string else present


def raw_feature(
    feature: Feature, column: tf.Tensor | tf.RaggedTensor, *, whole_lists: bool = False
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reads a feature's raw values.

    Args:
        feature: The feature, whose dtype the values get.
        column: The raw column.
        whole_lists: Keeps all values of a list, which `features_to_ids` cuts.

    Returns:
        The values as `features_to_ids` takes them; bool (batch,): the row held something there that
        is no value of the feature's dtype, and which became its missing value; and bool (batch,):
        the row held nothing there.
    """
    dtype = DTYPES[feature.dtype]
    if feature.multivalued:
        most = None if whole_lists else feature.max_values
        read = multiple(column, dtype, feature.separator, most, placed=feature.is_of_events)
        fault = tf.reduce_any(read.present & ~read.valid, axis=1)
        absent = ~tf.reduce_any(read.present, axis=1)
    else:
        read = single(column, dtype)
        fault, absent = read.present & ~read.valid, ~read.present

    missing = tf.constant(feature.missing, dtype)
    return tf.where(read.valid, read.values, missing), fault, absent
