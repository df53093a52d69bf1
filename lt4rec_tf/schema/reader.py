"""Reads the schema of a data set from a TOML file and checks it whole, once, at start.

The result is the tree of frozen dataclasses of `lt4rec_tf.schema.types`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lt4rec_tf.core.toml import REQUIRED, TomlError, TomlTable, Words, read_toml
from lt4rec_tf.schema.buckets import needed_buckets
from lt4rec_tf.schema.filters import check_filters, read_filters, read_where
from lt4rec_tf.schema.heads import PLAIN, read_head
from lt4rec_tf.schema.populations import circle, nested
from lt4rec_tf.schema.sequences import check_sequences, read_pooling
from lt4rec_tf.schema.types import (
    NOT_TASKS,
    Feature,
    IdRule,
    Join,
    Label,
    Schema,
    SchemaError,
    Task,
    TimeColumn,
    chained_tasks,
    product_name,
)
from lt4rec_tf.schema.vocabularies import read_grown

METRIC_DIRECTIONS = {
    "auc": "max",
    "gauc": "max",
    "xauc": "max",
    "log_loss": "min",
    "mse": "min",
    "mae": "min",
    "rmse": "min",
    "nrmse": "min",
    "nmae": "min",
    "spearman": "max",
    "gini": "max",
}
TASK_LOSSES = {
    "binary": ("cross_entropy", "focal", "mse"),
    "continuous": ("mse", "soft_cross_entropy"),
    "amount": ("mse", "ziln"),
}
TASK_METRICS = {
    "binary": ("auc", "gauc", "log_loss", "mse"),
    "continuous": ("mse", "mae", "xauc"),
    "amount": ("nrmse", "nmae", "rmse", "mae", "spearman", "gini", "xauc"),
}
LABEL_KIND_OF_TASK = {"binary": "binary", "continuous": "ratio", "amount": "amount"}
DTYPES_OF_ID_RULE = {
    "hash": ("string", "int64"),
    "fitted": ("string", "int64"),
    "vocabulary": ("string", "int64"),
    "integer": ("int64",),
    "boundaries": ("int64", "float32"),
    "numeric": ("int64", "float32"),
    "quantiles": ("int64", "float32"),
    "piecewise_linear": ("int64", "float32"),
    "standardised": ("int64", "float32"),
}
OF_ONE_NUMBER = ("numeric", "quantiles", "piecewise_linear", "standardised")

BINS = 32  # of quantiles and piecewise_linear, unless a schema says another number
_MOST_BINS = 1000  # a batch of piecewise_linear holds a number for each
MOST_FITTED = 10_000_000  # values of a fitted vocabulary, unless its schema says another number
MISSING_OF_DTYPE: dict[str, str | int | float] = {"string": "", "int64": -1, "float32": math.nan}
_TEXT_FORMATS = ("csv", "tsv")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # names become variables, signature inputs and files


def load_schema(path: str | Path) -> Schema:
    """Reads a schema from a TOML file and checks it whole.

    Args:
        path: The file.

    Raises:
        SchemaError: The file is absent, is no TOML, or says something that cannot be; the message
            names the file, the key, what was found and what was expected.
    """
    path = Path(path)
    try:
        top = read_toml(path)
        schema = _schema(path, top)
        _check_references(top, schema)
        schema = dataclasses.replace(schema, labels=nested(schema.labels, schema.tasks))
        schema = dataclasses.replace(schema, tasks=tuple(_clipped(schema)))
        _check_nesting(top, schema)
    except TomlError as error:
        raise SchemaError(str(error)) from None
    return schema


def _clipped(schema: Schema) -> Iterator[Task]:
    """Gives each task with the most that its label can be."""
    for task in schema.tasks:
        label = schema.label(task.label)
        yield dataclasses.replace(
            task, at_most=label.at_most, within_duration=label.within_duration
        )


def _schema(path: Path, top: TomlTable) -> Schema:
    file_format = top.choice("format", ("csv", "tsv", "tfrecord", "parquet", "jsonl"))
    schema = Schema(
        path=path,
        name=_name(top),
        format=file_format,
        files=top.texts("files"),
        columns=top.texts("columns", ()),
        quoted=top.flag("quoted", file_format == "csv"),
        features=read_grown(
            top, [_feature(table, file_format) for table in top.tables("features")]
        ),
        labels=tuple(_label(table) for table in top.tables("labels")),
        tasks=tuple(_task(table) for table in top.tables("tasks")),
        joins=tuple(_join(table) for table in top.tables("joins", ())),
        time=_time(top.table("time")) if top.has("time") else None,
        user=top.text("user", None),
        nulls=top.texts("nulls", ()),
        filters=read_filters(top),
        weight=top.text("weight", None),
    )
    top.close()

    if schema.columns and file_format not in _TEXT_FORMATS:
        expected = f"nothing: files of {file_format} name their columns"
        raise top.error("columns", list(schema.columns), expected)
    if not schema.files:
        raise top.error("files", [], "one or more globs relative to the data folder")
    return schema


def _name(table: TomlTable) -> str:
    name = table.text("name")
    if not _NAME.fullmatch(name):
        raise table.error("name", name, "letters, digits and underscores, a letter first")
    return name


def _feature(table: TomlTable, file_format: str) -> Feature:
    name = _name(table)
    dtype = table.choice("dtype", tuple(MISSING_OF_DTYPE))
    multivalued = table.flag("multivalued", False)
    # Other formats hold lists as lists, but side tables may be joined to them, which are text.
    no_separator = REQUIRED if file_format in _TEXT_FORMATS else ""
    feature = Feature(
        name=name,
        column=table.text("column", name),
        dtype=dtype,
        multivalued=multivalued,
        max_values=table.integer("max_values", minimum=1) if multivalued else 1,
        separator=table.text("separator", no_separator) if multivalued else "",
        side=table.choice("side", ("user", "item", "context")),
        table=table.text("table", name),
        missing=_missing(table, dtype),
        ids=_id_rule(table.table("ids")),
        **(read_pooling(table) if multivalued else {}),
    )
    table.close()

    if dtype not in DTYPES_OF_ID_RULE[feature.ids.kind]:
        kinds = [kind for kind, dtypes in DTYPES_OF_ID_RULE.items() if dtype in dtypes]
        raise table.error("ids.kind", feature.ids.kind, f"for {dtype} one of {', '.join(kinds)}")
    if feature.multivalued and feature.ids.kind in OF_ONE_NUMBER:
        raise table.error("ids.kind", feature.ids.kind, "another kind: a list has no one number")
    return feature


def _missing(table: TomlTable, dtype: str) -> str | int | float:
    default = MISSING_OF_DTYPE[dtype]
    if dtype == "string":
        return table.text("missing", default, empty=True)
    if dtype == "int64":
        return table.integer("missing", default=default)
    number = table.number("missing", default)
    return math.nan if math.isnan(number) else number  # one NaN object: equal schemas compare equal


def _id_rule(table: TomlTable) -> IdRule:
    kind = table.choice("kind", tuple(DTYPES_OF_ID_RULE))
    if kind == "hash":
        rule = IdRule(kind, buckets=_buckets(table))
    elif kind == "fitted":
        min_count = table.integer("min_count", minimum=1, default=1)
        max_size = table.integer("max_size", minimum=1, default=MOST_FITTED)
        rule = IdRule(kind, min_count=min_count, max_size=max_size)
    elif kind == "vocabulary":
        rule = IdRule(kind, vocabulary=table.texts("vocabulary"))
    elif kind == "integer":
        minimum = table.integer("minimum")
        rule = IdRule(kind, minimum=minimum, maximum=table.integer("maximum", minimum=minimum))
    elif kind == "boundaries":
        rule = IdRule(kind, boundaries=table.increasing_numbers("boundaries"))
    elif kind in ("quantiles", "piecewise_linear"):
        bins = table.integer("bins", minimum=2, default=BINS)
        if bins > _MOST_BINS:
            raise table.error("bins", bins, f"at most {_MOST_BINS}")
        rule = IdRule(kind, bins=bins)
    elif kind == "standardised":
        rule = IdRule(kind, transform=_transform(table))
    else:
        transform = _transform(table)
        mean, scale = table.number("mean", 0.0), table.number("scale", 1.0)
        if not (scale > 0 and math.isfinite(scale) and math.isfinite(mean)):
            raise table.error("scale", scale, "a scale > 0 and a finite mean")
        rule = IdRule(kind, transform=transform, mean=mean, scale=scale)
    table.close()
    return rule


def _buckets(table: TomlTable) -> int:
    """Reads the number of buckets, or that of values and the share of them that may share one."""
    if not table.has("values") and not table.has("shared"):
        return table.integer("buckets", minimum=1)
    values, shared = table.integer("values", minimum=1), table.number("shared")
    if not 0 < shared < 1:
        raise table.error("shared", shared, "a share in (0, 1)")
    return needed_buckets(values, shared)


def _transform(table: TomlTable) -> str:
    return table.choice("transform", ("none", "log1p"), "none")


def _label(table: TomlTable) -> Label:
    name, kind = _name(table), table.choice("kind", tuple(LABEL_KIND_OF_TASK.values()))
    from_times = not table.has("column") and (
        kind == "ratio" or (kind == "amount" and table.has("play_time"))
    )
    duration = None
    if kind != "binary":
        duration = table.text("duration") if from_times else table.text("duration", None)
    unit = table.text("unit", "", empty=True) if kind == "amount" else ""
    label = Label(
        name=name,
        kind=kind,
        column=None if from_times else table.text("column"),
        play_time=table.text("play_time") if from_times else None,
        duration=duration,
        play_time_unit=table.choice("play_time_unit", ("s", "ms")) if from_times else "s",
        duration_unit=table.choice("duration_unit", ("s", "ms")) if duration else "s",
        zero_duration=table.choice("zero_duration", ("bad", "exclude", "unlabelled"), "bad")
        if from_times
        else "bad",
        multiplier=_multiplier(table) if kind == "amount" and not from_times else 1.0,
        unit=unit,
        **(_most(table, None if from_times else duration, unit) if kind == "amount" else {}),
    )
    table.close()
    return label


def _most(table: TomlTable, duration: str | None, unit: str) -> dict[str, Any]:
    """Reads the most that an amount can be: a number, or the row's duration."""
    if not table.has("at_most"):
        return {}
    expected = 'a number above 0, or "duration" where the label names one and has unit = "s"'
    most = table.anything("at_most", expected)
    if most == "duration" and duration is not None and unit == "s":
        return {"within_duration": True}
    is_number = isinstance(most, int | float) and not isinstance(most, bool)
    if not is_number or not 0 < most < math.inf:
        raise table.error("at_most", most, expected)
    return {"at_most": float(most)}


