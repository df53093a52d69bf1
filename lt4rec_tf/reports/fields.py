"""The picture of the fields and products of two fields that each task's ticket keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure

from lt4rec_tf.reports.classes import add_class_legend, class_colours, classes_of, readable_on
from lt4rec_tf.reports.figures import FAINT, INK, NONE_COLOUR, TASK_COLOURS, new_figure
from lt4rec_tf.reports.inputs import InputShares

MOST_ABREAST = 3  # panels
MANY_FIELDS = 16  # from here on, cells and letters are smaller
CELL, SMALL_CELL = 0.28, 0.19  # inches
LETTER = 0.075  # inches that a letter takes of a label, at most
LEAST_SHARE = 1e-9  # below it lies only what is cut
NEARLY_ALL = 0.95  # of the inputs: where all tasks read so many, who reads what says nothing

_Place = tuple[int, int]  # row and column of a cell


def fields_figure(inputs: InputShares) -> Figure:
    """Draws what each task's ticket keeps of each field's vector and of each product of two.

    A panel a task: the first column has the vectors, the others the products of the field of the
    row and that of the column; the colour is the share of the group's weights in the first kernel
    that the task keeps. The last panel says who reads a group: of two tasks which one, of more how
    many, with the number of the task that alone does. Where all tasks read nearly everything, as
    with tickets of single weights, it shows how their shares, less each task's mean, differ.

    Args:
        inputs: Of a model's tickets, of two tasks or more.

    Returns:
        A figure of 100 dots per inch.

    Raises:
        ValueError: There are fewer than two tasks.
    """
    tasks = inputs.tasks
    if len(tasks) < 2:
        raise ValueError(f"fields figure: found tasks {tasks}, expected at least two")
    places, columns = _places(inputs)
    figure, panels = _canvas(inputs, columns, len(tasks) + 1)
    figure.suptitle(f"{inputs.model}: fields and products of two that the tasks read", color=INK)

    colours = _shares_colours()
    shares = np.array([inputs.of(group) for group in inputs.groups])
    least, most = max(shares.min(), LEAST_SHARE), max(shares.max(), 2 * LEAST_SHARE)
    for number, (axes, task) in enumerate(zip(panels[:-1], tasks, strict=True), 1):
        matrix = _matrix(places, columns, inputs.shares[task])
        drawn = axes.imshow(matrix, cmap=colours, vmin=least, vmax=most)
        axes.set_title(f"{number}: {task}", color=INK, fontsize=11)
    _add_scale(figure, panels[:-1], drawn, "share of the input's weights that the task keeps")

    if np.mean((shares > 0).all(axis=1)) >= NEARLY_ALL:
        _draw_differences(figure, panels[-1], inputs, places, columns)
    else:
        _draw_readers(figure, panels[-1], inputs, places, columns)
    for index, axes in enumerate(panels):
        _label(axes, inputs.fields, columns, with_rows=index % _abreast(len(panels)) == 0)
    return figure


def _places(inputs: InputShares) -> tuple[dict[str, _Place], list[str]]:
    """Returns the cell of each group, and the names of the columns."""
    fields, groups = list(inputs.fields), set(inputs.groups)
    places = {field: (row, 0) for row, field in enumerate(fields)}
    columns = ["vector"]
    if any(f"{field}, crossed" in groups for field in fields):
        columns.append("crossed")
        places.update({f"{field}, crossed": (row, 1) for row, field in enumerate(fields)})

    products = {}
    for row, first in enumerate(fields):
        for column, second in enumerate(fields):
            name = f"{first} x {second}"
            if name in groups:
                products[name] = (row, len(columns) + column)
    columns += fields if products else []
    return places | products, columns


def _matrix(
    places: Mapping[str, _Place], columns: Sequence[str], values: Mapping[str, float]
) -> np.ma.MaskedArray:
    """Returns the values of the groups in their cells, float64; cells of no group are masked."""
    rows = 1 + max(row for row, _ in places.values())
    matrix = np.full((rows, len(columns)), np.nan)
    for group, place in places.items():
        matrix[place] = values[group]
    return np.ma.masked_invalid(matrix)


def _abreast(panels: int) -> int:
    return panels if panels <= MOST_ABREAST else math.ceil(math.sqrt(panels))


def _canvas(inputs: InputShares, columns: Sequence[str], panels: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure of panels in the reading order, sized by their cells and labels."""
    cell = _cell(inputs.fields)
    label = LETTER * max(map(len, inputs.fields)) * cell / CELL
    abreast = _abreast(panels)
    high = math.ceil(panels / abreast)

    width = abreast * max(cell * len(columns) + 0.5, 2.6) + label + 0.6
    height = high * (cell * len(inputs.fields) + label + 0.6) + 1.9
    figure = new_figure(width, height)
    grid = figure.subplots(high, abreast, squeeze=False).ravel()
    for empty in grid[panels:]:
        empty.set_axis_off()
    return figure, [*grid[:panels]]


