"""What many_tasks.py measured of each model: gains over single tasks, tables, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lt4rec_tf.metrics.gain import mean_relative_gain
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
from lt4rec_tf.reports.text_tables import ABSENT, ReportedTask, markdown_table, metric_name

BASE = "base"
SINGLE = "single tasks"  # as tables and pictures call it
APART = 1.03  # factor from one model's place on a logarithmic axis to the next one's
COUNTS = ("trained_parameters", "multiply_adds", "table_bytes")


@dataclass(frozen=True)
class Measured:
    """A model for some tasks; single-task models are one model, whose costs are their sums.

    Attributes:
        tasks: The tasks.
        values: Task -> its metric on test, (seeds,).
        gains: Mean relative gain over the single-task models of the same seed, (seeds,).
        cost: `COUNTS`, and "alive": weights alive for a task, the mean over tasks.
        seconds: Of training, mean over seeds.
    """

    tasks: Sequence[ReportedTask]
    values: Mapping[str, np.ndarray]
    gains: np.ndarray
    cost: Mapping[str, float]
    seconds: float


def measured(report: Mapping[str, Any]) -> dict[str, Measured]:
    """Returns each model of a comparison whose runs all ended.

    Args:
        report: As results.json holds it.
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for line in report["rows"]:
        name = line["row"]
        by_model.setdefault(BASE if name.startswith(f"{BASE}_") else name, []).append(line)

    base = _values(report["tasks"], by_model[BASE])
    models = {}
    for model, lines in by_model.items():
        values = _values(report["tasks"], lines)
        seconds = [np.mean([run["seconds"] for run in line["runs"]]) for line in lines]
        gains = gains_over(report["tasks"], values, base)
        models[model] = Measured(
            report["tasks"], values, gains, cost_of(lines), float(np.sum(seconds))
        )
    return models


