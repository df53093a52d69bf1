"""A comparison as Markdown: Table 2 of LT4REC (arXiv 2008.09872) with intervals and costs.

What these functions read is the content of a comparison's results.json:

    name, split       what was compared, and where it was measured
    tasks             as `ReportedTask`
    against           the row that all others are held against, beside the single tasks
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
    """One line a row under its group's heading, then failed runs and what the columns are.

    A difference is bold where its interval excludes zero, whichever side is better.

    Args:
        results: As results.json holds them.

    Returns:
        Markdown, with a final line feed.
    """
    tasks = continuous_first(results["tasks"])
    rows: Sequence[Row] = results["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["chosen"]))
    parts = [
        f"## {results['name']}: measured on {results['split']}",
        _grouped_lines(_header(tasks, names), rows, [_line(row, tasks, names) for row in rows]),
    ]
    if any(row["against"] for row in rows):
        parts += [f"### Differences to {results['against']}", _against_table(results, tasks)]
    failed = [line for row in rows for line in _failures(row)]
    if failed:
        parts += ["### Failed runs", "\n".join(failed)]
    notes = [f"- `{row['row']}`: {row['note']}" for row in rows if row["note"]]
    if notes:
        parts += ["### Rows", "\n".join(notes)]
    parts += ["### Further metrics, mean over the seeds", _further_metrics(rows, tasks)]
    parts += ["### Columns", _legend(tasks, names)]
    return "\n\n".join(parts) + "\n"


def search_table(searches: Sequence[Mapping[str, Any]]) -> str:
    """Every level of the rows' ticket searches on validation: Figure 4 of LT4REC in numbers.

    Args:
        searches: As results.json holds them, one a row and seed.

    Returns:
        A Markdown table, one line a row, task and level; a level's numbers are over the seeds whose
        search has it.
    """
    lines = []
    for row, task in dict.fromkeys((s["row"], task) for s in searches for task in s["searches"]):
        found = [s["searches"][task] for s in searches if s["row"] == row and task in s["searches"]]
        for level in range(max(len(search["values"]) for search in found)):
            here = [search for search in found if level < len(search["values"])]
            values = np.array([number(search["values"][level]) for search in here])
            lines.append(
                [
                    row,
                    task,
                    metric_name(found[0]["metric"]),
                    str(level),
                    f"{np.mean([search['densities'][level] for search in here]):.3f}",
                    f"{values.mean():.5f}",
                    f"{values.std(ddof=1):.5f}" if len(values) > 1 else ABSENT,
                    f"{sum(search['chosen'] == level for search in here)} of {len(found)}",
                ]
            )
    header = ["row", "task", "metric", "level", "density", "validation", "sd", "chosen"]
    return markdown_table(header, lines, texts=3)


def difference_cell(differences: Mapping[str, Mapping[str, Any]], task: ReportedTask) -> str:
    """A difference with its interval: errors in per cent of the base, others as they are.

    Bold where the interval excludes zero.

    Args:
        differences: Of a row, as results.json holds them.
        task: Whose difference to show.
    """
    if task["name"] not in differences:
        return ABSENT
    found = differences[task["name"]]
    parts = [number(found[name]) for name in ("difference", "low", "high", "base")]
    difference, low, high, base = parts
    if not all(map(math.isfinite, parts)):
        return UNDEFINED
    decimals, unit, scale = 4, "", 1.0
    if _is_error(task) and base > 0:
        decimals, unit, scale = 2, " %", 100 / base
    text = f"{scale * difference:+.{decimals}f}{unit}"
    if low > 0 or high < 0:
        text = f"**{text}**"
    return f"{text} [{scale * low:+.{decimals}f}, {scale * high:+.{decimals}f}]"


def done_runs(row: Row) -> list[Mapping[str, Any]]:
    """The runs of a row that have results."""
    return [run for run in row["runs"] if run["status"] == "done"]


def number(value: float | None) -> float:
    """A number of results.json, NaN where it is undefined."""
    return math.nan if value is None else float(value)


def _grouped_lines(header: Sequence[str], rows: Sequence[Row], lines: list[list[str]]) -> str:
    """A table for each group, all of the same widths."""
    head, rule, *laid_out = markdown_table(header, lines, texts=1).splitlines()
    parts = []
    for group in dict.fromkeys(row["group"] for row in rows):
        here = [line for row, line in zip(rows, laid_out, strict=True) if row["group"] == group]
        parts.append("\n".join([f"### {group}", "", head, rule, *here]))
    return "\n\n".join(parts)


def _against_table(results: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> str:
    """Every row's differences to one of them: whom it beats, and what beats it."""
    header = ["row", *(f"{task['name'].upper()} {metric_name(task['metric'])}" for task in tasks)]
    lines = [
        [row["row"], *(difference_cell(row["against"], task) for task in tasks)]
        for row in results["rows"]
        if row["against"]
    ]
    return markdown_table(header, lines)


