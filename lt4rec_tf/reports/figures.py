"""The look that all pictures share: canvas, colours, axes and files.

Figures are made with matplotlib's objects only (never pyplot), so drawing one changes no global
state, needs no display and works in any thread.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import ScalarFormatter

from lt4rec_tf.core.artifacts import write_atomically

DOTS_PER_INCH = 100
# Okabe and Ito's colours, which can be distinguished with every kind of colour blindness; "both"
# and "none" also differ in lightness, so that a grey print still reads.
TASK_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
NONE_COLOUR = "#EDEDED"
ALL_COLOUR = "#2B2440"
INK = "#333333"
FAINT = "#D9D9D9"
GREY = "#808080"
MARKERS = "osD^vPX"
DASHED = (0, (5, 4))
MOST_TICKS = 8


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically; the same figure gives the same bytes."""
    write_atomically(path, png_of(figure))


def png_of(figure: Figure) -> bytes:
    """Returns a figure as PNG; the same figure gives the same bytes."""
    content = io.BytesIO()
    # The version of matplotlib would otherwise stand in the file.
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()


def to_rgba(figure: Figure) -> np.ndarray:
    """Draws a figure.

    Returns:
        uint8 of shape (height, width, 4): red, green, blue, opacity, in dots.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def task_colour(index: int) -> str:
    """Returns the colour of a task, or of another series, by its index."""
    return TASK_COLOURS[index % len(TASK_COLOURS)]


def marker(index: int) -> str:
    """Returns the marker of a series by its index."""
    return MARKERS[index % len(MARKERS)]


def style_axes(axes: Axes) -> None:
    """Leaves two spines and quiet ticks, as all pictures have them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)


def grid_behind(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Draws faint grid lines behind the data."""
    axes.grid(axis=axis, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def style_value_axis(axes: Axes) -> None:
    """Shows a metric's values in full along y, with grid lines behind the data."""
    # An offset would have readers add a number to every tick.
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    grid_behind(axes, "y")


def draw_reference(axes: Axes, value: float, label: str, zorder: float | None = None) -> None:
    """Draws a dashed line across the axes at the value that others are compared with."""
    order = {} if zorder is None else {"zorder": zorder}
    axes.axhline(value, color=INK, linestyle=DASHED, linewidth=1, label=label, **order)


def write_in_middle(axes: Axes, text: str) -> None:
    """Writes a text in the middle of axes that have nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=INK)


def add_legend(axes: Axes) -> None:
    """Adds a legend of the labelled lines inside the axes."""
    axes.legend(edgecolor="none", framealpha=0.85, fontsize=9, labelcolor=INK)
