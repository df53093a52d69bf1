"""A run's numbers as tables: plain text that reads well in a terminal and is valid Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

ABSENT = "-"
SPELLINGS = {"log_loss": "log loss", "spearman": "Spearman", "gini": "Gini"}
BETTER = {"max": "higher is better", "min": "lower is better"}


class ReportedTask(TypedDict):
    """What a table says about a task of the schema."""

    name: str
    kind: str  # "binary" | "continuous" | "amount"
    metric: str
    direction: str  # "max" | "min"
    population: str | None  # a binary label; None: all rows


class EvaluationRow(TypedDict):
    """One trained network of the comparison (`base_ctr`, `hard_sharing`, `s_weight`, ...)."""

    row: str
    metrics: Mapping[str, Mapping[str, float | None]]  # task -> metric -> value
    density: Mapping[str, float]  # task -> share of the tower's weights kept
    overlap: float | None  # |AND| / |OR| of the tasks' masks; None: no masks to compare
    seconds: float | None


class TicketSearch(TypedDict):
    """One task's search; lists are indexed by level, level 0 is the dense network."""

    metric: str
    direction: str  # "max" | "min"
    densities: Sequence[float]
    values: Sequence[float]  # of the metric, on validation
    chosen: int  # a level


class Evaluation(TypedDict):
    """The content of a run's `evaluation.json`, as far as tables need it."""

    tasks: Sequence[ReportedTask]
    rows: Sequence[EvaluationRow]
    searches: Mapping[str, TicketSearch]  # by task
    tables: Mapping[str, Any] | None  # the search for a ticket of the embedding tables


def metric_name(metric: str) -> str:
    """The spelling of a metric in tables and pictures.

    >>> metric_name("auc"), metric_name("log_loss")
    ('AUC', 'log loss')
    """
    return SPELLINGS.get(metric, metric.upper())


