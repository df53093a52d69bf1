"""Tables of seconds watched, beside a predictor that knows the duration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lt4rec_tf.reports.differences import number
from lt4rec_tf.reports.further_metrics import means
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

_TITLES = {"mae_s": "MAE s", "rmse_s": "RMSE s", "xauc": "XAUC", "ndcg": "NDCG by user"}


def watch_time_tables(evaluation: Mapping[str, Any], preferred: str) -> list[str]:
    """Returns a table of all models' metrics of seconds, and one by duration of a single one.

    Args:
        evaluation: A run's tasks and models, as evaluation.json holds them.
        preferred: The model shown by duration, if it has the task.

    Returns:
        For each task with seconds two tables with a line above each; none where no model has one.
    """
    parts = []
    for task in [task["name"] for task in evaluation["tasks"]]:
        found = {
            model["row"]: model["watch_time"][task]
            for model in evaluation["rows"]
            if task in model.get("watch_time", {})
        }
        if not found:
            continue
        shown = preferred if preferred in found else [*found][-1]
        parts.append(f"{task}, in seconds; the last line knows the duration of the video alone")
        parts.append(_of_models(found))
        parts.append(f"{task}, by duration: {shown}")
        parts.append(_by_duration(found[shown]["groups"]))
    return parts


def _of_models(models: Mapping[str, Any]) -> str:
    alone = next(iter(models.values()))["duration_alone"]
    names = [name for name in _TITLES if name in alone]
    lines = [[model, *_cells(found["metrics"], names, alone)] for model, found in models.items()]
    lines.append(["duration alone", *_cells(alone, names)])
    return markdown_table(["model", *(_TITLES[name] for name in names)], lines)


def _cells(
    metrics: Mapping[str, Any], names: Sequence[str], alone: Mapping[str, Any] | None = None
) -> list[str]:
    cells = []
    for name in names:
        value = number(metrics.get(name))
        text = f"{value:.3f}" if name.endswith("_s") else f"{value:.5f}"
        if alone is not None:
            text += f" ({_gain(name, value, number(alone.get(name)))})"
        cells.append(text)
    return cells


def _gain(name: str, value: float, alone: float) -> str:
    """Returns what a metric is to that of the duration alone, which may be without an error."""
    if not name.endswith("_s"):
        return f"{value - alone:+.4f}"
    return f"{value / alone - 1:+.1%}" if alone else ABSENT


def _by_duration(groups: Sequence[Mapping[str, float]]) -> str:
    ends = [*(group["from_s"] for group in groups[1:]), None]
    lines = []
    for group, end in zip(groups, ends, strict=False):  # no rows have no groups
        span = (
            f"{group['from_s']:g} to {end:g} s" if end is not None else f"{group['from_s']:g} s on"
        )
        lines.append(
            [
                span,
                f"{group['rows']:,}",
                f"{group['label']:.4f}",
                f"{group['prediction']:.4f}",
                f"{group['mae_s']:.3f}",
                f"{number(group['xauc']):.5f}",
            ]
        )
    return markdown_table(["duration", "rows", "label", "prediction", "MAE s", "XAUC"], lines)


def watch_time_section(models: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> list[str]:
    """Returns a comparison's headings and tables of seconds, means over the seeds.

    Args:
        models: As results.json holds them.
        tasks: In their order.
    """
    parts = []
    for task in tasks:
        of_models: dict[str, Any] = {}
        for model in models:
            found = [
                run["watch_time"][task]
                for run in model["runs"]
                if run["status"] == "done" and task in run.get("watch_time", {})
            ]
            if found:
                of_models[model["row"]] = {
                    key: means([one[key] for one in found]) for key in ("metrics", "duration_alone")
                }
        if of_models:
            parts.append(
                f"### {task.upper()} in seconds, mean over the seeds (to the duration alone)"
            )
            parts.append(_of_models(of_models))
    return parts
