"""The colours of who keeps a weight, or reads an input: a task alone, some tasks, none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lt4rec_tf.reports.figures import ALL_COLOUR, FAINT, INK, NONE_COLOUR, TASK_COLOURS


def class_colours(tasks: Sequence[str]) -> dict[str, str]:
    """Returns the colour of each class, in the order of `classes_of`.

    >>> [*class_colours(["ctr", "cvr"])], [*class_colours(["ctr", "cvr", "like"])]
    (['only ctr', 'both', 'only cvr', 'none'], ['all 3', '2', '1', 'none'])
    """
    if len(tasks) == 2:
        first, second = tasks
        return {
            f"only {first}": TASK_COLOURS[0],
            "both": ALL_COLOUR,
            f"only {second}": TASK_COLOURS[1],
            "none": NONE_COLOUR,
        }
    names = [f"all {len(tasks)}", *map(str, range(len(tasks) - 1, 0, -1)), "none"]
    return dict(zip(names, _steps_between(ALL_COLOUR, NONE_COLOUR, len(names)), strict=True))


def classes_of(kept_by_task: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the class of each place: an index into `class_colours`.

    Two tasks: 0 only the first, 1 both, 2 only the second, 3 none, so that each task's own ticket
    is one stretch of a bar. n > 2 tasks: 0 kept by all, ..., n kept by none.

    >>> ctr, cvr = np.array([True, True, False, False]), np.array([False, True, True, False])
    >>> classes_of([ctr, cvr]), classes_of([ctr, cvr, cvr])
    (array([0, 1, 2, 3]), array([2, 0, 1, 3]))

    Args:
        kept_by_task: bool arrays of one shape, one a task.
    """
    if len(kept_by_task) == 2:
        first, second = kept_by_task
        class_of = np.array([[3, 2], [0, 1]])  # [kept by the first, kept by the second]
        return np.asarray(class_of[first.astype(int), second.astype(int)])
    return len(kept_by_task) - np.sum(kept_by_task, axis=0, dtype=int)


def add_class_legend(figure: Figure, title: str, colour_by_class: Mapping[str, str]) -> None:
    """Adds a legend below a figure.

    Args:
        figure: Of panels in a constrained layout.
        title: Of the legend.
        colour_by_class: As `class_colours` returns it.
    """
    patches = [
        Patch(facecolor=colour, edgecolor=FAINT, label=name)
        for name, colour in colour_by_class.items()
    ]
    figure.legend(
        handles=patches,
        title=title,
        loc="outside lower left",
        ncols=len(patches),
        alignment="left",
        labelcolor=INK,
        frameon=False,
    )


def _steps_between(start: str, end: str, count: int) -> list[str]:
    """Returns colours at equal steps from one to another, as "#rrggbb"."""
    colours = []
    for rgb in np.linspace(_rgb(start), _rgb(end), count):
        colours.append("#" + "".join(f"{round(value):02X}" for value in rgb))
    return colours


def readable_on(colour: str) -> str:
    """Returns black or white, whichever reads better on a colour (its luma, ITU-R BT.601)."""
    red, green, blue = _rgb(colour)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _rgb(colour: str) -> list[int]:
    """Returns the parts of "#rrggbb", each 0 to 255."""
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
