"""Sections of a model card about features, labels, signatures and data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.time_units import unit_of, with_date
from lt4rec_tf.data.input.features import LARGEST_NUMBER
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table
from lt4rec_tf.schema.numbers import Numbers
from lt4rec_tf.schema.types import (
    FIRST_VALUE_ID,
    IdRule,
    Label,
    Schema,
    Task,
    chained_tasks,
    product_name,
)


def answers_section(schema: Schema, others: Mapping[str, str]) -> str:
    """Describes each output; others: output -> meaning, besides tasks and their products."""
    tasks = [task.name for task in schema.tasks]
    lines = [f"- `p{task.name}`: {_meaning(task, schema)}" for task in schema.tasks]
    for first, second in chained_tasks(schema, tasks):
        lines.append(f"- `p{product_name(first, second)}` = `p{first}` * `p{second}`")
    lines += [f"- `{name}`: {meaning}" for name, meaning in others.items()]
    return "\n".join(lines)


def _meaning(task: Task, schema: Schema) -> str:
    label = schema.label(task.label)
    what = f"expected `{task.label}`" + (f" in {label.unit}" if label.unit else "")
    if label.kind == "binary":
        what = f"probability that `{task.label}` is 1"
    given = f", given that `{task.population}` is 1" if task.population else ""
    return what + given + (f", in rows where `{task.scenario}`" if task.where else "")


def signatures_section(signatures: Mapping[str, Any]) -> str:
    """Lists each signature's inputs and outputs with dtype and shape, from the saved model."""
    lines = ["`?` is any number: of rows, then of a list's values or of candidates.", ""]
    for name, definition in sorted(signatures.items()):
        lines.append(f"- `{name}`")
        for verb, tensors in (("takes", definition.inputs), ("answers", definition.outputs)):
            described = ", ".join(_tensor(*tensor) for tensor in sorted(tensors.items()))
            lines.append(f"  - {verb} {described}")
    return "\n".join(lines)


def _tensor(name: str, info: Any) -> str:
    axes = ", ".join("?" if axis.size < 0 else str(axis.size) for axis in info.tensor_shape.dim)
    shape = "any shape" if info.tensor_shape.unknown_rank else f"({axes})"
    return f"`{name}` {tf.as_dtype(info.dtype).name} {shape}"


def features_section(schema: Schema) -> str:
    """Describes the rule by which each raw value enters the model."""
    lines = []
    for feature in schema.features:
        rule, others = _rule(feature.ids)
        shape = f"list of up to {feature.max_values}" if feature.multivalued else "one"
        if feature.pooling != "mean":
            shape += f", {feature.pooling.replace('_', ' ')}"
        if feature.aligned_with is not None:
            shape += f", of the events of `{feature.aligned_with}`"
        absent = json.dumps(feature.missing, ensure_ascii=False)
        lines.append(
            [f"`{feature.name}`", feature.side, feature.dtype, shape, rule, f"`{absent}`", others]
        )
    header = ["feature", "side", "dtype", "values", "rule", "missing", "other values"]
    return markdown_table(header, lines, texts=len(header))


def _rule(ids: IdRule) -> tuple[str, str]:
    """Describes a rule, and its treatment of all other values."""
    transform = "log(1 + max(x, 0))" if ids.transform == "log1p" else "x"
    limits = ", ".join(f"{limit:g}" for limit in ids.boundaries)
    found = ids.numbers or Numbers()
    edges = ", ".join(f"{edge:g}" for edge in found.edges)
    clipped = f"not finite: missing; beyond {LARGEST_NUMBER:g}: clipped"
    return {
        "hash": (
            f"hashed into {ids.buckets} rows",
            "none: every value has a row, some share one",
        ),
        "fitted": (f"{ids.rows - FIRST_VALUE_ID} values of train", "share one row"),
        "vocabulary": (f"{len(ids.vocabulary)} known values", "share one row"),
        "integer": (f"whole numbers {ids.minimum} to {ids.maximum}", "share one row"),
        "boundaries": (f"ranges between {limits}", "none: the outer ranges are open"),
        "numeric": (
            f"({transform} - {ids.mean:g}) / {ids.scale:g}",
            clipped,
        ),
        "standardised": (f"({transform} - {found.mean:g}) / {found.scale:g}, of train", clipped),
        "quantiles": (f"quantiles of train, between {edges}", "not finite: missing"),
        "piecewise_linear": (
            f"piecewise linear between quantiles of train: {edges}",
            "not finite: missing; outside: as the nearest end",
        ),
    }[ids.kind]


