"""Quantiles of the labels of tasks on ratios and amounts in train; bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt4rec_tf.data.audit.quantiles import quantiles
from lt4rec_tf.data.input.even_sample import EvenSample
from lt4rec_tf.metrics.calibration import mass_bins
from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles, label_quantiles_of
from lt4rec_tf.schema.types import Schema

_SAMPLED = 262_144  # rows of a task: of 16 groups each has some 16,000
_SEED = 0x6C6162656C73  # no usual one, see `EvenSample`
MOST_GROUPS = 16  # of equal duration
LEAST_ROWS = 500  # of a group


class LabelSamples:
    """Samples the labels, durations and weights of each task that is no classification.

    Args:
        schema: Its tasks; what an earlier run found of a task stays.
        sampled: The most rows that are kept of a task.
    """

    def __init__(self, schema: Schema, sampled: int = _SAMPLED) -> None:
        self._earlier = label_quantiles_of(schema)
        names = [task.name for task in schema.tasks if task.kind != "binary"]
        self._samples = {n: EvenSample(sampled, _SEED) for n in names if n not in self._earlier}
        self._rows = dict.fromkeys(self._samples, 0)
        self._sampled = sampled

    def add(self, values: Mapping[str, Any], in_train: np.ndarray) -> None:
        """Adds a batch.

        Args:
            values: What `audit.audit` selects of it, as NumPy arrays.
            in_train: bool (rows,), the usable rows of train.
        """
        for task, sample in self._samples.items():
            weights = values["weights"][task]
            inside = in_train & (weights > 0)
            columns = (values["labels"][task], values["duration"], weights)
            sample.add(*(column[inside].astype(np.float64) for column in columns))
            self._rows[task] += int(inside.sum())

    def fit(self) -> dict[str, LabelQuantiles]:
        """Returns by task with a row what was found."""
        found = {
            task: _found(
                sample.columns, self._rows[task], estimated=self._rows[task] > self._sampled
            )
            for task, sample in self._samples.items()
            if self._rows[task]
        }
        kept = {task: dataclasses.replace(one, earlier=True) for task, one in self._earlier.items()}
        return kept | found


def _found(columns: Sequence[np.ndarray], rows: int, *, estimated: bool) -> LabelQuantiles:
    """Returns the quantiles of a sample's labels, given its labels, durations and weights."""
    labels, seconds, weights = columns
    known = np.flatnonzero(np.isfinite(seconds) & (seconds > 0))
    groups = min(MOST_GROUPS, len(known) // LEAST_ROWS)
    curves, bounds = [_curve(labels, weights)], []
    if groups:
        group_of = mass_bins(seconds[known], bins=groups)
        for group in np.unique(group_of):
            inside = known[group_of == group]
            bounds.append(float(seconds[inside].min()))
            curves.append(_curve(labels[inside], weights[inside]))
    return LabelQuantiles(tuple(curves), tuple(bounds[1:]), rows, estimated)


def _curve(labels: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Returns the labels' quantiles at all levels, rows counted by their weights."""
    levels = np.linspace(0, 1, LEVELS + 1)
    if (weights == weights[0]).all():
        values, counts = np.unique(labels, return_counts=True)
        return tuple(quantiles(values, counts, levels).tolist())
    order = np.argsort(labels)
    values, of_rows = labels[order], weights[order]
    middles = np.cumsum(of_rows) - of_rows / 2
    # Of equal weights it is NumPy's rule: the first row lies at level 0, the last one at 1.
    span = (middles[-1] - middles[0]) or 1.0
    return tuple(np.interp(levels, (middles - middles[0]) / span, values).tolist())
