"""Metrics of a comparison by which no model is judged: means, and differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt4rec_tf.reports.differences import interval_cell, number
from lt4rec_tf.reports.text_tables import ABSENT, ReportedTask, markdown_table, metric_name

ModelEntry = Mapping[str, Any]  # a model of results.json
FURTHER_METRICS = {
    "binary": ("auc", "gauc", "log_loss", "ne", "ece"),
    "continuous": ("mse", "mae", "xauc", "ece"),
    "amount": ("nrmse", "nmae", "rmse", "mae", "spearman", "gini"),
}


def further_sections(models: Sequence[ModelEntry], tasks: Sequence[ReportedTask]) -> list[str]:
    """Returns headings and tables of the metrics that a task is not judged by.

    Args:
        models: As results.json holds them.
        tasks: In the order of the columns.
    """
    parts = ["### Further metrics, mean over the seeds", _means(models, tasks)]
    if any(model.get("further") for model in models):
        parts += ["### Further metrics, difference to single task", _differences(models, tasks)]
    return parts


def _means(models: Sequence[ModelEntry], tasks: Sequence[ReportedTask]) -> str:
    columns = []
    for task in tasks:
        # Without a column of users there is no GAUC; older runs lack newer metrics.
        measured = _measured(models, task)
        further = [metric for metric in FURTHER_METRICS[task["kind"]] if metric in measured]
        columns += [(task, metric) for metric in further if metric != task["metric"]]

    lines = []
    for model in models:
        done = done_runs(model)
        lines.append([model["row"], *(mean_metric(done, task, metric) for task, metric in columns)])
    return markdown_table(["model", *_titles(columns)], lines)


def _differences(models: Sequence[ModelEntry], tasks: Sequence[ReportedTask]) -> str:
    columns: list[tuple[ReportedTask, str]] = []
    for task in tasks:
        compared: dict[str, None] = {}  # in the order of their first appearance
        for model in models:
            compared.update(dict.fromkeys(model.get("further", {}).get(task["name"], {})))
        columns += [(task, metric) for metric in compared]

    lines = []
    for model in models:
        if further := model.get("further"):
            cells = []
            for task, metric in columns:
                numbers = further.get(task["name"], {}).get(metric)
                cells.append(interval_cell(numbers) if numbers else ABSENT)
            lines.append([model["row"], *cells])
    return markdown_table(["model", *_titles(columns)], lines)


def _measured(models: Sequence[ModelEntry], task: ReportedTask) -> set[str]:
    """Returns the metrics that some run has of a task."""
    measured: set[str] = set()
    for model in models:
        for run in done_runs(model):
            measured.update(run["metrics"].get(task["name"], {}))
    return measured


def _titles(columns: Sequence[tuple[ReportedTask, str]]) -> list[str]:
    return [f"{task['name'].upper()} {metric_name(metric)}" for task, metric in columns]


def done_runs(model: ModelEntry) -> list[Mapping[str, Any]]:
    """Returns the runs of a model that have results."""
    return [run for run in model["runs"] if run["status"] == "done"]


def means(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the mean of each number that some mappings hold alike; none of no mappings."""
    names = found[0] if found else ()
    return {name: float(np.mean([number(one[name]) for one in found])) for name in names}


def mean_metric(done: Sequence[Mapping[str, Any]], task: ReportedTask, metric: str) -> str:
    """Returns a metric's mean over finished runs, `-` where none has the task."""
    values = [
        number(run["metrics"][task["name"]].get(metric))
        for run in done
        if task["name"] in run["metrics"]
    ]
    return f"{np.mean(values):.5f}" if values else ABSENT