def _multiplier(table: TomlTable) -> float:
    multiplier = table.number("multiplier", 1.0)
    if not 0 < multiplier < math.inf:
        raise table.error("multiplier", multiplier, "a number above 0")
    return multiplier


def _task(table: TomlTable) -> Task:
    name, kind = _name(table), table.choice("kind", tuple(TASK_LOSSES))
    if name in NOT_TASKS:
        expected = f"another name than the served model's signatures {', '.join(NOT_TASKS)}"
        raise table.error("name", name, expected)
    metric = table.choice("metric", TASK_METRICS[kind])
    better = METRIC_DIRECTIONS[metric]
    kept = _negatives_kept(table) if kind == "binary" else 1.0
    task = Task(
        name=name,
        label=table.text("label"),
        kind=kind,
        population=table.text("population", None),
        loss=_loss(table, kind),
        metric=metric,
        direction=table.choice("direction", (better,), better),
        negatives_kept=1.0 if isinstance(kept, str) else kept,
        kept_column=kept if isinstance(kept, str) else None,
        where=read_where(table),
        head=read_head(table) if kind != "binary" else PLAIN,
    )
    table.close()
    return task


def _loss(table: TomlTable, kind: str) -> str:
    """Reads a task's loss; with another head than the plain one, which has its own, there is none.

    The task then keeps the first loss of its kind: what `--head=plain` learns.
    """
    if table.has("head") and not table.has("loss"):
        return TASK_LOSSES[kind][0]
    return table.choice("loss", TASK_LOSSES[kind])


