"""Pictures of a comparison: its ticket searches over seeds, and how far its tickets overlap.

Both read the content of results.json, as `lt4rec_tf.reports.comparison` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from numpy.typing import ArrayLike

from lt4rec_tf.reports.comparison import searches_of
from lt4rec_tf.reports.differences import number
from lt4rec_tf.reports.figures import (
    ALL_COLOUR,
    DASHED,
    GREY,
    INK,
    MOST_TICKS,
    draw_reference,
    grid_behind,
    new_figure,
    style_axes,
    style_value_axis,
    task_colour,
    write_in_middle,
)
from lt4rec_tf.reports.further_metrics import ModelEntry, done_runs
from lt4rec_tf.reports.search_tables import check_search
from lt4rec_tf.reports.text_tables import (
    BETTER,
    ReportedTask,
    TicketSearch,
    metric_name,
)

MOST_MODELS = 6  # of panels; more do not fit on a page


def figure4(searches: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the validation metric against the density: Figure 4 of LT4REC over seeds.

    A column of panels per task, a line of panels per model that searched, all of a task on one
    scale. A thin line is a seed, the bold one their mean with a band of one standard deviation over
    the seeds; the dense network stands at the left, its mean carried along dashed; a ring on each
    seed's line marks the level that it chose. The first model's mean is repeated, dotted, below it.

    Args:
        searches: One per model and seed: row, seed, searches {task: search}; values may be None or
            NaN (left out). Of more than `MOST_MODELS` models the first ones are drawn, the others
            named.

    Returns:
        A figure of 100 dots per inch.

    Raises:
        ValueError: There is no search, or a search's parts do not fit together.

    Source: arXiv 2008.09872.
    """
    models = list(dict.fromkeys(search["row"] for search in searches))
    drawn_models, left_out = models[:MOST_MODELS], models[MOST_MODELS:]
    tasks: dict[str, None] = {}  # in the order of their first appearance
    for search in searches:
        if search["row"] in drawn_models:
            tasks.update(dict.fromkeys(search["searches"]))
    if not tasks:
        raise ValueError("figure 4: found no search, expected at least one")

    height = 3.2 if len(drawn_models) == 1 else 2.4
    figure = new_figure(max(6.0, 5.2 * len(tasks)), 1.2 + height * len(drawn_models))
    lines = len(drawn_models)
    panels = figure.subplots(lines, len(tasks), squeeze=False, sharex="col", sharey="col")
    for column, task in enumerate(tasks):
        searches_by_model = {model: searches_of(searches, model, task) for model in drawn_models}
        _draw_column(list(panels[:, column]), task, searches_by_model, task_colour(column))
    note = f"not shown: {', '.join(left_out)}" if left_out else ""
    _add_legend(figure, _search_handles(drawn_models), 3 if len(tasks) == 1 else 6, note)
    return figure


def overlap_bars(results: Mapping[str, Any]) -> Figure:
    """Draws how far each model's tickets overlap, and their densities: bars are means, dots seeds.

    The overlap ratio is `|AND_t M_t| / |OR_t M_t|` (Sun et al. 2020, arXiv 1911.05034). Models
    whose tasks all keep every weight are named below instead of drawn.

    Args:
        results: As results.json holds them.

    Returns:
        A figure of 100 dots per inch; it says so where no finished run has tickets.
    """
    models_with_masks = [model for model in results["rows"] if _overlaps(model)]
    pruned = [model for model in models_with_masks if _is_pruned(model)]
    whole = [model["row"] for model in models_with_masks if not _is_pruned(model)]
    tasks = results["tasks"]

    figure = new_figure(11.0, 2.0 + max(1, len(pruned)) * (0.2 + 0.16 * len(tasks)))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_overlaps(left, pruned)
    _draw_densities(right, pruned, tasks)

    handles: list[Artist] = []
    for index, task in enumerate(tasks):
        handles.append(Patch(facecolor=task_colour(index), label=task["name"]))
    handles.append(_dots([], [], label="one seed"))
    note = f"every weight kept by every task: {', '.join(whole)}" if whole else ""
    _add_legend(figure, handles, len(handles), note)
    return figure