def labels_section(schema: Schema) -> str:
    """Describes each label's columns in the logs."""
    lines = [f"- `{label.name}`: {_definition(label)}" for label in schema.labels]
    return "\n".join(lines)


def _definition(label: Label) -> str:
    if label.column:
        source = f"column `{label.column}`"
        if label.kind == "amount":
            times = f" x {label.multiplier:g}" if label.multiplier != 1 else ""
            source += times + (f", in {label.unit}" if label.unit else "")
            if not label.is_clipped:
                return source
            most = f"column `{label.duration}`" if label.within_duration else f"{label.at_most:g}"
            return f"{source}, at most {most}"
        return source + (", 0 or 1" if label.kind == "binary" else ", clipped to [0, 1]")
    zero = {
        "bad": "counts as unusable",
        "exclude": "is left out",
        "unlabelled": "has no such label",
    }[label.zero_duration]
    most = ", clipped to [0, 1]"
    if label.kind == "amount":
        most = f", at most {label.at_most:g}" if label.is_clipped else ""
    return (
        f"column `{label.play_time}` ({label.play_time_unit}) / column `{label.duration}` "
        f"({label.duration_unit}){most}; a row of no duration {zero}"
    )


def data_section(schema: Schema, data: Mapping[str, Any]) -> str:
    """Lists each split's window, rows and mean labels by task, and what the schema leaves out."""
    lines = []
    for split, counts in data["splits"].items():
        lines.append([split, _window(split, schema, data), "all", str(counts["rows"]), ""])
        for task in schema.tasks:
            task_counts = counts["tasks"][task.name]
            mean = number(task_counts["label_mean"])
            lines.append([split, "", task.name, str(task_counts["rows"]), mean])
    table = markdown_table(["split", "window", "task", "rows", "mean label"], lines, texts=3)
    notes = []
    if schema.filters:
        conditions = ", ".join(f"`{rule.text}`" for rule in schema.filters)
        notes.append(f"Rows were left out unless {conditions}.")
    if schema.weight is not None:
        notes.append(
            f"Rows count by their weight, column `{schema.weight}`, in losses and metrics."
        )
    for task in schema.tasks:
        if task.negatives_kept < 1:
            notes.append(
                f"The log holds {task.negatives_kept:.4g} of the rows where `{task.label}` is 0: "
                f"predictions of `{task.name}` are corrected by this share, and its metrics and "
                "calibration are those of the log before."
            )
    return "\n\n".join([table, *notes])


def _window(split: str, schema: Schema, data: Mapping[str, Any]) -> str:
    validation, test = data.get("validation_from"), data.get("test_from")
    if schema.time is None or validation is None or test is None:
        files = [*data["files"].get(split, ())]
        return f"{len(files)} files" + (f", `{files[0]}` to `{files[-1]}`" if files else "")
    times = data.get("times")
    unit = times["unit"] if times else unit_of(np.array([validation, test], float))
    column, validation_text = f"`{schema.time.column}`", with_date(validation, unit)
    test_text = with_date(test, unit)
    return {
        "train": f"{column} before {validation_text}",
        "validation": f"{column} from {validation_text}, before {test_text}",
        "test": f"{column} from {test_text}",
    }[split]


def number(value: float | None) -> str:
    """Formats a number to 5 decimals; "-" where it is undefined.

    >>> number(0.1234567), number(float("nan"))
    ('0.12346', '-')
    """
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.5f}"
