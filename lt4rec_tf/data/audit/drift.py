"""Compares a day's logs with those before it, feature by feature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lt4rec_tf.data.audit.marginals import Marginals
from lt4rec_tf.metrics.population_stability import shift
from lt4rec_tf.schema.types import Schema


def drift(schema: Schema, before: Marginals | None, after: Marginals) -> dict[str, Any]:
    """Compares two periods' marginals.

    Args:
        schema: The schema by which both were counted.
        before: The earlier period; None: nothing is known of it.
        after: The later period.

    Returns:
        "rows" and "tasks": {"before", "after"}; "features": the largest index first, each with
        feature, index (`metrics.drift.shift`), by_chance, cells, verdict, and shares before and
        after of "missing" rows and "unknown" values (None where every value has an id).
    """
    features = []
    for feature in schema.features:
        name = feature.name
        comparison: dict[str, Any] = {"feature": name}
        if before is not None:
            # Values that a fitted vocabulary has gained did not occur before.
            gained = len(after.counts[name]) - len(before.counts[name])
            moved = shift(np.pad(before.counts[name], (0, gained)), after.counts[name])
            comparison |= vars(moved) | {"verdict": moved.verdict}
            comparison["missing_before"] = before.missing(name)
            comparison["unknown_before"] = before.unknown(feature)
        comparison["missing"] = after.missing(name)
        comparison["unknown"] = after.unknown(feature)
        features.append(comparison)

    tasks = {}
    for task, numbers in after.tasks.items():
        tasks[task] = {"before": before.tasks[task] if before else None, "after": numbers}

    return {
        "rows": {"before": before.rows if before else None, "after": after.rows},
        "tasks": tasks,
        "features": sorted(features, key=_largest_first),
    }


def _largest_first(comparison: dict[str, Any]) -> tuple[float, str]:
    index = comparison.get("index", 0.0)
    return (-index if math.isfinite(index) else math.inf), comparison["feature"]
