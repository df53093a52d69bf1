"""A sample of train rows, by which features are found that tell a label alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lt4rec_tf.data.audit.feature_values import listed, measured, named
from lt4rec_tf.metrics.deciding import DECIDING, cells_of, deciding_auc
from lt4rec_tf.schema.types import Schema

_NUMBERS, _LEAST_ROWS, _MOST_ROWS = 4_000_000, 2_000, 20_000
_SEED = 0x73616D706C65  # no usual one, with which a program may have drawn what the logs hold
_ODD = 2 * np.arange(1, 1025) + 1  # of places in a list


class RowSample:
    """Keeps an even sample of train rows, all while they fit; equal logs give equal samples.

    Args:
        schema: Its features and tasks.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        columns = max(1, len(schema.features) + len(schema.tasks))
        self._most = min(_MOST_ROWS, max(_LEAST_ROWS, _NUMBERS // columns))
        self._random, self._below = np.random.default_rng(_SEED), 1.0
        self._draws = np.empty(0)
        self._parts: dict[str, np.ndarray] = {}

    def add(
        self,
        values: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
    ) -> None:
        """Adds train rows.

        Args:
            values: From `values_of`, of these rows.
            labels: By task, (rows,).
            weights: By task, (rows,); NaN stands for labels outside the population.
        """
        draws = self._random.random(len(values["keys"]))
        is_kept = draws < self._below
        parts = {"keys": values["keys"], "numbers": values["numbers"]}
        parts |= {f.name: _list_keys(values[f"list/{f.name}"]) for f in listed(self._schema)}
        for task, label in labels.items():
            parts[f"label {task}"] = np.where(weights[task] > 0, label, np.nan)

        self._draws = np.concatenate([self._draws, draws[is_kept]])
        for name, part in parts.items():
            kept = part[is_kept]
            earlier = self._parts.get(name, kept[:0])
            self._parts[name] = np.concatenate([earlier, kept])
        while len(self._draws) > self._most:
            self._below /= 2
            is_kept = self._draws < self._below
            self._draws = self._draws[is_kept]
            self._parts = {name: part[is_kept] for name, part in self._parts.items()}

    def deciding(self) -> dict[str, dict[str, float]]:
        """Returns by feature and task the AUC of features that tell a label alone.

        A label that is no 0 or 1 counts as whether it is above the median.
        """
        found: dict[str, dict[str, float]] = {}
        if not len(self._draws):
            return found
        columns = self._columns()
        for task in self._schema.tasks:
            labels = self._parts[f"label {task.name}"]
            inside = ~np.isnan(labels)
            if not inside.any():
                continue
            middle = 0.5 if task.kind == "binary" else np.median(labels[inside])
            positive = labels[inside] > middle
            for name, column in columns.items():
                auc = deciding_auc(column[inside], positive)
                if auc > DECIDING:
                    found.setdefault(name, {})[task.name] = auc
        return found

    def numbers(self) -> dict[str, np.ndarray]:
        """Returns by feature of one number a row the sample's numbers, NaN where missing."""
        if not len(self._draws):
            return {}
        return {
            feature.name: self._parts["numbers"][:, index]
            for index, feature in enumerate(measured(self._schema))
        }

    def _columns(self) -> dict[str, np.ndarray]:
        """Returns by feature what rows hold there, as integers."""
        columns = {}
        for index, feature in enumerate(named(self._schema)):
            columns[feature.name] = self._parts["keys"][:, index]
        columns |= {name: cells_of(numbers) for name, numbers in self.numbers().items()}
        for feature in listed(self._schema):
            columns[feature.name] = self._parts[feature.name]
        return columns


def _list_keys(keys: np.ndarray) -> np.ndarray:
    """Returns a number for each list, int64 (rows,), which another list hardly has."""
    places = np.resize(_ODD, keys.shape[1])
    return (keys * places).sum(axis=1)