def _cell(fields: Sequence[str]) -> float:
    return CELL if len(fields) < MANY_FIELDS else SMALL_CELL


def _shares_colours() -> Colormap:
    """Returns light to dark; what is cut has the colour of none, cells of no group are white."""
    return colormaps["cividis_r"].with_extremes(under=NONE_COLOUR, bad="white")


def _draw_readers(
    figure: Figure,
    axes: Axes,
    inputs: InputShares,
    places: Mapping[str, _Place],
    columns: Sequence[str],
) -> None:
    """Draws who reads each group; of more than two tasks, with the number of a single reader."""
    tasks = inputs.tasks
    colour_by_class = class_colours(tasks)
    colours = list(colour_by_class.values())
    read = np.array([[bool(share) for share in inputs.of(group)] for group in inputs.groups])
    classes = dict(zip(inputs.groups, classes_of([*read.T]).tolist(), strict=True))

    palette = ListedColormap(colours).with_extremes(bad="white")
    matrix = _matrix(places, columns, classes)
    axes.imshow(matrix, cmap=palette, vmin=-0.5, vmax=len(colours) - 0.5)
    if len(tasks) > 2:
        for group, readers in zip(inputs.groups, read, strict=True):
            if readers.sum() == 1:
                row, column = places[group]
                axes.text(
                    column, row, str(1 + int(readers.argmax())), ha="center", va="center",
                    fontsize=_letters(inputs.fields), color=readable_on(colours[classes[group]]),
                )  # fmt: skip

    title = "read by" if len(tasks) == 2 else "number of tasks that read it"
    below = "" if len(tasks) == 2 else "\n(in a cell: the one task that reads it)"
    axes.set_title(title + below, color=INK, fontsize=11 if len(tasks) == 2 else 9)
    add_class_legend(figure, title, colour_by_class)


def _draw_differences(
    figure: Figure,
    axes: Axes,
    inputs: InputShares,
    places: Mapping[str, _Place],
    columns: Sequence[str],
) -> None:
    """Draws how the tasks' `differences` differ; of two tasks in the colour of the larger."""
    tasks = inputs.tasks
    if len(tasks) == 2:
        values = {group: -float(np.diff(inputs.differences(group))[0]) for group in inputs.groups}
        ends = [TASK_COLOURS[1], "white", TASK_COLOURS[0]]
        title = f"{tasks[0]} less {tasks[1]}: shares, less each task's mean"
    else:
        values = {group: inputs.spread(group) for group in inputs.groups}
        ends = ["white", TASK_COLOURS[5]]
        title = "largest less least: shares, less each task's mean"

    most = max(map(abs, values.values())) or 1
    palette = LinearSegmentedColormap.from_list("difference", ends).with_extremes(bad="white")
    matrix = _matrix(places, columns, values)
    drawn = axes.imshow(matrix, cmap=palette, vmin=-most if len(tasks) == 2 else 0, vmax=most)
    axes.set_title("all tasks read nearly all inputs", color=INK, fontsize=11)
    _add_scale(figure, [axes], drawn, title)


def _add_scale(figure: Figure, panels: Sequence[Axes], drawn: Any, title: str) -> None:
    few = len(panels) < MOST_ABREAST
    scale = figure.colorbar(
        drawn, ax=panels, location="bottom", shrink=0.8 if few else 0.4, aspect=30 if few else 40
    )
    scale.set_label(title, color=INK, fontsize=9)
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=INK, labelsize=8)


def _letters(fields: Sequence[str]) -> float:
    return 8 if len(fields) < MANY_FIELDS else 7


def _label(axes: Axes, fields: Sequence[str], columns: Sequence[str], *, with_rows: bool) -> None:
    size = _letters(fields)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
    axes.set_yticks(range(len(fields)), fields if with_rows else [""] * len(fields), fontsize=size)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_color(FAINT)
    if len(columns) > len(fields):
        axes.axvline(0.5, color=INK, linewidth=0.8)  # vectors | products
