"""Flags of `--history`, and what they mean beside a schema and its logs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lt4rec_tf.core.flags import expect, flag, refuse
from lt4rec_tf.data.convert.history_settings import AGE, PREFIX, Carried, History
from lt4rec_tf.data.formats import column_types
from lt4rec_tf.data.formats.column_types import ColumnType
from lt4rec_tf.data.formats.discovery import LogFiles
from lt4rec_tf.data.input.side_tables import side_header
from lt4rec_tf.schema.filters import COMPARISONS, LISTS, ORDERS
from lt4rec_tf.schema.reader import MISSING_OF_DTYPE, OF_ONE_NUMBER
from lt4rec_tf.schema.types import Filter, Join, Label, Schema, TimeColumn

ALL = "all"
_COMPARED = [word for word in COMPARISONS if word not in LISTS]
_SIGNS = "|".join(sorted(map(re.escape, _COMPARED), key=len, reverse=True))
_TEXT = r'"(?:[^"\\]|\\.)*"'
_CONDITION = re.compile(rf"\s*([^=!<>,]+?)\s*({_SIGNS})\s*({_TEXT}|[^\s,\"][^,\"]*?)\s*(,|$)")
_EXAMPLE = "'is_click == 1, tab != \"ad\"'"


@dataclass(frozen=True)
class HistoryFlags:
    """The past events that impressions get as lists, and what they carry."""

    history: tuple[str, ...] = flag(
        (), "Columns that the user's past events carry: each becomes a list, the newest first."
    )
    history_where: str = flag(
        "",
        f"Which rows are events, such as {_EXAMPLE}; all: every row. Without it, and without "
        "--history_min_watch: those whose click is 1.",
    )
    history_min_watch: float = flag(
        0.0, "The least share watched of an event, by the schema's ratio.", at_least=0, at_most=1
    )
    history_time: str = flag(
        "", "Column of times, where the schema's own is too coarse, such as one of days."
    )
    history_delay_s: float = flag(
        0.0, "Events count that lie before an impression by more seconds than this.", at_least=0
    )
    history_events: int = flag(50, "The most past events of an impression.", at_least=1)
    history_request: str = flag(
        "", "Column by which events of the impression's own request do not count."
    )
    history_memory_mib: float = flag(
        1024.0,
        "MiB of users' rows while histories are made, by all processes together.",
        above=0,
    )


def check_history(flags: HistoryFlags, has_schema: bool) -> None:
    """Refuses flags that no history can be made by.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    others = (
        *("history_where", "history_min_watch", "history_delay_s", "history_events"),
        *("history_time", "history_request", "history_memory_mib"),
    )
    if not flags.history:
        for name in others:
            found, default = getattr(flags, name), getattr(HistoryFlags, name)
            expect(found == default, name, found, "nothing without --history")
        return
    expect(has_schema, "history", ",".join(flags.history), "--schema beside it")
    expect(len(set(flags.history)) == len(flags.history), "history", flags.history, "each once")
    conditions_of(flags.history_where)


def conditions_of(text: str) -> tuple[Filter, ...]:
    """Reads conditions with commas between.

    >>> [rule.text for rule in conditions_of('is_click == 1, tab != "a,b", city == Rome')]
    ['is_click == 1', 'tab != "a,b"', 'city == "Rome"']

    Args:
        text: COLUMN COMPARISON VALUE, where a value is a number, or a text in double quotes or
            without; "" or "all": no condition.

    Raises:
        ConfigError: It is none.
    """
    rules: list[Filter] = []
    place = 0
    while place < len(text) and text != ALL:
        found = _CONDITION.match(text, place)
        if found is None:
            expected = f"COLUMN, one of {' '.join(_COMPARED)}, and a value: {_EXAMPLE}"
            refuse("history_where", text[place:], expected)
        column, comparison, value_text, comma = found.groups()
        value = _value(value_text)
        if comparison in ORDERS and isinstance(value, str):
            refuse("history_where", found.group().strip(), f"a number behind {comparison}")
        rules.append(Filter(column.strip(), comparison, (value,)))
        place = found.end()
        if comma and place == len(text):
            refuse("history_where", text, "another condition behind the last comma")
    return tuple(rules)


