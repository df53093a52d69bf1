"""A comparison as Markdown: Table 2 of LT4REC (arXiv 2008.09872) with intervals and costs.

These functions read the content of a comparison's results.json:

    name, split       of the comparison, and of the logs that it was measured on
    tasks             as `ReportedTask`
    against           the model that all others are compared with, beside the single tasks
    rows              the models, each with row (its name), group, note, chosen {setting: value},
                      runs, cost, differences, against
      runs            each with seed and status: "done" has metrics, density, overlap and seconds
                      as in `EvaluatedModel`, and nothing_learned as in `StageResult`, which
                      earlier versions lack; "failed" has error and log
      cost            trained_parameters, table_bytes, alive_parameters {task: n}, multiply_adds;
                      None: no run
      differences     task -> metric, base, value, difference, low, high; {} for a single-task model
      against         the same, to the model `against`; {} for that model
    searches          each with row, seed and searches {task: `TicketSearch`}

None stands for a number that is undefined, as in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt4rec_tf.reports.comparison_legend import legend, short_title, spelled
from lt4rec_tf.reports.differences import difference_cell, number
from lt4rec_tf.reports.further_metrics import ModelEntry, done_runs, further_sections, mean_metric
from lt4rec_tf.reports.text_tables import (
    ABSENT,
    ReportedTask,
    TicketSearch,
    continuous_first,
    markdown_table,
    metric_name,
)
from lt4rec_tf.reports.watch_time import watch_time_section


def comparison_table(results: Mapping[str, Any]) -> str:
    """Returns one line per model under its group's heading, then failed runs and a legend.

    A difference is bold where its interval, as printed, excludes zero, whichever side is better.

    Args:
        results: As results.json holds them.

    Returns:
        Markdown, with a final line feed.
    """
    tasks = continuous_first(results["tasks"])
    models: Sequence[ModelEntry] = results["rows"]
    settings: dict[str, None] = {}  # in the order of their first appearance
    failures, in_vain = [], []
    for model in models:
        settings.update(dict.fromkeys(model["chosen"]))
        failures += _failures(model)
        in_vain += _in_vain(model)
    names = list(settings)
    lines = [_line(model, tasks, names) for model in models]

    parts = [
        f"## {results['name']}: measured on {results['split']}",
        _grouped_lines(_header(tasks, names), models, lines),
    ]
    if any(model["against"] for model in models):
        parts += [f"### Differences to {results['against']}", _against_table(results, tasks)]
    if failures:
        parts += ["### Failed runs", "\n".join(failures)]
    if in_vain:
        parts += ["### Runs that learned nothing of a task", "\n".join(in_vain)]
    notes = [f"- `{model['row']}`: {model['note']}" for model in models if model["note"]]
    if notes:
        parts += ["### Models", "\n".join(notes)]
    parts += further_sections(models, tasks)
    parts += watch_time_section(models, [task["name"] for task in tasks])
    parts += ["### Columns", legend(results, tasks, names)]
    return "\n\n".join(parts) + "\n"


def search_table(searches: Sequence[Mapping[str, Any]]) -> str:
    """Returns every level of the models' searches on validation: Figure 4 of LT4REC in numbers.

    Args:
        searches: As results.json holds them, one per model and seed.

    Returns:
        A Markdown table, one line per model, task and level; a level's numbers are over the seeds
        whose search has it.
    """
    models_and_tasks: dict[tuple[str, str], None] = {}  # in the order of their first appearance
    for search in searches:
        models_and_tasks.update(dict.fromkeys((search["row"], task) for task in search["searches"]))

    lines = []
    for model, task in models_and_tasks:
        over_seeds = searches_of(searches, model, task)
        for level in range(max(len(search["values"]) for search in over_seeds)):
            lines.append([model, task, *_level_cells(over_seeds, level)])
    header = ["model", "task", "metric", "level", "density", "validation", "sd", "chosen"]
    return markdown_table(header, lines, texts=3)


def _level_cells(searches: Sequence[TicketSearch], level: int) -> list[str]:
    """Returns metric, level, density, mean, standard deviation and choices over the seeds."""
    reached = [search for search in searches if level < len(search["values"])]
    densities = [search["densities"][level] for search in reached]
    values = np.array([number(search["values"][level]) for search in reached])
    choices = sum(search["chosen"] == level for search in reached)
    return [
        metric_name(searches[0]["metric"]),
        str(level),
        f"{np.mean(densities):.3f}",
        f"{values.mean():.5f}",
        f"{values.std(ddof=1):.5f}" if len(values) > 1 else ABSENT,
        f"{choices} of {len(searches)}",
    ]


def searches_of(searches: Sequence[Mapping[str, Any]], model: str, task: str) -> list[TicketSearch]:
    """Returns a task's searches of one model, one per seed.

    Args:
        searches: As results.json holds them, one per model and seed.
        model: Of the comparison.
        task: Its name; seeds whose model did not search for it are left out.
    """
    return [
        search["searches"][task]
        for search in searches
        if search["row"] == model and task in search["searches"]
    ]


def _grouped_lines(
    header: Sequence[str], models: Sequence[ModelEntry], lines: list[list[str]]
) -> str:
    """Returns a table per group, all of the same widths."""
    head, rule, *body = markdown_table(header, lines, texts=1).splitlines()
    lines_by_group: dict[str, list[str]] = {}
    for model, line in zip(models, body, strict=True):
        lines_by_group.setdefault(model["group"], []).append(line)
    parts = []
    for group, group_lines in lines_by_group.items():
        parts.append("\n".join([f"### {group}", "", head, rule, *group_lines]))
    return "\n\n".join(parts)


def _against_table(results: Mapping[str, Any], tasks: Sequence[ReportedTask]) -> str:
    """Returns every model's differences to the one that all are compared with."""
    header = ["model", *(short_title(task, task["metric"]) for task in tasks)]
    lines = []
    for model in results["rows"]:
        if model["against"]:
            cells = [difference_cell(model["against"], task) for task in tasks]
            lines.append([model["row"], *cells])
    return markdown_table(header, lines)


