"""Tables of a run's numbers: plain text that reads well in a terminal and is valid Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

ABSENT = "-"
SPELLINGS = {"log_loss": "log loss", "spearman": "Spearman", "gini": "Gini"}
BETTER = {"max": "higher is better", "min": "lower is better"}


class ReportedTask(TypedDict):
    """A task of the schema, as far as tables show it."""

    name: str
    kind: str  # "binary" | "continuous" | "amount"
    metric: str
    direction: Literal["max", "min"]
    population: str | None  # a binary label; None: all rows
    where: NotRequired[str]  # the conditions of its scenario, if it is of one


class EvaluatedModel(TypedDict):
    """What was measured of one trained model (`base_ctr`, `hard_sharing`, `s_weight`, ...)."""

    row: str  # its name; models were once called rows, see `experiment.paths`
    metrics: Mapping[str, Mapping[str, float | None]]  # task -> metric -> value
    rows: NotRequired[Mapping[str, int]]  # task -> rows that its metrics are over
    without_user: NotRequired[Mapping[str, Mapping[str, int]]]  # task -> rows, without_user
    # Task -> bins of its prediction, and of its label, as `metrics.calibration` has them.
    reliability: NotRequired[Mapping[str, Sequence[Mapping[str, Any]]]]
    by_label: NotRequired[Mapping[str, Sequence[Mapping[str, Any]]]]
    # By --calibration: "maps", "left", "metrics", "reliability"; see `measure_models`.
    calibrated: NotRequired[Mapping[str, Any]]
    # Task -> metrics of seconds, see `training.watch_time`; absent in earlier versions.
    watch_time: NotRequired[Mapping[str, Mapping[str, Any]]]
    density: Mapping[str, float]  # task -> share of the tower's weights kept
    overlap: float | None  # |AND| / |OR| of the tasks' masks; None: no masks to compare
    seconds: float | None


class TicketSearch(TypedDict):
    """One task's search; lists are indexed by level, level 0 is the dense network."""

    metric: str
    direction: Literal["max", "min"]
    densities: Sequence[float]
    values: Sequence[float]  # of the metric, on validation
    chosen: int  # a level


class Evaluation(TypedDict):
    """The content of a run's `evaluation.json`, as far as tables need it."""

    tasks: Sequence[ReportedTask]
    rows: Sequence[EvaluatedModel]
    searches: Mapping[str, TicketSearch]  # by task
    tables: Mapping[str, Any] | None  # the search for a ticket of the embedding tables


def metric_name(metric: str) -> str:
    """Returns the spelling of a metric in tables and pictures.

    >>> metric_name("auc"), metric_name("log_loss")
    ('AUC', 'log loss')
    """
    return SPELLINGS.get(metric, metric.upper())


