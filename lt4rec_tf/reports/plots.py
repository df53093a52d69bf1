"""Pictures of tickets: the search of each task, and how far the tasks' masks overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lt4rec_tf.reports.classes import add_class_legend, class_colours, classes_of, readable_on
from lt4rec_tf.reports.figures import (
    INK,
    MOST_TICKS,
    add_legend,
    draw_reference,
    new_figure,
    style_axes,
    style_value_axis,
    task_colour,
    write_in_middle,
)
from lt4rec_tf.reports.search_tables import check_search
from lt4rec_tf.reports.text_tables import BETTER, TicketSearch, metric_name
from lt4rec_tf.tickets.masks import Masks, density, overlap, overlaps

SHOWN_WEIGHTS = 96  # rows and columns of the kernel that the picture of a mask shows
LEAST_LABELLED = 0.05  # share of a bar; narrower parts have no room for a number


def ticket_search_figure(searches: Mapping[str, TicketSearch]) -> Figure:
    """Draws the metric against the density, per task: Figure 4 of LT4REC (arXiv 2008.09872).

    One panel per task. The dense network stands at the left, each level of pruning one step to the
    right; a dashed line carries the dense network's value along, a ring marks the chosen level.

    Args:
        searches: Task -> its search; values may be NaN (left out of the curve).

    Returns:
        A figure of 100 dots per inch.

    Raises:
        ValueError: There is no search, or a search's parts do not fit together.
    """
    if not searches:
        raise ValueError("ticket search figure: found no task, expected at least one")
    figure = new_figure(5.2 * len(searches), 4.0)
    panels = figure.subplots(1, len(searches), squeeze=False)[0]
    for index, (axes, (task, search)) in enumerate(zip(panels, searches.items(), strict=True)):
        check_search(task, search)
        _draw_search(axes, task, search, task_colour(index))
    return figure


def overlap_figure(masks_by_task: Mapping[str, Masks]) -> Figure:
    """Draws how far the tasks' tickets share weights.

    Two tasks: per layer the shares of weights kept by none, one or both tasks, beside a corner of
    the first kernel's masks. More tasks: the shares of weights by number of tasks that keep them,
    beside the overlap ratio of every pair.

    The overlap ratio is `|AND_t M_t| / |OR_t M_t|` (Sun et al. 2020, arXiv 1911.05034).

    Args:
        masks_by_task: Task -> masks; all tasks have the same kernels.

    Returns:
        A figure of 100 dots per inch.

    Raises:
        ValueError: There are fewer than two tasks.
        MaskError: The tasks' kernels differ.
    """
    tasks = list(masks_by_task)
    if len(tasks) < 2:
        raise ValueError(f"overlap figure: found tasks {tasks}, expected at least two")
    ratio = overlap(list(masks_by_task.values()))
    colour_by_class = class_colours(tasks)
    colours = list(colour_by_class.values())
    classes = _weight_classes(masks_by_task)

    figure = new_figure(11.0, 2.9 + 0.55 * len(classes))
    densities = ", ".join(f"{task} {density(masks):.3f}" for task, masks in masks_by_task.items())
    figure.suptitle(f"Overlap of the tickets: {ratio:.3f}   (density: {densities})", color=INK)

    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1.0])
    _draw_shares(left, classes, colours)
    _write_overlaps(left, masks_by_task)
    if len(tasks) == 2:
        name, kernel = next(iter(classes.items()))
        _draw_corner(right, name, kernel, colours)
        title = "weight kept by"
    else:
        _draw_pairs(right, masks_by_task)
        title = "number of tasks that keep a weight"
    add_class_legend(figure, title, colour_by_class)
    return figure


def _draw_search(axes: Axes, task: str, search: TicketSearch, colour: str) -> None:
    style_axes(axes)
    levels = np.arange(len(search["values"]))
    values = np.asarray(search["values"], dtype=float)
    if search["densities"][0] == 1.0 and math.isfinite(values[0]):
        draw_reference(axes, values[0], "dense", zorder=1)
    axes.plot(levels, values, color=colour, linewidth=2, marker="o", markersize=6, zorder=2)
    _ring_level(axes, search["chosen"], search)
    if not np.isfinite(values).any():
        write_in_middle(axes, "no finite value")
        axes.set_yticks([])

    ticks = levels[:: math.ceil(len(levels) / MOST_TICKS)]
    axes.set_xticks(ticks, [f"{search['densities'][level]:.3f}\nlevel {level}" for level in ticks])
    axes.set_xlim(-0.4, len(levels) - 0.6)
    axes.margins(y=0.15)
    style_value_axis(axes)

    metric = metric_name(search["metric"])
    axes.set_xlabel("density (share of weights kept)", color=INK)
    axes.set_ylabel(f"{metric} on validation", color=INK)
    title = f"{task.upper()}: {metric}, {BETTER[search['direction']]}"
    axes.set_title(title, color=INK, fontsize=12)
    add_legend(axes)


def _ring_level(axes: Axes, level: int, search: TicketSearch) -> None:
    axes.plot(
        level,
        search["values"][level],
        linestyle="none",
        marker="o",
        markersize=14,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=1.8,
        label=f"chosen: level {level}, density {search['densities'][level]:.3f}",
        zorder=3,
    )


def _draw_shares(axes: Axes, classes: Mapping[str, np.ndarray], colours: Sequence[str]) -> None:
    """Draws a bar per kernel; a bar's parts are the shares of its weights in each class."""
    style_axes(axes)
    for row, kernel in enumerate(classes.values()):
        shares = np.bincount(kernel.ravel(), minlength=len(colours)) / kernel.size
        starts = np.cumsum(shares) - shares
        for share, start, colour in zip(shares, starts, colours, strict=True):
            axes.barh(row, share, left=start, color=colour, height=0.66)
            if share >= LEAST_LABELLED:
                axes.text(
                    start + share / 2, row, f"{share:.2f}", ha="center", va="center",
                    fontsize=9, color=readable_on(colour),
                )  # fmt: skip

    labels = [f"{name}\n{kernel.shape[0]} x {kernel.shape[-1]}" for name, kernel in classes.items()]
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the kernel's weights", color=INK)


