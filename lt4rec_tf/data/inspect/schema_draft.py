"""Drafts a schema from a sample of logs, for its author to edit.

Id rules: text of few settled values that are no ids is a vocabulary; other text, whole numbers that
are ids by the name of their column, and those that have five digits throughout are fitted on train,
each value with an embedding row of its own; whole numbers of a small range are integers; other
numbers are piecewise linear between quantiles of train, those of lists are cut at quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.data.formats.discovery import LogFiles
from lt4rec_tf.data.formats.values import id_of
from lt4rec_tf.data.inspect.boundaries import boundaries_of
from lt4rec_tf.data.inspect.closing import is_doubtful
from lt4rec_tf.data.inspect.column_roles import (
    RoleFlags,
    Roles,
    is_amount_by_name,
    is_feedback,
    is_id,
    is_request,
    is_time,
    is_unnamed,
    labels_beside,
    side_of,
)
from lt4rec_tf.data.inspect.column_stats import ColumnStats
from lt4rec_tf.data.inspect.history_draft import attend, is_a_past
from lt4rec_tf.data.inspect.label_draft import draft_labels
from lt4rec_tf.data.inspect.label_flags import schema_names
from lt4rec_tf.schema.reader import BINS, MISSING_OF_DTYPE, MOST_FITTED
from lt4rec_tf.schema.types import Feature, IdRule, Schema, TimeColumn

VOCABULARY = 50  # distinct texts up to which they are listed
RANGE = 1000  # of whole numbers that have ids of their own
LEAST_CODE = 10_000  # whole numbers of this size throughout are no amounts
_UNIQUE_ROWS = 1000  # rows from which "each row has another value" says something
_LEAST_INT64 = -(2**63)


@dataclass(frozen=True)
class Draft:
    """A schema with comments for its author.

    Attributes:
        schema: Without labels and tasks where no label was found.
        notes: Comments as `schema.writer.to_toml` takes them.
        left_out: By column that is no feature, the reason.
    """

    schema: Schema
    notes: dict[str, list[str]]
    left_out: dict[str, str]


def draft(
    logs: LogFiles,
    columns: Mapping[str, ColumnStats],
    roles: Roles,
    flags: RoleFlags,
    nulls: tuple[str, ...] = (),
) -> Draft:
    """Makes a schema.

    Args:
        logs: The files.
        columns: By name.
        roles: From `find_roles`.
        flags: Facts about columns that the user gives.
        nulls: Texts that stand for absent values.

    Raises:
        DataError: Flags make labels of columns that cannot be.
    """
    named = labels_beside(flags, columns, roles)
    labels = draft_labels(columns, roles, named)
    left_out = _left_out(columns, roles, flags)
    left_out |= {label.column: "what is learned" for label in named}

    feature_columns = [stats for name, stats in columns.items() if name not in left_out]
    names = schema_names([stats.name for stats in feature_columns])
    layout = logs.layout
    features, notes = [], dict(labels.notes)
    for stats, name in zip(feature_columns, names, strict=True):
        feature, note = _feature(stats, name, flags)
        features.append(feature)
        notes[f"features.{name}"] = [note]
    features, said = attend(features, columns)
    for name, of_events in said.items():
        notes[f"features.{name}"].append(of_events)

    without_header = layout.format in ("csv", "tsv") and not layout.header_lines
    schema = Schema(
        path=Path(),
        name="logs",
        format=layout.format,
        files=logs.patterns,
        columns=layout.file_columns if without_header else (),
        quoted=layout.quoted,
        features=tuple(features),
        labels=tuple(labels.labels),
        tasks=tuple(labels.tasks),
        joins=(),
        time=TimeColumn(roles.time) if roles.time else None,
        user=roles.user,
        nulls=nulls,
    )
    return Draft(schema, notes, left_out)


def _left_out(columns: Mapping[str, ColumnStats], roles: Roles, flags: RoleFlags) -> dict[str, str]:
    """Returns the columns that are no features, each with the reason."""
    reasons = {}
    for name, stats in columns.items():
        reason = _why_no_feature(stats, roles, flags)
        if reason:
            reasons[name] = reason
    return reasons


def _why_no_feature(stats: ColumnStats, roles: Roles, flags: RoleFlags) -> str:
    """Returns the reason why a column is no feature; "" where it is one."""
    name = stats.name
    if name in flags.exclude:
        return "--exclude"
    if name in (roles.click, roles.conversion, roles.watch_ratio, roles.play_time):
        return "what is learned"
    if name in flags.features:
        return ""

    if is_unnamed(name):
        return "it has no name"
    if is_request(name):
        return "by its name one for each request, which does not come again"
    if stats.are_objects:
        return "JSON texts: write what they hold into columns of their own"
    if name == roles.time or is_time(name) or stats.has_clock_times:
        return "a time, which does not come again"
    if is_feedback(name) and not is_a_past(stats):
        return "by its name what the user did: a label, not a feature"

    if stats.distinct == 0:
        return "no value in the sample"
    if stats.distinct == 1 and stats.missing == 0:
        return "one value in all rows of the sample"

    # Numbers with a fraction rarely recur, and users and items may recur beyond the sample.
    unique = stats.distinct == stats.rows >= _UNIQUE_ROWS and stats.kind.dtype != "float32"
    named = name == roles.user or name in flags.item_columns or name in flags.user_columns
    return "another value in each row of the sample" if unique and not named else ""


def _feature(stats: ColumnStats, name: str, flags: RoleFlags) -> tuple[Feature, str]:
    """Drafts a feature and its comment.

    Args:
        stats: Its column.
        name: Its name.
        flags: Facts about columns that the user gives.
    """
    listed = bool(stats.kind.separator) or stats.longest > 1
    missing, numbers = _missing_value(stats)
    is_amount = is_amount_by_name(stats.name)
    # Two values say nothing that a flag does not: is_vip of a user is no name of one.
    is_name = is_id(stats.name, flags) and (not stats.is_binary or stats.name in flags.id_columns)
    is_name = is_name or (numbers[0] >= LEAST_CODE and not is_amount)
    ids, why = _id_rule(stats, numbers, listed, is_name or (listed and not is_amount))

    feature = Feature(
        name=name,
        column=stats.name,
        dtype=stats.kind.dtype,
        multivalued=listed,
        max_values=stats.longest if listed else 1,
        separator=stats.kind.separator,
        side=side_of(stats.name, flags),
        table=name,
        missing=missing,
        ids=ids,
    )
    counts = f"{stats.distinct} distinct values in {stats.rows} rows, {stats.missing:.1%} missing"
    question = "; 0/1 column: a label or a feature?" if is_doubtful(stats, flags) else ""
    return feature, f"{counts}: {why}{question}"


def _missing_value(stats: ColumnStats) -> tuple[str | int | float, np.ndarray]:
    """Chooses the raw value that stands for "absent": a single negative one among others.

    Returns:
        The value, and the column's other numbers, sorted, at least one.
    """
    dtype, numbers = stats.kind.dtype, stats.numbers
    missing: str | int | float = MISSING_OF_DTYPE[dtype]
    negative = np.unique(numbers[numbers < 0])

    if dtype == "string":
        if any(text == "-1" for text, _ in stats.commonest):
            missing = "-1"
    elif len(negative) == 1:
        missing = int(negative[0]) if dtype == "int64" else float(negative[0])
        numbers = numbers[numbers >= 0]
    elif len(negative) > 1 and dtype == "int64":
        missing = _LEAST_INT64  # -1 is a number among others here

    return missing, numbers if len(numbers) else np.zeros(1)


def _id_rule(
    stats: ColumnStats, numbers: np.ndarray, listed: bool, is_name: bool
) -> tuple[IdRule, str]:
    """Chooses how a column's values become ids.

    Args:
        stats: The column.
        numbers: Its numbers without the one that stands for "absent", sorted, at least one.
        listed: True if a row holds a list.
        is_name: True if whole numbers are taken for names.

    Returns:
        The rule, and the reason in words.
    """
    dtype = stats.kind.dtype
    texts = _as_ids([text for text, _ in stats.commonest if text and text != "-1"])
    if dtype == "string" and _can_be_listed(stats, texts):
        return IdRule("vocabulary", vocabulary=texts), "few texts, the commonest first"

    if dtype == "string" or (dtype == "int64" and is_name):
        rule = IdRule("fitted", max_size=MOST_FITTED)
        return rule, "new ones still come" if stats.grows else "each in train has a row of its own"

    least, most = int(numbers[0]), int(numbers[-1])
    if dtype == "int64" and most - least <= RANGE:
        return IdRule("integer", minimum=least, maximum=most), "whole numbers of a small range"

    if listed:
        return IdRule("boundaries", boundaries=boundaries_of(numbers)), "cut at quantiles"
    return IdRule("piecewise_linear", bins=BINS), "linear between quantiles of train"


def _as_ids(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns texts, each whole number once where some rows have it as a float.

    >>> _as_ids(["7.0", "a", "7"]), _as_ids(["7.0", "8.0", "a"])
    (('7', 'a'), ('7.0', '8.0', 'a'))
    """
    both = any(id_of(text) != text and id_of(text) in texts for text in texts)
    return tuple(dict.fromkeys(map(id_of, texts))) if both else tuple(texts)


def _can_be_listed(stats: ColumnStats, texts: Sequence[str]) -> bool:
    """Tells if a column's texts can be a vocabulary: few and settled, no ids, text of TOML."""
    is_unicode = not any("\ufffd" in text for text in texts)
    few = len(texts) > 0 and stats.distinct <= VOCABULARY
    return few and not stats.grows and is_unicode and not stats.name.lower().endswith("id")