def _header(tasks: Sequence[ReportedTask], settings: Sequence[str]) -> list[str]:
    header = ["model"]
    for task in tasks:
        title = short_title(task, task["metric"])
        header += [title, f"{task['name'].upper()} to single task"]
    return [
        *header,
        *map(spelled, settings),
        "seeds",
        "trained",
        "tables (bytes)",
        f"alive ({' / '.join(task['name'] for task in tasks)})",
        "multiply-adds",
        "seconds",
    ]


def _line(model: ModelEntry, tasks: Sequence[ReportedTask], settings: Sequence[str]) -> list[str]:
    done = done_runs(model)
    cells = [model["row"]]
    for task in tasks:
        cells.append(mean_metric(done, task, task["metric"]))
        cells.append(difference_cell(model["differences"], task))
    cells += [_setting(model["chosen"].get(name)) for name in settings]

    finished, runs = len(done), len(model["runs"])
    cells.append(str(finished) if finished == runs else f"{finished} of {runs}")
    cells += _cost_cells(model["cost"], tasks)
    seconds = [number(run["seconds"]) for run in done]
    cells.append(f"{np.mean(seconds):,.1f}" if seconds else ABSENT)
    return cells


def _cost_cells(cost: Mapping[str, Any] | None, tasks: Sequence[ReportedTask]) -> list[str]:
    numbers = cost or {"alive_parameters": {}}
    alive = numbers["alive_parameters"]
    return [
        _count(numbers.get("trained_parameters")),
        _count(numbers.get("table_bytes")),
        " / ".join(_count(alive.get(task["name"])) for task in tasks),
        _count(numbers.get("multiply_adds")),
    ]


def _setting(value: float | str | None) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else f"{value:g}"


def _count(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def _failures(model: ModelEntry) -> list[str]:
    """Returns one line per reason, with the seeds that failed for it."""
    seeds: dict[str, list[str]] = {}
    for run in model["runs"]:
        if run["status"] != "done":
            # A message of several lines would end the list's item.
            reason = " ".join(str(run["error"]).split())
            seeds.setdefault(f"{reason} (log: `{run['log']}`)", []).append(str(run["seed"]))
    return _items(model, seeds)


def _in_vain(model: ModelEntry) -> list[str]:
    """Returns one line per task and sign of it, with the seeds that learned nothing of the task."""
    seeds: dict[str, list[str]] = {}
    for run in done_runs(model):
        for task, why in run.get("nothing_learned", {}).items():
            text = f"{task}: on validation {'; '.join([why['what'], *why['causes']])}"
            seeds.setdefault(text, []).append(str(run["seed"]))
    return _items(model, seeds)


def _items(model: ModelEntry, seeds_by_text: Mapping[str, Sequence[str]]) -> list[str]:
    """Writes a model's item of a list for each text, with the seeds that it holds for."""
    lines = []
    for text, seeds in seeds_by_text.items():
        plural = "s" if len(seeds) > 1 else ""
        lines.append(f"- `{model['row']}`, seed{plural} {', '.join(seeds)}: {text}")
    return lines
