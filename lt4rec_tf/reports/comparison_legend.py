"""What the columns of a comparison's table are, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lt4rec_tf.reports.differences import RELATIVE
from lt4rec_tf.reports.text_tables import BETTER, ReportedTask, metric_name, population_words


def legend(
    results: Mapping[str, Any], tasks: Sequence[ReportedTask], settings: Sequence[str]
) -> str:
    """Returns a line for each column of the table.

    Args:
        results: As results.json holds them.
        tasks: In the order of the columns.
        settings: Names of the tuned ones.
    """
    lines = []
    for task in tasks:
        lines.append(
            f"- {short_title(task, task['metric'])}: {BETTER[task['direction']]}; "
            f"over {population_words(task)}, mean over the seeds"
        )
    lines += _difference_lines(results, tasks)

    if settings:
        lines.append(f"- {', '.join(map(spelled, settings))}: chosen on validation")
    lines += [
        "- further metrics: log loss and errors are compared in per cent of the single-task "
        "mean, others as they are. NE: log loss over the entropy of the labels' mean; 1 is what "
        "predicting that mean has. ECE: |mean prediction - mean label| averaged over 15 bins of "
        "equally many rows by prediction, in the label's unit; noise is part of it",
        "- seeds: finished runs that the means are over, of those that were asked for",
        "- trained: numbers that training changes, embedding tables included",
        "- alive: numbers above the cross layer that a task's prediction reads, cut weights left "
        "out",
        "- multiply-adds: of one example's predictions for all tasks above the cross layer",
        "- seconds: training time of one seed on average, searches of tickets included",
    ]
    return "\n".join(lines)


def _difference_lines(results: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> list[str]:
    """Returns what differences and their intervals are; those of one seed have none."""
    errors = " and ".join(task["name"].upper() for task in tasks if task["metric"] in RELATIVE)
    relative = f"; for {errors} in per cent of the single-task mean" if errors else ""
    what = "- to single task: paired difference to the single-task model over the seeds that both "
    drawn = results.get("resampled", "users")
    seeds = _seeds_of_differences(results)

    lines = []
    if seeds != {1}:
        lines.append(
            f"{what}finished, with the 95 % interval of a bootstrap over {drawn} and seeds; "
            f"**bold** only where it excludes zero, as printed{relative}"
        )
    else:
        lines.append(f"{what}finished{relative}")
    if 1 in seeds:
        lines.append(
            f"- no interval from one seed: {drawn} drawn again would say how these two trained "
            "models differ on others, not how two other trainings would"
        )
    return lines


def _seeds_of_differences(results: Mapping[str, Any]) -> set[int]:
    """Returns the numbers of seeds that differences are over; 0: not said."""
    seeds: set[int] = set()
    for model in results["rows"]:
        for differences in (model["differences"], model["against"]):
            seeds.update(difference.get("seeds", 0) for difference in differences.values())
    return seeds


def short_title(task: ReportedTask, metric: str) -> str:
    """Returns the title of a metric's column; the legend says which rows it is over."""
    return f"{task['name'].upper()} {metric_name(metric)}"


def spelled(setting: str) -> str:
    """Returns a setting's name in words.

    >>> spelled("loss_weights")
    'loss weights'
    """
    return setting.replace("_", " ")
