"""Moving average of weights over a stage's steps, which is what is measured and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf

_HALFWAY = 9  # the average forgets the start faster while fewer steps than this many are done


class WeightAverage:
    """a <- a + (1 - d_t) (w - a) after each step t = 1, 2, ..., with d_t = min(d, t / (t + 9)).

    The average of a weight that never moves is that weight, bit for bit. Embedding tables are
    not averaged: a step would access whole tables. Source: Polyak and Juditsky (1992); the rise of
    d_t is that of TensorFlow's ExponentialMovingAverage.

    Args:
        weights: Name -> weight that is averaged; none: nothing is done.
        decay: d, in [0, 1).

    Attributes:
        state: Name -> average; a checkpoint must hold them.
    """

    def __init__(self, weights: Mapping[str, tf.Variable], decay: float) -> None:
        self._weights, self._decay = dict(weights), decay
        self.state = {
            f"average/{name}": tf.Variable(weight, trainable=False)
            for name, weight in weights.items()
        }
        self._pairs = list(zip(self.state.values(), self._weights.values(), strict=True))
        self._update = tf.function(self._moved, autograph=False)

    def start(self) -> None:
        """Sets the averages to the weights, before a stage's first step."""
        for average, weight in self._pairs:
            average.assign(weight)

    def after_step(self, steps: int) -> None:
        """Takes in the weights of a step.

        Args:
            steps: Steps of the stage that are done, 1 or more.
        """
        if self._pairs:
            decay = min(self._decay, steps / (steps + _HALFWAY))
            self._update(tf.constant(1.0 - decay, tf.float32))

    def _moved(self, share: tf.Tensor) -> None:
        for average, weight in self._pairs:
            average.assign_sub(share * (average - weight))

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Has the network compute with the averages for a while."""
        if not self._pairs:
            yield
            return
        weights = [weight.numpy() for _, weight in self._pairs]
        try:
            for average, weight in self._pairs:
                weight.assign(average)
            yield
        finally:
            for (_, weight), value in zip(self._pairs, weights, strict=True):
                weight.assign(value)
