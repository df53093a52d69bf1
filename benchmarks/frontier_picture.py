"""The picture of frontier.py: each task's metric against the time of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from lt4rec_tf.reports.figures import (
    DASHED,
    GREY,
    INK,
    draw_reference,
    grid_behind,
    marker,
    new_figure,
    style_axes,
    style_value_axis,
    task_colour,
)
from lt4rec_tf.reports.text_tables import BETTER, ReportedTask, metric_title

TARGET = 1 / 3  # of the time of single-task models
# Of a label from its point, in points (1/72 inch), the nearest first.
SIDES = [(1, 0.4), (1, -0.4), (-1, 0.4), (-1, -0.4), (0.5, 1), (0.5, -1), (-0.5, 1), (-0.5, -1)]
OFFSETS = [(x * far, y * far) for far in (8, 14, 22, 32, 44, 58, 74, 92, 112) for x, y in SIDES]
# What it costs to cover a line, a point, another label, and to leave the panel.
LINE, DOT, LABEL, OUTSIDE = 1, 30, 200, 1000
NEAR = 12  # points; a label that is farther away has a line to its point


@dataclass(frozen=True)
class Quality:
    """A model's quality at a task.

    Attributes:
        value: Its metric on test, the mean over seeds.
        interval: Of the value, by that of its difference to single tasks; None: there is none.
        cell: The value as tables have it.
        difference_cell: The difference as tables have it.
    """

    value: float
    interval: tuple[float, float] | None
    cell: str
    difference_cell: str


@dataclass(frozen=True)
class Point:
    """A model of the frontier.

    Attributes:
        group: Its heading in the comparison.
        quality: By task.
        rank: Seconds of a request to `rank`.
        step: Seconds of a training step.
        size: Bytes of its versions.
    """

    group: str
    quality: Mapping[str, Quality]
    rank: float
    step: float
    size: int


def pareto(points: Mapping[str, tuple[float, float]], direction: str) -> list[str]:
    """Returns the points than which none is as fast and as good, and one of both more; fast first.

    >>> pareto({"a": (1.0, 0.7), "b": (0.5, 0.6), "c": (0.8, 0.5), "d": (1.0, 0.6)}, "max")
    ['b', 'a']
    >>> pareto({"a": (1.0, 0.7), "b": (0.5, 0.6), "c": (0.8, 0.5), "d": (1.0, 0.6)}, "min")
    ['b', 'c']

    Args:
        points: Name -> time and metric.
        direction: "max" or "min": which metric is better.
    """
    sign = -1 if direction == "max" else 1
    best, front = float("inf"), []
    for name, (_, value) in sorted(points.items(), key=lambda p: (p[1][0], sign * p[1][1])):
        if sign * value < best:
            best = sign * value
            front.append(name)
    return front


def frontier_figure(tasks: Sequence[ReportedTask], points: Mapping[str, Point]) -> Figure:
    """Draws each task's metric against the time of `rank`, of single-task models'; better is up.

    A point is a model, with the interval of its difference to single tasks; the line is the front
    of models that none beats in both.

    Args:
        tasks: Of the comparison, a panel each.
        points: By model; single-task models come first.

    Returns:
        A figure of 100 dots per inch.
    """
    figure = new_figure(7.4 * len(tasks), 6.2)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    placed = [_draw_task(axes, task, points) for axes, task in zip(panels, tasks, strict=True)]
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, labelcolor=INK
    )
    figure.draw_without_rendering()  # lays out: labels are placed on the axes as they will be
    figure.set_layout_engine("none")
    for axes, (places, obstacles) in zip(panels, placed, strict=True):
        _label_points(axes, places, obstacles)
    return figure


_Place = tuple[float, float]  # in the axes' data


def _draw_task(
    axes: Axes, task: ReportedTask, points: Mapping[str, Point]
) -> tuple[dict[str, _Place], list[tuple[_Place, _Place]]]:
    """Draws a panel; returns each model's place, and the ends of the lines that labels keep off."""
    style_axes(axes)
    single = next(iter(points.values()))
    groups = list(dict.fromkeys(point.group for point in points.values()))
    places: dict[str, _Place] = {}
    bars = []
    for name, point in points.items():
        quality = point.quality[task["name"]]
        x, y = point.rank / single.rank, quality.value
        places[name] = (x, y)
        low, high = quality.interval or (y, y)
        bars.append(((x, low), (x, high)))
        index = groups.index(point.group)
        axes.errorbar(
            x, y, yerr=[[y - low], [high - y]], color=task_colour(index), marker=marker(index),
            markersize=7, linewidth=1.2, capsize=2, linestyle="none", zorder=3,
        )  # fmt: skip
    for index, group in enumerate(groups):
        axes.plot([], [], color=task_colour(index), marker=marker(index), ls="none", label=group)

    front = [places[name] for name in pareto(places, task["direction"])]
    axes.plot(*zip(*front, strict=True), color=INK, linewidth=1.2, zorder=2, label="Pareto front")
    base = places[next(iter(points))][1]
    draw_reference(axes, base, "single-task models")
    axes.axvline(TARGET, color=GREY, linestyle=DASHED, label="a third of the time", zorder=1)

    axes.set_xlim(0, 1.15 * max(x for x, _ in places.values()))
    axes.margins(y=0.18)
    if task["direction"] == "min":
        axes.yaxis.set_inverted(True)
    style_value_axis(axes)
    grid_behind(axes, "x")
    title = metric_title(task, task["metric"])
    axes.set_title(f"{title}, {BETTER[task['direction']]}: better is up", color=INK, fontsize=12)
    axes.set_xlabel("time of a request to rank, of single-task models'", color=INK)
    return places, [*bars, *pairwise(front)]


