"""The events of a user's past that count: those that there are, or those nearest to a candidate.

Only events that there are are looked up: a step costs what a batch's events cost, not what the
longest list would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lt4rec_tf.schema.events import EventSequence


@dataclass(frozen=True)
class Events:
    """The events of a batch, one row's after another's, newest first.

    Attributes:
        rows: int64 (events,), the row of each, rising; each row has one at least.
        places: int64 (events, 2), row and position of each.
        real: bool (events,); one that is not stands for an empty list, alone in its row.
        ids: By list, int64 (events,).
        shape: int64 (2,), the number of rows and of positions.
    """

    rows: tf.Tensor
    places: tf.Tensor
    real: tf.Tensor
    ids: tuple[tf.Tensor, ...]
    shape: tf.Tensor


def aligned_ids(sequence: EventSequence, ids: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Returns the ids of a sequence's lists, int64 (rows, positions) each, equally long.

    Shorter lists are padded with 0: a request may hold lists of several lengths.
    """
    lists = [ids[feature.name] for feature in sequence.lists]
    if len(lists) == 1:
        return lists
    longest = tf.reduce_max(tf.stack([tf.shape(values)[1] for values in lists]))
    return [tf.pad(v, [[0, 0], [0, longest - tf.shape(v)[1]]]) for v in lists]


def are_real(lists: Sequence[tf.Tensor]) -> tf.Tensor:
    """Tells which positions hold an event, bool in the lists' shape: any has a value there."""
    return tf.reduce_any(tf.stack([values > 0 for values in lists]), axis=0)


def stand_ins(real: tf.Tensor) -> tf.Tensor:
    """Tells which positions stand for an empty list: its first one.

    >>> stand_ins(tf.constant([[False, False], [False, True]])).numpy().tolist()
    [[True, False], [False, False]]

    Args:
        real: bool (rows, positions): there is an event.
    """
    is_empty = ~tf.reduce_any(real, axis=1, keepdims=True)
    return is_empty & (tf.range(tf.shape(real)[1]) == 0)


def events_of(lists: Sequence[tf.Tensor]) -> Events:
    """Returns the events of lists that are equally long.

    >>> videos, ages = tf.constant([[5, 0, 7], [0, 0, 0]]), tf.constant([[1, 2, 0], [0, 0, 0]])
    >>> events = events_of([videos, ages])
    >>> events.rows.numpy().tolist(), events.real.numpy().tolist()
    ([0, 0, 0, 1], [True, True, True, False])
    >>> [ids.numpy().tolist() for ids in events.ids]
    [[5, 0, 7, 0], [1, 2, 0, 0]]

    Args:
        lists: Ids, (rows, positions) each, at least one position.
    """
    real = are_real(lists)
    places = tf.where(real | stand_ins(real))
    return Events(
        rows=places[:, 0],
        places=places,
        real=tf.gather_nd(real, places),
        ids=tuple(tf.gather_nd(values, places) for values in lists),
        shape=tf.shape(real, out_type=tf.int64),
    )


def same_value(compared: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Tells which events have a candidate's value, as likeness of 1 or 0.

    Source: the hard search of SIM (arXiv 2006.05639, section 3.2).

    Args:
        compared: Ids of the events, (rows, positions).
        candidates: Ids of what they are compared with, (rows, candidates).

    Returns:
        float32 (rows, candidates, positions).
    """
    return tf.cast(compared[:, tf.newaxis] == candidates[:, :, tf.newaxis], tf.float32)


def nearest(most: int, lists: Sequence[tf.Tensor], likeness: tf.Tensor) -> list[tf.Tensor]:
    """Returns the events of the greatest likeness to each candidate; of equals the newest.

    >>> (videos,) = nearest(2, [tf.constant([[5, 6, 7, 0]])], tf.constant([[[0.0, 1.0, 1.0, 2.0]]]))
    >>> videos.numpy().tolist()
    [[[6, 7]]]

    Args:
        most: How many.
        lists: Ids, (rows, positions) each, newest first.
        likeness: float32 (rows, candidates, positions), 0 or more.

    Returns:
        By list, ids (rows, candidates, `most`, or all positions where these are fewer).
    """
    positions = tf.shape(lists[0])[1]
    order = tf.where(are_real(lists)[:, tf.newaxis], likeness, -1.0)
    # Of equal numbers top_k gives the one that comes first.
    _, places = tf.math.top_k(order, tf.minimum(most, positions))
    return [tf.gather(values, places, batch_dims=1) for values in lists]


def hash_planes(width: int, bits: int) -> np.ndarray:
    """Returns the planes of a locality-sensitive hash, float32 (width, bits), always the same.

    The hashes of two vectors agree in a bit with chance 1 - angle / pi. Source: ETA (arXiv
    2108.04468, section 4.2).
    """
    return np.random.default_rng(0).standard_normal((width, bits)).astype(np.float32)
