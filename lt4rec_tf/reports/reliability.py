"""Calibration by bins of the prediction, as a picture; errors by bins of the label, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lt4rec_tf.reports.differences import number
from lt4rec_tf.reports.figures import (
    DASHED,
    INK,
    add_legend,
    grid_behind,
    new_figure,
    style_axes,
    task_colour,
)
from lt4rec_tf.reports.text_tables import (
    EvaluatedModel,
    Evaluation,
    ReportedTask,
    markdown_table,
    number_cell,
    population_words,
)


def shown_models(evaluation: Evaluation, preferred: str) -> dict[str, EvaluatedModel]:
    """Returns the model that stands for each task: the preferred one, else the last that has it.

    Args:
        evaluation: A run's tasks and models.
        preferred: Name of a model, such as the one that is exported.
    """
    shown: dict[str, EvaluatedModel] = {}
    for task in evaluation["tasks"]:
        for model in evaluation["rows"]:
            has_task = bool(model.get("reliability", {}).get(task["name"]))
            chosen = shown.get(task["name"])
            if has_task and (chosen is None or chosen["row"] != preferred):
                shown[task["name"]] = model
    return shown


def reliability_figure(evaluation: Evaluation, preferred: str) -> Figure:
    """Draws mean label against mean prediction by bins of the prediction, a panel a task.

    A bin's bar is the 95 % interval of its mean label; on the dashed line both means are equal.
    Where a calibration map changes the predictions, their bins are drawn too.

    Args:
        evaluation: A run's tasks and models with their bins, as evaluation.json holds them.
        preferred: The model to draw where it has the task.

    Returns:
        A figure of 100 dots per inch.

    Raises:
        ValueError: No model has bins.
    """
    shown = shown_models(evaluation, preferred)
    tasks = [task for task in evaluation["tasks"] if task["name"] in shown]
    if not tasks:
        raise ValueError("reliability figure: found no task with bins, expected at least one")
    figure = new_figure(5.2 * len(tasks), 4.6)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for index, (axes, task) in enumerate(zip(panels, tasks, strict=True)):
        _draw_task(axes, task, shown[task["name"]], task_colour(index))
    return figure


def _draw_task(axes: Axes, task: ReportedTask, model: EvaluatedModel, colour: str) -> None:
    style_axes(axes)
    after = model.get("calibrated", {})
    bins = model["reliability"][task["name"]]
    predictions, labels, low, high = (
        np.array([number(part[name]) for part in bins])
        for name in ("prediction", "label", "low", "high")
    )
    ends = [min(predictions.min(), labels.min()), max(predictions.max(), labels.max())]
    axes.plot(ends, ends, color=INK, linestyle=DASHED, linewidth=1, label="calibrated", zorder=1)
    # A bin of one user has no interval.
    known = np.isfinite(low)
    axes.errorbar(
        predictions[known], labels[known],
        yerr=np.stack([labels - low, high - labels])[:, known],
        color=colour, linestyle="none", elinewidth=1.2, capsize=2.5, zorder=2,
    )  # fmt: skip
    axes.plot(
        predictions, labels,
        color=colour, marker="o", markersize=5, linewidth=1.2, label=model["row"], zorder=3,
    )  # fmt: skip

    if task["name"] in after.get("maps", {}):
        by_map = after["reliability"][task["name"]]
        axes.plot(
            [number(part["prediction"]) for part in by_map],
            [number(part["label"]) for part in by_map],
            color=INK, marker="s", markersize=3.5, linewidth=0.8, label="with its map", zorder=4,
        )  # fmt: skip

    grid_behind(axes, "y")
    axes.set_xlabel(f"mean prediction ({_counts(bins)})", color=INK)
    axes.set_ylabel("mean label, 95 % interval", color=INK)
    title = f"{task['name'].upper()} over {population_words(task)}"
    error = model["metrics"][task["name"]].get("ece")
    if error is not None:
        title += f", ECE {error:.4f}"
        if task["name"] in after.get("maps", {}):
            title += f" to {after['metrics'][task['name']]['ece']:.4f}"
    axes.set_title(title, color=INK, fontsize=11)
    add_legend(axes)


def _counts(bins: Sequence[Mapping[str, Any]]) -> str:
    """Returns how many rows bins have, in words.

    >>> _counts([{"rows": 10}, {"rows": 11}]), _counts([{"rows": 1200}])
    ('2 bins of 10 to 11 rows', '1 bin of 1,200 rows')
    """
    rows = [part["rows"] for part in bins]
    plural = "s" if len(bins) > 1 else ""
    least, most = min(rows), max(rows)
    count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{len(bins)} bin{plural} of {count} rows"


def label_tables(evaluation: Evaluation, preferred: str) -> list[str]:
    """Returns a table for each task that is not binary: errors by bin of the label.

    Args:
        evaluation: A run's tasks and models with their bins, as evaluation.json holds them.
        preferred: The model to show where it has the task.

    Returns:
        Of each a line that names task and model, an empty line and a Markdown table.
    """
    tables = []
    for task, model in shown_models(evaluation, preferred).items():
        bins = model["by_label"].get(task)
        if not bins:
            continue
        lines = []
        for part in bins:
            cells = [number_cell(part[name], 5) for name in ("label", "prediction", "mse", "mae")]
            lines.append([_span(part["low"], part["high"]), f"{part['rows']:,}", *cells])
        header = [f"{task} label", "rows", "mean label", "mean prediction", "MSE", "MAE"]
        table = markdown_table(header, lines)
        tables.append(f"{task.upper()} of {model['row']}, by label\n\n{table}")
    return tables


def _span(low: float, high: float) -> str:
    """Returns the least and the largest label of a bin in words.

    >>> _span(0.25, 0.5), _span(1.0, 1.0)
    ('0.25 to 0.5', '1')
    """
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
