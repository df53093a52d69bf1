"""Types of the columns of logs: as a schema says, or guessed from a sample of their values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats import json_lists
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.iso_times import iso_times
from lt4rec_tf.data.formats.values import (
    EXACT_IN_FLOAT32,
    EXACT_IN_FLOAT64,
    cut_texts,
    text_to_float,
    text_to_int64,
)
from lt4rec_tf.schema.types import JSON_LISTS, Feature, Schema

SEPARATORS = ("|", ";", ",", "#", " ", "\x01", "\x02", "\x03")
_OF_PROSE = (",", " ")
_LEAST_JSON = 0.9  # of a column's texts are lists
_FIRST = 20  # texts, of which one at least begins as a list does
_WHOLE = re.compile(rb"\s*[+-]?(0|[1-9]\d*)\s*")
_BOOLEANS = {b"true", b"false", b"True", b"False", b"TRUE", b"FALSE"}
_LEADING_ZERO = re.compile(rb"\s*[+-]?0\d")  # 007 is a name, not the number 7
_NO_LIST = re.compile(r"[\[({]|\d{4}-\d\d-\d\d")  # a range, JSON, a date: commas that cut nothing
_WHOLE_FLOAT = re.compile(rb"\s*[+-]?(0|[1-9]\d*)\.0*\s*")  # as pandas writes ids beside a null
_EXACT = {np.dtype(np.float32): EXACT_IN_FLOAT32, np.dtype(np.float64): EXACT_IN_FLOAT64}


@dataclass(frozen=True)
class ColumnType:
    """The type in which a column is kept.

    Attributes:
        dtype: "string", "int64" or "float32".
        separator: What stands between the values of a list, or `JSON_LISTS`; "": a row's text is
            one value.
        number: Of a string: "int64" or "float32" where it must be the text of such a number,
            "time" where it must be a number or a date, see `iso_times`.
        missing: Of lists in which an absent value keeps its place: the text of what stands there in
            its place, of the dtype; None: absent values are left out.
    """

    dtype: str
    separator: str = ""
    number: str = ""
    missing: str | None = None


def guess(values: np.ndarray) -> ColumnType:
    """Returns the type that every one of some values has.

    A column is a number only if all values are numbers that the type holds exactly enough, so that
    nothing is lost where the guess is wrong.

    Args:
        values: A column's values, without the missing ones; bytes, int64, float32 or float64.
    """
    if values.dtype.kind == "i":
        return ColumnType("int64")
    if values.dtype.kind == "f":
        return ColumnType(_type_of_floats(values))

    distinct = set(values.tolist())
    parts = _parts_of_json(values.tolist())
    if parts is not None:
        return ColumnType("int64" if _number_of(parts) == "int64" else "string", JSON_LISTS)

    separator = "" if _number_of(distinct) != "string" else _separator(values.tolist())
    if not separator:
        return ColumnType(_number_of(distinct))

    parts = set()
    for value in distinct:
        parts.update(value.split(separator.encode()))
    return ColumnType("int64" if _number_of(parts) == "int64" else "string", separator)


def _parts_of_json(texts: list[bytes]) -> set[bytes] | None:
    """Returns what JSON lists hold; None: texts are no such lists, but for a few broken ones."""
    if not any(text.lstrip()[:1] == b"[" for text in texts[:_FIRST]):
        return None
    lists, valid = json_lists.cut(tf.constant(texts, tf.string))
    if np.mean(valid.numpy()) < _LEAST_JSON:
        return None
    return set(lists.flat_values.numpy().tolist()) - {json_lists.BROKEN}


def _number_of(distinct: set[bytes]) -> str:
    """Returns the dtype of the numbers that texts are, "string" where one is no number."""
    if not distinct or any(_LEADING_ZERO.match(value) for value in distinct):
        return "string"
    if distinct <= _BOOLEANS:
        return "int64"
    texts = tf.constant(sorted(distinct))
    if all(_WHOLE.fullmatch(value) for value in distinct):
        return "int64" if text_to_int64(texts)[1].numpy().all() else "string"

    numbers, valid = text_to_float(texts, tf.float64)
    if distinct & _BOOLEANS or not valid.numpy().all():
        return "string"
    if all(_WHOLE.fullmatch(value) or _WHOLE_FLOAT.fullmatch(value) for value in distinct):
        return _type_of_floats(numbers.numpy())
    return "float32" if _are_amounts(numbers.numpy()) else "string"


def _are_amounts(values: np.ndarray) -> bool:
    """Tells if a float32 says what numbers do, some of which have a part behind the point.

    It is too coarse for times in seconds. What is larger than any time is an amount.
    """
    return not EXACT_IN_FLOAT32 <= _largest(values) < EXACT_IN_FLOAT64


def _type_of_floats(values: np.ndarray) -> str:
    """Returns the dtype that holds floats as exactly as they are: "string" where no number does."""
    has_fractions = bool((np.isfinite(values) & ~are_whole(values)).any())
    if _largest(values) < EXACT_IN_FLOAT32 or (has_fractions and _are_amounts(values)):
        return "float32"
    is_exact = are_whole(values) & (np.abs(values) < _EXACT[values.dtype])
    return "int64" if is_exact.all() else "string"


def are_whole(values: np.ndarray) -> np.ndarray:
    """Tells of each number, bool, if it is finite and whole."""
    return np.isfinite(values) & (np.floor(values) == values)


def _largest(values: np.ndarray) -> float:
    sizes = np.abs(values)
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))


def _separator(values: list[bytes]) -> str:
    """Finds what separates lists: it is in a tenth of the values, and most parts recur.

    A comma and a space separate the words of prose too, such as "Lyon, FR" and "full time".
    """
    texts = [value.decode("utf-8", errors="replace") for value in values]
    if any(_NO_LIST.match(text) for text in texts):
        return ""

    for separator in SEPARATORS:
        lists = 0
        parts: list[str] = []
        for text in texts:
            if separator in text:
                lists += 1
                parts += text.split(separator)
        recur = lists and 10 * lists >= len(texts) and 2 * len(set(parts)) <= len(parts)
        if recur and (separator not in _OF_PROSE or _are_lists(set(texts), separator)):
            return separator
    return ""


def _are_lists(texts: set[str], separator: str) -> bool:
    """Tells lists from prose: their parts come without spaces, in many numbers and orders."""
    lists = [text.split(separator) for text in texts if separator in text]
    firsts = {parts[0] for parts in lists}
    later = {part for parts in lists for part in parts[1:]}
    if any(part != part.strip() or not part for part in firsts | later):
        return False

    lengths = {len(text.split(separator)) for text in texts}
    # A few phrases are made of more words than there are phrases.
    return len(lengths) > 1 and len(texts) > len(firsts | later) and bool(firsts & later)


def of_schema(
    schema: Schema, columns: Iterable[str], others: Mapping[str, ColumnType]
) -> dict[str, ColumnType]:
    """Returns the types with which a schema's rows are the same in TFRecords as in the logs.

    Labels other than clicks, times, weights, users and the columns of filters and scenarios are
    kept as the text that the logs hold: training reads them with more digits than a float32 has.

    Args:
        schema: The schema by which training will read.
        columns: The columns of the logs.
        others: By column, the type where the schema does not name it.

    Raises:
        DataError: Two features read a column in ways that one column of TFRecords cannot serve.
    """
    exact = _exact_columns(schema)
    clicks = {label.column for label in schema.labels if label.kind == "binary"}

    types: dict[str, ColumnType] = {}
    for name in columns:
        features = [feature for feature in schema.features if feature.column == name]
        separator = _common_separator(schema, name, features)
        dtypes = {feature.dtype for feature in features} | ({"int64"} if name in clicks else set())

        if name in exact:
            types[name] = ColumnType("string", separator, exact[name])
        elif dtypes:
            # Of several dtypes each feature reads the text in its own way.
            dtype = dtypes.pop() if len(dtypes) == 1 else "string"
            of_events = next((str(f.missing) for f in features if f.is_of_events), None)
            types[name] = ColumnType(dtype, separator, missing=of_events)
        else:
            types[name] = others[name]
    return types


def _exact_columns(schema: Schema) -> dict[str, str]:
    """Returns by column that is kept as text: the number whose text it must be, or ""."""
    numbers = {join.key: "" for join in schema.joins}
    if schema.user:
        numbers[schema.user] = ""

    for label in schema.labels:
        names = [label.play_time, label.duration]
        if label.kind != "binary":
            names.append(label.column)
        numbers |= {name: "float32" for name in names if name is not None}

    if schema.time is not None:
        numbers[schema.time.column] = "" if schema.time.patterns else "time"
    if schema.weight is not None:
        numbers[schema.weight] = "float32"
    kept = [task.kept_column for task in schema.tasks if task.kept_column is not None]
    numbers |= dict.fromkeys(kept, "float32")
    # Whatever a filter cannot read is left out by it, or outside a scenario, and is no bad row.
    for rule in [*schema.filters, *(rule for task in schema.tasks for rule in task.where)]:
        numbers.setdefault(rule.column, "")
    return numbers


def _common_separator(schema: Schema, name: str, features: list[Feature]) -> str:
    """Returns the separator by which all features cut a column.

    Raises:
        DataError: They cut it in several ways.
    """
    ways = {feature.separator for feature in features}
    if len(ways) > 1:
        raise DataError(
            f"{schema.path}: column {name}: found features that cut it by "
            f"{', '.join(map(repr, sorted(ways)))}, expected one way: TFRecords hold it cut"
        )
    return ways.pop() if ways else ""


def to_type(kind: ColumnType, column: Ragged) -> tuple[Ragged, np.ndarray]:
    """Turns a column into its type.

    Args:
        kind: The type.
        column: Values are bytes, int64, float32 or float64. A float that is whole is the text and
            the whole number that it means, unless it is so large that it may mean a neighbour.

    Returns:
        The column, values being bytes, int64 or float32; and bool (rows,): the row holds something
        that is no value of the type, in whose place stands an empty text, 0 or NaN, or nothing
        where it should be a JSON list.
    """
    column, bad = _cut(kind, column)
    values, valid = _to_dtype(kind, _filled(kind, column.values))
    owners = np.repeat(np.arange(len(column.lengths)), column.lengths)  # the row of each value
    bad |= np.bincount(owners[~valid], minlength=len(column.lengths)) > 0
    return Ragged(values, column.lengths), bad


def _filled(kind: ColumnType, values: np.ndarray) -> np.ndarray:
    """Returns values with what stands for absent ones in lists in which these keep places."""
    if kind.missing is None or kind.dtype == "string":
        return values
    if values.dtype.kind == "f":
        return np.where(np.isnan(values), float(kind.missing), values)
    if values.dtype.kind == "O":
        absent = np.array([value == b"" for value in values], bool)
        return np.where(absent, kind.missing.encode(), values)
    return values


def _cut(kind: ColumnType, column: Ragged) -> tuple[Ragged, np.ndarray]:
    """Cuts texts into lists; bool (rows,): one is no JSON list as it should be, and is left out."""
    values, lengths = column
    bad = np.zeros(len(lengths), bool)
    if not kind.separator or values.dtype.kind != "O":
        return column, bad

    placed = kind.missing is not None
    parts = cut_texts(tf.constant(values, tf.string), kind.separator, placed=placed)
    owners = np.repeat(np.repeat(np.arange(len(lengths)), lengths), parts.row_lengths().numpy())
    values = parts.flat_values.numpy()
    if kind.separator == JSON_LISTS:
        is_broken = np.array([value == json_lists.BROKEN for value in values], bool)
        bad = np.bincount(owners[is_broken], minlength=len(lengths)) > 0
        values, owners = values[~is_broken], owners[~is_broken]
    return Ragged(values, np.bincount(owners, minlength=len(lengths))), bad


def _to_dtype(kind: ColumnType, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns values in the type's dtype, and bool: each is one."""
    everywhere = np.ones(len(values), bool)
    if values.dtype.kind == "O":
        number = kind.number or kind.dtype
        if number == "string":
            return values, everywhere
        raw = tf.constant(values, tf.string)
        parsed = text_to_int64(raw) if number == "int64" else text_to_float(raw, tf.float32)
        numbers, valid = (tensor.numpy() for tensor in parsed)
        if number == "time" and not valid.all():
            valid |= iso_times(raw)[1].numpy()
        return (values if kind.dtype == "string" else numbers), valid

    if kind.dtype == "float32":
        with np.errstate(over="ignore"):  # infinite in float32, as its text is
            return values.astype(np.float32), everywhere

    if values.dtype.kind == "i":
        return (_texts(values) if kind.dtype == "string" else values), everywhere

    is_whole = are_whole(values)
    is_exact = is_whole & (np.abs(values) < _EXACT[values.dtype])
    if kind.dtype == "string":
        valid = everywhere if kind.number else is_exact | ~is_whole
        return _texts_of_floats(values, is_exact, valid), valid
    return np.where(is_exact, values, 0.0).astype(np.int64), is_exact


def _texts(values: np.ndarray) -> np.ndarray:
    texts = np.empty(len(values), object)
    texts[:] = [b"%d" % value for value in values.tolist()]
    return texts


def _texts_of_floats(values: np.ndarray, is_whole: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Writes floats as texts: whole ones without a point, others as briefly as means them."""
    texts = np.full(len(values), b"", object)
    texts[is_whole] = _texts(values[is_whole].astype(np.int64))
    for index in np.flatnonzero(valid & ~is_whole):
        texts[index] = str(values[index]).encode()
    return texts
