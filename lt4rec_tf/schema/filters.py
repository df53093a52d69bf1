"""Filters: `[[filters]]` in a schema says which rows of the logs count at all.

    [[filters]]
    column = "duration_s"
    comparison = ">="
    value = 5

A row is kept where all filters hold. A task's `where` has the same keys, and says which rows of its
population are the task's scenario:

    where = { column = "network", comparison = "==", value = "wifi" }
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lt4rec_tf.core.toml import TomlTable, Words
from lt4rec_tf.schema.types import Filter, Schema

ORDERS = ("<", "<=", ">", ">=")
LISTS = ("in", "not_in")
COMPARISONS = ("==", "!=", *ORDERS, *LISTS)
# A column is compared in float64: from here on a number may be taken for its neighbour.
_EXACT = 2**53


def read_filters(top: TomlTable) -> tuple[Filter, ...]:
    """Reads the `[[filters]]` tables of a schema.

    Args:
        top: The schema's top table.

    Raises:
        TomlError: A comparison is unknown, or its values are not of a kind that it can compare.
    """
    return tuple(_filter(table) for table in top.tables("filters", ()))


def read_where(task: TomlTable) -> tuple[Filter, ...]:
    """Reads the conditions of a task, one table or a list of them.

    Args:
        task: The task's table.

    Raises:
        TomlError: As of `read_filters`.
    """
    return tuple(_filter(table) for table in task.one_or_more("where"))


def _filter(table: TomlTable) -> Filter:
    column = table.text("column")
    comparison = table.choice("comparison", COMPARISONS)
    key = "values" if comparison in LISTS else "value"
    expected = _expected(comparison)
    found = table.items(key) if comparison in LISTS else [table.anything(key, expected)]
    table.close()

    values = tuple(item for item in map(_value, found) if item is not None)
    kinds = {isinstance(value, str) for value in values}
    if len(values) < len(found) or len(kinds) != 1:
        raise table.error(key, found if comparison in LISTS else found[0], expected)
    if comparison in ORDERS and isinstance(values[0], str):
        raise table.error(key, values[0], expected)
    if len(set(values)) < len(values):
        raise table.error(key, found, expected)
    return Filter(column, comparison, values)


def _expected(comparison: str) -> str:
    number = "a number between -2^53 and 2^53"
    if comparison in ORDERS:
        return number
    if comparison in LISTS:
        return "a list of distinct texts, or of distinct numbers between -2^53 and 2^53"
    return f"a text that is not empty, or {number}"


def _value(found: object) -> str | float | None:
    """Returns a value, true and false as 1 and 0; None if it is of no kind that a filter has."""
    if isinstance(found, bool):
        return int(found)
    if isinstance(found, str) and found:
        return found
    if isinstance(found, int | float) and math.isfinite(found) and abs(found) < _EXACT:
        return found
    return None


def check_filters(top: TomlTable, schema: Schema) -> None:
    """Refuses filters and scenarios that cannot mean what they say beside the rest of the schema.

    Args:
        top: The schema's top table, by which errors name the file.
        schema: The whole schema.

    Raises:
        TomlError: A condition reads a list, compares with a text that stands for an absent value,
            or is there twice.
    """
    _check_conditions(top, "filters", schema.filters, schema)
    for task in schema.tasks:
        _check_conditions(top, f"tasks[{task.name}].where", task.where, schema)


def _check_conditions(
    top: TomlTable, key: str, conditions: Sequence[Filter], schema: Schema
) -> None:
    lists = {feature.column: feature.name for feature in schema.features if feature.multivalued}
    for index, rule in enumerate(conditions):
        if rule.column in lists:
            raise top.error(
                f"{key}[{index}].column",
                rule.column,
                f"a column of single values: feature {lists[rule.column]} reads a list there",
            )
        absent = [value for value in rule.values if value in schema.nulls]
        if absent:
            expected = "a text that a row can hold: `nulls` makes this one an absent value"
            raise top.error(f"{key}[{index}].value", absent[0], expected)

    for text, count in Counter(rule.text for rule in conditions).items():
        if count > 1:
            what = "filters" if key == "filters" else "conditions"
            raise top.error(key, Words(f"{count} times {text}"), f"distinct {what}")
