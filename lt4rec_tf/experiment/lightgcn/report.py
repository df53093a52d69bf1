"""Table and picture of a search for tickets in an embedding table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lt4rec_tf.data.public.interactions import Split
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
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

METRICS = {"recall": "recall", "ndcg": "NDCG"}


def statistics(split: Split) -> str:
    """Describes the files in lines: counts, then each oddity."""
    train, test = split.train, split.test
    pairs = len(train.item_ids) + len(test.item_ids)
    lines = [
        f"{train.users:,} users, {train.items:,} items, {len(train.item_ids):,} pairs to train on, "
        f"{len(test.item_ids):,} to test on, density {pairs / train.users / train.items:.5f}"
    ]
    lines += [f"  {number:,} {oddity}" for oddity, number in split.oddities.items()]
    return "\n".join(lines)


def level_table(rows: Sequence[Mapping[str, Any]], k: int) -> str:
    """Returns a table with a line for each training: size, metrics, passes and seconds.

    Args:
        rows: Of evaluation.json.
        k: Length of the lists.
    """
    header = [
        "way", "level", "density", "numbers", *(f"{name}@{k}" for name in METRICS.values()),
        f"validation recall@{k}", "best epoch", "seconds", "chosen",
    ]  # fmt: skip

    lines = []
    for row in rows:
        validation = row["validation"].get("recall")
        lines.append(
            [
                row["way"],
                str(row["level"]),
                f"{row['density']:.3f}",
                f"{row['parameters']:,}",
                *(f"{row['test'][metric]:.4f}" for metric in METRICS),
                ABSENT if validation is None else f"{validation:.4f}",
                str(row["best_epoch"]),
                f"{row['seconds']:.0f}",
                "*" if row["chosen"] else "",
            ]
        )
    return markdown_table(header, lines)


def search_figure(rows: Sequence[Mapping[str, Any]], k: int) -> Figure:
    """Draws recall and NDCG on test against density, a line for each way.

    Source: Figures 3 and 4 of arXiv 2108.00944.

    Args:
        rows: Of evaluation.json; those of level 0 are the dense table.
        k: Length of the lists.

    Returns:
        A figure of 100 dots per inch.
    """
    figure = new_figure(11.0, 4.2)
    for axes, (metric, name) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
        _draw(axes, rows, metric)
        axes.set_ylabel(f"{name}@{k} on test", color=INK)
    add_legend(figure.axes[0])
    return figure


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Draws one metric of every way against density, from dense on the left to sparse."""
    style_axes(axes)
    dense = next(row for row in rows if row["way"] == "dense")
    draw_reference(axes, dense["test"][metric], "dense")

    # Refitted tables have no validation: they are no levels of a way.
    ways = list(dict.fromkeys(row["way"] for row in rows if row["level"] and row["validation"]))
    for index, way in enumerate(ways):
        line = [dense, *(row for row in rows if row["way"] == way)]
        densities = [row["density"] for row in line]
        values = [row["test"][metric] for row in line]
        axes.plot(
            densities, values, label=way, linewidth=1.8, markersize=5,
            color=task_colour(index), marker=marker(index),
        )  # fmt: skip

    ticks = sorted({round(row["density"], 3) for row in rows if row["way"] in ("dense", "ticket")})
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.invert_xaxis()
    style_value_axis(axes)
    axes.set_xlabel("density (share of numbers kept)", color=INK)
    axes.margins(y=0.12)
