"""Pictures that the API returns: a notebook shows them, and a file takes them."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from lt4rec_tf.reports.figures import DOTS_PER_INCH, png_of, save_png


class Picture:
    """A figure of a run.

    Args:
        figure: Of matplotlib's objects, without pyplot.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def save(self, path: str | Path) -> None:
        """Writes it as PNG, atomically."""
        save_png(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        """Returns what a notebook displays."""
        return png_of(self.figure)

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches() * DOTS_PER_INCH
        return f"Picture({width:.0f} x {height:.0f} dots)"
