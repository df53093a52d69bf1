"""What a history is made of: the settings of its conversion, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.column_types import ColumnType
from lt4rec_tf.schema.types import Filter, Join, Label, TimeColumn

PREFIX = "history_"  # of the columns of lists
AGE = "history_age_s"


@dataclass(frozen=True)
class Carried:
    """A column whose values past events carry.

    Attributes:
        name: The column, of the logs or of a side table.
        kind: The type in which shards hold it, and its history.
        absent: What stands in a list for an event without a value.
        join: The side table that has it; None: the logs do.
    """

    name: str
    kind: ColumnType
    absent: str | int | float
    join: Join | None = None


@dataclass(frozen=True)
class History:
    """Which past events impressions get, and what these carry.

    Attributes:
        user: The column of users.
        time: The column of times.
        carried: What an event carries.
        conditions: Rows for which all hold are events.
        watched: A ratio that must be `min_watch` at least; None: no such rule.
        min_watch: In (0, 1].
        delay_s: Seconds, 0 or more: an event counts strictly before an impression's time minus it.
        kept: The most events of an impression, the newest ones.
        request: Events with an impression's own value in this column do not count; "": all do.
        nulls: Texts that stand for absent values.
        memory_mib: MiB that the rows of some users may take while their histories are made.
    """

    user: str
    time: TimeColumn
    carried: tuple[Carried, ...]
    conditions: tuple[Filter, ...]
    watched: Label | None
    min_watch: float
    delay_s: float
    kept: int
    request: str
    nulls: tuple[str, ...]
    memory_mib: float

    @property
    def columns(self) -> set[str]:
        """Returns the columns of the logs that are read for it."""
        found = {self.user, self.time.column, *(rule.column for rule in self.conditions)}
        found |= {item.join.key if item.join else item.name for item in self.carried}
        if self.watched is not None:
            sources = (self.watched.column, self.watched.play_time, self.watched.duration)
            found |= {name for name in sources if name is not None}
        return found | ({self.request} if self.request else set())

    @property
    def events_text(self) -> str:
        """Says in words which rows are events."""
        texts = [rule.text for rule in self.conditions]
        if self.watched is not None:
            texts.append(f"{self.watched.name} >= {self.min_watch:g}")
        return " and ".join(texts) or "all rows"

    def plan(self) -> dict[str, Any]:
        """Returns what decides the lists, as JSON has it."""
        label = self.watched
        watched = [] if label is None else [label.column, label.play_time, label.duration]
        units = [] if label is None else [label.play_time_unit, label.duration_unit]
        return {
            "columns": [item.name for item in self.carried],
            "absent": [str(item.absent) for item in self.carried],
            "user": self.user,
            "time": [self.time.column, *map(list, self.time.patterns)],
            "where": [rule.text for rule in self.conditions],
            "min_watch": self.min_watch,
            "watched": [*watched, *units],
            "delay_s": self.delay_s,
            "events": self.kept,
            "request": self.request,
        }


@dataclass
class Counts:
    """What was counted in the rows of a file.

    Attributes:
        rows: All rows.
        without_user: Rows without a user, or that cannot be taken apart.
        without_time: Others without a time of 0 or more.
        events: Rows that are events.
        unreadable: Rows that are none because a condition cannot compare what they hold.
        units: By unit, how many times have it.
    """

    rows: int = 0
    without_user: int = 0
    without_time: int = 0
    events: int = 0
    unreadable: int = 0
    units: dict[str, int] = field(default_factory=dict)

    @property
    def times(self) -> int:
        """Returns the rows with a user and a time."""
        return self.rows - self.without_user - self.without_time


def row_type(history: History) -> np.dtype:
    """Returns the dtype of a row: value_<i> is what it carries, of texts the number of bytes."""
    fields = [("user", "i8"), ("check", "i4"), ("time", "f8"), ("row", "i8"), ("request", "i8")]
    fields += [("is_event", "?"), ("start", "i8")]
    codes = {"string": "i4", "int64": "i8", "float32": "f4"}
    for index, item in enumerate(history.carried):
        fields.append((f"value_{index}", codes[item.kind.dtype]))
    return np.dtype(fields)