def _values(
    tasks: Sequence[ReportedTask], lines: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Returns task -> metric, (seeds,), of the line that has the task."""
    values = {}
    for task in tasks:
        for line in lines:
            metrics = [run["metrics"].get(task["name"]) for run in line["runs"]]
            if all(metrics):
                values[task["name"]] = np.array([found[task["metric"]] for found in metrics])
    return values


def gains_over(
    tasks: Sequence[ReportedTask],
    values: Mapping[str, np.ndarray],
    base: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Returns the mean relative gain over the single-task models of the same seed, (seeds,)."""
    directions = {task["name"]: task["direction"] for task in tasks}
    gains = []
    for seed in range(len(next(iter(values.values())))):
        mine, single = ({t: float(v[seed]) for t, v in of.items()} for of in (values, base))
        gains.append(mean_relative_gain(mine, single, directions))
    return np.array(gains)


def cost_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns what a model of one line or of several costs, see `Measured`."""
    alive = [count for line in lines for count in line["cost"]["alive_parameters"].values()]
    sums = {name: sum(line["cost"][name] for line in lines) for name in COUNTS}
    return {**sums, "alive": float(np.mean(alive))}


def cost_table(
    by_count: Mapping[int, Mapping[str, Measured]], times: Mapping[int, Mapping[str, float]]
) -> str:
    """Returns a line for each number of tasks and model.

    Args:
        by_count: Number of tasks -> model -> what was measured.
        times: Number of tasks -> model -> seconds of a request to `rank`.
    """
    header = [
        "tasks", "model", "seeds", "mean gain, %", "AUC, binary tasks", "CVR MSE, %", "trained",
        "alive a task", "multiply-adds", "tables, bytes", "training, s", "rank, ms",
    ]  # fmt: skip
    lines = []
    for count, models in by_count.items():
        for name, model in models.items():
            title = SINGLE if name == BASE else name
            counts = [f"{round(model.cost[key]):,}" for key in ("trained_parameters", "alive")]
            counts += [f"{round(model.cost[key]):,}" for key in ("multiply_adds", "table_bytes")]
            milliseconds = f"{1000 * times[count][name]:.2f}"
            quality = [ABSENT] * 3 if name == BASE else quality_cells(model, models[BASE])
            cells = [*quality, *counts, f"{model.seconds:,.0f}", milliseconds]
            lines.append([str(count), title, str(len(model.gains)), *cells])
    return markdown_table(header, lines, texts=2)


def quality_cells(model: Measured, base: Measured) -> list[str]:
    """Returns the mean gain, the mean difference of AUC and that of MSE in per cent, if any."""
    of_auc, of_mse = [], []
    for task in model.tasks:
        mine, single = model.values[task["name"]], base.values[task["name"]]
        if task["metric"] == "auc":
            of_auc.append(mine - single)
        else:
            of_mse.append(100 * (mine / single - 1))
    cells = [mean_and_spread(100 * model.gains, "+.2f")]
    cells.append(mean_and_spread(np.mean(of_auc, axis=0), "+.4f") if of_auc else ABSENT)
    cells.append(mean_and_spread(np.mean(of_mse, axis=0), "+.2f") if of_mse else ABSENT)
    return cells


def task_table(models: Mapping[str, Measured]) -> str:
    """Returns a line for each task, its metric on test by each model.

    Args:
        models: Model -> what was measured, for the same tasks.
    """
    lines = []
    for task in models[BASE].tasks:
        cells = [mean_and_spread(model.values[task["name"]], ".4f") for model in models.values()]
        lines.append([f"{task['name']} {metric_name(task['metric'])}", *cells])
    return markdown_table(["task", *(SINGLE if name == BASE else name for name in models)], lines)


def mean_and_spread(values: np.ndarray, form: str) -> str:
    """Returns the mean of seeds and, of several, their standard deviation.

    >>> mean_and_spread(np.array([0.1, 0.3]), "+.2f")
    '+0.20 ± 0.14'
    """
    spread = f" ± {np.std(values, ddof=1):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{spread}"


def picture(
    by_count: Mapping[int, Mapping[str, Measured]], times: Mapping[int, Mapping[str, float]]
) -> Figure:
    """Draws mean gain, multiply-adds and milliseconds of `rank` against the number of tasks.

    Args:
        by_count: Number of tasks -> model -> what was measured.
        times: Number of tasks -> model -> seconds of a request to `rank`.
    """
    figure = new_figure(14.0, 4.4)
    gain, products, request = figure.subplots(1, 3)
    models = list(by_count[max(by_count)])
    for index, name in enumerate(models):
        counts = [count for count, of_count in by_count.items() if name in of_count]
        gains = [100 * by_count[count][name].gains for count in counts]
        millions = [by_count[count][name].cost["multiply_adds"] / 1e6 for count in counts]
        milliseconds = [1000 * times[count][name] for count in counts]
        look = {"color": task_colour(index), "marker": marker(index), "label": name}
        look |= {"linewidth": 1.6, "markersize": 5}
        if name != BASE:
            spreads = [float(np.std(values, ddof=len(values) > 1)) for values in gains]
            apart = [count * APART**index for count in counts]  # bars side by side
            gain.errorbar(apart, [v.mean() for v in gains], yerr=spreads, capsize=2, **look)
        look["label"] = SINGLE if name == BASE else name
        products.plot(counts, millions, **look)
        request.plot(counts, milliseconds, **look)

    draw_reference(gain, 0.0, SINGLE)
    titles = {
        gain: "mean gain on test, %",
        products: "multiply-adds a row, millions",
        request: "rank of 512 candidates, ms",
    }
    for axes, title in titles.items():
        _finish(axes, title, list(by_count))
    add_legend(products)
    return figure


def _finish(axes: Axes, title: str, counts: Sequence[int]) -> None:
    style_axes(axes)
    style_value_axis(axes)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("tasks", color=INK)
    axes.set_ylabel(title, color=INK)