def _label_points(
    axes: Axes, places: Mapping[str, _Place], lines: Sequence[tuple[_Place, _Place]]
) -> None:
    """Names the points, each where its name covers least."""
    pixels = {name: axes.transData.transform(place) for name, place in places.items()}
    half = 5 * axes.figure.dpi / 72
    taken = [(Bbox([pixel - half, pixel + half]), DOT) for pixel in pixels.values()]
    for start, end in lines:
        taken += [(box, LINE) for box in _boxes_along(axes, start, end)]

    # From the top: labels of close points then stand in the points' order.
    for name in sorted(places, key=lambda name: -pixels[name][1]):
        offset = min(OFFSETS, key=lambda at: _cost(axes, name, places[name], at, taken))
        label = _annotation(axes, name, places[name], offset)
        taken.append((_text_box(label), LABEL))
        taken += [(box, LABEL) for box in _boxes_to_label(axes, places[name], offset)]


def _boxes_along(axes: Axes, start: _Place, end: _Place) -> list[Bbox]:
    """Returns small boxes along a line between two places."""
    return _boxes_between(*axes.transData.transform([start, end]))


def _boxes_to_label(axes: Axes, place: _Place, offset: _Place) -> list[Bbox]:
    """Returns small boxes along the line from a point to its label; none where there is no line."""
    if max(map(abs, offset)) <= NEAR:
        return []
    point = axes.transData.transform(place)
    return _boxes_between(point, point + np.array(offset) * axes.figure.dpi / 72)[1:]


def _boxes_between(first: np.ndarray, last: np.ndarray) -> list[Bbox]:
    count = 2 + int(abs(last - first).max() // 6)
    centres = [first + (last - first) * index / (count - 1) for index in range(count)]
    return [Bbox([centre - 2, centre + 2]) for centre in centres]


def _cost(
    axes: Axes, name: str, place: _Place, offset: _Place, taken: Sequence[tuple[Bbox, int]]
) -> int:
    """Returns what a label there covers, by its cost."""
    label = _annotation(axes, name, place, offset)
    box = _text_box(label)
    label.remove()
    inside = axes.bbox.fully_containsx(box.x0) and axes.bbox.fully_containsx(box.x1)
    inside &= axes.bbox.fully_containsy(box.y0) and axes.bbox.fully_containsy(box.y1)
    covered = sum(cost for other, cost in taken if box.overlaps(other))
    # A line to a label may cross all but labels and the lines to them.
    of_labels = [other for other, cost in taken if cost == LABEL]
    line = _boxes_to_label(axes, place, offset)
    crossed = LABEL * any(part.overlaps(other) for part in line for other in of_labels)
    return covered + crossed + OUTSIDE * (not inside)


def _text_box(label: Annotation) -> Bbox:
    """Returns the box of a label's letters, without the line to its point."""
    label.update_positions(label.figure.canvas.get_renderer())
    return Text.get_window_extent(label)


def _annotation(axes: Axes, name: str, place: _Place, offset: _Place) -> Annotation:
    x, y = offset
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 3}
    label = axes.annotate(
        name, place, xytext=offset, textcoords="offset points", fontsize=9, color=INK,
        ha="left" if x > 0 else "right", va="bottom" if y > 0 else "top",
        arrowprops=line if max(abs(x), abs(y)) > NEAR else None, zorder=4,
    )  # fmt: skip
    label.set_path_effects([withStroke(linewidth=3, foreground="white")])
    return label
