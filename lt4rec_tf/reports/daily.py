"""Tables and curves of daily training: each day before it was trained on, and the logs' drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lt4rec_tf.reports import tensorboard
from lt4rec_tf.reports.text_tables import (
    ABSENT,
    EvaluatedModel,
    Evaluation,
    ReportedTask,
    judged_metrics,
    markdown_table,
    metric_cell,
    metric_name,
    metric_title,
    number_cell,
)

SHOWN_FEATURES = 12  # of a table of drifts; the file holds all
SHOWN_FILES = 20


class LogFile(TypedDict):
    """A log by its content; of one that is gone the name and size alone are known."""

    bytes: int
    sha256: str | None
    rows: NotRequired[str]  # a sum of them, which days of earlier versions lack


class LabelMean(TypedDict):
    """A task's mean label over a period."""

    label_mean: float | None


class RowsMoved(TypedDict):
    """Rows of two periods."""

    before: int | None
    after: int


class TaskMoved(TypedDict):
    """A task's labels of two periods."""

    before: LabelMean | None
    after: LabelMean


class FeatureMoved(TypedDict):
    """A feature of two periods; of `data.audit.drift`."""

    feature: str
    index: NotRequired[float | None]
    by_chance: NotRequired[float | None]
    cells: NotRequired[int]
    verdict: NotRequired[str]
    missing_before: NotRequired[float | None]
    unknown_before: NotRequired[float | None]
    missing: float | None
    unknown: float | None


class Drift(TypedDict):
    """What moved between two periods; of `data.audit.drift.drift`."""

    rows: RowsMoved
    tasks: Mapping[str, TaskMoved]
    features: Sequence[FeatureMoved]


class Day(TypedDict):
    """An entry of days.json."""

    name: str
    files: Mapping[str, LogFile]
    rows: int
    first_time: float | None
    last_time: float | None
    drift: NotRequired[Drift]  # of all but the first
    measured: NotRequired[Sequence[EvaluatedModel]]  # before it was trained on
    frozen: NotRequired[Sequence[EvaluatedModel]]  # the models that are not updated


class DayEvaluation(Evaluation):
    """What a day's models measured before it was trained on."""

    frozen: Sequence[EvaluatedModel]


def measured_days(days: Sequence[Day]) -> list[Day]:
    """Returns the days of a chain that were measured before they were trained on."""
    return [day for day in days if "measured" in day]


def days_table(tasks: Sequence[ReportedTask], days: Sequence[Day]) -> str:
    """Returns each day's metrics under the network of the day before: progressive validation.

    Args:
        tasks: Of the run.
        days: Of the chain, in order.

    Returns:
        A Markdown table with a line for each day and model; `-` where a metric is undefined.
    """
    models = [model for day in measured_days(days) for _, model in _models(day)]
    columns = judged_metrics(tasks, models)
    titles = []
    for task, metric in columns:
        if metric == task["metric"]:
            titles.append(metric_title(task, metric))
        else:
            titles.append(f"{task['name'].upper()} {metric_name(metric)}")

    lines = []
    for day in measured_days(days):
        for name, model in _models(day):
            metrics = [metric_cell(model, task["name"], metric) for task, metric in columns]
            lines.append([day["name"], name, str(day["rows"]), *metrics])
    return markdown_table(["day", "model", "rows", *titles], lines, texts=2)


def _models(day: Day) -> list[tuple[str, Any]]:
    """Returns (name, numbers) of each model that was measured on a day."""
    updated = [(model["row"], model) for model in day["measured"]]
    return updated + [(f"{model['row']}, not updated", model) for model in day["frozen"]]


def files_table(files: Mapping[str, Mapping[str, Any]], known: Mapping[str, str]) -> str:
    """Returns a day's files, those that its chain was trained on first.

    Args:
        files: Name -> {"bytes"}.
        known: Name -> the file and day that held the same, in words.

    Returns:
        A Markdown table, and a line that says how many files it leaves out.
    """
    names = sorted(files, key=lambda name: (name not in known, name))
    lines = [
        [name, known.get(name, "no"), f"{files[name]['bytes']:,}"] for name in names[:SHOWN_FILES]
    ]
    table = markdown_table(["file", "trained on", "bytes"], lines, texts=2)
    more = f"\nand {len(names) - SHOWN_FILES} files more" if len(names) > SHOWN_FILES else ""
    return table + more


