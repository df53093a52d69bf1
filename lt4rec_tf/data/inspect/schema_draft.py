"""A first schema from what a sample of logs holds; its author goes on from there.

Id rules: text of few settled values that are no ids is a vocabulary; other text, whole numbers that
are ids by the name of their column, and those that have five digits throughout are hashed into
twice as many buckets as values were seen, ten times where new ones still come; whole numbers of a
small range are integers; other numbers are cut at quantiles.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.discovery import LogFiles
from lt4rec_tf.data.inspect.column_roles import (
    RoleFlags,
    Roles,
    is_amount_by_name,
    is_feedback,
    is_id,
    is_time,
    side_of,
)
from lt4rec_tf.data.inspect.column_stats import ColumnStats
from lt4rec_tf.schema.reader import MISSING_OF_DTYPE
from lt4rec_tf.schema.types import Feature, IdRule, Label, Schema, Task, TimeColumn

VOCABULARY = 50  # distinct texts up to which they are listed
RANGE = 1000  # of whole numbers that have ids of their own
LEAST_CODE = 10_000  # whole numbers of this size throughout are no amounts
QUANTILES = 16
LEAST_BUCKETS, MOST_BUCKETS = 20, 10_000_000
_UNIQUE_ROWS = 1000  # rows from which "each row has another value" says something
_LEAST_INT64 = -(2**63)


@dataclass
class Draft:
    """A schema with comments for who edits it.

    Attributes:
        schema: Without labels and tasks where no label was found.
        notes: As `schema_toml.to_toml` takes them.
        left_out: By column why it is no feature.
    """

    schema: Schema
    notes: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def draft(
    logs: LogFiles, columns: Mapping[str, ColumnStats], roles: Roles, flags: RoleFlags
) -> Draft:
    """Makes a schema.

    Args:
        logs: The files; Parquet is described as the TFRecords that it is to be converted to.
        columns: By name.
        roles: From `find_roles`.
        flags: What the user says.
    """
    parquet = logs.layout.format == "parquet"
    layout = logs.layout
    label_columns, labels, tasks, notes = _labels(columns, roles)
    left_out = _left_out(columns, roles, flags, label_columns)
    kept = [stats for name, stats in columns.items() if name not in left_out]
    names = _feature_names([stats.name for stats in kept])
    features = []
    for stats, name in zip(kept, names, strict=True):
        feature, why = _feature(stats, name, layout.format, flags)
        features.append(feature)
        notes[f"features.{name}"] = [why]
    schema = Schema(
        path=Path(),
        name="logs",
        format="tfrecord" if layout.format == "parquet" else layout.format,
        files=("shards/*.tfrecord.gz",) if parquet else logs.patterns,
        columns=()
        if layout.header_lines or layout.format not in ("csv", "tsv")
        else layout.columns,
        quoted=layout.quoted,
        features=tuple(features),
        labels=labels,
        tasks=tasks,
        joins=(),
        time=TimeColumn(roles.time) if roles.time else None,
        user=roles.user,
    )
    return Draft(schema, notes, left_out)


def _feature_names(columns: Sequence[str]) -> list[str]:
    """Names that a schema allows, each another."""
    names: list[str] = []
    for column in columns:
        name = re.sub(r"[^A-Za-z0-9_]", "_", column)
        name = name if name[0].isalpha() else f"f_{name}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def _left_out(
    columns: Mapping[str, ColumnStats], roles: Roles, flags: RoleFlags, labels: set[str]
) -> dict[str, str]:
    found = {}
    for name, stats in columns.items():
        unique = stats.distinct == stats.rows >= _UNIQUE_ROWS and stats.kind.dtype != "float32"
        named = name == roles.user or name in flags.item_columns or name in flags.user_columns
        for holds, why in (
            (name in flags.exclude, "--exclude"),
            (name in labels, "what is learned"),
            (name in flags.features, ""),
            (name == roles.time or is_time(name), "a time, which does not come again"),
            (is_feedback(name), "by its name what the user did: a label, not a feature"),
            (stats.distinct == 0, "no value in the sample"),
            (stats.distinct == 1 and stats.missing == 0, "one value in all rows of the sample"),
            (unique and not named, "another value in each row of the sample"),
        ):
            if holds:
                if why:
                    found[name] = why
                break
    return found


def _feature(
    stats: ColumnStats, name: str, file_format: str, flags: RoleFlags
) -> tuple[Feature, str]:
    dtype, numbers = stats.kind.dtype, stats.numbers
    listed = bool(stats.kind.separator) or stats.longest > 1
    missing: str | int | float = MISSING_OF_DTYPE[dtype]
    negative = np.unique(numbers[numbers < 0])
    if dtype == "string" and any(text == "-1" for text, _ in stats.commonest):
        missing = "-1"
    elif len(negative) == 1 and dtype != "string":
        missing = int(negative[0]) if dtype == "int64" else float(negative[0])
        numbers = numbers[numbers >= 0]
    elif len(negative) > 1 and dtype == "int64":
        missing = _LEAST_INT64  # -1 is a number among others here
    if not len(numbers):
        numbers = np.zeros(1)
    is_amount = is_amount_by_name(stats.name)
    is_name = is_id(stats.name, flags) or (numbers[0] >= LEAST_CODE and not is_amount)
    ids, why = _id_rule(stats, numbers, listed, is_name)
    seen = f"{stats.distinct} distinct values in {stats.rows} rows, {stats.missing:.1%} missing"
    feature = Feature(
        name=name,
        column=stats.name,
        dtype=dtype,
        multivalued=listed,
        max_values=stats.longest if listed else 1,
        separator=stats.kind.separator if file_format in ("csv", "tsv") else "",
        side=side_of(stats.name, flags),
        table=name,
        missing=missing,
        ids=ids,
    )
    return feature, f"{seen}: {why}"


def _id_rule(
    stats: ColumnStats, numbers: np.ndarray, listed: bool, is_name: bool
) -> tuple[IdRule, str]:
    dtype = stats.kind.dtype
    texts = tuple(text for text, _ in stats.commonest if text and text != "-1")
    # What is no UTF-8 is no text of TOML.
    listable = len(texts) > 0 and not any("\ufffd" in text for text in texts)
    listable &= stats.distinct <= VOCABULARY and not stats.name.lower().endswith("id")
    if dtype == "string" and listable and not stats.grows:
        return IdRule("vocabulary", vocabulary=texts), "few texts, the commonest first"
    if dtype == "string" or (dtype == "int64" and (is_name or listed)):
        buckets = _buckets((10 if stats.grows else 2) * stats.distinct)
        if stats.grows:
            return IdRule("hash", buckets=buckets), "new ones still come, ten times as many buckets"
        return IdRule("hash", buckets=buckets), "twice as many buckets"
    least, most = int(numbers[0]), int(numbers[-1])
    if dtype == "int64" and most - least <= RANGE:
        return IdRule("integer", minimum=least, maximum=most), "whole numbers of a small range"
    shares = np.arange(1, QUANTILES) / QUANTILES
    cuts = {float(f"{cut:.6g}") for cut in np.quantile(numbers, shares)}
    return IdRule("boundaries", boundaries=tuple(sorted(cuts))), "cut at quantiles"


def _buckets(wanted: int) -> int:
    """The next of 1, 2, 5 times a power of ten, within limits.

    >>> _buckets(3), _buckets(201), _buckets(1000)
    (20, 500, 1000)
    """
    wanted = min(max(wanted, LEAST_BUCKETS), MOST_BUCKETS)
    power = 10 ** int(math.log10(wanted))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= wanted)


def _labels(
    columns: Mapping[str, ColumnStats], roles: Roles
) -> tuple[set[str], tuple[Label, ...], tuple[Task, ...], dict[str, list[str]]]:
    """The columns that labels alone may use; labels, tasks, and comments."""
    labels, tasks = [], []
    used = {roles.click, roles.conversion, roles.watch_ratio, roles.play_time} - {None}
    notes: dict[str, list[str]] = {}
    population = "click" if roles.click else None
    if roles.click:
        labels.append(_label("click", "binary", column=roles.click))
        tasks.append(_task("ctr", "click", "binary", None))
        notes["labels.click"] = [f"1 in {columns[roles.click].mean:.1%} of the sample"]
    watch, words = _watch_label(columns, roles)
    if watch is not None:
        kind = "amount" if watch.kind == "amount" else "continuous"
        labels.append(watch)
        tasks.append(_task("cvr", watch.name, kind, population))
        notes[f"labels.{watch.name}"] = words
    if roles.conversion:
        labels.append(_label("conversion", "binary", column=roles.conversion))
        tasks.append(_task("conversion", "conversion", "binary", population))
        notes["labels.conversion"] = [f"1 in {columns[roles.conversion].mean:.1%} of the sample"]
    return {name for name in used if name}, tuple(labels), tuple(tasks), notes


def _watch_label(
    columns: Mapping[str, ColumnStats], roles: Roles
) -> tuple[Label | None, list[str]]:
    of_video: dict[str, Any] = {}
    unit = "s"
    if roles.duration:
        unit = _unit(columns[roles.duration])
        of_video = {"duration": roles.duration, "duration_unit": unit}
    if roles.watch_ratio:
        mean = columns[roles.watch_ratio].mean
        words = [f"mean {mean:.3f} in the sample, over clicked and other rows"]
        return _label("watch_ratio", "ratio", column=roles.watch_ratio, **of_video), words
    if not roles.play_time:
        return None, []
    play_time = columns[roles.play_time]
    unit_played = _unit(play_time) if not roles.duration or play_time.name[-2:] == "_s" else unit
    unit_played = "ms" if play_time.name.endswith("_ms") else unit_played
    words = [f"mean play time {play_time.mean:.6g} {unit_played}; see whether the units are right"]
    if not roles.duration:
        factor = 0.001 if unit_played == "ms" else 1.0
        amount = _label("watch_time", "amount", column=roles.play_time, multiplier=factor, unit="s")
        return amount, words
    duration = columns[roles.duration]
    none = float((duration.numbers <= 0).mean())
    words.append(f"mean duration {duration.mean:.6g} {unit}; 0 or less in {none:.1%}")
    told = {"play_time": roles.play_time, "play_time_unit": unit_played, **of_video}
    told["zero_duration"] = "exclude" if none else "bad"
    return _label("watch_ratio", "ratio", **told), words


def _unit(stats: ColumnStats) -> str:
    """By the name's end, else ms where a mean in seconds would be longer than 1,000."""
    for unit in ("ms", "s"):
        if stats.name.lower().endswith(f"_{unit}"):
            return unit
    return "ms" if stats.mean > 1000 else "s"


def _label(name: str, kind: str, **told: Any) -> Label:
    nothing = dict.fromkeys(("column", "play_time", "duration"))
    units = {"play_time_unit": "s", "duration_unit": "s", "zero_duration": "bad"}
    return Label(name, kind, **{**nothing, **units, **told})


def _task(name: str, label: str, kind: str, population: str | None) -> Task:
    loss, metric, direction = {
        "binary": ("cross_entropy", "auc", "max"),
        "continuous": ("mse", "mse", "min"),
        "amount": ("mse", "nrmse", "min"),
    }[kind]
    return Task(name, label, kind, population, loss, metric, direction)
