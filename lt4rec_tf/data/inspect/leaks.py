"""Finds features of a draft that tell a label alone: copies of it, or what came after it."""

from __future__ import annotations

import numpy as np

from lt4rec_tf.data.formats.column_types import to_type
from lt4rec_tf.data.inspect.log_sample import Sample
from lt4rec_tf.metrics.deciding import DECIDING, cells_of, deciding_auc
from lt4rec_tf.schema.types import Schema

_COMPARED = 20_000  # rows at most
_MISSING = -1


def deciding_lines(schema: Schema, sample: Sample) -> list[str]:
    """Warns of features that tell a label of 0 and 1 alone, by the rows of a sample.

    Args:
        schema: The draft.
        sample: From which it was made.
    """
    rows = np.arange(0, sample.rows, -(-sample.rows // _COMPARED))  # rounded up
    labels = {label.column: label.name for label in schema.labels if label.kind == "binary"}
    labels_of_rows = {name: _codes(sample, str(column), rows) for column, name in labels.items()}
    lines = []
    for feature in schema.features:
        if feature.multivalued:
            continue
        values = _codes(sample, feature.column, rows)
        for label, ones in labels_of_rows.items():
            is_known = ones != _MISSING
            auc = deciding_auc(values[is_known], ones[is_known] == ones.max())
            if auc > DECIDING:
                lines.append(
                    f"warning: feature {feature.name} alone tells {label}, AUC {auc:.4f}: is it "
                    f"known before the impression? --exclude={feature.column} leaves it out"
                )
    return lines


def _codes(sample: Sample, name: str, rows: np.ndarray) -> np.ndarray:
    """Returns for each of some rows a number that stands for its value; `_MISSING`: it has none.

    Values of texts are numbered, numbers are put into cells.
    """
    column, _ = to_type(sample.types[name], sample.columns[name])
    starts = np.cumsum(column.lengths) - column.lengths
    has_value = column.lengths[rows] > 0
    values = column.values[starts[rows][has_value]]

    codes = np.full(len(rows), _MISSING)
    if values.dtype.kind == "f":
        codes[has_value] = cells_of(values)
    else:
        number_of = {value: number for number, value in enumerate(sorted(set(values.tolist())))}
        codes[has_value] = [number_of[value] for value in values.tolist()]
    return codes
