"""Mean, deviation and quantiles of numbers in train, for rules fitted to them; bounded memory."""

from __future__ import annotations

import numpy as np

from lt4rec_tf.data.audit import quantiles
from lt4rec_tf.data.audit.number_spreads import transformed
from lt4rec_tf.data.audit.vocabulary_counts import TrainValues
from lt4rec_tf.data.input.even_sample import EvenSample
from lt4rec_tf.schema.numbers import Numbers, fitted_rules, numbers_of
from lt4rec_tf.schema.types import Schema

_COUNTED = 65_536  # distinct numbers that are all counted; of more a sample is kept
_SAMPLED = 131_072  # a quantile of so many is off by .14 % of the rows, as its standard deviation
_SEED = 0x6E756D62657273  # no usual one, see `EvenSample`


class Moments:
    """Mean and standard deviation of a stream, summed by parts.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances (Stanford STAN-CS-79-773), Eq. 2.1.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0  # of distances to the mean

    def add(self, numbers: np.ndarray) -> None:
        """Adds numbers, float64 (n,)."""
        if not len(numbers):
            return
        mean = float(numbers.mean())
        squares = float(np.square(numbers - mean).sum())
        total = self.count + len(numbers)
        distance = mean - self.mean
        self._squares += squares + distance**2 * self.count * len(numbers) / total
        self.mean += distance * len(numbers) / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The root of the mean squared distance to the mean; 0 without numbers."""
        return float(np.sqrt(self._squares / max(1, self.count)))


class Distribution:
    """The values of a stream: all with their counts while they are few, else an even sample.

    Args:
        counted: The most distinct values that are all counted.
        sampled: The size of the sample.
    """

    def __init__(self, counted: int = _COUNTED, sampled: int = _SAMPLED) -> None:
        self._values: TrainValues | None = TrainValues(counted)
        self._sample = EvenSample(sampled, _SEED)

    def add(self, numbers: np.ndarray) -> None:
        """Adds numbers, float64 (n,)."""
        self._sample.add(numbers)
        if self._values is not None:
            self._values.add((numbers + 0.0).view(np.int64))  # by their bits: -0.0 becomes 0.0
            if self._values.dropped:
                self._values = None

    def result(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Returns rising values, their counts, and whether they are a sample."""
        if self._values is not None:
            bits, counts = self._values.result()
            if not self._values.dropped:
                values = bits.view(np.float64)
                order = np.argsort(values)
                return values[order], counts[order], False
        values, counts = np.unique(self._sample.numbers, return_counts=True)
        return values, counts, True


class NumberCounts:
    """Counts the numbers of all tables whose rules are fitted to them.

    Args:
        schema: Its features; what an earlier run found of a table stays.
    """

    def __init__(self, schema: Schema) -> None:
        self._earlier = numbers_of(schema)
        self._rules = {
            table: rule
            for table, rule in fitted_rules(schema).items()
            if table not in self._earlier
        }
        self._table_of = {f.name: f.table for f in schema.features if f.table in self._rules}
        self._moments = {table: Moments() for table in self._rules}
        self._distributions = {
            table: Distribution() for table, rule in self._rules.items() if rule.bins
        }

    def add(self, feature: str, numbers: np.ndarray) -> None:
        """Adds the numbers of train rows, float64 (n,), NaN where missing, of any feature."""
        table = self._table_of.get(feature)
        if table is None:
            return
        present = numbers[np.isfinite(numbers)]
        self._moments[table].add(transformed(self._rules[table], present))
        if table in self._distributions:
            self._distributions[table].add(present)

    def fit(self) -> dict[str, Numbers]:
        """Returns by table what was found."""
        found = {}
        for table, rule in self._rules.items():
            moments = self._moments[table]
            edges: tuple[float, ...] = ()
            estimated = False
            if table in self._distributions:
                values, counts, estimated = self._distributions[table].result()
                cut = quantiles.boundaries if rule.kind == "quantiles" else quantiles.edges
                edges = cut(values, counts, rule.bins)
            found[table] = Numbers(moments.count, moments.mean, moments.deviation, edges, estimated)
        return self._kept() | found

    def _kept(self) -> dict[str, Numbers]:
        """Returns what an earlier run found."""
        return {
            table: Numbers(n.count, n.mean, n.deviation, n.edges, n.estimated, earlier=True)
            for table, n in self._earlier.items()
        }
