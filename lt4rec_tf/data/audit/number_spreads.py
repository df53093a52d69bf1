"""How the numbers of train spread in the unit that a network reads, by which an audit warns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.data.audit.feature_values import measured
from lt4rec_tf.schema.numbers import EXTREME, UNBOUNDED, Numbers
from lt4rec_tf.schema.types import IdRule, Schema

_MIDDLE = (0.1, 0.9)


@dataclass(frozen=True)
class NumberSpread:
    """Numbers of a feature in train, as a network reads them.

    Attributes:
        rows: Those that have a finite one.
        infinite: Those that have an infinite one, which counts as missing; in float32, from 3.4e38
            on.
        extreme: Those of a numeric feature that are further from 0 than `EXTREME`; 0 of others.
        largest: The largest distance from 0; 0 where no row has a number.
        middle: The width of the middle 80 % of a sample of them.
    """

    rows: int
    infinite: int
    extreme: int
    largest: float
    middle: float


class NumberSpreads:
    """Counts the numbers of all features of one number a row for which infinite ones are missing.

    Args:
        schema: Its features.
    """

    def __init__(self, schema: Schema) -> None:
        # Beyond all boundaries an infinite number has its place as any other.
        features = [f for f in measured(schema) if f.ids.kind != "boundaries"]
        self._rules = {f.name: f.ids for f in features if f.ids.kind in UNBOUNDED}
        self._tables = {feature.name: feature.table for feature in features}
        self._rows = dict.fromkeys(self._tables, 0)
        self._infinite = dict.fromkeys(self._tables, 0)
        self._extreme = dict.fromkeys(self._rules, 0)
        self._ends = dict.fromkeys(self._rules, (np.inf, -np.inf))

    def add(self, feature: str, numbers: np.ndarray) -> None:
        """Adds the numbers of train rows, float64 (n,), NaN where missing, of any feature."""
        if feature not in self._rows:
            return
        present = numbers[np.isfinite(numbers)]
        self._rows[feature] += len(present)
        self._infinite[feature] += int(np.count_nonzero(np.isinf(numbers)))
        if feature not in self._rules or not present.size:
            return

        rule = self._rules[feature]
        values = transformed(rule, present)
        low, high = self._ends[feature]
        self._ends[feature] = min(low, float(values.min())), max(high, float(values.max()))
        if rule.kind == "numeric":
            read = (values - rule.mean) / rule.scale
            self._extreme[feature] += int(np.count_nonzero(np.abs(read) > EXTREME))

    def result(
        self, numbers: Mapping[str, Numbers], sample: Mapping[str, np.ndarray]
    ) -> dict[str, NumberSpread]:
        """Returns by feature how its numbers spread; of those with bounds, how many are infinite.

        Args:
            numbers: By table whose rule is fitted to numbers, what train has of them.
            sample: By feature, numbers of train rows, float64 (n,), NaN where missing.
        """
        spreads = {}
        for name, rows in self._rows.items():
            infinite = self._infinite[name]
            if name not in self._rules:
                spreads[name] = NumberSpread(rows, infinite, 0, 0.0, 0.0)
                continue
            found, rule = numbers.get(self._tables[name]), self._rules[name]
            mean, scale = (found.mean, found.scale) if found else (rule.mean, rule.scale)
            ends = np.array(self._ends[name])
            largest = float(np.abs((ends - mean) / scale).max()) if rows else 0.0

            drawn = sample.get(name, np.empty(0))
            drawn = transformed(rule, drawn[np.isfinite(drawn)])
            low, high = np.quantile(drawn, _MIDDLE) if drawn.size else (0.0, 0.0)
            middle = float((high - low) / scale)
            spreads[name] = NumberSpread(rows, infinite, self._extreme[name], largest, middle)
        return spreads


def transformed(rule: IdRule, numbers: np.ndarray) -> np.ndarray:
    """Returns numbers after a rule's transform, float64."""
    return np.log1p(np.maximum(numbers, 0.0)) if rule.transform == "log1p" else numbers
