"""Metrics before and after calibration, side by side, as a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lt4rec_tf.reports.text_tables import Evaluation, markdown_table, metric_name, number_cell

METRICS = ("auc", "xauc", "log_loss", "ne", "mse", "pcoc", "ece")
HEADER = ("task", "calibration", *map(metric_name, METRICS))


def calibration_table(evaluation: Evaluation) -> str:
    """Returns two lines for each task, or product of tasks, whose predictions maps change.

    Args:
        evaluation: A run's tasks and models.

    Returns:
        A Markdown table; "" where no model has a map.
    """
    lines: list[list[str]] = []
    names = [task["name"] for task in evaluation["tasks"]]
    for model in evaluation["rows"]:
        after = model.get("calibrated")
        if after:
            both = model["metrics"], after["metrics"]
            lines += [[model["row"], *cells] for cells in metric_lines(*both, after["maps"], names)]
    return markdown_table(["model", *HEADER], lines, texts=3) if lines else ""


def metric_lines(
    before: Mapping[str, Mapping[str, float | None]],
    after: Mapping[str, Mapping[str, float | None]],
    maps: Mapping[str, str],
    tasks: Collection[str],
) -> list[list[str]]:
    """Returns lines of `HEADER`: of each task with a map, and of each product of tasks.

    Args:
        before: Task or product -> metric -> value, of the network's own predictions.
        after: The same of calibrated ones.
        maps: Task -> its map, in words; empty: there are no lines.
        tasks: All tasks; what else has metrics is a product.
    """
    lines: list[list[str]] = []
    for name in before if maps else ():
        words = maps.get(name, "" if name in tasks else "of its tasks")
        if words:
            for what, metrics in (("none", before[name]), (words, after[name])):
                cells = [number_cell(metrics.get(metric), 5) for metric in METRICS]
                lines.append([name, what, *cells])
    return lines
