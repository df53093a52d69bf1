"""Moving average of embedding tables, exact, at a cost that does not grow with the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

# Rows of a table that are brought up to date in one step: the whole would be copied some times.
_ROWS_AT_A_TIME = 2**16


class TableAverages:
    """a_t = d_t a_{t-1} + (1 - d_t) w_t of every row, computed when the row is about to change.

    From step s to step t a row w that no step updates has a_t = w + exp(D_t - D_s) (a_s - w), with
    D_t = sum_{i <= t} log d_i. A step brings the rows that it updates to the step before, and no
    others; `bring_up_to_date` brings all. Beside its average a row has one number, its D_s.

    Args:
        tables: Name -> table, float32 (rows, dimension).

    Attributes:
        state: Name -> variable; a checkpoint must hold them.
    """

    def __init__(self, tables: Mapping[str, tf.Variable]) -> None:
        self._tables = dict(tables)
        self.averages: dict[str, tf.Variable] = {}
        self._seen: dict[str, tf.Variable] = {}
        for name, table in tables.items():
            self.averages[name] = tf.Variable(table, trainable=False)
            zeros = tf.zeros(table.shape[0], tf.float64)
            self._seen[name] = tf.Variable(zeros, trainable=False)
        self._log_decay = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._name_of = {table.ref(): name for name, table in tables.items()}

    @property
    def state(self) -> dict[str, tf.Variable]:
        """Returns the variables; see the class."""
        if not self._tables:
            return {}
        averages = {f"average/{name}": average for name, average in self.averages.items()}
        seen = {f"average_seen/{name}": seen for name, seen in self._seen.items()}
        return averages | seen | {"average_log_decay": self._log_decay}

    def start(self) -> None:
        """Sets the averages to the tables, before a stage's first step."""
        for name, table in self._tables.items():
            self.averages[name].assign(table)
            self._seen[name].assign(tf.zeros_like(self._seen[name]))
        if self._tables:
            self._log_decay.assign(0.0)

    def before_update(self, gradients: Sequence[Any], variables: Sequence[tf.Variable]) -> None:
        """Takes in the rows that a step is about to update; called within the compiled step.

        Args:
            gradients: Of the variables: IndexedSlices, a tensor, or None where nothing is updated.
            variables: Tables among others.
        """
        rows = {}
        for gradient, variable in zip(gradients, variables, strict=True):
            name = self._name_of.get(variable.ref())
            if name is None or gradient is None:
                continue
            sparse = isinstance(gradient, tf.IndexedSlices)
            rows[name] = gradient.indices if sparse else tf.range(variable.shape[0])
        if rows:
            context = tf.distribute.get_replica_context()
            context.merge_call(self._on_replicas, args=(rows,))

    def after_step(self, log_decay: tf.Tensor) -> None:
        """Counts a step with the decay exp(`log_decay`), float64 ()."""
        if self._tables:
            self._log_decay.assign_add(log_decay)

    def bring_up_to_date(self) -> None:
        """Makes every row's average that after the last step."""
        strategy = tf.distribute.get_strategy()
        for name, table in self._tables.items():
            for first in range(0, table.shape[0], _ROWS_AT_A_TIME):
                rows = tf.range(first, min(first + _ROWS_AT_A_TIME, table.shape[0]))
                self._on_replicas(strategy, {name: rows})

    def _on_replicas(self, strategy: tf.distribute.Strategy, rows: Mapping[str, Any]) -> None:
        for name, touched in rows.items():
            others = (self._tables[name], self._seen[name], self._log_decay, touched)
            strategy.extended.update(self.averages[name], _move_rows, args=others)


def _move_rows(
    average: tf.Variable,
    table: tf.Variable,
    seen: tf.Variable,
    log_decay: tf.Tensor,
    rows: tf.Tensor,
) -> None:
    """Brings some rows up to date; a row may stand twice, as both times the same is written."""
    before, weights, since = (tf.gather(variable, rows) for variable in (average, table, seen))
    after = _moved(before, weights, since, log_decay)
    average.scatter_update(tf.IndexedSlices(after, rows))
    now = tf.fill(tf.shape(rows), tf.convert_to_tensor(log_decay))
    seen.scatter_update(tf.IndexedSlices(now, rows))


def _moved(
    average: tf.Tensor, weight: tf.Tensor, seen: tf.Tensor, log_decay: tf.Tensor
) -> tf.Tensor:
    """Returns averages after steps that left the weights alone, float32 (rows, dimension)."""
    share = tf.cast(tf.exp(log_decay - seen), tf.float32)[:, tf.newaxis]
    return weight + share * (average - weight)
