"""The picture of a comparison whose models have embedding tables of different sizes."""

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
from lt4rec_tf.reports.further_metrics import ModelEntry, done_runs
from lt4rec_tf.reports.text_tables import BETTER, ReportedTask, metric_name

MEGABYTE = 1e6
LEAST_RATIO = 1.33  # of one tick to the next


def sizes(results: Mapping[str, Any]) -> set[int]:
    """Returns the sizes of the models' embedding tables, in bytes."""
    return {model["cost"]["table_bytes"] for model in results["rows"] if model["cost"]}


def size_figure(results: Mapping[str, Any]) -> Figure:
    """Draws each task's metric on test against the tables' size, a line per group of models.

    A point is a model's mean over seeds, with a bar of one standard error; the model that others
    are compared with is a dashed line. Single-task models are left out: each has tables of its own.

    Args:
        results: As results.json holds them.

    Returns:
        A figure of 100 dots per inch.
    """
    tasks = results["tasks"]
    models = [model for model in results["rows"] if model["cost"] and _measures_all(model, tasks)]
    figure = new_figure(max(6.0, 5.4 * len(tasks)), 4.4)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _draw_task(axes, models, task, results["against"])
    add_legend(figure.axes[-1])
    return figure


def _measures_all(model: ModelEntry, tasks: Sequence[ReportedTask]) -> bool:
    done = done_runs(model)
    return bool(done) and all(task["name"] in done[0]["metrics"] for task in tasks)


def _draw_task(axes: Axes, models: Sequence[ModelEntry], task: ReportedTask, against: str) -> None:
    style_axes(axes)
    models_by_group: dict[str, list[ModelEntry]] = {}
    for model in models:
        if model["row"] == against:
            draw_reference(axes, float(np.mean(_values(model, task))), against)
        else:
            models_by_group.setdefault(model["group"], []).append(model)
    for index, (group, members) in enumerate(models_by_group.items()):
        _draw_group(axes, index, group, sorted(members, key=_megabytes), task)

    _label_sizes(axes, models)
    style_value_axis(axes)
    name = metric_name(task["metric"])
    axes.set_ylabel(f"{task['name'].upper()} {name} ({BETTER[task['direction']]})", color=INK)


def _draw_group(
    axes: Axes, index: int, group: str, models: Sequence[ModelEntry], task: ReportedTask
) -> None:
    values = [_values(model, task) for model in models]
    axes.errorbar(
        [_megabytes(model) for model in models],
        [float(np.mean(values_of_model)) for values_of_model in values],
        yerr=[_standard_error(values_of_model) for values_of_model in values],
        label=group,
        color=task_colour(index),
        marker=marker(index),
        markersize=5,
        linewidth=1.6,
        capsize=2,
    )


def _label_sizes(axes: Axes, models: Sequence[ModelEntry]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    # Two digits: models of nearly the same size share a tick.
    ticks = _apart(sorted({float(f"{_megabytes(model):.2g}") for model in models}))
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


def _megabytes(model: ModelEntry) -> float:
    return model["cost"]["table_bytes"] / MEGABYTE


def _values(model: ModelEntry, task: ReportedTask) -> list[float]:
    return [number(run["metrics"][task["name"]][task["metric"]]) for run in done_runs(model)]
