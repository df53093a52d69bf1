"""A comparison as Markdown: Table 2 of LT4REC (arXiv 2008.09872) with intervals and costs.

These functions read the content of a comparison's results.json:

    name, split       of the comparison, and of the logs that it was measured on
    tasks             as `ReportedTask`
    against           the row that all others are compared with, beside the single tasks
    rows              each with row, group, note, chosen {setting: value}, runs, cost, differences,
                      against
      runs            each with seed and status: "done" has metrics, density, overlap and seconds
                      as in `EvaluationRow`; "failed" has error and log
      cost            trained_parameters, table_bytes, alive_parameters {task: n}, multiply_adds;
                      None: no run
      differences     task -> metric, base, value, difference, low, high; {} for a single-task row
      against         the same, to the row `against`; {} for that row
    searches          each with row, seed and searches {task: `TicketSearch`}

None stands for a number that is undefined, as in JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt4rec_tf.reports.text_tables import (
    ABSENT,
    BETTER,
    ReportedTask,
    TicketSearch,
    continuous_first,
    markdown_table,
    metric_name,
)

Row = Mapping[str, Any]
UNDEFINED = "nan"
FURTHER_METRICS = {
    "binary": ("auc", "gauc", "log_loss"),
    "continuous": ("mse", "mae", "xauc"),
    "amount": ("nrmse", "nmae", "rmse", "mae", "spearman", "gini"),
}


def comparison_table(results: Mapping[str, Any]) -> str:
    """Returns one line per row under its group's heading, then failed runs and a legend.

    A difference is bold where its interval excludes zero, whichever side is better.

    Args:
        results: As results.json holds them.

    Returns:
        Markdown, with a final line feed.
    """
    tasks = continuous_first(results["tasks"])
    rows: Sequence[Row] = results["rows"]
    settings: dict[str, None] = {}  # in the order of their first appearance
    failures = []
    for row in rows:
        settings.update(dict.fromkeys(row["chosen"]))
        failures += _failures(row)
    names = list(settings)

    parts = [
        f"## {results['name']}: measured on {results['split']}",
        _grouped_lines(_header(tasks, names), rows, [_line(row, tasks, names) for row in rows]),
    ]
    if any(row["against"] for row in rows):
        parts += [f"### Differences to {results['against']}", _against_table(results, tasks)]
    if failures:
        parts += ["### Failed runs", "\n".join(failures)]
    notes = [f"- `{row['row']}`: {row['note']}" for row in rows if row["note"]]
    if notes:
        parts += ["### Rows", "\n".join(notes)]
    parts += ["### Further metrics, mean over the seeds", _further_metrics(rows, tasks)]
    parts += ["### Columns", _legend(tasks, names)]
    return "\n\n".join(parts) + "\n"


def search_table(searches: Sequence[Mapping[str, Any]]) -> str:
    """Returns every level of the rows' searches on validation: Figure 4 of LT4REC in numbers.

    Args:
        searches: As results.json holds them, one per row and seed.

    Returns:
        A Markdown table, one line per row, task and level; a level's numbers are over the seeds
        whose search has it.
    """
    rows_and_tasks: dict[tuple[str, str], None] = {}  # in the order of their first appearance
    for search in searches:
        rows_and_tasks.update(dict.fromkeys((search["row"], task) for task in search["searches"]))

    lines = []
    for row, task in rows_and_tasks:
        over_seeds = searches_of(searches, row, task)
        for level in range(max(len(search["values"]) for search in over_seeds)):
            lines.append([row, task, *_level_cells(over_seeds, level)])
    header = ["row", "task", "metric", "level", "density", "validation", "sd", "chosen"]
    return markdown_table(header, lines, texts=3)


def _level_cells(searches: Sequence[TicketSearch], level: int) -> list[str]:
    """Returns metric, level, density, mean, standard deviation and choices over the seeds."""
    reached = [search for search in searches if level < len(search["values"])]
    densities = [search["densities"][level] for search in reached]
    values = np.array([number(search["values"][level]) for search in reached])
    choices = sum(search["chosen"] == level for search in reached)
    return [
        metric_name(searches[0]["metric"]),
        str(level),
        f"{np.mean(densities):.3f}",
        f"{values.mean():.5f}",
        f"{values.std(ddof=1):.5f}" if len(values) > 1 else ABSENT,
        f"{choices} of {len(searches)}",
    ]


def searches_of(searches: Sequence[Mapping[str, Any]], row: str, task: str) -> list[TicketSearch]:
    """Returns a task's searches of one row, one per seed.

    Args:
        searches: As results.json holds them, one per row and seed.
        row: Of the comparison.
        task: Its name; seeds whose row did not search for it are left out.
    """
    return [
        search["searches"][task]
        for search in searches
        if search["row"] == row and task in search["searches"]
    ]


def difference_cell(differences: Mapping[str, Mapping[str, Any]], task: ReportedTask) -> str:
    """Returns a difference with its interval: errors in per cent of the base, others as they are.

    Bold where the interval excludes zero.

    Args:
        differences: Of a row, as results.json holds them.
        task: Of the schema.
    """
    if task["name"] not in differences:
        return ABSENT
    numbers = differences[task["name"]]
    parts = [number(numbers[name]) for name in ("difference", "low", "high", "base")]
    if not all(map(math.isfinite, parts)):
        return UNDEFINED
    difference, low, high, base = parts

    decimals, unit, scale = 4, "", 1.0
    if _is_error(task) and base > 0:
        decimals, unit, scale = 2, " %", 100 / base
    text = f"{scale * difference:+.{decimals}f}{unit}"
    if low > 0 or high < 0:
        text = f"**{text}**"
    return f"{text} [{scale * low:+.{decimals}f}, {scale * high:+.{decimals}f}]"


def done_runs(row: Row) -> list[Mapping[str, Any]]:
    """Returns the runs of a row that have results."""
    return [run for run in row["runs"] if run["status"] == "done"]


def number(value: float | None) -> float:
    """Returns a number of results.json, NaN where it is undefined."""
    return math.nan if value is None else float(value)


def _grouped_lines(header: Sequence[str], rows: Sequence[Row], lines: list[list[str]]) -> str:
    """Returns a table per group, all of the same widths."""
    head, rule, *body = markdown_table(header, lines, texts=1).splitlines()
    lines_by_group: dict[str, list[str]] = {}
    for row, line in zip(rows, body, strict=True):
        lines_by_group.setdefault(row["group"], []).append(line)
    parts = []
    for group, group_lines in lines_by_group.items():
        parts.append("\n".join([f"### {group}", "", head, rule, *group_lines]))
    return "\n\n".join(parts)


def _against_table(results: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> str:
    """Returns every row's differences to the one that all are compared with."""
    header = ["row", *(_metric_title(task, task["metric"]) for task in tasks)]
    lines = []
    for row in results["rows"]:
        if row["against"]:
            lines.append([row["row"], *(difference_cell(row["against"], task) for task in tasks)])
    return markdown_table(header, lines)


