"""Published numbers of a public protocol, and a comparison's own beside them.

A TOML file holds what others published on one data set, split and metric:

    title = "AliExpress, the Netherlands"
    source = "github.com/NoahRSChallenge/Multi-Task-Multi-Expert, README, Baseline Results"
    note = "..."                  # optional: in what the protocols differ

    [[metrics]]
    title = "CTR AUC"
    task = "ctr"                  # a task, or the product of two
    metric = "auc"
    digits = 4                    # optional, of the published numbers

    [[models]]
    name = "AITM"
    model = "aitm"                # optional: its name in the comparison
    values = [0.7256]             # one for each metric
    source = "second-hand"        # optional: of this line alone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.toml import TomlTable, read_toml
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

NOT_RUN = "not run here"


@dataclass(frozen=True)
class PublishedMetric:
    """A column of published numbers.

    Attributes:
        title: Of the column.
        task: The task, or product of two tasks, that the comparison measures.
        metric: Its metric.
        digits: After the decimal point, as published.
    """

    title: str
    task: str
    metric: str
    digits: int


@dataclass(frozen=True)
class PublishedModel:
    """A model's published numbers.

    Attributes:
        name: As published.
        own: Its name in the comparison; empty: it has none.
        values: One for each metric.
        source: Of this model alone; empty: that of all.
    """

    name: str
    own: str
    values: tuple[float, ...]
    source: str


@dataclass(frozen=True)
class PublishedNumbers:
    """What was published by one protocol; attributes as in the file."""

    title: str
    source: str
    note: str
    metrics: tuple[PublishedMetric, ...]
    models: tuple[PublishedModel, ...]


def read_published(path: Path, metrics_by_task: Mapping[str, Sequence[str]]) -> PublishedNumbers:
    """Reads published numbers.

    Args:
        path: TOML file.
        metrics_by_task: The metrics that the comparison measures, of tasks and their products.

    Raises:
        TomlError: The file is absent, or a key or value cannot be used.
    """
    file = read_toml(path)
    metrics = tuple(_metric(table, metrics_by_task) for table in file.tables("metrics"))
    numbers = PublishedNumbers(
        title=file.text("title"),
        source=file.text("source"),
        note=file.text("note", "", empty=True),
        metrics=metrics,
        models=tuple(_model(table, len(metrics)) for table in file.tables("models")),
    )
    file.close()
    return numbers


def _metric(table: TomlTable, metrics_by_task: Mapping[str, Sequence[str]]) -> PublishedMetric:
    task = table.choice("task", tuple(metrics_by_task))
    metric = PublishedMetric(
        title=table.text("title"),
        task=task,
        metric=table.choice("metric", tuple(metrics_by_task[task])),
        digits=table.integer("digits", 0, 4),
    )
    table.close()
    return metric


def _model(table: TomlTable, metrics: int) -> PublishedModel:
    values = table.items("values")
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != len(values) or len(values) != metrics:
        raise table.error("values", values, f"{metrics} numbers, one for each of [[metrics]]")
    model = PublishedModel(
        name=table.text("name"),
        own=table.text(table.renamed("model", "row"), ""),
        values=tuple(map(float, values)),
        source=table.text("source", ""),
    )
    table.close()
    return model


def published_table(numbers: PublishedNumbers, models: Sequence[Mapping[str, Any]] = ()) -> str:
    """Returns published numbers beside measured ones, as Markdown that reads well as text.

    A published model that the comparison could have but lacks is "not run here"; one without a name
    in comparisons has "-". Models that nobody published follow, with "-" as published.

    Args:
        numbers: From `read_published`.
        models: As results.json holds them; none: nothing was run.
    """
    own_sources = any(model.source for model in numbers.models)
    header = ["published model", "model", *(["source"] if own_sources else [])]
    texts = len(header)
    for metric in numbers.metrics:
        header += [f"{metric.title}, published", "measured"]

    lines = [_published_line(model, numbers, models, own_sources) for model in numbers.models]
    lines += _own_lines(numbers, models, own_sources)
    parts = [
        f"### {numbers.title}: published numbers beside measured ones",
        markdown_table(header, lines, texts),
        f"Source: {numbers.source}.",
        *([numbers.note] if numbers.note else []),
    ]
    return "\n\n".join(parts) + "\n"


def _published_line(
    model: PublishedModel,
    numbers: PublishedNumbers,
    models: Sequence[Mapping[str, Any]],
    own_sources: bool,
) -> list[str]:
    sources = [model.source or "as below"] if own_sources else []
    line = [model.name, model.own or ABSENT, *sources]
    for metric, value in zip(numbers.metrics, model.values, strict=True):
        measured = measured_cell(models, model.own, metric) if model.own else ABSENT
        line += [f"{value:.{metric.digits}f}", measured]
    return line


def _own_lines(
    numbers: PublishedNumbers, models: Sequence[Mapping[str, Any]], own_sources: bool
) -> list[list[str]]:
    """Returns the lines of models that no published model is."""
    published = {model.own for model in numbers.models if model.own}
    # Lines of single tasks bear the task's name behind the model's.
    published |= {f"{name}_{metric.task}" for name in published for metric in numbers.metrics}
    lines = []
    for model in models:
        if model["row"] not in published:
            line = [ABSENT, model["row"], *([ABSENT] if own_sources else [])]
            for metric in numbers.metrics:
                cell = measured_cell(models, model["row"], metric)
                line += [ABSENT, ABSENT if cell == NOT_RUN else cell]
            lines.append(line)
    return lines


def measured_cell(models: Sequence[Mapping[str, Any]], name: str, metric: PublishedMetric) -> str:
    """Returns the mean of a metric over a model's finished runs, with their number.

    Args:
        models: As results.json holds them.
        name: Of a model, or of models of single tasks without the tasks' names.
        metric: The column.
    """
    names = (name, f"{name}_{metric.task}")
    values = [
        run["metrics"].get(metric.task, {}).get(metric.metric)
        for model in models
        if model["row"] in names
        for run in model["runs"]
        if run["status"] == "done"
    ]
    measured = [value for value in values if value is not None]
    if not measured:
        return NOT_RUN
    seeds = f"{len(measured)} seed{'s' * (len(measured) > 1)}"
    return f"{np.mean(measured):.{metric.digits}f} ({seeds})"