def _negatives_kept(table: TomlTable) -> float | str:
    """Reads the share of a task's negatives that the log still holds, or the column of it."""
    if not table.has("negatives_kept"):
        return 1.0
    expected = "a share above 0 and at most 1, or the name of a column"
    kept = table.anything("negatives_kept", expected)
    if isinstance(kept, str) and kept:
        return kept
    if isinstance(kept, bool) or not isinstance(kept, int | float) or not 0 < kept <= 1:
        raise table.error("negatives_kept", kept, expected)
    return float(kept)


def _join(table: TomlTable) -> Join:
    file_format = table.choice("format", ("csv", "tsv"))
    join = Join(file=table.text("file"), format=file_format, key=table.text("key"))
    table.close()
    return join


def _time(table: TomlTable) -> TimeColumn:
    expected = "pairs [regular expression with one group, multiplier]"
    patterns = []
    for pair in table.items("patterns", []):
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise table.error("patterns", pair, expected)
        try:
            groups = re.compile(pair[0]).groups
        except re.error:
            groups = -1
        if groups != 1 or isinstance(pair[1], bool) or not isinstance(pair[1], int | float):
            raise table.error("patterns", pair, expected)
        patterns.append((pair[0], float(pair[1])))
    time = TimeColumn(column=table.text("column"), patterns=tuple(patterns))
    table.close()
    return time