def _further_metrics(rows: Sequence[Row], tasks: Sequence[ReportedTask]) -> str:
    """Returns the metrics that a task is not judged by."""
    columns = []
    for task in tasks:
        further = FURTHER_METRICS[task["kind"]]
        columns += [(task, metric) for metric in further if metric != task["metric"]]
    header = ["row", *(_metric_title(task, metric) for task, metric in columns)]

    lines = []
    for row in rows:
        done = done_runs(row)
        lines.append([row["row"], *(_mean_metric(done, task, metric) for task, metric in columns)])
    return markdown_table(header, lines)


def _header(tasks: Sequence[ReportedTask], settings: Sequence[str]) -> list[str]:
    header = ["row"]
    for task in tasks:
        title = _metric_title(task, task["metric"])
        header += [title, f"{task['name'].upper()} to single task"]
    return [
        *header,
        *map(_spelled, settings),
        "seeds",
        "trained",
        "tables (bytes)",
        f"alive ({' / '.join(task['name'] for task in tasks)})",
        "multiply-adds",
        "seconds",
    ]


def _line(row: Row, tasks: Sequence[ReportedTask], settings: Sequence[str]) -> list[str]:
    done = done_runs(row)
    cells = [row["row"]]
    for task in tasks:
        cells.append(_mean_metric(done, task, task["metric"]))
        cells.append(difference_cell(row["differences"], task))
    cells += [_setting(row["chosen"].get(name)) for name in settings]

    finished, runs = len(done), len(row["runs"])
    cells.append(str(finished) if finished == runs else f"{finished} of {runs}")
    cells += _cost_cells(row["cost"], tasks)
    seconds = [number(run["seconds"]) for run in done]
    cells.append(f"{np.mean(seconds):,.1f}" if seconds else ABSENT)
    return cells


