"""Pictures of a comparison: its ticket searches over seeds, and how far its tickets overlap.

Both read the content of results.json, as `lt4rec_tf.reports.comparison` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, ScalarFormatter

from lt4rec_tf.reports.comparison import Row, done_runs, number
from lt4rec_tf.reports.plots import (
    ALL_COLOUR,
    FAINT,
    INK,
    MOST_TICKS,
    TASK_COLOURS,
    new_figure,
    style_axes,
)
from lt4rec_tf.reports.text_tables import (
    BETTER,
    ReportedTask,
    TicketSearch,
    check_search,
    metric_name,
)

MOST_ROWS = 6  # of panels; more do not fit on a page
GREY = "#808080"
DASHED = (0, (5, 4))


def figure4(searches: Sequence[Mapping[str, Any]]) -> Figure:
    """The validation metric against the density: Figure 4 of LT4REC (arXiv 2008.09872) over seeds.

    A column of panels a task, a line of panels a row that searched, all of a task on one scale. A
    thin line is a seed, the bold one their mean with a band of one standard deviation over the
    seeds; the dense network stands at the left, its mean carried along dashed; a ring on each
    seed's line marks the level that it chose. The first row's mean is repeated, dotted, below it.

    Args:
        searches: One a row and seed: row, seed, searches {task: search}; values may be None or NaN
            (left out). Of more than `MOST_ROWS` rows the first ones are drawn, the others named.

    Returns:
        A figure of 100 dots per inch.

    Raises:
        ValueError: There is no search, or a search's parts do not fit together.
    """
    rows = list(dict.fromkeys(search["row"] for search in searches))
    shown, left_out = rows[:MOST_ROWS], rows[MOST_ROWS:]
    searches = [search for search in searches if search["row"] in shown]
    tasks = list(dict.fromkeys(task for search in searches for task in search["searches"]))
    if not tasks:
        raise ValueError("figure 4: found no search, expected at least one")
    height = 3.2 if len(shown) == 1 else 2.4
    figure = new_figure(max(6.0, 5.2 * len(tasks)), 1.2 + height * len(shown))
    panels = figure.subplots(len(shown), len(tasks), squeeze=False, sharex="col", sharey="col")
    for column, task in enumerate(tasks):
        by_row = [_searches_of(searches, row, task) for row in shown]
        for line, (row, found) in enumerate(zip(shown, by_row, strict=True)):
            axes = panels[line, column]
            style_axes(axes)
            if line and by_row[0]:
                _draw_first_mean(axes, by_row[0])
            _draw_searches(axes, found, _task_colour(column))
            axes.set_title(f"{task.upper()}, {row}", color=INK, fontsize=11, loc="left")
        _label_column(list(panels[:, column]), [search for found in by_row for search in found])
    note = f"not shown: {', '.join(left_out)}" if left_out else ""
    _add_legend(figure, _search_handles(shown), 3 if len(tasks) == 1 else 6, note)
    return figure


def overlap_bars(results: Mapping[str, Any]) -> Figure:
    """How far each row's tickets overlap, and how dense they are: means as bars, a dot a seed.

    The overlap ratio is `|AND_t M_t| / |OR_t M_t|` (Sun et al. 2020, arXiv 1911.05034). Rows whose
    tasks all keep every weight are named below instead of drawn.

    Args:
        results: As results.json holds them.

    Returns:
        A figure of 100 dots per inch; it says so where no finished run wears tickets.
    """
    wearing = [row for row in results["rows"] if _overlaps(row)]
    drawn = [row for row in wearing if _is_cut(row)]
    whole = [row["row"] for row in wearing if not _is_cut(row)]
    tasks = results["tasks"]
    figure = new_figure(11.0, 2.0 + max(1, len(drawn)) * (0.2 + 0.16 * len(tasks)))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_overlaps(left, drawn)
    _draw_densities(right, drawn, tasks)
    handles: list[Artist] = [
        Patch(facecolor=_task_colour(place), label=task["name"]) for place, task in enumerate(tasks)
    ]
    handles.append(_dots([], [], label="one seed"))
    note = f"every weight kept by every task: {', '.join(whole)}" if whole else ""
    _add_legend(figure, handles, len(handles), note)
    return figure


def _searches_of(searches: Sequence[Mapping[str, Any]], row: str, task: str) -> list[TicketSearch]:
    found = [s["searches"][task] for s in searches if s["row"] == row and task in s["searches"]]
    for search in found:
        check_search(task, search)
    return found


def _draw_searches(axes: Axes, found: Sequence[TicketSearch], colour: str) -> None:
    densities, values = _by_level(found)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=INK)
        return
    for search in found:
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
        axes.axhline(mean[0], color=INK, linestyle=DASHED, linewidth=1, label="dense", zorder=1)


def _draw_seed(axes: Axes, search: TicketSearch, colour: str) -> None:
    values = np.array([number(value) for value in search["values"]])
    chosen = search["chosen"]
    axes.plot(
        search["densities"], values, color=colour, linewidth=0.9, alpha=0.55, label="seed", zorder=2
    )
    axes.plot(
        search["densities"][chosen], values[chosen], linestyle="none", marker="o", markersize=6,
        markerfacecolor="white", markeredgecolor=INK, markeredgewidth=1.2, label="chosen", zorder=5,
    )  # fmt: skip


def _draw_first_mean(axes: Axes, first: Sequence[TicketSearch]) -> None:
    densities, values = _by_level(first)
    axes.plot(
        densities, values.mean(axis=0),
        color=GREY, linestyle=":", linewidth=1.6, label="first row", zorder=3,
    )  # fmt: skip


def _by_level(found: Sequence[TicketSearch]) -> tuple[np.ndarray, np.ndarray]:
    """Mean densities (levels,) and values (seeds, levels) of the levels that all seeds have."""
    levels = min((len(search["values"]) for search in found), default=0)
    densities = np.array([search["densities"][:levels] for search in found])
    values = np.array([[number(v) for v in search["values"][:levels]] for search in found])
    return (densities.mean(axis=0) if found else densities), values


def _label_column(panels: Sequence[Axes], found: Sequence[TicketSearch]) -> None:
    """Density falls to the right as pruning goes on, each round by the same step."""
    longest = max(found, key=lambda search: len(search["values"]))
    positive = [density for density in longest["densities"] if density > 0]
    ticks = positive[:: -(-len(positive) // MOST_TICKS)]
    metric = metric_name(longest["metric"])
    for axes in panels:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{density:.3f}" for density in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_ylabel(f"{metric} on validation", color=INK, fontsize=9)
        axes.set_title(BETTER[longest["direction"]], color=GREY, fontsize=9, loc="right")
    panels[0].invert_xaxis()  # of all, which share it
    panels[-1].set_xlabel("density (share of weights kept)", color=INK)


def _search_handles(shown: Sequence[str]) -> list[Artist]:
    ring = Line2D(
        [], [], linestyle="none", marker="o", markersize=6, markerfacecolor="white",
        markeredgecolor=INK, markeredgewidth=1.2, label="level that a seed chose",
    )  # fmt: skip
    handles: list[Artist] = [
        Line2D([], [], color=GREY, linewidth=0.9, label="one seed"),
        Line2D([], [], color=GREY, linewidth=2.6, label="mean"),
        Patch(facecolor=GREY, alpha=0.3, label="± sd over seeds"),
        Line2D([], [], color=INK, linestyle=DASHED, linewidth=1, label="dense, mean"),
        ring,
    ]
    if len(shown) > 1:
        label = f"mean of {shown[0]}"
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label=label))
    return handles


def _overlaps(row: Row) -> list[float]:
    return [run["overlap"] for run in done_runs(row) if run["overlap"] is not None]


def _is_cut(row: Row) -> bool:
    return any(density < 1 for run in done_runs(row) for density in run["density"].values())


def _task_colour(place: int) -> str:
    return TASK_COLOURS[place % len(TASK_COLOURS)]


def _draw_overlaps(axes: Axes, rows: Sequence[Row]) -> None:
    style_axes(axes)
    for place, row in enumerate(rows):
        found = _overlaps(row)
        _bar(axes, place, 0.62, found, ALL_COLOUR)
        axes.text(1.01, place, f"{np.mean(found):.2f}", va="center", color=INK, fontsize=10)
    if rows:
        axes.text(1.01, -0.5, "mean", va="bottom", color=INK, fontsize=10)
    else:
        axes.text(
            0.5, 0.5, "no finished run wears tickets",
            transform=axes.transAxes, ha="center", color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_title("overlap of the tasks' tickets", color=INK, fontsize=12)
    axes.set_xlabel("weights kept by all tasks / kept by any", color=INK)
    _share_axis(axes)


def _draw_densities(axes: Axes, rows: Sequence[Row], tasks: Sequence[ReportedTask]) -> None:
    style_axes(axes)
    height = 0.76 / len(tasks)
    for place, row in enumerate(rows):
        for order, task in enumerate(tasks):
            found = [
                run["density"][task["name"]]
                for run in done_runs(row)
                if task["name"] in run["density"]
            ]
            at = place + height * (order - (len(tasks) - 1) / 2)
            _bar(axes, at, 0.9 * height, found, _task_colour(order))
    axes.set_title("density of each task's ticket", color=INK, fontsize=12)
    axes.set_xlabel("share of weights kept", color=INK)
    axes.tick_params(axis="y", length=0)
    _share_axis(axes)


def _bar(axes: Axes, at: float, height: float, values: Sequence[float], colour: str) -> None:
    if values:
        axes.barh(at, np.mean(values), height=height, color=colour, alpha=0.8, zorder=2)
        # Seeds that chose one level lie beside each other, not on each other.
        reach = 0.3 * height if len(values) > 1 else 0.0
        axes.add_line(_dots(values, np.linspace(at - reach, at + reach, len(values)).tolist()))


def _dots(across: Sequence[float], along: Sequence[float], label: str = "seed") -> Line2D:
    return Line2D(
        across, along, linestyle="none", marker="o", markersize=4, markerfacecolor="white",
        markeredgecolor=INK, markeredgewidth=0.8, label=label, zorder=3, clip_on=False,
    )  # fmt: skip


def _share_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def _add_legend(figure: Figure, handles: Sequence[Artist], columns: int, note: str) -> None:
    legend = figure.legend(
        handles=handles, loc="outside lower left", ncols=columns, alignment="left",
        labelcolor=INK, frameon=False, fontsize=9, title=note or None, title_fontsize=9,
    )  # fmt: skip
    legend.get_title().set_color(INK)