def _check_references(top: TomlTable, schema: Schema) -> None:
    for what, items in (
        ("features", schema.features),
        ("labels", schema.labels),
        ("tasks", schema.tasks),
    ):
        for name, count in Counter(item.name for item in items).items():
            if count > 1:
                raise top.error(f"{what}[{name}]", Words(f"{count} of this name"), "distinct names")
    _check_tables(top, schema)
    check_sequences(top, schema)
    _check_labels_of_tasks(top, schema)
    check_filters(top, schema)
    _check_products(top, schema)


def _check_labels_of_tasks(top: TomlTable, schema: Schema) -> None:
    kinds = {label.name: label.kind for label in schema.labels}
    for task in schema.tasks:
        kind = LABEL_KIND_OF_TASK[task.kind]
        fitting = [name for name, label_kind in kinds.items() if label_kind == kind]
        if kinds.get(task.label) != kind:
            expected = f"a label of kind {kind} ({', '.join(fitting) or 'there is none'})"
            raise top.error(f"tasks[{task.name}].label", task.label, expected)
        if task.population is not None and kinds.get(task.population) != "binary":
            expected = "a label of kind binary"
            raise top.error(f"tasks[{task.name}].population", task.population, expected)
        if task.reads_duration and schema.label(task.label).duration is None:
            expected = f"another kind: label {task.label} names no duration"
            raise top.error(f"tasks[{task.name}].head.kind", task.head.kind, expected)


def _check_products(top: TomlTable, schema: Schema) -> None:
    """Refuses a task that is called as a product of two tasks is, which is served by that name."""
    tasks = [task.name for task in schema.tasks]
    pair_of: dict[str, tuple[str, str]] = {}
    for first, second in chained_tasks(schema, tasks):
        name = product_name(first, second)
        other = "a task" if name in tasks else " and ".join(pair_of.get(name, ()))
        if other:
            expected = f"other names: the product of {first} and {second} is called so as well"
            raise top.error("tasks", Words(f"{other} as {name}"), expected)
        pair_of[name] = (first, second)


def _check_nesting(top: TomlTable, schema: Schema) -> None:
    path = circle(schema.labels)
    if path:
        found = Words(" within ".join(path))
        raise top.error("tasks.population", found, "populations that end with a task on all rows")


def _check_tables(top: TomlTable, schema: Schema) -> None:
    first_user: dict[str, Feature] = {}
    for feature in schema.features:
        other = first_user.setdefault(feature.table, feature)
        if other.ids != feature.ids:
            raise top.error(
                f"features[{feature.name}].ids",
                Words(f"{feature.ids.kind} with {feature.ids.rows} rows"),
                f"the rule of {other.name} ({other.ids.kind} with {other.ids.rows} rows), "
                f"which shares table {feature.table!r}",
            )