def _value(text: str) -> str | float:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            refuse("history_where", text, "a text as JSON has it")
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        expect(abs(value) < 2**53, "history_where", text, "a number between -2^53 and 2^53")
        return value
    return text


def history_of(
    flags: HistoryFlags, schema: Schema, logs: LogFiles, types: Mapping[str, ColumnType]
) -> History:
    """Returns what histories are made of.

    Args:
        flags: What `check_history` accepts, with a history.
        schema: Of the logs.
        logs: The files.
        types: By column of the logs the type in which shards hold it.

    Raises:
        ConfigError: A flag names what the logs or the schema do not have.
        DataError: A side table cannot be read.
    """
    given = ",".join(flags.history)
    time = TimeColumn(flags.history_time) if flags.history_time else schema.time
    if schema.user is None or time is None:
        missing = "user" if schema.user is None else "time"
        refuse("history", given, f"a schema with `{missing}`: {schema.path} has none")

    conditions, watched = _events_of(flags, schema)
    columns = logs.layout.columns
    lists = {feature.column for feature in schema.features if feature.multivalued}
    for rule in conditions:
        _expect_column("history_where", rule.column, columns)
        expect(rule.column not in lists, "history_where", rule.text, "a column of single values")
    for name in ("history_request", "history_time"):
        if getattr(flags, name):
            _expect_column(name, getattr(flags, name), columns)

    for name in (*(PREFIX + name for name in flags.history), AGE):
        expect(name not in columns, "history", given, f"logs without a column {name}")
    history = History(
        user=schema.user,
        time=time,
        carried=tuple(_carried(name, schema, logs, types) for name in flags.history),
        conditions=conditions,
        watched=watched,
        min_watch=flags.history_min_watch,
        delay_s=flags.history_delay_s,
        kept=flags.history_events,
        request=flags.history_request,
        nulls=schema.nulls,
        memory_mib=flags.history_memory_mib,
    )
    for name in sorted(history.columns):
        _expect_column("history", name, columns)
    return history


def _events_of(flags: HistoryFlags, schema: Schema) -> tuple[tuple[Filter, ...], Label | None]:
    """Returns the conditions of events, and the ratio of which they need a share."""
    watched = None
    if flags.history_min_watch:
        ratios = [label for label in schema.labels if label.kind == "ratio"]
        found = f"{flags.history_min_watch:g}"
        expect(bool(ratios), "history_min_watch", found, f"{schema.path} to have a ratio label")
        watched = ratios[0]

    if flags.history_where or watched is not None:
        return conditions_of(flags.history_where), watched
    clicks = [label for label in schema.labels if label.kind == "binary" and not label.within]
    if not clicks or clicks[0].column is None:
        expected = f"which rows are events, or {ALL}: {schema.path} has no label of 0 and 1"
        refuse("history_where", "", expected)
    return (Filter(clicks[0].column, "==", (1,)),), None


def _expect_column(flag_name: str, column: str, columns: Sequence[str]) -> None:
    expect(column in columns, flag_name, column, f"a column of the logs: {', '.join(columns)}")


def _carried(name: str, schema: Schema, logs: LogFiles, types: Mapping[str, ColumnType]) -> Carried:
    """Finds where a column lies that past events carry, and how it is kept."""
    join = None
    if name not in logs.layout.columns:
        join = _join_of(name, schema, logs)
        types = column_types.of_schema(schema, [name], {name: ColumnType("string")})

    readers = [feature for feature in schema.features if feature.column == name]
    is_list = types[name].separator or any(feature.multivalued for feature in readers)
    expect(not is_list, "history", name, "a column of single values: lists have no lists")
    listed = [feature for feature in readers if feature.ids.kind not in OF_ONE_NUMBER]
    absent = MISSING_OF_DTYPE[types[name].dtype]
    if listed and types[name].dtype == listed[0].dtype != "string":
        absent = listed[0].missing
    return Carried(name, types[name], absent, join)


def _join_of(name: str, schema: Schema, logs: LogFiles) -> Join:
    for join in schema.joins:
        if name in side_header(Path(logs.root), join) and name != join.key:
            return join
    where = ", ".join(logs.layout.columns)
    refuse("history", name, f"a column of the logs ({where}) or of a side table of the schema")
