"""Moving average of weights over a stage's steps, which is what is measured and kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from lt4rec_tf.training.in_place import set_value, value_of
from lt4rec_tf.training.table_average import TableAverages

_HALFWAY = 9  # the average forgets the start faster while fewer steps than this many are done


class WeightAverage:
    """a <- a + (1 - d_t) (w - a) after each step t = 1, 2, ..., with d_t = min(d, t / (t + 9)).

    The average of a weight that never moves is that weight, bit for bit. Rows of embedding tables
    have the same average, see `TableAverages`. Source: Polyak and Juditsky (1992); the rise of d_t
    is that of TensorFlow's ExponentialMovingAverage.

    Args:
        weights: Name -> weight that is averaged, embedding tables aside; none: nothing is done.
        decay: d, in [0, 1).
        tables: Name -> embedding table that is averaged.

    Attributes:
        state: Name -> variable; a checkpoint must hold them.
    """

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        decay: float,
        tables: Mapping[str, tf.Variable] | None = None,
    ) -> None:
        self._decay, tables = decay, tables or {}
        averages = {name: tf.Variable(weight, trainable=False) for name, weight in weights.items()}
        self._dense = list(zip(averages.values(), weights.values(), strict=True))
        self._tables = TableAverages(tables)
        of_tables = list(zip(self._tables.averages.values(), tables.values(), strict=True))
        self._pairs = self._dense + of_tables
        self.state = {f"average/{name}": average for name, average in averages.items()}
        self.state |= self._tables.state
        self._update = tf.function(self._moved, autograph=False)

    def start(self) -> None:
        """Sets the averages to the weights, before a stage's first step."""
        for average, weight in self._dense:
            average.assign(weight)
        self._tables.start()

    def before_update(self, gradients: Sequence[Any], variables: Sequence[tf.Variable]) -> None:
        """Takes in what a step is about to update; see `TableAverages.before_update`."""
        self._tables.before_update(gradients, variables)

    def after_step(self, steps: int) -> None:
        """Takes in the weights of a step.

        Args:
            steps: Steps of the stage that are done, 1 or more.
        """
        if self._pairs:
            decay = min(self._decay, steps / (steps + _HALFWAY))
            share = tf.constant(1.0 - decay, tf.float32)
            self._update(share, tf.constant(math.log(decay), tf.float64))

    def _moved(self, share: tf.Tensor, log_decay: tf.Tensor) -> None:
        for average, weight in self._dense:
            average.assign_sub(share * (average - weight))
        self._tables.after_step(log_decay)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Has the network compute with the averages for a while; the averages hold the weights."""
        self._tables.bring_up_to_date()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for average, weight in self._pairs:
            of_weight, of_average = value_of(weight), value_of(average)
            set_value(weight, of_average)
            set_value(average, of_weight)
