"""The picture of a comparison whose rows have embedding tables of different sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lt4rec_tf.reports.differences import number
from lt4rec_tf.reports.figures import (
    INK,
    add_legend,
    draw_reference,
    marker,
    new_figure,
    style_axes,
    style_value_axis,
    task_colour,
)
from lt4rec_tf.reports.further_metrics import Row, done_runs
from lt4rec_tf.reports.text_tables import BETTER, ReportedTask, metric_name

MEGABYTE = 1e6
LEAST_RATIO = 1.33  # of one tick to the next


def sizes(results: Mapping[str, Any]) -> set[int]:
    """Returns the sizes of the rows' embedding tables, in bytes."""
    return {row["cost"]["table_bytes"] for row in results["rows"] if row["cost"]}


def size_figure(results: Mapping[str, Any]) -> Figure:
    """Draws each task's metric on test against the tables' size, a line per group of rows.

    A point is a row's mean over seeds, with a bar of one standard error; the row that others are
    compared with is a dashed line. Single-task rows are left out: each has tables of its own.

    Args:
        results: As results.json holds them.

    Returns:
        A figure of 100 dots per inch.
    """
    tasks = results["tasks"]
    rows = [row for row in results["rows"] if row["cost"] and _measures_all(row, tasks)]
    figure = new_figure(max(6.0, 5.4 * len(tasks)), 4.4)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _draw_task(axes, rows, task, results["against"])
    add_legend(figure.axes[-1])
    return figure


def _measures_all(row: Row, tasks: Sequence[ReportedTask]) -> bool:
    done = done_runs(row)
    return bool(done) and all(task["name"] in done[0]["metrics"] for task in tasks)


def _draw_task(axes: Axes, rows: Sequence[Row], task: ReportedTask, against: str) -> None:
    style_axes(axes)
    rows_by_group: dict[str, list[Row]] = {}
    for row in rows:
        if row["row"] == against:
            draw_reference(axes, float(np.mean(_values(row, task))), against)
        else:
            rows_by_group.setdefault(row["group"], []).append(row)
    for index, (group, members) in enumerate(rows_by_group.items()):
        _draw_group(axes, index, group, sorted(members, key=_megabytes), task)

    _label_sizes(axes, rows)
    style_value_axis(axes)
    name = metric_name(task["metric"])
    axes.set_ylabel(f"{task['name'].upper()} {name} ({BETTER[task['direction']]})", color=INK)


def _draw_group(
    axes: Axes, index: int, group: str, rows: Sequence[Row], task: ReportedTask
) -> None:
    values = [_values(row, task) for row in rows]
    axes.errorbar(
        [_megabytes(row) for row in rows],
        [float(np.mean(values_of_row)) for values_of_row in values],
        yerr=[_standard_error(values_of_row) for values_of_row in values],
        label=group,
        color=task_colour(index),
        marker=marker(index),
        markersize=5,
        linewidth=1.6,
        capsize=2,
    )


def _label_sizes(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    # Two digits: rows of nearly the same size share a tick.
    ticks = _apart(sorted({float(f"{_megabytes(row):.2g}") for row in rows}))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("embedding tables in a version, MB", color=INK)


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _apart(ticks: Sequence[float]) -> list[float]:
    """Returns ticks far enough apart that their labels on a logarithmic axis do not touch."""
    spaced: list[float] = []
    for tick in ticks:
        if not spaced or tick >= LEAST_RATIO * spaced[-1]:
            spaced.append(tick)
    return spaced


def _megabytes(row: Row) -> float:
    return row["cost"]["table_bytes"] / MEGABYTE


def _values(row: Row, task: ReportedTask) -> list[float]:
    return [number(run["metrics"][task["name"]][task["metric"]]) for run in done_runs(row)]