def _draw_column(
    panels: Sequence[Axes],
    task: str,
    searches_by_model: Mapping[str, Sequence[TicketSearch]],
    colour: str,
) -> None:
    """Draws a task's searches, a panel per model."""
    first, *_ = searches_by_model.values()
    for line, (axes, model) in enumerate(zip(panels, searches_by_model, strict=True)):
        for search in searches_by_model[model]:
            check_search(task, search)
        style_axes(axes)
        if line and first:
            _draw_first_mean(axes, first)
        _draw_searches(axes, searches_by_model[model], colour)
        axes.set_title(f"{task.upper()}, {model}", color=INK, fontsize=11, loc="left")

    drawn = chain.from_iterable(searches_by_model.values())
    _label_column(panels, max(drawn, key=lambda search: len(search["values"])))


def _draw_searches(axes: Axes, searches: Sequence[TicketSearch], colour: str) -> None:
    densities, values = _by_level(searches)
    if not np.isfinite(values).any():
        write_in_middle(axes, "no finite value")
        return
    for search in searches:
        _draw_seed(axes, search, colour)

    mean = values.mean(axis=0)  # NaN, a gap, where not all seeds have a value
    axes.plot(densities, mean, color=colour, linewidth=2.6, label="mean", zorder=4)
    if len(values) > 1:
        deviation = values.std(axis=0, ddof=1)
        axes.fill_between(
            densities, mean - deviation, mean + deviation,
            color=colour, alpha=0.15, linewidth=0, zorder=1.5,
        )  # fmt: skip
    if densities[0] == 1.0 and np.isfinite(mean[0]):
        draw_reference(axes, mean[0], "dense", zorder=1)


def _draw_seed(axes: Axes, search: TicketSearch, colour: str) -> None:
    densities = np.array(search["densities"])
    values = np.array([number(value) for value in search["values"]])
    axes.plot(densities, values, color=colour, linewidth=0.9, alpha=0.55, label="seed", zorder=2)
    chosen = [search["chosen"]]
    axes.add_line(_ring(densities[chosen], values[chosen], label="chosen"))


def _draw_first_mean(axes: Axes, searches: Sequence[TicketSearch]) -> None:
    densities, values = _by_level(searches)
    axes.plot(
        densities, values.mean(axis=0),
        color=GREY, linestyle=":", linewidth=1.6, label="first model", zorder=3,
    )  # fmt: skip


def _by_level(searches: Sequence[TicketSearch]) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean densities (levels,) and values (seeds, levels) of the levels of all seeds."""
    if not searches:
        return np.array([]), np.array([])
    levels = min(len(search["values"]) for search in searches)
    densities = np.array([search["densities"][:levels] for search in searches])
    values = []
    for search in searches:
        values.append([number(value) for value in search["values"][:levels]])
    return densities.mean(axis=0), np.array(values)


def _label_column(panels: Sequence[Axes], longest: TicketSearch) -> None:
    """Labels a task's panels: density falls to the right, each round by the same step."""
    positive = [density for density in longest["densities"] if density > 0]
    ticks = positive[:: -(-len(positive) // MOST_TICKS)]
    metric = metric_name(longest["metric"])
    for axes in panels:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{density:.3f}" for density in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        style_value_axis(axes)
        axes.set_ylabel(f"{metric} on validation", color=INK, fontsize=9)
        axes.set_title(BETTER[longest["direction"]], color=GREY, fontsize=9, loc="right")
    panels[0].invert_xaxis()  # of all, which share it
    panels[-1].set_xlabel("density (share of weights kept)", color=INK)


def _search_handles(models: Sequence[str]) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=GREY, linewidth=0.9, label="one seed"),
        Line2D([], [], color=GREY, linewidth=2.6, label="mean"),
        Patch(facecolor=GREY, alpha=0.3, label="± sd over seeds"),
        Line2D([], [], color=INK, linestyle=DASHED, linewidth=1, label="dense, mean"),
        _ring([], [], label="level that a seed chose"),
    ]
    if len(models) > 1:
        label = f"mean of {models[0]}"
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label=label))
    return handles


