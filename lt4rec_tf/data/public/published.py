"""What a data set holds beside what is published of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from lt4rec_tf.data.audit.counts import Audit
from lt4rec_tf.data.audit.duplicates import DistinctCounter
from lt4rec_tf.data.formats.fingerprints import FINGERPRINTS, fingerprint
from lt4rec_tf.data.input.parsed_rows import Rows
from lt4rec_tf.data.input.scan import read_all
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.schema.types import Schema

if TYPE_CHECKING:  # it loads TensorFlow Datasets
    from lt4rec_tf.data.public.archives import Statistics

HELD = 50_000_000  # users, and items, that are counted exactly; in 8 bytes each
TOLERANCE = 5e-4  # of a share: half of the last digit that is published
STATISTICS = ("rows", "users", "items", "click_share", "watch_ratio")


def statistics(source: Source, audit: Audit, item: str | None) -> dict[str, float | None]:
    """Counts what data sets are described by; reads all rows once.

    Args:
        source: A data set that was audited.
        audit: What the audit found; rows that were left out count as rows.
        item: The feature that names items.

    Returns:
        rows, users, items, click_share (mean of the first binary label that all rows have),
        watch_ratio (mean of the first ratio, over its population); None where the schema has none.

    Raises:
        DataError: A file is broken.
    """
    schema = source.schema
    users, items = (DistinctCounter(HELD, FINGERPRINTS) for _ in range(2))
    named = item if item in {feature.name for feature in schema.features} else None

    def select(rows: Rows) -> dict[str, Any]:
        found = {"users": rows.user}
        if named is not None:
            values = rows.raw[named]
            texts = values if values.dtype == tf.string else tf.strings.as_string(values)
            found["items"] = fingerprint(texts)
        return found

    for _, _, values in read_all(source, select, set(source.quarantine)):
        users.add(values["users"])
        if named is not None:
            items.add(values["items"])
    return {
        "rows": audit.rows,
        "users": users.distinct() if schema.user else None,
        "items": items.distinct() if named is not None else None,
        "click_share": _mean(schema, audit, "binary"),
        "watch_ratio": _mean(schema, audit, "continuous"),
    }


def _mean(schema: Schema, audit: Audit, kind: str) -> float | None:
    """Mean of the first task's label, over all splits."""
    for task in schema.tasks:
        if task.kind == kind and (kind != "binary" or task.population is None):
            counts = [split.tasks[task.name] for split in audit.splits.values()]
            rows = sum(one.rows for one in counts)
            return sum(one.rows * one.label_mean for one in counts) / rows if rows else None
    return None


def comparison(found: Mapping[str, float | None], known: Statistics | None) -> str:
    """Writes what was found beside what is published, one number a line.

    Args:
        found: From `statistics`.
        known: What is published; None: nothing.
    """
    lines = []
    for name in STATISTICS:
        number = found[name]
        if number is not None:
            lines.append(_line(name, number, getattr(known, name, None)))
    return "\n".join(lines)


def _line(name: str, found: float, known: float | None) -> str:
    line = f"{name:<12}{_text(found):>13}"
    if known is None:
        return line
    same = abs(found - known) <= (0 if isinstance(known, int) else TOLERANCE)
    return f"{line}  published {_text(known)}{'' if same else ', DIFFERS'}"


def _text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.4f}"
