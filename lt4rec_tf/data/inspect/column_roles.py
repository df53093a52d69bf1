"""Finds the columns of the click, the play time, the user: by flags, else by names and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lt4rec_tf.core.flags import flag
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.inspect.column_stats import ColumnStats
from lt4rec_tf.data.inspect.label_flags import NamedLabel, named_labels

NONE = "none"
_LEAST_TIMES = 3  # distinct ones, of which train, validation and test can be made
UNIT_WORDS = {
    "ms": ("ms", "msec", "msecs", "millis", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
}


def _with_units(*names: str) -> tuple[str, ...]:
    """Returns each name with every unit behind it, then by itself if it says what it measures."""
    with_unit = []
    for name in names:
        with_unit += [f"{name}_{word}" for words in UNIT_WORDS.values() for word in words]
    measures = re.compile("time|duration|length")
    return (*with_unit, *(name for name in names if measures.search(name)))


_NAMES = {
    "click": ("click", "is_click", "clicked", "is_clicked", "clk", "isclick", "label"),
    "conversion": ("conversion", "is_conversion", "purchase", "is_purchase", "buy", "is_buy"),
    "watch_ratio": ("watch_ratio", "play_ratio", "completion_ratio"),
    "play_time": _with_units(
        *("play_time", "play_duration", "playing_time", "watch_time", "watch_duration"),
        *("watching_time", "view_time", "play", "watch", "watched", "played"),
    ),
    "duration": _with_units(
        *("duration", "video_duration", "duration_time", "item_duration", "video_length", "video"),
    ),
    "user": ("user_id", "userid", "uid", "user"),
    "time": (
        *("time_ms", "timestamp_ms", "timestamp", "event_time", "event_ts", "ts", "unix_time"),
        *("time", "datetime", "log_time", "impression_time", "expose_time", "server_time"),
        *("date", "day", "dt", "event_date", "log_date"),
    ),
}
# Words of names, cut at everything but letters.
_FEEDBACK = re.compile(
    "click(ed)?|label|(dis)?like|comment|forward|follow|share|hate|report|download|favorite|collect"
    "|finish|play(ing)?|watch(ing)?|view|stay|enter|purchase|conversion|buy|p?(ctr|cvr)|cvrlabel"
)
_COUNTS = re.compile("num|count|cnt|range|user|avg|rate|hist(ory)?")  # known before the row
_USER = re.compile("user(id)?|uid|gender|age(group)?|device|os|phone|register|fans|friend|vip")
_ITEM = re.compile(
    "item|iid|video|s?vid|author|publisher|music|i?tags?|category|i?cate?|duration|brand|shop"
    "|seller|goods|product|price|title|ad|cover|upload|channel|i?keyword"
)
_REQUEST = re.compile("(request|req|trace|impression|imp|log|row|event|pv)_?(id|uuid|key)")
_HISTORY = re.compile("hist|history|histories|recent|last|past|seq|sequence|clicked|watched|viewed")
# Of columns of dates that are no row's own.
_OTHER_DATE = re.compile("creat(ed?|ion)|publish(ed)?|release|updated?|start|end|expir(e|y|es)")
_AMOUNT = re.compile("num|count|cnt|range|avg|rate|duration|price|age|days|width|height")
_NAMED = re.compile("city|code|type")


@dataclass(frozen=True)
class RoleFlags:
    """Facts about columns that their names and values do not tell."""

    click: str = flag("", "Column that is 1 where the user clicked; none: there is none.")
    conversion: str = flag("", "Column that is 1 where a click became an order or the like.")
    watch_ratio: str = flag("", "Column that is the share watched, in [0, 1].")
    play_time: str = flag("", "Column of the time watched.")
    duration: str = flag("", "Column of the video's length.")
    user: str = flag("", "Column that names the user.")
    time: str = flag("", "Column of the row's time: numbers, or dates such as 2026-11-20 05:00.")
    binary_labels: tuple[str, ...] = flag(
        (),
        "Columns of 0 and 1 that are labels with a task each: COLUMN, learned on clicks where they "
        "are known, or COLUMN:POPULATION, learned where another label is 1, or all.",
    )
    ratio_labels: tuple[str, ...] = flag(
        (), "Columns that become labels and tasks too, each a share in [0, 1]."
    )
    user_columns: tuple[str, ...] = flag((), "Features that describe the user.")
    item_columns: tuple[str, ...] = flag((), "Features that describe the item.")
    id_columns: tuple[str, ...] = flag((), "Whole numbers that are names, not amounts.")
    features: tuple[str, ...] = flag((), "Columns that are features although a rule leaves them.")
    exclude: tuple[str, ...] = flag((), "Columns that are no features.")


@dataclass(frozen=True)
class Roles:
    """By role its column, or None."""

    click: str | None
    conversion: str | None
    watch_ratio: str | None
    play_time: str | None
    duration: str | None
    user: str | None
    time: str | None


def find_roles(flags: RoleFlags, columns: Mapping[str, ColumnStats]) -> Roles:
    """Finds which column plays which role.

    Args:
        flags: Columns that the user names; others are found by their names and values.
        columns: By name.

    Raises:
        DataError: A flag names a column that there is not, or that holds other values.
    """
    for flag_name in ("user_columns", "item_columns", "id_columns", "features", "exclude"):
        for column in getattr(flags, flag_name):
            _expect_column(flag_name, column, columns)

    named = named_labels(flags.binary_labels, flags.ratio_labels, columns)
    column_by_role: dict[str, str | None] = {}
    for role, rule in _RULES.items():
        flag_value = getattr(flags, role)
        if flag_value == NONE:
            column_by_role[role] = None
        elif flag_value:
            _expect_column(role, flag_value, columns)
            if not rule.fits(columns[flag_value]):
                raise DataError(f"--{role}: found {flag_value!r}, expected {rule.expected}")
            column_by_role[role] = flag_value
        else:
            elsewhere = [label.column for label in named if not _may_be_click(label, role)]
            taken = [*column_by_role.values(), *elsewhere]
            column_by_role[role] = _by_name(role, columns, taken)
    return Roles(**column_by_role)


def _may_be_click(label: NamedLabel, role: str) -> bool:
    """Tells if a label without a population of its own may be the click, by its name."""
    return role == "click" and label.kind == "binary" and not label.population


def labels_beside(
    flags: RoleFlags, columns: Mapping[str, ColumnStats], roles: Roles
) -> list[NamedLabel]:
    """Returns the labels that flags name, without the click that is one already.

    Args:
        flags: Columns that the user names.
        columns: By name.
        roles: From `find_roles`.

    Raises:
        DataError: A flag names what another flag gives another role.
    """
    labels = []
    for label in named_labels(flags.binary_labels, flags.ratio_labels, columns):
        role = next((role for role, name in vars(roles).items() if name == label.column), None)
        if role is None:
            labels.append(label)
        elif not _may_be_click(label, role):
            raise DataError(f"--{label.flag}: found {label.column!r}, which --{role} names too")
    return labels


def _are_numbers(stats: ColumnStats) -> bool:
    return len(stats.numbers) > 0 and stats.only_finite


def _could_be_time(stats: ColumnStats) -> bool:
    """Tells if a column holds different numbers or dates."""
    return stats.distinct >= _LEAST_TIMES and stats.longest == 1 and len(stats.times) > 0


class _Rule(NamedTuple):
    """The values that a role's column must hold, as a function and in words of messages."""

    fits: Callable[[ColumnStats], bool]
    expected: str


