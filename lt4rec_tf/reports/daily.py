"""What daily training shows: each day before it was trained on, and how the logs move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.reports import tensorboard
from lt4rec_tf.reports.text_tables import (
    ABSENT,
    ReportedTask,
    continuous_first,
    markdown_table,
    metric_name,
    metric_title,
)

Day = Mapping[str, Any]  # an entry of days.json
SHOWN_FEATURES = 12  # of a table of drifts; the file holds all


def measured_days(days: Sequence[Day]) -> list[Day]:
    """The days of a chain that were measured before they were trained on."""
    return [day for day in days if "measured" in day]


def days_table(tasks: Sequence[ReportedTask], days: Sequence[Day]) -> str:
    """Each day as the network of the day before predicted it: progressive validation.

    Args:
        tasks: Of the run.
        days: Of the chain, in order.

    Returns:
        A Markdown table with a line for each day and row; `-` where a metric is undefined.
    """
    columns = [
        (task, metric)
        for task in continuous_first(tasks)
        for metric in dict.fromkeys(
            [task["metric"], "gauc"] if task["kind"] == "binary" else [task["metric"]]
        )
    ]
    titles = [
        metric_title(task)
        if metric == task["metric"]
        else f"{task['name'].upper()} {metric_name(metric)}"
        for task, metric in columns
    ]
    lines = []
    for day in measured_days(days):
        for name, row in _models(day):
            values = [row["metrics"].get(task["name"], {}).get(metric) for task, metric in columns]
            lines.append([day["name"], name, str(day["rows"]), *map(_number, values)])
    return markdown_table(["day", "model", "rows", *titles], lines, texts=2)


def _models(day: Day) -> list[tuple[str, Any]]:
    found = [(row["row"], row) for row in day["measured"]]
    return found + [(f"{row['row']}, not updated", row) for row in day["frozen"]]


def drift_table(found: Mapping[str, Any]) -> str:
    """The features whose ids have moved furthest, and what is missing or unknown of them.

    Args:
        found: Of `data.drift.drift`.

    Returns:
        A Markdown table, the largest index first.
    """
    header = ["feature", "PSI", "", "by chance below", "cells", "missing", "unknown"]
    lines = [
        [
            of_feature["feature"],
            _number(of_feature.get("index"), 4),
            of_feature.get("verdict", ""),
            _number(of_feature.get("by_chance"), 4),
            str(of_feature.get("cells", ABSENT)),
            _change(of_feature.get("missing_before"), of_feature["missing"]),
            _change(of_feature.get("unknown_before"), of_feature["unknown"]),
        ]
        for of_feature in found["features"][:SHOWN_FEATURES]
    ]
    return markdown_table(header, lines)


def marginals_text(found: Mapping[str, Any]) -> str:
    """Rows, and each task's label mean, before and now: one fact a line."""
    rows = found["rows"]
    before = ABSENT if rows["before"] is None else str(rows["before"])
    lines = [f"rows: {before} before, {rows['after']} now"]
    for task, numbers in found["tasks"].items():
        means = [(numbers[when] or {}).get("label_mean") for when in ("before", "after")]
        lines.append(f"label mean of {task}: {_number(means[0])} before, {_number(means[1])} now")
    return "\n".join(lines)


def log_days(folder: Path, days: Sequence[Day]) -> None:
    """Writes TensorBoard's curves by day: a run for each model, one for what the logs hold.

    Args:
        folder: RUN / "tensorboard"; gets "days/<model>" and "days/logs".
        days: Of the chain; a day's step is its place among those that were measured, from 1.
    """
    by_model: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for step, day in enumerate(measured_days(days), 1):
        for name, row in _models(day):
            values = {
                f"day/{task}/{metric}": value
                for task, metrics in row["metrics"].items()
                for metric, value in metrics.items()
                if value is not None
            }
            by_model.setdefault(name.replace(", ", "_").replace(" ", "_"), []).append(
                (step, values)
            )
        by_model.setdefault("logs", []).append((step, _logged(day["drift"])))
    for name, points in by_model.items():
        writer = tensorboard.open_writer(folder / "days" / name)
        for step, values in points:
            tensorboard.log_scalars(writer, step, values)
        writer.close()


def _logged(found: Mapping[str, Any]) -> dict[str, float]:
    values: dict[str, float] = {"rows": found["rows"]["after"]}
    for task, numbers in found["tasks"].items():
        if numbers["after"]["label_mean"] is not None:
            values[f"label_mean/{task}"] = numbers["after"]["label_mean"]
    for of_feature in found["features"]:
        for tag, key in (("psi", "index"), ("missing", "missing"), ("unknown", "unknown")):
            if of_feature.get(key) is not None:
                values[f"{tag}/{of_feature['feature']}"] = of_feature[key]
    return values


def _number(value: float | None, decimals: int = 5) -> str:
    return ABSENT if value is None else f"{value:.{decimals}f}"


def _change(before: float | None, after: float | None) -> str:
    if after is None:
        return ABSENT
    now = f"{100 * after:.2f} %"
    return now if before is None else f"{100 * before:.2f} -> {now}"
