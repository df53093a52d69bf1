"""Tables of what searches found on validation: tickets, ways of sharing, embedding tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lt4rec_tf.reports.text_tables import (
    ABSENT,
    BETTER,
    ReportedTask,
    TicketSearch,
    markdown_table,
    metric_name,
    metric_title,
    number_cell,
)

MOST_NAMES = 10


def ticket_table(task: str, search: TicketSearch) -> str:
    """Returns the levels of one task's ticket search; the chosen one is marked.

    Args:
        task: The task's name.
        search: Its densities and validation values by level.

    Returns:
        A Markdown table.

    Raises:
        ValueError: The lists differ in length, or the chosen level is not among them.
    """
    check_search(task, search)
    title = f"{task.upper()} {metric_name(search['metric'])} ({BETTER[search['direction']]})"

    lines = []
    levels = zip(search["densities"], search["values"], strict=True)
    for level, (density, value) in enumerate(levels):
        mark = "*" if level == search["chosen"] else ""
        lines.append([str(level), number_cell(density, 3), number_cell(value, 5), mark])
    return markdown_table(["level", "density", title, "chosen"], lines, texts=0)


def sharing_table(tasks: Sequence[str], choice: Mapping[str, Any]) -> str:
    """Returns the ways of sharing that s_weight_auto tried; the chosen one is marked.

    Args:
        tasks: In the order of the levels.
        choice: The file that the search for the way writes: tried, chosen.

    Returns:
        A Markdown table, best first.
    """
    level_title = f"level ({' / '.join(tasks)})"
    header = ["towers", level_title, "mean gain over single tasks", "chosen"]
    lines = []
    for way in sorted(choice["tried"], key=_descending_gain):
        gain = ABSENT if way["gain"] is None else f"{100 * way['gain']:+.2f} %"
        lines.append(
            [
                "one a task" if way["separate"] else "shared",
                " / ".join(map(str, way["levels"])),
                gain,
                "*" if way["name"] == choice["chosen"] else "",
            ]
        )
    return markdown_table(header, lines)


def _descending_gain(way: Mapping[str, Any]) -> float:
    return math.inf if way["gain"] is None else -way["gain"]


def table_levels(search: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> str:
    """Returns the levels of a search for an embedding tables' ticket; the last one is used.

    Args:
        search: unit; levels, each with density, numbers, validation {task: {metric: value}}.
        tasks: Their metrics are columns.

    Returns:
        A Markdown table.
    """
    titles = [metric_title(task, task["metric"]) for task in tasks]
    lines = []
    for index, level in enumerate(search["levels"]):
        values = [level["validation"][task["name"]].get(task["metric"]) for task in tasks]
        metrics = [number_cell(value, 5) for value in values]
        lines.append([str(index), f"{level['density']:.3f}", f"{level['numbers']:,}", *metrics])
    return markdown_table(["level", "density", "numbers", *titles], lines, texts=0)


def joint_levels(search: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> str:
    """Returns the levels of the search of s_joint; the chosen one is marked.

    Args:
        search: levels, each with density and validation by task; chosen.
        tasks: Their metrics are columns.

    Returns:
        A Markdown table.
    """
    names = [task["name"] for task in tasks]
    titles = [metric_title(task, task["metric"]) for task in tasks]
    lines = []
    for index, level in enumerate(search["levels"]):
        shares = " / ".join(f"{level['density'][name]:.3f}" for name in names)
        metrics = [number_cell(level["validation"][name], 5) for name in names]
        lines.append([str(index), shares, *metrics, "*" if index == search["chosen"] else ""])
    density = f"density ({' / '.join(names)})"
    return markdown_table(["level", density, *titles, "chosen"], lines, texts=0)


def inputs_by_task(search: Mapping[str, Any]) -> str:
    """Returns a line a task: how many fields and products it reads, and which it reads alone.

    >>> search = {"inputs": 6, "reads": {"ctr": ["user", "user x video"], "cvr": ["user"]}}
    >>> print(inputs_by_task(search))
    ctr reads 2 of 6 fields and products of two, 1 of them alone: user x video
    cvr reads 1 of 6 fields and products of two, none of them alone

    Args:
        search: inputs, their number; reads, by task the names of those that its ticket keeps.
    """
    lines = []
    for task, names in search["reads"].items():
        others = [set(reads) for other, reads in search["reads"].items() if other != task]
        alone = [name for name in names if not any(name in reads for reads in others)]
        shown = ", ".join(alone[:MOST_NAMES]) + (", ..." if len(alone) > MOST_NAMES else "")
        of_them = f"{len(alone)} of them alone: {shown}" if alone else "none of them alone"
        counted = f"{len(names)} of {search['inputs']} fields and products of two"
        lines.append(f"{task} reads {counted}, {of_them}")
    return "\n".join(lines)


def check_search(task: str, search: TicketSearch) -> None:
    """Refuses a ticket search whose parts do not fit together.

    Raises:
        ValueError: The lists differ in length, or the chosen level is not among them.
    """
    densities, values, chosen = search["densities"], search["values"], search["chosen"]
    if len(densities) != len(values):
        raise ValueError(
            f"ticket search of {task!r}: found {len(values)} values, expected one for each of "
            f"the {len(densities)} densities"
        )
    if not 0 <= chosen < len(values):
        raise ValueError(
            f"ticket search of {task!r}: found chosen level {chosen}, expected 0..{len(values) - 1}"
        )