_RULES = {
    "click": _Rule(lambda stats: stats.is_binary, "a column of 0 and 1"),
    "conversion": _Rule(lambda stats: stats.is_binary, "a column of 0 and 1"),
    "watch_ratio": _Rule(
        lambda stats: _are_numbers(stats) and stats.numbers[0] >= 0,
        "a column of numbers of 0 or more",
    ),
    "play_time": _Rule(_are_numbers, "a column of numbers"),
    "duration": _Rule(_are_numbers, "a column of numbers"),
    "user": _Rule(lambda stats: stats.longest == 1, "a column of one value a row"),
    "time": _Rule(_could_be_time, f"a column of {_LEAST_TIMES} different numbers or dates or more"),
}


def _expect_column(flag_name: str, column: str, columns: Mapping[str, ColumnStats]) -> None:
    if column not in columns:
        raise DataError(f"--{flag_name}: found {column!r}, expected one of {', '.join(columns)}")


def _by_name(
    role: str, columns: Mapping[str, ColumnStats], taken: Collection[str | None]
) -> str | None:
    """Returns the column with the role's most usual name whose values fit; None: there is none."""
    column_by_lower_name = {name.strip().lower(): name for name in columns}
    for usual_name in _NAMES[role]:
        column = column_by_lower_name.get(usual_name)
        if column is not None and column not in taken and _RULES[role].fits(columns[column]):
            return column

    if role == "time":
        found = [name for name in columns if name not in taken and _is_row_time(columns[name])]
        return found[0] if len(found) == 1 else None
    return None


