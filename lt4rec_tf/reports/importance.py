"""Permutation importance of features as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lt4rec_tf.reports.text_tables import markdown_table, metric_name, number_cell


def importance_tables(importance: Mapping[str, Any]) -> list[str]:
    """Returns a line on what was measured, and a table for each task, the largest loss first.

    Args:
        importance: As `experiment.importance.feature_importance` returns it.
    """
    rows, count = importance["rows"], importance["rows_of_split"]
    sample = f"all {rows:,} rows" if rows == count else f"{rows:,} of {count:,} rows, a sample"
    parts = [
        f"permutation importance on {importance['split']}, over {sample}: by how much a metric "
        f"gets worse when a feature's values are permuted over the rows; mean and standard "
        f"deviation of {importance['repeats']} permutations"
    ]
    for task, entry in importance["tasks"].items():
        metric = f"{task.upper()} {metric_name(entry['metric'])}"
        lines = []
        for feature in entry["features"]:
            cells = [number_cell(feature[name], 5) for name in ("mean", "sd")]
            lines.append([feature["feature"], *cells])
        table = markdown_table(["feature", f"{metric} worse by", "sd"], lines)
        parts.append(f"{metric} of {entry['row']}: {number_cell(entry['value'], 5)}\n\n{table}")
    return parts
