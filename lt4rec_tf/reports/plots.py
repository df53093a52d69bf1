"""Pictures of tickets: the search of each task, and how far the tasks' masks overlap.

Figures are made with matplotlib's objects only (never pyplot), so drawing one changes no global
state, needs no display and works in any thread.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.reports.text_tables import BETTER, TicketSearch, check_search, metric_name
from lt4rec_tf.tickets.masks import Masks, density, overlap, overlaps

DOTS_PER_INCH = 100
# Okabe and Ito's colours, told apart with every kind of colour blindness; "both" and "none" also
# differ in lightness, so that a grey print still reads.
TASK_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
NONE_COLOUR = "#EDEDED"
ALL_COLOUR = "#2B2440"
INK = "#333333"
FAINT = "#D9D9D9"
MOST_TICKS = 8
SHOWN_WEIGHTS = 96  # rows and columns of the kernel that the picture of a mask shows


def ticket_search_figure(searches: Mapping[str, TicketSearch]) -> Figure:
    """The metric against the density, per task: Figure 4 of LT4REC (arXiv 2008.09872).

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
    for place, (axes, (task, search)) in enumerate(zip(panels, searches.items(), strict=True)):
        check_search(task, search)
        _draw_search(axes, task, search, TASK_COLOURS[place % len(TASK_COLOURS)])
    return figure


def overlap_figure(masks_by_task: Mapping[str, Masks]) -> Figure:
    """How far the tasks' tickets share weights.

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
    if len(tasks) == 2:
        names = [f"only {tasks[0]}", "both", f"only {tasks[1]}", "none"]
        colours = [TASK_COLOURS[0], ALL_COLOUR, TASK_COLOURS[1], NONE_COLOUR]
    else:
        names = [f"all {len(tasks)}", *map(str, range(len(tasks) - 1, 0, -1)), "none"]
        colours = _steps_between(ALL_COLOUR, NONE_COLOUR, len(tasks) + 1)
    classes = _classes(masks_by_task)

    figure = new_figure(11.0, 2.9 + 0.55 * len(classes))
    densities = ", ".join(f"{task} {density(masks):.3f}" for task, masks in masks_by_task.items())
    figure.suptitle(f"Overlap of the tickets: {ratio:.3f}   (density: {densities})", color=INK)
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1.0])
    _draw_shares(left, classes, colours)
    _write_overlaps(left, masks_by_task)
    if len(tasks) == 2:
        kernel = next(iter(classes))
        _draw_corner(right, kernel, classes[kernel], colours)
    else:
        _draw_pairs(right, masks_by_task)
    patches = [
        Patch(facecolor=colour, edgecolor=FAINT, label=name)
        for name, colour in zip(names, colours, strict=True)
    ]
    figure.legend(
        handles=patches,
        title="weight kept by" if len(tasks) == 2 else "number of tasks that keep a weight",
        loc="outside lower left",
        ncols=len(patches),
        alignment="left",
        labelcolor=INK,
        frameon=False,
    )
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically; the same figure gives the same bytes."""
    content = io.BytesIO()
    # The version of matplotlib would otherwise stand in the file.
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    write_atomically(path, content.getvalue())


def to_rgba(figure: Figure) -> np.ndarray:
    """Draws a figure.

    Returns:
        uint8 of shape (height, width, 4): red, green, blue, opacity, in dots.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> None:
    """The look that all pictures share: two spines, quiet ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)