def _is_row_time(stats: ColumnStats) -> bool:
    """Tells if a column of any name holds dates with a time of day that may be the rows' own."""
    is_other = side_of(stats.name, RoleFlags()) != "context" or _has_word(stats.name, _OTHER_DATE)
    return _could_be_time(stats) and stats.has_clock_times and not is_other


def is_feedback(name: str) -> bool:
    """Tells if a name says what the user did with the item: a label, never a feature.

    >>> is_feedback("is_like"), is_feedback("long_view"), is_feedback("follow_user_num")
    (True, True, False)
    """
    return _has_word(name, _FEEDBACK) and not _has_word(name, _COUNTS)


def is_history(name: str) -> bool:
    """Tells if the name of a column of lists is one of what a user did before.

    >>> is_history("user_click_history"), is_history("hist_iid"), is_history("tags")
    (True, True, False)
    """
    return _has_word(name, _HISTORY)


def is_time(name: str) -> bool:
    """Tells if a name is one of times, which do not come again."""
    return name.lower() in _NAMES["time"]


def is_unnamed(name: str) -> bool:
    """Tells if a column has no name but its place, such as the index that pandas writes first.

    >>> is_unnamed("unnamed_1"), is_unnamed("Unnamed: 0"), is_unnamed("unnamed")
    (True, True, False)
    """
    return re.fullmatch(r"(?i)unnamed[:_] ?\d+", name) is not None


def is_request(name: str) -> bool:
    """Tells if a name is one of requests, impressions or lines of logs, each of which is new.

    >>> is_request("request_id"), is_request("traceId"), is_request("item_id")
    (True, True, False)
    """
    return _REQUEST.fullmatch(name.lower()) is not None


def side_of(name: str, flags: RoleFlags) -> str:
    """Returns the side of a feature: "user", "item" or "context"."""
    if name in flags.user_columns:
        return "user"
    if name in flags.item_columns:
        return "item"

    if _has_word(name, _USER):
        return "user"
    return "item" if _has_word(name, _ITEM) else "context"


def is_id(name: str, flags: RoleFlags) -> bool:
    """Tells if the whole numbers of a column are names.

    >>> is_id("author_id", RoleFlags()), is_id("fans_user_num", RoleFlags())
    (True, False)
    """
    if name in flags.id_columns:
        return True
    if is_amount_by_name(name):
        return False
    named = any(_has_word(name, pattern) for pattern in (_USER, _ITEM, _NAMED))
    return named or name.lower().endswith("id")


def is_amount_by_name(name: str) -> bool:
    """Tells if a name says how much or how many."""
    return _has_word(name, _AMOUNT)


def words_of(name: str) -> set[str]:
    """Returns the words of a column's name, of `camelCase` also as it is without its capitals.

    >>> sorted(words_of("hist_video_ids")), sorted(words_of("watchedItems"))
    (['hist', 'ids', 'video'], ['items', 'watched', 'watcheditems'])
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = re.split(r"[^a-z]+", parted.lower()) + re.split(r"[^a-z]+", name.lower())
    return {word for word in words if word}


def _has_word(name: str, pattern: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(word) for word in words_of(name))