def _cost_cells(cost: Mapping[str, Any] | None, tasks: Sequence[ReportedTask]) -> list[str]:
    numbers = cost or {"alive_parameters": {}}
    alive = numbers["alive_parameters"]
    return [
        _count(numbers.get("trained_parameters")),
        _count(numbers.get("table_bytes")),
        " / ".join(_count(alive.get(task["name"])) for task in tasks),
        _count(numbers.get("multiply_adds")),
    ]


def _mean_metric(done: Sequence[Mapping[str, Any]], task: ReportedTask, metric: str) -> str:
    values = [
        number(run["metrics"][task["name"]].get(metric))
        for run in done
        if task["name"] in run["metrics"]
    ]
    return f"{np.mean(values):.5f}" if values else ABSENT


def _metric_title(task: ReportedTask, metric: str) -> str:
    return f"{task['name'].upper()} {metric_name(metric)}"


def _spelled(setting: str) -> str:
    return setting.replace("_", " ")


def _is_error(task: ReportedTask) -> bool:
    return task["direction"] == "min"


def _setting(value: float | str | None) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else f"{value:g}"


def _count(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _failures(row: Row) -> list[str]:
    """Returns one line per reason, with the seeds that failed for it."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for run in row["runs"]:
        if run["status"] != "done":
            # A message of several lines would end the list's item.
            reason = " ".join(str(run["error"]).split())
            seeds.setdefault((reason, str(run["log"])), []).append(str(run["seed"]))

    lines = []
    for (reason, log), failed in seeds.items():
        plural = "s" if len(failed) > 1 else ""
        lines.append(f"- `{row['row']}`, seed{plural} {', '.join(failed)}: {reason} (log: `{log}`)")
    return lines


def _legend(tasks: Sequence[ReportedTask], settings: Sequence[str]) -> str:
    lines = []
    for task in tasks:
        population = f" on {task['population']}s" if task["population"] else ""
        lines.append(
            f"- {_metric_title(task, task['metric'])}: {BETTER[task['direction']]}; "
            f"mean over the seeds{population}"
        )

    errors = " and ".join(task["name"].upper() for task in tasks if _is_error(task))
    relative = f"; for {errors} in per cent of the single-task mean" if errors else ""
    lines.append(
        "- to single task: paired difference to the single-task row over the seeds that both "
        "finished, with the 95 % interval of a bootstrap over users and seeds; **bold** only where "
        "it excludes zero" + relative
    )

    if settings:
        lines.append(f"- {', '.join(map(_spelled, settings))}: chosen on validation")
    lines += [
        "- seeds: finished runs that the means are over, of those that were asked for",
        "- trained: numbers that training changes, embedding tables included",
        "- alive: numbers above the cross layer that a task's prediction reads, cut weights left "
        "out",
        "- multiply-adds: of one example's predictions for all tasks above the cross layer",
        "- seconds: training time of one seed on average, searches of tickets included",
    ]
    return "\n".join(lines)