def _write_overlaps(axes: Axes, masks_by_task: Mapping[str, Masks]) -> None:
    """Writes each kernel's overlap ratio at the right end of its bar."""
    axes.text(1.01, -0.5, "overlap", va="bottom", color=INK, fontsize=10)
    for row, ratio in enumerate(overlaps(list(masks_by_task.values())).values()):
        axes.text(1.01, row, f"{ratio:.2f}", va="center", color=INK, fontsize=10)


def _draw_corner(axes: Axes, name: str, kernel: np.ndarray, colours: Sequence[str]) -> None:
    """Draws a dot per weight of a kernel's first rows and columns, in its class's colour."""
    corner = kernel[:SHOWN_WEIGHTS, :SHOWN_WEIGHTS]
    axes.imshow(
        corner, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5,
        interpolation="nearest",
    )  # fmt: skip
    style_axes(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    between = ":\n" if "/" in name else ": "  # an attention's names are long
    title = f"{name}{between}first {corner.shape[0]} x {corner.shape[1]} weights"
    axes.set_title(title, color=INK, fontsize=10)
    axes.set_xlabel("output neuron", color=INK)
    axes.set_ylabel("input", color=INK)


def _draw_pairs(axes: Axes, masks_by_task: Mapping[str, Masks]) -> None:
    """Draws the overlap ratio of every pair of tasks, as a matrix."""
    tasks = list(masks_by_task)
    ratios = np.eye(len(tasks))
    for first, second in combinations(range(len(tasks)), 2):
        pair = [masks_by_task[tasks[first]], masks_by_task[tasks[second]]]
        ratios[first, second] = ratios[second, first] = overlap(pair)

    axes.imshow(ratios, cmap="cividis", vmin=0, vmax=1)
    for (row, column), ratio in np.ndenumerate(ratios):
        colour = "white" if ratio < 0.5 else "black"
        axes.text(column, row, f"{ratio:.2f}", ha="center", va="center", color=colour)

    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("overlap ratio of pairs", color=INK, fontsize=10)


def _weight_classes(masks_by_task: Mapping[str, Masks]) -> dict[str, np.ndarray]:
    """Returns kernel -> class of each weight, in the order of a bar's parts; see `classes_of`."""
    tickets = list(masks_by_task.values())
    return {name: classes_of([masks[name] for masks in tickets]) for name in tickets[0]}
