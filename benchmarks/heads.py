"""Heads of a watch ratio or of seconds side by side: what a finished comparison measured of each.

    python -m lt4rec_tf.compare --flagfile=configs/compare/kuairand_heads.cfg --data_dir=DIR
    python benchmarks/heads.py --comparison=runs/compare_kuairand_heads-0123456789 --name=kuairand

A table of all models with the task, means over their seeds on test, and a picture: a line for each
head, a point for each group of models. The picture is written to --images/heads_<name>.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lt4rec_tf.core.artifacts import read_json
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.experiment.paths import REPORT, RESULTS
from lt4rec_tf.reports.differences import interval_cell
from lt4rec_tf.reports.figures import (
    DASHED,
    GREY,
    INK,
    grid_behind,
    marker,
    new_figure,
    save_png,
    style_axes,
    task_colour,
)
from lt4rec_tf.reports.further_metrics import done_runs, means
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table, metric_name
from lt4rec_tf.schema.heads import KINDS

HEAD_FLAG = "--head="
SECONDS = {"mae_s": "MAE s", "rmse_s": "RMSE s", "xauc": "XAUC s"}
FAR = 6.0  # per cent to the first model; what is farther stands at the edge


@dataclass(frozen=True)
class Line:
    """A model of the comparison, means over its seeds.

    Attributes:
        group: Its heading in the comparison.
        head: Its head.
        metrics: Of the task, in its label's unit.
        seconds: The same of seconds, as `training.watch_time` names them.
        alone: Of the predictor that knows the duration alone.
        difference: Of the task's metric to the first model, as results.json holds it; None: it is
            the first.
        others: Other task -> its metric.
    """

    group: str
    head: str
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    alone: Mapping[str, float]
    difference: Mapping[str, Any] | None
    others: Mapping[str, float]


def main(argv: Sequence[str]) -> None:
    """Prints the table and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparison", type=Path, required=True, help="folder of a comparison")
    parser.add_argument("--name", required=True, help="of the picture: heads_<name>.png")
    parser.add_argument("--task", default="cvr", help="the task whose head differs")
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="its folder")
    flags = parser.parse_args(argv[1:])

    results = read_json(flags.comparison / REPORT / RESULTS)
    tasks = {task["name"]: task for task in results["tasks"]}
    if flags.task not in tasks:
        raise InputError(f"--task: found {flags.task}, expected one of {', '.join(tasks)}")
    metric = tasks[flags.task]["metric"]
    lines = lines_of(results, flags.task)
    if not lines:
        raise InputError(
            f"{flags.comparison}: found no model with a head of {flags.task} that ended"
        )

    print(table(lines, metric, tasks))
    alone = lines[0].alone
    shown = [f"{title} {alone[name]:.4f}" for name, title in SECONDS.items() if name in alone]
    print(f"\nthe duration alone: {', '.join(shown) or 'not measured'}")
    path = flags.images / f"heads_{flags.name}.png"
    save_png(figure(lines, metric), path)
    print(f"picture: {path}")


def lines_of(results: Mapping[str, Any], task: str) -> list[Line]:
    """Returns the models that ended and name a head.

    Args:
        results: As results.json holds them.
        task: Whose head differs.
    """
    own_metric = {known["name"]: known["metric"] for known in results["tasks"]}
    lines = []
    for model in results["rows"]:
        runs = [run for run in done_runs(model) if task in run["metrics"]]
        heads = [f.removeprefix(HEAD_FLAG) for f in model["flags"] if f.startswith(HEAD_FLAG)]
        if not runs or not heads:
            continue
        timed = [run["watch_time"][task] for run in runs if task in run["watch_time"]]
        others = {
            other: metric
            for other, metric in own_metric.items()
            if other != task and other in runs[0]["metrics"]
        }
        lines.append(
            Line(
                group=model["group"],
                head=heads[-1],
                metrics=means([run["metrics"][task] for run in runs]),
                seconds=means([one["metrics"] for one in timed]),
                alone=means([one["duration_alone"] for one in timed]),
                difference=model["differences"].get(task),
                others={
                    other: means([run["metrics"][other] for run in runs])[metric]
                    for other, metric in others.items()
                },
            )
        )
    return lines