def continuous_first(tasks: Iterable[ReportedTask]) -> list[ReportedTask]:
    """Returns the tasks in the order of the paper's tables: CVR before CTR."""
    return sorted(tasks, key=lambda task: task["kind"] == "binary")


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    r"""Lays cells out as an aligned Markdown table.

    Args:
        header: The columns' names.
        lines: Rows of cells, each as long as the header.
        texts: How many columns, counted from the left, hold text (aligned left); the others hold
            numbers (aligned right).

    Returns:
        The table without a final line feed; `|` inside a cell is escaped.

    Raises:
        ValueError: A row is not as long as the header.

    >>> print(markdown_table(["model", "AUC"], [["dense", "0.7"], ["s_weight", "0.71"]]))
    | model    |  AUC |
    | :------- | ---: |
    | dense    |  0.7 |
    | s_weight | 0.71 |
    """
    rows = []
    for line in [header, *lines]:
        cells = [cell.replace("|", r"\|") for cell in line]
        if len(cells) != len(header):
            raise ValueError(f"row {cells}: found {len(cells)} cells, expected {len(header)}")
        rows.append(cells)

    # Three dashes and a colon are the least that every Markdown reader takes for a column.
    widths = [max(4, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = [":" + "-" * (width - 1) for width in widths[:texts]]
    rule += ["-" * (width - 1) + ":" for width in widths[texts:]]
    header_row, *body = rows
    return "\n".join(_aligned(row, widths, texts) for row in [header_row, rule, *body])


def _aligned(cells: Sequence[str], widths: Sequence[int], texts: int) -> str:
    """Returns a line of a table, the first `texts` cells aligned left, the others right."""
    padded = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padded.append(cell.ljust(width) if column < texts else cell.rjust(width))
    return "| " + " | ".join(padded) + " |"


def judged_metrics(
    tasks: Iterable[ReportedTask], models: Iterable[Mapping[str, Any]]
) -> list[tuple[ReportedTask, str]]:
    """Returns each task with its own metric, and with GAUC where models have it.

    Args:
        tasks: In any order; continuous ones come first in the result.
        models: With "metrics"; those of a schema without a user column have no GAUC.
    """
    with_gauc: set[str] = set()
    for model in models:
        with_gauc.update(task for task, metrics in model["metrics"].items() if "gauc" in metrics)

    columns = []
    for task in continuous_first(tasks):
        columns.append((task, task["metric"]))
        if task["name"] in with_gauc and task["metric"] != "gauc":
            columns.append((task, "gauc"))
    return columns


def evaluation_table(evaluation: Evaluation) -> str:
    """Returns the table that ends a run: per task its metric (and GAUC), masks and time.

    Continuous tasks stand before binary ones, as in Table 2 of LT4REC (arXiv 2008.09872).

    Args:
        evaluation: A run's tasks and models.

    Returns:
        A Markdown table; `-` where a model lacks a task, or GAUC all users; `nan` where a metric is
        undefined. Below it, the rows that each task is measured on, and a line for each task some
        of whose rows have no user.
    """
    columns = judged_metrics(evaluation["tasks"], evaluation["rows"])
    names = [task["name"] for task in evaluation["tasks"]]
    header = [
        "model",
        *(metric_title(task, metric) for task, metric in columns),
        f"density ({' / '.join(names)})",
        "mask overlap",
        "seconds",
    ]

    lines = []
    for model in evaluation["rows"]:
        metrics = [metric_cell(model, task["name"], metric) for task, metric in columns]
        densities = [number_cell(model["density"].get(name), 3) for name in names]
        overlap = number_cell(model["overlap"], 3)
        seconds = number_cell(model["seconds"], 1)
        lines.append([model["row"], *metrics, " / ".join(densities), overlap, seconds])
    below = [_measured_on(evaluation), *_left_out_of_gauc(evaluation)]
    return "\n\n".join([markdown_table(header, lines), *below])


def population_words(task: ReportedTask) -> str:
    """Returns which rows a task is measured on, in words.

    >>> task = {"name": "cvr", "kind": "continuous", "metric": "mse", "direction": "min"}
    >>> population_words(task | {"population": "click"})
    'impressions with click = 1'
    >>> population_words(task | {"population": None})
    'all impressions'
    >>> population_words(task | {"population": "click", "where": 'network == "wifi"'})
    'impressions with click = 1 and network == "wifi"'
    """
    label, where = task["population"], task.get("where", "")
    conditions = [text for text in (f"{label} = 1" if label else "", where) if text]
    return f"impressions with {' and '.join(conditions)}" if conditions else "all impressions"


def _measured_on(evaluation: Evaluation) -> str:
    """Returns a line with the rows that each task's metrics are over."""
    counts: dict[str, int] = {}
    for model in evaluation["rows"]:
        counts.update(model.get("rows", {}))

    parts = []
    for task in continuous_first(evaluation["tasks"]):
        count = counts.get(task["name"])
        number = "" if count is None else f" ({count:,} with a known label)"
        parts.append(f"{task['name'].upper()} over {population_words(task)}{number}")
    return f"measured: {', '.join(parts)}"


def _left_out_of_gauc(evaluation: Evaluation) -> list[str]:
    """Returns a line for each task of whose rows GAUC leaves some out; all networks read them."""
    counts_by_task: dict[str, Mapping[str, int]] = {}
    for model in evaluation["rows"]:
        counts_by_task.update(model.get("without_user", {}))

    lines = []
    for task, counts in counts_by_task.items():
        left_out, rows = counts["without_user"], counts["rows"]
        if left_out:
            lines.append(
                f"{task.upper()} GAUC leaves out {left_out:,} of {rows:,} rows: they have no user"
            )
    return lines


def full_table(evaluation: Evaluation) -> str:
    """Returns every metric of every model: one line per model and task, one column per metric.

    Args:
        evaluation: A run's tasks and models; metrics of products of tasks (`ctcvr`) are included.

    Returns:
        A Markdown table; `-` where a metric does not belong to a task.
    """
    metrics: dict[str, None] = {}  # in the order of their first appearance
    for model in evaluation["rows"]:
        for metrics_of_task in model["metrics"].values():
            metrics.update(dict.fromkeys(metrics_of_task))

    lines = []
    for model in evaluation["rows"]:
        for task in model["metrics"]:
            cells = [metric_cell(model, task, metric) for metric in metrics]
            lines.append([model["row"], task, *cells])
    return markdown_table(["model", "task", *map(metric_name, metrics)], lines, texts=2)


def metric_title(task: ReportedTask, metric: str) -> str:
    """Returns the title of a metric's column, with the task's population."""
    population = f" on {task['population']}s" if task["population"] else ""
    return f"{task['name'].upper()} {metric_name(metric)}{population}"


def metric_cell(model: Mapping[str, Any], task: str, metric: str) -> str:
    """Returns a metric of a model, `-` where the model lacks it."""
    return number_cell(model["metrics"].get(task, {}).get(metric), 5)


def number_cell(value: float | None, decimals: int) -> str:
    """Returns a number with its decimals, `-` for None.

    >>> number_cell(0.25, 3), number_cell(None, 3)
    ('0.250', '-')
    """
    return ABSENT if value is None else f"{value:.{decimals}f}"
