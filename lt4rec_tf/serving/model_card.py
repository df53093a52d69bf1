"""Model card of a published version: its inputs, outputs, data and quality, as Markdown.

Source: Mitchell et al., Model Cards for Model Reporting (FAT* 2019).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.metrics.inputs import mean, weighted_columns
from lt4rec_tf.reports.calibration import HEADER, metric_lines
from lt4rec_tf.reports.text_tables import markdown_table, metric_name
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.model_card_sections import (
    answers_section,
    data_section,
    features_section,
    labels_section,
    number,
    signatures_section,
)
from lt4rec_tf.serving.publish import Arrays

MODEL_CARD_FILE = "model_card.md"
DECILES = 10


@dataclass(frozen=True)
class Bin:
    """Rows of similar predictions.

    Attributes:
        rows: Number of rows.
        lowest: Lowest prediction.
        highest: Highest prediction.
        predicted: Mean prediction.
        observed: Mean label.
        weight: The sum of its rows' weights, by which means are taken; None: all count once.
    """

    rows: int
    lowest: float
    highest: float
    predicted: float
    observed: float
    weight: float | None = None


@dataclass(frozen=True)
class CardFacts:
    """Contents of a card besides schema and signatures.

    Attributes:
        run: The training run's name.
        model: The exported model of the run.
        data: The content of the run's data.json, as far as "splits", "files", "validation_from",
            "test_from" and "times".
        metrics: Task, or product of tasks -> metric -> value on `measured`; None where undefined.
        calibration: Task, or product of tasks -> its rows there by prediction, from `deciles`.
        densities: Task -> share of its tower's weights that is kept, in [0, 1].
        versions: Package -> version with which the model was written.
        size: Bytes of the version, without what comes with the card.
        warmup_requests: Number of requests that a server replays when it loads the version.
        inputs: Of `serving_default`: input -> values of real rows; the first one is displayed.
        answers: Output -> the version's answers to them.
        other_answers: Output -> its meaning, for outputs besides the tasks and their products,
            such as the score by which candidates are ranked.
        measured: The rows on which the version was measured.
        maps: Task -> its calibration map in words.
        unmapped: Task that was to have a map -> why it has none.
        fitted_on: The rows that maps were fitted on.
        uncalibrated: As `metrics`, of predictions without maps; empty without maps.
    """

    run: str
    model: str
    data: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float | None]]
    calibration: Mapping[str, Sequence[Bin]]
    densities: Mapping[str, float]
    versions: Mapping[str, str]
    size: int
    warmup_requests: int
    inputs: Arrays
    answers: Arrays
    other_answers: Mapping[str, str] = field(default_factory=dict)
    measured: str = "test"
    maps: Mapping[str, str] = field(default_factory=dict)
    unmapped: Mapping[str, str] = field(default_factory=dict)
    fitted_on: str = ""
    uncalibrated: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


def model_card(schema: Schema, signatures: Mapping[str, Any], facts: CardFacts) -> str:
    """Writes a version's card.

    Args:
        schema: With the version's tasks.
        signatures: Name -> SignatureDef, from the saved model itself.
        facts: All else.

    Returns:
        Markdown.
    """
    sections = {
        "Answers": answers_section(schema, facts.other_answers),
        "Signatures": signatures_section(signatures),
        "Features": features_section(schema),
        "Labels": labels_section(schema),
        "Data": data_section(schema, facts.data),
        f"Quality on {facts.measured}": _metrics(facts.metrics),
        f"Calibration on {facts.measured}": _calibration(facts.calibration),
        **({"Calibration maps": _maps(schema, facts)} if facts.fitted_on else {}),
        "Density": _density(facts.densities),
        "Example": _example(facts.inputs, facts.answers),
        "Made with": _versions(facts),
    }
    tasks = " and ".join(task.name for task in schema.tasks)
    title = (
        f"# Model card: {schema.name}, {facts.model}\n\n"
        f"Model `{facts.model}` of run `{facts.run}`: one network for {tasks}. What it learned "
        "holds for traffic like that of its data, below."
    )
    return "\n\n".join([title, *(f"## {name}\n\n{text}" for name, text in sections.items())]) + "\n"


def deciles(
    labels: np.ndarray,
    probabilities: np.ndarray,
    bins: int = DECILES,
    weights: np.ndarray | None = None,
) -> list[Bin]:
    """Sorts rows by prediction and splits them into parts of equal size, lowest first.

    >>> deciles([0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8], bins=2)[1]
    Bin(rows=2, lowest=0.6, highest=0.8, predicted=0.7, observed=1.0, weight=None)

    Args:
        labels: 0 or 1, ratios in [0, 1], or amounts, (rows,).
        probabilities: In [0, 1], or expected amounts, (rows,).
        bins: Number of parts; fewer rows make one part each.
        weights: Of the rows, 0 or more, (rows,), by which means are taken; None: all count once.

    Raises:
        ValueError: The columns do not fit, or hold values that are not finite.
    """
    (y, p), w = weighted_columns(weights, labels=labels, probabilities=probabilities)
    parts = []
    for part in np.array_split(np.argsort(p, kind="stable"), bins):
        if len(part):
            of_part = None if w is None else w[part]
            parts.append(
                Bin(
                    rows=len(part),
                    lowest=float(p[part[0]]),
                    highest=float(p[part[-1]]),
                    predicted=mean(p[part], of_part),
                    observed=mean(y[part], of_part),
                    weight=None if of_part is None else float(of_part.sum()),
                )
            )
    return parts


def folder_size(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _metrics(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    lines = [
        [task, metric_name(metric), number(value)]
        for task, values in metrics.items()
        for metric, value in values.items()
    ]
    return markdown_table(["task", "metric", "value"], lines, texts=2)


def _calibration(calibration: Mapping[str, Sequence[Bin]]) -> str:
    header = [
        "predictions",
        "from",
        "to",
        "rows",
        "mean predicted",
        "mean label",
        "predicted / label",
    ]
    tables = []
    for task, bins in calibration.items():
        parts = {"all": _together(bins)} if bins else {}
        parts |= {f"part {place}": part for place, part in enumerate(bins, start=1)}
        lines = [[name, *_bin_cells(part)] for name, part in parts.items()]
        tables.append(f"`{task}`:\n\n{markdown_table(header, lines)}")
    return "\n\n".join(tables)


def _maps(schema: Schema, facts: CardFacts) -> str:
    lines = [f"- `{task}`: {words}" for task, words in facts.maps.items()]
    lines += [f"- `{task}` has none: {why}" for task, why in facts.unmapped.items()]
    parts = [f"Fitted on {facts.fitted_on}; all answers are made with them.", "\n".join(lines)]
    if facts.maps:
        parts += [f"On {facts.measured}, without maps and with them:", maps_table(schema, facts)]
    return "\n\n".join(parts)


def maps_table(schema: Schema, facts: CardFacts) -> str:
    """Returns what the maps of a version change of its metrics."""
    names = [task.name for task in schema.tasks]
    lines = metric_lines(facts.uncalibrated, facts.metrics, facts.maps, names)
    return markdown_table(HEADER, lines, texts=2)


def _together(bins: Sequence[Bin]) -> Bin:
    of_parts = [part.rows if part.weight is None else part.weight for part in bins]
    return Bin(
        rows=sum(part.rows for part in bins),
        lowest=bins[0].lowest,
        highest=bins[-1].highest,
        predicted=float(np.average([part.predicted for part in bins], weights=of_parts)),
        observed=float(np.average([part.observed for part in bins], weights=of_parts)),
    )


def _bin_cells(part: Bin) -> list[str]:
    ratio = part.predicted / part.observed if part.observed else None
    means = [number(value) for value in (part.predicted, part.observed, ratio)]
    return [number(part.lowest), number(part.highest), str(part.rows), *means]


def _density(densities: Mapping[str, float]) -> str:
    lines = [[task, f"{value:.3f}"] for task, value in densities.items()]
    return "Share of a task's tower weights that is kept.\n\n" + markdown_table(
        ["task", "density"], lines
    )


def _versions(facts: CardFacts) -> str:
    lines = [f"- {package} {version}" for package, version in facts.versions.items()]
    lines.append(f"- size: {facts.size} bytes")
    lines.append(f"- requests that a server replays when it loads this: {facts.warmup_requests}")
    return "\n".join(lines)


def _example(inputs: Arrays, answers: Arrays) -> str:
    row = {name: _as_json(values[0]) for name, values in inputs.items()}
    answer = {name: _as_json(values[0]) for name, values in sorted(answers.items())}
    prediction = answer if len(answer) > 1 else next(iter(answer.values()))
    return (
        "A row of the logs, asked of `serving_default` over REST; ids of users are missing in it "
        "unless `export --real_users` keeps them:\n\n"
        f"{_json_block({'instances': [row]})}\n\n"
        f"The answer:\n\n{_json_block({'predictions': [prediction]})}"
    )


def _as_json(value: Any) -> Any:
    """Returns a value as TensorFlow Serving writes it: bytes that are no text in base 64."""
    if isinstance(value, np.ndarray):
        return [_as_json(inner) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.floating):
        return float(str(value))  # the shortest digits that mean this float32
    return value.item() if isinstance(value, np.generic) else value


def _json_block(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=1, ensure_ascii=False)}\n```"
