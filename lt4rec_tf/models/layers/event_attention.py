"""Attention of candidates to the events of a user's past: DIN's activation unit.

Each candidate c weighs each event e_i by a small network of both:

    x'      = x / (rms(x) + .01)  of each vector x
    a(e, c) = u . relu(e' A + c' B + (e' * c') C + b) + v
    pooled  = 1/n sum_i a(e_i, c) e_i

Rows of tables become a hundred times as long as they begin: x' lets the unit learn from the start,
and hears little in rows that were never trained. With e' A and c' B of their own this is a first
layer on [e', c', e' - c', e' * c']: e' - c' adds no direction to those of e' and c'. v begins at 1:
attention begins near the mean. Without softmax, the share of a user's events that are like the
candidate is kept (Zhou et al. 2018, arXiv 1706.06978, section 4.3); divided by n, no sum grows with
the length of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.event_fields import stand_ins
from lt4rec_tf.models.layers.event_parameters import (
    Draw,
    is_hidden_kernel,
    parameter_shapes,
    start_of,
)
from lt4rec_tf.tickets.masks import as_numbers

_UNTRAINED = 0.01  # rms of a vector that counts half
_TINY = 1e-12

Parameters = Mapping[str, tf.Tensor]  # by name, what an activation unit computes with


class EventAttention(keras.layers.Layer):
    """Pools a user's events for each candidate.

    An event is `lists` vectors side by side, a candidate is the vectors that some of these are
    compared with. Each list is pooled by the same weights to a field vector of its own.

    Tasks may wear a mask on each hidden kernel, 0 or 1 for each weight; biases and the last layer,
    by which a cut unit would differ from one without inputs, stay whole.

    Attributes:
        parameters: Its trained variables by name.
        masks: Task -> kernel -> its mask, ones at the start; none where no task wears one.

    Args:
        lists: Vectors of an event.
        compared: Places of the event's vectors with which the candidate's are multiplied.
        dimension: Length of a vector.
        units: Widths of the hidden layers of the activation unit, one or more.
        softmax: Whether the weights of a candidate are positive and sum to 1.
        draw: A variable's name -> what draws it.
        wearers: Tasks that wear masks.
    """

    def __init__(
        self,
        lists: int,
        compared: Sequence[int],
        dimension: int,
        units: Sequence[int],
        *,
        softmax: bool,
        draw: Draw,
        wearers: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self._compared, self._softmax = tuple(compared), softmax
        self._depth = len(units)
        shapes = parameter_shapes(lists, len(compared), dimension, units)
        self.parameters = {
            name: self.add_weight(name=name, shape=shape, initializer=start_of(name, draw))
            for name, shape in shapes.items()
        }
        self.masks = {task: self._masks_of_ones(task) for task in wearers}

    @property
    def masked(self) -> tuple[str, ...]:
        """Returns the names of the kernels that tasks mask."""
        return tuple(next(iter(self.masks.values()), ()))

    def _masks_of_ones(self, task: str) -> dict[str, tf.Variable]:
        """Adds a task's masks, which cut nothing."""
        hidden = [name for name in self.parameters if is_hidden_kernel(name)]
        return {
            name: self.add_weight(
                name=f"{task}.{name}.mask",
                shape=self.parameters[name].shape,
                initializer="ones",
                trainable=False,
            )
            for name in hidden
        }

    def worn_by(self, task: str) -> Parameters:
        """Returns what a task's unit computes with: W * M for each kernel that it masks."""
        masks = self.masks[task]
        return {
            name: value * masks[name] if name in masks else value
            for name, value in self.parameters.items()
        }

    def set_mask(self, task: str, kernel: str, mask: np.ndarray) -> None:
        """Sets a task's mask of a kernel.

        Args:
            task: One of the wearers.
            kernel: Name of a hidden kernel.
            mask: (inputs, units), bool or 0/1; 1 keeps a weight.

        Raises:
            ValueError: The shape is not the kernel's, or a value is neither 0 nor 1.
        """
        shape = tuple(self.parameters[kernel].shape)
        self.masks[task][kernel].assign(as_numbers(mask, shape, kernel))

    def of_rows(
        self,
        events: tf.Tensor,
        rows: tf.Tensor,
        real: tf.Tensor,
        candidates: tf.Tensor,
        worn: Parameters | None = None,
    ) -> tf.Tensor:
        """Pools the events of each row, which has one candidate.

        The cost is that of the events that there are, whatever the longest list.

        Args:
            events: float32 (events, lists, dimension), of all rows one after another.
            rows: int64 (events,): the row of each event, rising; each row has one at least.
            real: bool (events,); one that is not stands alone in its row, for an empty list.
            candidates: float32 (rows, compared, dimension).
            worn: What it computes with, see `worn_by`; None: its parameters as they are.

        Returns:
            float32 (rows, lists, dimension).
        """
        worn = worn or self.parameters
        heard, candidates = evened(events), evened(candidates)
        known = _of_candidates_alone(candidates, worn)
        products = self._compared_of(heard) * spread(candidates, rows)
        first = _of_events_alone(heard, worn) + spread(known, rows)
        first += tf.matmul(_flat(products), worn["product_kernel"])

        logits = self._above(first, worn)
        if self._softmax:
            largest = tf.math.segment_max(tf.stop_gradient(logits), rows)
            powers = tf.exp(logits - tf.gather(largest, rows))
            weights = powers / spread(tf.math.segment_sum(powers, rows), rows)
        else:
            counts = tf.math.segment_sum(tf.ones_like(rows, tf.float32), rows)
            weights = logits / tf.gather(counts, rows)
        weights = tf.where(real, weights, 1.0)
        pooled = tf.math.segment_sum(weights[:, tf.newaxis] * _flat(events), rows)
        return tf.reshape(pooled, [-1, *events.shape[1:]])

    def of_candidates(
        self,
        events: tf.Tensor,
        real: tf.Tensor,
        candidates: tf.Tensor,
        worn: Parameters | None = None,
    ) -> tf.Tensor:
        """Pools the events of each request for all its candidates, by one batched product.

        Args:
            events: float32 (requests, events, lists, dimension).
            real: bool (requests, events); the first event of an empty list stands for it.
            candidates: float32 (requests, candidates, compared, dimension).
            worn: As `of_rows` takes it.

        Returns:
            float32 (requests, candidates, lists, dimension).
        """
        worn = worn or self.parameters
        flat = tf.reshape(events, [*leading(events), -1])
        shape = leading(candidates)
        heard, candidates = evened(events), evened(candidates)
        known = _of_candidates_alone(candidates, worn)
        known = tf.reshape(known, [*shape, 1, known.shape[-1]])
        first = _of_events_alone(heard, worn)
        first = tf.reshape(first, [shape[0], 1, -1, first.shape[-1]]) + known
        first += self._products(heard, candidates, worn)

        logits = self._above(first, worn)
        is_real = real[:, tf.newaxis]
        if self._softmax:
            weights = tf.nn.softmax(tf.where(is_real, logits, logits.dtype.min))
        else:
            counts = tf.reduce_sum(tf.cast(real, tf.float32), axis=1)
            weights = logits / tf.maximum(counts, 1.0)[:, tf.newaxis, tf.newaxis]
        of_empty = tf.cast(stand_ins(real), tf.float32)
        weights = tf.where(is_real, weights, of_empty[:, tf.newaxis])
        pooled = tf.matmul(weights, flat)
        return tf.reshape(pooled, [*shape, *events.shape[2:]])

    def _compared_of(self, events: tf.Tensor) -> tf.Tensor:
        """Picks the vectors that candidates are compared with, (events, compared, dimension)."""
        if self._compared == tuple(range(len(self._compared))):
            return events[:, : len(self._compared)]
        return tf.gather(events, self._compared, axis=1)

    def _products(self, events: tf.Tensor, candidates: tf.Tensor, worn: Parameters) -> tf.Tensor:
        """Returns (e * c) C of every pair, float32 (requests, candidates, events, units)."""
        # c * C once a candidate, then one product with all events.
        width = candidates.shape[2] * candidates.shape[3]
        requests, count = leading(candidates)
        scaled = tf.reshape(candidates, [requests, count, width, 1]) * worn["product_kernel"]
        compared = tf.gather(events, self._compared, axis=2)
        compared = tf.reshape(compared, [requests, 1, -1, width])
        return tf.matmul(compared, scaled)

    def _above(self, first: tf.Tensor, worn: Parameters) -> tf.Tensor:
        """Returns a(e, c) of the first layer's sums: their shape without the last axis."""
        shape = tf.shape(first)[:-1]
        hidden = tf.nn.relu(tf.reshape(first, [-1, first.shape[-1]]))
        for depth in range(1, self._depth):
            product = tf.matmul(hidden, worn[f"kernel_{depth}"])
            hidden = tf.nn.relu(product + worn[f"bias_{depth}"])
        output = tf.matmul(hidden, worn["output_kernel"])
        return tf.reshape(output + worn["output_bias"], shape)


