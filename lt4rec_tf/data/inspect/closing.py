"""Closing lines of an inspection: the draft's tasks, those it has not, and doubtful columns."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lt4rec_tf.data.formats.values import EXACT_IN_FLOAT64
from lt4rec_tf.data.inspect.column_roles import (
    RoleFlags,
    Roles,
    is_feedback,
    is_id,
    side_of,
)
from lt4rec_tf.data.inspect.column_stats import ColumnStats
from lt4rec_tf.data.inspect.history_draft import is_a_past
from lt4rec_tf.schema.types import Schema, needed_columns

_FLOAT = re.compile(r"[+-]?\d+\.0*|[+-]?\d\.?\d*[eE]\+\d+")


def closing_lines(
    schema: Schema, columns: Mapping[str, ColumnStats], roles: Roles, flags: RoleFlags
) -> list[str]:
    """Says which tasks a draft has, which usual ones it has not and why, and what to look at.

    Args:
        schema: The draft.
        columns: By name.
        roles: From `find_roles`.
        flags: Facts about columns that the user gives.
    """
    tasks = []
    for task in schema.tasks:
        where = "" if task.on_all_rows else f" where {task.conditions}"
        tasks.append(f"{task.name} ({task.label}{where})")
    lines = [f"tasks: {', '.join(tasks) or 'none'}"]
    lines += [f"no task {name}: {why}" for name, why in _absent_tasks(roles).items()]
    if roles.play_time and not (roles.duration or roles.watch_ratio):
        lines.append("task cvr learns seconds, not a ratio: no duration, see --duration")

    used = needed_columns(schema)
    unused = [name for name, stats in columns.items() if stats.is_binary and name not in used]
    feedback = [name for name in unused if is_feedback(name)]
    if feedback:
        flag = f"--binary_labels={','.join(feedback)}"
        lines.append(f"no task on {', '.join(feedback)}: see {flag}")

    features = {feature.column for feature in schema.features}
    doubtful = [name for name in columns if name in features and is_doubtful(columns[name], flags)]
    if doubtful:
        lines.append(
            f"warning: columns of 0 and 1 became features: {', '.join(doubtful)}. What the user "
            f"did is a label: --binary_labels={','.join(doubtful)}; --features says that one is a "
            "feature, --exclude leaves it out"
        )
    inexact = [name for name in columns if name in features and are_inexact(columns[name])]
    if inexact:
        lines.append(
            f"warning: whole numbers of 2^53 or more stand as floats in {', '.join(inexact)}: they "
            "no longer tell neighbours apart; write them as whole numbers"
        )
    return lines


def history_columns(
    schema: Schema, columns: Mapping[str, ColumnStats], roles: Roles, flags: RoleFlags
) -> list[str]:
    """Returns the columns that past events of a user could carry, where logs have no history.

    Args:
        schema: The draft.
        columns: By name.
        roles: From `find_roles`.
        flags: Facts about columns that the user gives.

    Returns:
        The ids of items that are features; none without a user, a time and a click, or where a list
        has the name of a history.
    """
    if roles.user is None or roles.time is None or roles.click is None:
        return []
    if any(map(is_a_past, columns.values())):
        return []
    features = {feature.column for feature in schema.features if not feature.multivalued}
    items = [name for name in columns if name in features and side_of(name, flags) == "item"]
    return [name for name in items if columns[name].longest == 1 and is_id(name, flags)]


def are_inexact(stats: ColumnStats) -> bool:
    """Tells if most of a column's texts are floats from 2^53 on, as pandas writes large ids."""
    texts = [text for text, _ in stats.commonest if _FLOAT.fullmatch(text)]
    large = [text for text in texts if abs(float(text)) >= EXACT_IN_FLOAT64]
    return stats.kind.dtype == "string" and 2 * len(large) > len(stats.commonest)


def is_doubtful(stats: ColumnStats, flags: RoleFlags) -> bool:
    """Tells if a feature's column may be a label: of 0 and 1, and no flag or name says what it is.

    A name such as is_vip says something of the user, not of what she did.
    """
    is_said = stats.name in flags.features or side_of(stats.name, flags) != "context"
    return stats.is_binary and not is_said


def _absent_tasks(roles: Roles) -> dict[str, str]:
    """Returns by usual task that the draft has not, the reason."""
    reasons = {}
    if roles.click is None:
        reasons["ctr"] = "no click, see --click"
    if roles.watch_ratio is None and roles.play_time is None:
        without = "play_time" if roles.duration else "play_time and duration"
        reasons["cvr"] = f"no {without}, see --play_time and --watch_ratio"
    if roles.conversion is None:
        reasons["conversion"] = "no order after a click, see --conversion"
    return reasons