def _further_metrics(rows: Sequence[Row], tasks: Sequence[ReportedTask]) -> str:
    """What a task is measured by beside the metric that it is judged by."""
    columns = [
        (task, metric)
        for task in tasks
        for metric in FURTHER_METRICS[task["kind"]]
        if metric != task["metric"]
    ]
    header = ["row", *(f"{task['name'].upper()} {metric_name(m)}" for task, m in columns)]
    lines = [
        [row["row"], *(_mean_metric(done_runs(row), task, metric) for task, metric in columns)]
        for row in rows
    ]
    return markdown_table(header, lines)


def _header(tasks: Sequence[ReportedTask], settings: Sequence[str]) -> list[str]:
    header = ["row"]
    for task in tasks:
        name = task["name"].upper()
        header += [f"{name} {metric_name(task['metric'])}", f"{name} to single task"]
    return [
        *header,
        *(name.replace("_", " ") for name in settings),
        "seeds",
        "trained",
        "tables (bytes)",
        f"alive ({' / '.join(task['name'] for task in tasks)})",
        "multiply-adds",
        "seconds",
    ]


def _line(row: Row, tasks: Sequence[ReportedTask], settings: Sequence[str]) -> list[str]:
    done, cost = done_runs(row), row["cost"]
    alive = cost["alive_parameters"] if cost else {}
    cells = [row["row"]]
    for task in tasks:
        cells += [
            _mean_metric(done, task, task["metric"]),
            difference_cell(row["differences"], task),
        ]
    return [
        *cells,
        *(_setting(row["chosen"].get(name)) for name in settings),
        str(len(done)) if len(done) == len(row["runs"]) else f"{len(done)} of {len(row['runs'])}",
        _count(cost and cost["trained_parameters"]),
        _count(cost and cost["table_bytes"]),
        " / ".join(_count(alive.get(task["name"])) for task in tasks),
        _count(cost and cost["multiply_adds"]),
        f"{np.mean([number(run['seconds']) for run in done]):,.1f}" if done else ABSENT,
    ]


def _mean_metric(done: Sequence[Mapping[str, Any]], task: ReportedTask, metric: str) -> str:
    values = [
        number(run["metrics"][task["name"]].get(metric))
        for run in done
        if task["name"] in run["metrics"]
    ]
    return f"{np.mean(values):.5f}" if values else ABSENT


def _is_error(task: ReportedTask) -> bool:
    return task["direction"] == "min"


def _setting(value: float | str | None) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else f"{value:g}"


def _count(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _failures(row: Row) -> list[str]:
    """One line for each reason, with the seeds that failed for it."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for run in row["runs"]:
        if run["status"] != "done":
            # A message of several lines would end the list's item.
            reason = " ".join(str(run["error"]).split())
            seeds.setdefault((reason, str(run["log"])), []).append(str(run["seed"]))
    return [
        f"- `{row['row']}`, seed{'s' if len(failed) > 1 else ''} {', '.join(failed)}: {error} "
        f"(log: `{log}`)"
        for (error, log), failed in seeds.items()
    ]


def _legend(tasks: Sequence[ReportedTask], settings: Sequence[str]) -> str:
    lines = []
    for task in tasks:
        population = f" on {task['population']}s" if task["population"] else ""
        lines.append(
            f"- {task['name'].upper()} {metric_name(task['metric'])}: {BETTER[task['direction']]}; "
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
        chosen = ", ".join(name.replace("_", " ") for name in settings)
        lines.append(f"- {chosen}: chosen on validation")
    lines += [
        "- seeds: finished runs that the means are over, of those that were asked for",
        "- trained: numbers that training changes, embedding tables included",
        "- alive: numbers above the cross layer that a task's prediction reads, cut weights left "
        "out",
        "- multiply-adds: of one example's predictions for all tasks above the cross layer",
        "- seconds: training time of one seed on average, searches of tickets included",
    ]
    return "\n".join(lines)
