"""Writes a schema as the TOML that `lt4rec_tf.schema.reader.load_schema` reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lt4rec_tf.core.toml import toml_text
from lt4rec_tf.schema.filters import LISTS
from lt4rec_tf.schema.heads import said_of_head
from lt4rec_tf.schema.reader import MISSING_OF_DTYPE, MOST_FITTED
from lt4rec_tf.schema.sequences import said_of_pooling
from lt4rec_tf.schema.types import Feature, Filter, IdRule, Label, Schema, Task

_KEYS_OF_RULE = {
    "hash": ("buckets",),
    "fitted": ("min_count", "max_size"),
    "vocabulary": ("vocabulary",),
    "integer": ("minimum", "maximum"),
    "boundaries": ("boundaries",),
    "numeric": ("transform", "mean", "scale"),
    "quantiles": ("bins",),
    "piecewise_linear": ("bins",),
    "standardised": ("transform",),
}


def to_toml(schema: Schema, notes: Mapping[str, Sequence[str]] | None = None) -> str:
    """Returns the schema as TOML, from which `load_schema` reads an equal one, path aside.

    Args:
        schema: What to write.
        notes: Comments by their position: "" above all, "features.NAME", "labels.NAME" and
            "tasks.NAME" above that table.
    """
    notes = notes or {}
    lines = [*_comments(notes.get("", ())), *_top(schema)]
    for join in schema.joins:
        lines += _table("joins", [("file", join.file), ("format", join.format), ("key", join.key)])

    for rule in schema.filters:
        lines += _table("filters", _of_filter(rule))

    tables = [("features", item.name, _of_feature(item)) for item in schema.features]
    tables += [("labels", item.name, _of_label(item)) for item in schema.labels]
    tables += [("tasks", item.name, _of_task(item)) for item in schema.tasks]
    for what, name, keys in tables:
        lines += _table(what, keys, notes.get(f"{what}.{name}", ()))
    return "\n".join(lines) + "\n"


def _comments(texts: Iterable[str]) -> list[str]:
    return ["# " + "".join(c if c.isprintable() else "?" for c in text) for text in texts]


def _table(what: str, keys: Sequence[tuple[str, Any]], notes: Iterable[str] = ()) -> list[str]:
    return ["", *_comments(notes), f"[[{what}]]", *(f"{key} = {toml(v)}" for key, v in keys)]


def _top(schema: Schema) -> list[str]:
    keys: list[tuple[str, Any]] = [
        ("name", schema.name),
        ("format", schema.format),
        ("files", schema.files),
    ]
    keys += [("columns", schema.columns)] if schema.columns else []
    keys += [("quoted", schema.quoted)] if schema.quoted != (schema.format == "csv") else []
    keys += [("user", schema.user)] if schema.user is not None else []
    keys += [("weight", schema.weight)] if schema.weight is not None else []
    keys += [("nulls", schema.nulls)] if schema.nulls else []

    lines = [f"{key} = {toml(value)}" for key, value in keys]
    if schema.time is not None:
        patterns = [list(pair) for pair in schema.time.patterns]
        time = {"column": schema.time.column} | ({"patterns": patterns} if patterns else {})
        lines.append(f"time = {toml(time)}")
    return lines


def _of_filter(rule: Filter) -> list[tuple[str, Any]]:
    keys: list[tuple[str, Any]] = [("column", rule.column), ("comparison", rule.comparison)]
    if rule.comparison in LISTS:
        return [*keys, ("values", rule.values)]
    return [*keys, ("value", rule.values[0])]


def _of_feature(feature: Feature) -> list[tuple[str, Any]]:
    keys: list[tuple[str, Any]] = [("name", feature.name)]
    keys += [("column", feature.column)] if feature.column != feature.name else []
    keys += [("dtype", feature.dtype), ("side", feature.side)]
    keys += [("table", feature.table)] if feature.table != feature.name else []

    usual = MISSING_OF_DTYPE[feature.dtype]
    is_nan = isinstance(feature.missing, float) and math.isnan(feature.missing)
    keys += [("missing", feature.missing)] if feature.missing != usual and not is_nan else []

    if feature.multivalued:
        keys += [("multivalued", True), ("max_values", feature.max_values)]
        keys += [("separator", feature.separator)] if feature.separator else []
        keys += [(key, getattr(feature, key)) for key in said_of_pooling(feature)]
    return [*keys, ("ids", _of_rule(feature.ids))]


def toml_of_rule(rule: IdRule) -> str:
    """Returns a rule as a schema's `ids` say it.

    >>> toml_of_rule(IdRule("hash", buckets=20))
    '{ kind = "hash", buckets = 20 }'
    """
    return toml(_of_rule(rule))


def _of_rule(rule: IdRule) -> dict[str, Any]:
    keys = {key: getattr(rule, key) for key in _KEYS_OF_RULE[rule.kind]}
    if rule.kind == "fitted":
        usual = {"min_count": 1, "max_size": MOST_FITTED}
        keys = {key: value for key, value in keys.items() if value != usual[key]}
    return {"kind": rule.kind} | keys


def _of_label(label: Label) -> list[tuple[str, Any]]:
    keys: list[tuple[str, Any]] = [("name", label.name), ("kind", label.kind)]
    if label.column is not None:
        keys.append(("column", label.column))
    else:
        keys += [("play_time", label.play_time), ("play_time_unit", label.play_time_unit)]
    if label.duration is not None:
        keys += [("duration", label.duration), ("duration_unit", label.duration_unit)]
    if label.column is None:
        keys.append(("zero_duration", label.zero_duration))
    if label.kind == "amount":
        keys += [("multiplier", label.multiplier)] if label.column is not None else []
        keys.append(("unit", label.unit))
        if label.is_clipped:
            keys.append(("at_most", "duration" if label.within_duration else label.at_most))
    return keys


def _of_task(task: Task) -> list[tuple[str, Any]]:
    keys: list[tuple[str, Any]] = [("name", task.name), ("label", task.label), ("kind", task.kind)]
    keys += [("population", task.population)] if task.population is not None else []
    conditions = [dict(_of_filter(rule)) for rule in task.where]
    if conditions:
        keys.append(("where", conditions[0] if len(conditions) == 1 else conditions))
    keys += [("loss", task.loss), ("metric", task.metric)]
    keys += [("head", said_of_head(task.head))] if not task.head.is_plain else []
    if task.kept_column is not None:
        return [*keys, ("negatives_kept", task.kept_column)]
    return [*keys, *([("negatives_kept", task.negatives_kept)] if task.negatives_kept < 1 else [])]


def toml(value: Any) -> str:
    r"""Returns a value as TOML writes it.

    >>> toml({"kind": "vocabulary", "vocabulary": ("a", 'b"\n')})
    '{ kind = "vocabulary", vocabulary = ["a", "b\\"\\n"] }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return repr(value)  # inf, nan and 1e-05 are TOML too