def continuous_first(tasks: Iterable[ReportedTask]) -> list[ReportedTask]:
    """The tasks in the order of the paper's tables: CVR before CTR."""
    return sorted(tasks, key=lambda task: task["kind"] == "binary")


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    r"""Lays cells out as an aligned Markdown table.

    Args:
        header: The columns' names.
        lines: Rows of cells, each as long as the header.
        texts: How many columns, counted from the left, hold text (aligned left); the others hold
            numbers (aligned right).

    Returns:
        The table without a final line feed; `|` inside a cell is escaped.

    Raises:
        ValueError: A row is not as long as the header.

    >>> print(markdown_table(["row", "AUC"], [["dense", "0.7"], ["s_weight", "0.71"]]))
    | row      |  AUC |
    | :------- | ---: |
    | dense    |  0.7 |
    | s_weight | 0.71 |
    """
    cells = [[cell.replace("|", r"\|") for cell in line] for line in [header, *lines]]
    for line in cells:
        if len(line) != len(header):
            raise ValueError(f"row {line}: found {len(line)} cells, expected {len(header)}")
    # Three dashes and a colon are the least that every Markdown reader takes for a column.
    widths = [max(4, *map(len, column)) for column in zip(*cells, strict=True)]

    def laid_out(line: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = [
        ":" + "-" * (width - 1) if place < texts else "-" * (width - 1) + ":"
        for place, width in enumerate(widths)
    ]
    return "\n".join([laid_out(cells[0]), laid_out(rule), *map(laid_out, cells[1:])])


def evaluation_table(evaluation: Evaluation) -> str:
    """The table that ends a run: per task its metric (and GAUC where binary), masks and time.

    Continuous tasks stand before binary ones, as in Table 2 of LT4REC (arXiv 2008.09872).

    Args:
        evaluation: A run's tasks and rows.

    Returns:
        A Markdown table; `-` where a row lacks a task, `nan` where a metric is undefined.
    """
    tasks = continuous_first(evaluation["tasks"])
    columns = [
        (task, metric)
        for task in tasks
        for metric in dict.fromkeys(
            [task["metric"], "gauc"] if task["kind"] == "binary" else [task["metric"]]
        )
    ]
    names = [task["name"] for task in evaluation["tasks"]]
    header = [
        "row",
        *(_column_title(task, metric) for task, metric in columns),
        f"density ({' / '.join(names)})",
        "mask overlap",
        "seconds",
    ]
    lines = [
        [
            row["row"],
            *(_metric(row, task["name"], metric) for task, metric in columns),
            " / ".join(_number(row["density"].get(name), 3) for name in names),
            _number(row["overlap"], 3),
            _number(row["seconds"], 1),
        ]
        for row in evaluation["rows"]
    ]
    return markdown_table(header, lines)


def full_table(evaluation: Evaluation) -> str:
    """Every metric of every row: one line per row and task, one column per metric.

    Args:
        evaluation: A run's tasks and rows; metrics of products of tasks (`ctcvr`) are shown too.

    Returns:
        A Markdown table; `-` where a metric does not belong to a task.
    """
    pairs = [(row, task) for row in evaluation["rows"] for task in row["metrics"]]
    metrics = list(dict.fromkeys(name for row, task in pairs for name in row["metrics"][task]))
    lines = [
        [row["row"], task, *(_metric(row, task, name) for name in metrics)] for row, task in pairs
    ]
    return markdown_table(["row", "task", *map(metric_name, metrics)], lines, texts=2)


def ticket_table(task: str, search: TicketSearch) -> str:
    """The levels of one task's ticket search; the chosen one is marked.

    Args:
        task: The task's name.
        search: Its densities and validation values by level.

    Returns:
        A Markdown table.

    Raises:
        ValueError: The lists differ in length, or the chosen level is not among them.
    """
    check_search(task, search)
    metric = metric_name(search["metric"])
    header = [
        "level",
        "density",
        f"{task.upper()} {metric} ({BETTER[search['direction']]})",
        "chosen",
    ]
    lines = [
        [
            str(level),
            _number(density, 3),
            _number(value, 5),
            "*" if level == search["chosen"] else "",
        ]
        for level, (density, value) in enumerate(
            zip(search["densities"], search["values"], strict=True)
        )
    ]
    return markdown_table(header, lines, texts=0)


def sharing_table(tasks: Sequence[str], choice: Mapping[str, Any]) -> str:
    """The ways of sharing that s_weight_auto tried; the chosen one is marked.

    Args:
        tasks: In the order of the levels.
        choice: As `auto.train_auto` returns it.

    Returns:
        A Markdown table, best first.
    """
    header = [
        "towers",
        f"level ({' / '.join(tasks)})",
        "mean gain over single tasks",
        "chosen",
    ]
    ways = sorted(choice["tried"], key=lambda way: -_finite(way["gain"]))
    lines = [
        [
            "one a task" if way["separate"] else "shared",
            " / ".join(map(str, way["levels"])),
            "-" if way["gain"] is None else f"{100 * way['gain']:+.2f} %",
            "*" if way["name"] == choice["chosen"] else "",
        ]
        for way in ways
    ]
    return markdown_table(header, lines)


def _finite(gain: float | None) -> float:
    return -math.inf if gain is None else gain


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


def metric_title(task: ReportedTask) -> str:
    """A column of a task's own metric, with its population."""
    return _column_title(task, task["metric"])


def _column_title(task: ReportedTask, metric: str) -> str:
    population = f" on {task['population']}s" if task["population"] else ""
    return f"{task['name'].upper()} {metric_name(metric)}{population}"


def _metric(row: EvaluationRow, task: str, metric: str) -> str:
    return _number(row["metrics"].get(task, {}).get(metric), 5)


def _number(value: float | None, decimals: int) -> str:
    return ABSENT if value is None else f"{value:.{decimals}f}"


def table_levels(search: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> str:
    """The levels of a search for a ticket of a ranking model's tables, the last one being worn.

    Args:
        search: unit; levels, each with density, numbers, validation {task: {metric: value}}.
        tasks: Whose metrics are shown.
    """
    header = ["level", "density", "numbers", *(metric_title(task) for task in tasks)]
    lines = []
    for level, found in enumerate(search["levels"]):
        values = [found["validation"][task["name"]].get(task["metric"]) for task in tasks]
        cells = [ABSENT if value is None else f"{value:.5f}" for value in values]
        lines.append([str(level), f"{found['density']:.3f}", f"{found['numbers']:,}", *cells])
    return markdown_table(header, lines, texts=0)