def _draw_search(axes: Axes, task: str, search: TicketSearch, colour: str) -> None:
    style_axes(axes)
    levels = np.arange(len(search["values"]))
    values = np.asarray(search["values"], dtype=float)
    chosen, metric = search["chosen"], metric_name(search["metric"])
    if search["densities"][0] == 1.0 and math.isfinite(values[0]):
        axes.axhline(
            values[0], color=INK, linestyle=(0, (5, 4)), linewidth=1, label="dense", zorder=1
        )
    axes.plot(levels, values, color=colour, linewidth=2, marker="o", markersize=6, zorder=2)
    axes.plot(
        levels[chosen],
        values[chosen],
        linestyle="none",
        marker="o",
        markersize=14,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=1.8,
        label=f"chosen: level {chosen}, density {search['densities'][chosen]:.3f}",
        zorder=3,
    )
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=INK)
        axes.set_yticks([])
    ticks = levels[:: math.ceil(len(levels) / MOST_TICKS)]
    axes.set_xticks(ticks, [f"{search['densities'][level]:.3f}\nlevel {level}" for level in ticks])
    axes.set_xlim(-0.4, len(levels) - 0.6)
    axes.margins(y=0.15)
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("density (share of weights kept)", color=INK)
    axes.set_ylabel(f"{metric} on validation", color=INK)
    axes.set_title(
        f"{task.upper()}: {metric}, {BETTER[search['direction']]}", color=INK, fontsize=12
    )
    axes.legend(edgecolor="none", framealpha=0.85, fontsize=9, labelcolor=INK)


def _draw_shares(axes: Axes, classes: Mapping[str, np.ndarray], colours: Sequence[str]) -> None:
    """One bar per kernel; a bar's parts are the shares of its weights in each class."""
    style_axes(axes)
    for row, kernel in enumerate(classes.values()):
        shares = np.bincount(kernel.ravel(), minlength=len(colours)) / kernel.size
        starts = np.cumsum(shares) - shares
        for share, start, colour in zip(shares, starts, colours, strict=True):
            axes.barh(row, share, left=start, color=colour, height=0.66)
            if share >= 0.05:  # narrower parts have no room for a number
                axes.text(
                    start + share / 2, row, f"{share:.2f}", ha="center", va="center",
                    fontsize=9, color=_readable_on(colour),
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
    corner = kernel[:SHOWN_WEIGHTS, :SHOWN_WEIGHTS]
    axes.imshow(
        corner, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5,
        interpolation="nearest",
    )  # fmt: skip
    style_axes(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_title(
        f"{name}: first {corner.shape[0]} x {corner.shape[1]} weights", color=INK, fontsize=10
    )
    axes.set_xlabel("output neuron", color=INK)
    axes.set_ylabel("input", color=INK)


def _draw_pairs(axes: Axes, masks_by_task: Mapping[str, Masks]) -> None:
    """The overlap ratio of every pair of tasks, as a matrix."""
    tasks = list(masks_by_task)
    ratios = np.eye(len(tasks))
    for one, other in combinations(range(len(tasks)), 2):
        pair = [masks_by_task[tasks[one]], masks_by_task[tasks[other]]]
        ratios[one, other] = ratios[other, one] = overlap(pair)
    axes.imshow(ratios, cmap="cividis", vmin=0, vmax=1)
    for (row, column), ratio in np.ndenumerate(ratios):
        colour = "white" if ratio < 0.5 else "black"
        axes.text(column, row, f"{ratio:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("overlap ratio of pairs", color=INK, fontsize=10)


def _classes(masks_by_task: Mapping[str, Masks]) -> dict[str, np.ndarray]:
    """Kernel -> class of each weight, in the order of a bar's parts.

    Two tasks: 0 only the first, 1 both, 2 only the second, 3 none, so that each task's own ticket
    is one stretch of the bar. n > 2 tasks: 0 kept by all, ..., n kept by none.
    """
    tasks = list(masks_by_task.values())
    if len(tasks) == 2:
        first, second = tasks
        class_of = np.array([[3, 2], [0, 1]])
        return {name: class_of[first[name].astype(int), second[name].astype(int)] for name in first}
    return {
        name: len(tasks) - np.sum([masks[name] for masks in tasks], axis=0, dtype=int)
        for name in tasks[0]
    }


def _steps_between(start: str, end: str, count: int) -> list[str]:
    """Colours at equal steps from one to another, as "#rrggbb"."""
    ends = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in (start, end)]
    return [
        "#" + "".join(f"{round(value):02X}" for value in rgb)
        for rgb in np.linspace(ends[0], ends[1], count)
    ]


def _readable_on(colour: str) -> str:
    """Black or white, whichever reads better on a colour (by its luma, ITU-R BT.601)."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
