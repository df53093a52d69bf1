"""The picture of a comparison whose rows have embedding tables of different sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from lt4rec_tf.reports.comparison import Row, done_runs, number
from lt4rec_tf.reports.plots import FAINT, INK, TASK_COLOURS, new_figure, style_axes
from lt4rec_tf.reports.text_tables import BETTER, ReportedTask, metric_name

MARKERS = "osD^vPX"
MEGABYTE = 1e6


def sizes(results: Mapping[str, Any]) -> set[int]:
    """The sizes of tables that the rows have, in bytes."""
    return {row["cost"]["table_bytes"] for row in results["rows"] if row["cost"]}


def size_figure(results: Mapping[str, Any]) -> Figure:
    """Each task's metric on test against what the embedding tables take, a line a group of rows.

    A point is a row's mean over seeds, with a bar of one standard error; the row that others are
    held against is a dashed line. Single-task rows are left out: each has tables of its own.

    Args:
        results: As results.json holds them.

    Returns:
        A figure of 100 dots per inch.
    """
    tasks = results["tasks"]
    rows = [row for row in results["rows"] if row["cost"] and _measures_all(row, tasks)]
    figure = new_figure(max(6.0, 5.4 * len(tasks)), 4.4)
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _draw(axes, rows, task, results["against"])
    figure.axes[-1].legend(edgecolor="none", framealpha=0.85, fontsize=9, labelcolor=INK)
    return figure


def _measures_all(row: Row, tasks: Sequence[ReportedTask]) -> bool:
    done = done_runs(row)
    return bool(done) and all(task["name"] in done[0]["metrics"] for task in tasks)


def _draw(axes: Axes, rows: Sequence[Row], task: ReportedTask, against: str) -> None:
    style_axes(axes)
    for row in rows:
        if row["row"] == against:
            mean = float(np.mean(_values(row, task)))
            axes.axhline(mean, color=INK, linestyle=(0, (5, 4)), linewidth=1, label=against)
    groups = dict.fromkeys(row["group"] for row in rows if row["row"] != against)
    for place, group in enumerate(groups):
        of_group = [row for row in rows if row["group"] == group and row["row"] != against]
        of_group.sort(key=_megabytes)
        values = [_values(row, task) for row in of_group]
        axes.errorbar(
            [_megabytes(row) for row in of_group],
            [float(np.mean(v)) for v in values],
            yerr=[_standard_error(v) for v in values],
            label=group,
            color=TASK_COLOURS[place % len(TASK_COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=5,
            linewidth=1.6,
            capsize=2,
        )
    ticks = sorted({float(f"{_megabytes(row):.2g}") for row in rows})
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    shown = _apart(ticks)
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("embedding tables in a version, MB", color=INK)
    name = metric_name(task["metric"])
    axes.set_ylabel(f"{task['name'].upper()} {name} ({BETTER[task['direction']]})", color=INK)


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _apart(ticks: Sequence[float]) -> list[float]:
    """Ticks a third apart at least, so that their labels on a logarithmic axis do not touch."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= 1.33 * kept[-1]:
            kept.append(tick)
    return kept


def _megabytes(row: Row) -> float:
    return row["cost"]["table_bytes"] / MEGABYTE


def _values(row: Row, task: ReportedTask) -> list[float]:
    return [number(run["metrics"][task["name"]][task["metric"]]) for run in done_runs(row)]