def drift_table(drift: Mapping[str, Any]) -> str:
    """Returns the features whose ids have moved furthest, with shares of missing and unknown ids.

    Args:
        drift: Of `data.audit.drift.drift`.

    Returns:
        A Markdown table, the largest index first.
    """
    header = ["feature", "PSI", "", "by chance below", "cells", "missing", "unknown"]
    lines = []
    for feature in drift["features"][:SHOWN_FEATURES]:
        lines.append(
            [
                feature["feature"],
                number_cell(feature.get("index"), 4),
                feature.get("verdict", ""),
                number_cell(feature.get("by_chance"), 4),
                str(feature.get("cells", ABSENT)),
                _change(feature.get("missing_before"), feature["missing"]),
                _change(feature.get("unknown_before"), feature["unknown"]),
            ]
        )
    return markdown_table(header, lines)


def marginals_text(drift: Mapping[str, Any]) -> str:
    """Returns rows, and each task's label mean, before and now: one fact per line.

    Args:
        drift: Of `data.audit.drift.drift`.
    """
    rows = drift["rows"]
    rows_before = ABSENT if rows["before"] is None else str(rows["before"])
    lines = [f"rows: {rows_before} before, {rows['after']} now"]
    for task, numbers in drift["tasks"].items():
        before = _label_mean(numbers["before"])
        after = _label_mean(numbers["after"])
        lines.append(f"label mean of {task}: {before} before, {after} now")
    return "\n".join(lines)


def _label_mean(marginals: Mapping[str, Any] | None) -> str:
    return number_cell((marginals or {}).get("label_mean"), 5)


def log_days(folder: Path, days: Sequence[Day]) -> None:
    """Writes TensorBoard's curves by day: a run per model, and one for the logs' marginals.

    Args:
        folder: RUN / "tensorboard"; gets "days/<model>" and "days/logs".
        days: Of the chain; a day's step is its index among those that were measured, from 1.
    """
    points_by_model: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for step, day in enumerate(measured_days(days), 1):
        for name, model in _models(day):
            file_name = name.replace(", ", "_").replace(" ", "_")
            points_by_model.setdefault(file_name, []).append((step, _metric_scalars(model)))
        points_by_model.setdefault("logs", []).append((step, _drift_scalars(day["drift"])))

    for name, points in points_by_model.items():
        writer = tensorboard.open_writer(folder / "days" / name)
        for step, values in points:
            tensorboard.log_scalars(writer, step, values)
        writer.close()


def _metric_scalars(model: Mapping[str, Any]) -> dict[str, float]:
    """Returns a model's defined metrics by tag."""
    values = {}
    for task, metrics in model["metrics"].items():
        for metric, value in metrics.items():
            if value is not None:
                values[f"day/{task}/{metric}"] = value
    return values


def _drift_scalars(drift: Mapping[str, Any]) -> dict[str, float]:
    """Returns the marginals of a day's logs by tag."""
    values: dict[str, float] = {"rows": drift["rows"]["after"]}
    for task, numbers in drift["tasks"].items():
        if numbers["after"]["label_mean"] is not None:
            values[f"label_mean/{task}"] = numbers["after"]["label_mean"]
    for feature in drift["features"]:
        for tag, key in (("psi", "index"), ("missing", "missing"), ("unknown", "unknown")):
            if feature.get(key) is not None:
                values[f"{tag}/{feature['feature']}"] = feature[key]
    return values


def _change(before: float | None, after: float | None) -> str:
    if after is None:
        return ABSENT
    now = f"{100 * after:.2f} %"
    return now if before is None else f"{100 * before:.2f} -> {now}"
