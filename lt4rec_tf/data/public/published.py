"""Compares the statistics of a data set with its published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from lt4rec_tf.data.audit.duplicates import DistinctCounter
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.formats.fingerprints import FINGERPRINTS, fingerprint
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import read_all
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.metrics.groups import has_user
from lt4rec_tf.schema.types import Schema

if TYPE_CHECKING:  # it loads TensorFlow Datasets
    from lt4rec_tf.data.public.archives import Statistics

COUNTED_EXACTLY = 50_000_000  # users, and items; in 8 bytes each
TOLERANCE = 5e-4  # of a share: half of the last digit that is published
STATISTICS = ("rows", "users", "items", "click_share", "watch_ratio")


def statistics(source: Source, audit: Audit, item: str | None) -> dict[str, float | None]:
    """Counts the numbers that describe data sets; reads all rows once.

    Args:
        source: A data set that was audited.
        audit: Of the source; rows that were left out count as rows.
        item: The feature that names items.

    Returns:
        rows, users, items, click_share (mean of the first binary label that all rows have),
        watch_ratio (mean of the first ratio, over its population); None where the schema has none.

    Raises:
        DataError: A file is broken.
    """
    schema = source.schema
    users, items = (DistinctCounter(COUNTED_EXACTLY, FINGERPRINTS) for _ in range(2))
    item_feature = item if item in {feature.name for feature in schema.features} else None

    def select(rows: Rows) -> dict[str, Any]:
        values = {"users": rows.user}
        if item_feature is not None:
            raw = rows.raw[item_feature]
            texts = raw if raw.dtype == tf.string else tf.strings.as_string(raw)
            values["items"] = fingerprint(texts)
        return values

    for _, _, values in read_all(source, select, set(source.quarantine)):
        users.add(values["users"][has_user(values["users"])])
        if item_feature is not None:
            items.add(values["items"])

    return {
        "rows": audit.rows,
        "users": users.distinct() if schema.user else None,
        "items": items.distinct() if item_feature is not None else None,
        "click_share": _mean(schema, audit, "binary"),
        "watch_ratio": _mean(schema, audit, "continuous"),
    }


def _mean(schema: Schema, audit: Audit, kind: str) -> float | None:
    """Returns the mean label of the kind's first task, over all splits; None where none has rows.

    Binary tasks count only if all rows have their label, others only if they are of no scenario.
    """
    for task in schema.tasks:
        counts_here = task.on_all_rows if kind == "binary" else not task.where
        if task.kind == kind and counts_here:
            counts = [split.tasks[task.name] for split in audit.splits.values()]
            rows = sum(count.rows for count in counts)
            label_sum = sum(count.rows * count.label_mean for count in counts)
            return label_sum / rows if rows else None
    return None


def comparison(counted: Mapping[str, float | None], published: Statistics | None) -> str:
    """Writes counted numbers beside published ones, one a line.

    Args:
        counted: From `statistics`.
        published: None where nothing is published.
    """
    lines = []
    for name in STATISTICS:
        number = counted[name]
        if number is not None:
            lines.append(_line(name, number, getattr(published, name, None)))
    return "\n".join(lines)


def _line(name: str, counted: float, published: float | None) -> str:
    line = f"{name:<12}{_text(counted):>13}"
    if published is None:
        return line

    tolerance = 0 if isinstance(published, int) else TOLERANCE
    same = abs(counted - published) <= tolerance
    return f"{line}  published {_text(published)}{'' if same else ', DIFFERS'}"


def _text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.4f}"