def evened(vectors: tf.Tensor) -> tf.Tensor:
    """Returns vectors of about one length: x / (rms(x) + .01) over the last axis.

    >>> evened(tf.constant([[3.0, -3.0], [0.01, 0.01], [0.0, 0.0]])).numpy().round(2).tolist()
    [[1.0, -1.0], [0.5, 0.5], [0.0, 0.0]]
    """
    squares = tf.reduce_mean(tf.square(vectors), axis=-1, keepdims=True)
    # The root has no slope at 0.
    return vectors / (tf.sqrt(squares + _TINY) + _UNTRAINED)


@tf.custom_gradient
def spread(values: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """Returns each event's row of some values, as `tf.gather` does.

    Its gradient is summed row by row, which takes a third of the time of a sum in any order.

    Args:
        values: (rows, ...).
        rows: int64 (events,), rising; each row is there.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.math.segment_sum(upstream, rows), None

    return tf.gather(values, rows), gradient


def _of_events_alone(events: tf.Tensor, worn: Parameters) -> tf.Tensor:
    width = events.shape[-2] * events.shape[-1]
    return tf.matmul(tf.reshape(events, [-1, width]), worn["event_kernel"])


def _of_candidates_alone(candidates: tf.Tensor, worn: Parameters) -> tf.Tensor:
    width = candidates.shape[-2] * candidates.shape[-1]
    flat = tf.reshape(candidates, [-1, width])
    return tf.matmul(flat, worn["candidate_kernel"]) + worn["bias_0"]


def _flat(vectors: tf.Tensor) -> tf.Tensor:
    _, count, dimension = vectors.shape
    return tf.reshape(vectors, [-1, count * dimension])


def leading(tensor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the sizes of the first two axes."""
    first, second = tf.unstack(tf.shape(tensor)[:2])
    return first, second