def table(lines: Sequence[Line], metric: str, tasks: Mapping[str, Any]) -> str:
    """Returns the models as a table; a group's name stands at its first one."""
    of_label = [name for name in ("mae", "xauc", "ece", "pcoc") if name in lines[0].metrics]
    of_seconds = [name for name in SECONDS if name in lines[0].seconds]
    others = list(dict.fromkeys(other for line in lines for other in line.others))
    header = ["head", metric_name(metric), "to the first"]
    header += [metric_name(name) for name in of_label] + [SECONDS[name] for name in of_seconds]
    header += [f"{other.upper()} {metric_name(tasks[other]['metric'])}" for other in others]

    cells, group = [], None
    for line in lines:
        name = f"`{line.head}`" if line.group == group else f"{line.group}: `{line.head}`"
        group = line.group
        difference = interval_cell(line.difference) if line.difference else ABSENT
        row = [name, f"{line.metrics[metric]:.5f}", difference]
        row += [f"{line.metrics[key]:.4f}" for key in of_label]
        row += [f"{line.seconds[key]:.4f}" for key in of_seconds]
        row += [f"{line.others[o]:.4f}" if o in line.others else ABSENT for o in others]
        cells.append(row)
    return markdown_table(header, cells)


def figure(lines: Sequence[Line], metric: str) -> Figure:
    """Draws three panels: the task's metric to the first model, the order of rows, and seconds.

    Args:
        lines: The first is what others are compared with.
        metric: The task's.
    """
    heads = [kind for kind in KINDS if kind in {line.head for line in lines}]
    groups = list(dict.fromkeys(line.group for line in lines))
    drawn = new_figure(12.5, 1.6 + 0.55 * len(heads))
    panels = drawn.subplots(1, 3, sharey=True)
    titles = (
        f"{metric_name(metric)} to {lines[0].head} alone, %: better is left",
        "XAUC: better is right",
        "MAE in seconds: better is left",
    )
    for axes, title in zip(panels, titles, strict=True):
        style_axes(axes)
        grid_behind(axes, "x")
        axes.set_title(title, color=INK, fontsize=11)
    for line in lines:
        index = groups.index(line.group)
        place = heads.index(line.head) + 0.22 * (index - (len(groups) - 1) / 2)
        _draw_difference(panels[0], line, place, index)
        values = (line.metrics.get("xauc", line.seconds.get("xauc")), line.seconds.get("mae_s"))
        for axes, value in zip(panels[1:], values, strict=True):
            if value is not None:
                axes.plot(value, place, color=task_colour(index), marker=marker(index), ls="none")

    panels[0].axvline(0, color=GREY, linestyle=DASHED, zorder=1)
    panels[0].set_xlim(-FAR, FAR + 0.6)
    if "mae_s" in lines[0].alone:
        alone = lines[0].alone["mae_s"]
        panels[2].axvline(alone, color=GREY, linestyle=DASHED, label="the duration alone")
    panels[0].set_yticks(range(len(heads)), heads)
    panels[0].invert_yaxis()
    for index, group in enumerate(groups):
        panels[2].plot(
            [], [], color=task_colour(index), marker=marker(index), ls="none", label=group
        )
    shown = panels[2].get_legend_handles_labels()
    drawn.legend(
        *shown, loc="outside lower left", ncols=len(shown[1]), frameon=False, labelcolor=INK
    )
    return drawn


def _draw_difference(axes: Axes, line: Line, place: float, index: int) -> None:
    """Draws a difference in per cent with its interval; one beyond the edge with its number."""
    found = line.difference
    scale = 100 / found["base"] if found else 0.0
    value = scale * found["difference"] if found else 0.0
    low, high = (scale * found[key] if found else 0.0 for key in ("low", "high"))
    style = {"color": task_colour(index), "marker": marker(index), "ls": "none"}
    if value > FAR:
        axes.plot(FAR, place, clip_on=False, **style)
        axes.annotate(
            f"{value:+.0f} %", (FAR, place), xytext=(-8, 0), textcoords="offset points",
            ha="right", va="center", fontsize=9, color=INK,
        )  # fmt: skip
        return
    axes.errorbar(
        value, place, xerr=[[value - low], [high - value]], capsize=2, linewidth=1.2, **style
    )


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