def _overlaps(model: ModelEntry) -> list[float]:
    return [run["overlap"] for run in done_runs(model) if run["overlap"] is not None]


def _densities(model: ModelEntry, task: str) -> list[float]:
    return [run["density"][task] for run in done_runs(model) if task in run["density"]]


def _is_pruned(model: ModelEntry) -> bool:
    return any(min(run["density"].values(), default=1) < 1 for run in done_runs(model))


def _draw_overlaps(axes: Axes, models: Sequence[ModelEntry]) -> None:
    style_axes(axes)
    for line, model in enumerate(models):
        ratios = _overlaps(model)
        _draw_bar(axes, line, 0.62, ratios, ALL_COLOUR)
        axes.text(1.01, line, f"{np.mean(ratios):.2f}", va="center", color=INK, fontsize=10)
    if models:
        axes.text(1.01, -0.5, "mean", va="bottom", color=INK, fontsize=10)
    else:
        write_in_middle(axes, "no finished run wears tickets")

    axes.set_yticks(range(len(models)), [model["row"] for model in models])
    axes.set_ylim(max(1, len(models)) - 0.5, -0.5)
    axes.set_title("overlap of the tasks' tickets", color=INK, fontsize=12)
    axes.set_xlabel("weights kept by all tasks / kept by any", color=INK)
    _style_share_axis(axes)


def _draw_densities(
    axes: Axes, models: Sequence[ModelEntry], tasks: Sequence[ReportedTask]
) -> None:
    style_axes(axes)
    height = 0.76 / len(tasks)
    for line, model in enumerate(models):
        for index, task in enumerate(tasks):
            middle = line + height * (index - (len(tasks) - 1) / 2)
            densities = _densities(model, task["name"])
            _draw_bar(axes, middle, 0.9 * height, densities, task_colour(index))

    axes.set_title("density of each task's ticket", color=INK, fontsize=12)
    axes.set_xlabel("share of weights kept", color=INK)
    axes.tick_params(axis="y", length=0)
    _style_share_axis(axes)


def _draw_bar(
    axes: Axes, middle: float, height: float, values: Sequence[float], colour: str
) -> None:
    """Draws the values' mean as a bar, and each value as a dot on it."""
    if not values:
        return
    axes.barh(middle, np.mean(values), height=height, color=colour, alpha=0.8, zorder=2)
    # Seeds with equal values lie beside each other, not on each other.
    reach = 0.3 * height if len(values) > 1 else 0.0
    heights = np.linspace(middle - reach, middle + reach, len(values))
    axes.add_line(_dots(values, heights.tolist()))


def _dots(x: Sequence[float], y: Sequence[float], label: str = "seed") -> Line2D:
    return Line2D(
        x, y, linestyle="none", marker="o", markersize=4, markerfacecolor="white",
        markeredgecolor=INK, markeredgewidth=0.8, label=label, zorder=3, clip_on=False,
    )  # fmt: skip


def _ring(x: ArrayLike, y: ArrayLike, label: str) -> Line2D:
    return Line2D(
        x, y, linestyle="none", marker="o", markersize=6, markerfacecolor="white",
        markeredgecolor=INK, markeredgewidth=1.2, label=label, zorder=5,
    )  # fmt: skip


def _style_share_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    grid_behind(axes, "x")


def _add_legend(figure: Figure, handles: Sequence[Artist], columns: int, note: str) -> None:
    legend = figure.legend(
        handles=handles, loc="outside lower left", ncols=columns, alignment="left",
        labelcolor=INK, frameon=False, fontsize=9, title=note or None, title_fontsize=9,
    )  # fmt: skip
    legend.get_title().set_color(INK)
