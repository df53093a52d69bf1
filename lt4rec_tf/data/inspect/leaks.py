"""Finds features of a draft that tell a label alone: copies of it, or what came after it."""

from __future__ import annotations

import numpy as np

from lt4rec_tf.data.formats.column_types import to_type
from lt4rec_tf.data.inspect.log_sample import Sample
from lt4rec_tf.metrics.deciding import DECIDING, cells_of, deciding_auc
from lt4rec_tf.schema.types import Schema

# Numbers of all features together, and rows.
_NUMBERS, _LEAST_ROWS, _MOST_ROWS = 4_000_000, 2_000, 20_000
_MISSING = -1


def deciding_lines(schema: Schema, sample: Sample) -> list[str]:
    """Warns of features that tell a label of 0 and 1 alone, by the rows of a sample.

    Args:
        schema: The draft.
        sample: From which it was made.
    """
    compared = min(_MOST_ROWS, max(_LEAST_ROWS, _NUMBERS // max(1, len(schema.features))))
    is_compared = np.zeros(sample.rows, bool)
    is_compared[:: -(-sample.rows // compared)] = True  # rounded up
    labels = {label.column: label.name for label in schema.labels if label.kind == "binary"}
    labels_of_rows = {
        name: _codes(sample, str(column), is_compared) for column, name in labels.items()
    }
    lines = []
    for feature in schema.features:
        if feature.multivalued:
            continue
        values = _codes(sample, feature.column, is_compared)
        for label, ones in labels_of_rows.items():
            is_known = ones != _MISSING
            auc = deciding_auc(values[is_known], ones[is_known] == ones.max())
            if auc > DECIDING:
                lines.append(
                    f"warning: feature {feature.name} alone tells {label}, AUC {auc:.4f}: is it "
                    f"known before the impression? --exclude={feature.column} leaves it out"
                )
    return lines


def _codes(sample: Sample, name: str, is_compared: np.ndarray) -> np.ndarray:
    """Returns for each of some rows a number that stands for its value; `_MISSING`: it has none.

    Values of texts are numbered, numbers are put into cells.
    """
    column, _ = to_type(sample.types[name], sample.columns[name].of_rows(is_compared))
    has_value = column.lengths > 0
    values = column.values[(np.cumsum(column.lengths) - column.lengths)[has_value]]

    codes = np.full(len(has_value), _MISSING)
    if values.dtype.kind == "f":
        codes[has_value] = cells_of(values)
    else:
        number_of = {value: number for number, value in enumerate(sorted(set(values.tolist())))}
        codes[has_value] = [number_of[value] for value in values.tolist()]
    return codes
