"""Rules of numbers that an audit has fitted to train, applied in graph to many features at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lt4rec_tf.schema.numbers import Numbers
from lt4rec_tf.schema.types import IdRule


def standardised(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    """Returns (transform(x) - mean) / deviation, both of train.

    Args:
        rules: Of the features, with one transform.
        values: float64 (..., features).
    """
    found = found_of(rules)
    numbers = values
    if rules[0].transform == "log1p":
        numbers = tf.math.log1p(tf.maximum(numbers, 0.0))
    means = tf.constant([numbers_of_one.mean for numbers_of_one in found], tf.float64)
    scales = tf.constant([numbers_of_one.scale for numbers_of_one in found], tf.float64)
    return (numbers - means) / scales


def quantile_ids(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    """Returns the ids of bins: 1 + the number of boundaries that are not above a value.

    Args:
        rules: Of the features.
        values: float64 (..., features); of NaN any id is returned.

    Returns:
        int64 (..., features).
    """
    return 1 + not_above([found.edges for found in found_of(rules)], values)


def positions(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    """Returns where values lie among the bins of train: bins below, and the share of their own.

    For b_t <= x <= b_{t+1} that is t + (x - b_t) / (b_{t+1} - b_t), of which each element of a
    piecewise linear encoding is a part, see `models.layers.piecewise.encoding`. Values outside b_0
    to b_T count as the nearest of these.

    Args:
        rules: Of the features.
        values: float64 (..., features); of NaN any position is returned.

    Returns:
        float64 (..., features), in [0, T].
    """
    # A table with one number in train, or none, has no bin: all lie at its beginning.
    ends = [(*found.edges, *(0.0,) * (1 - len(found.edges))) for found in found_of(rules)]
    first = tf.constant([edges[0] for edges in ends], tf.float64)
    last = tf.constant([edges[-1] for edges in ends], tf.float64)
    # NaN, which has no place, would be taken from behind the edges.
    inside = tf.clip_by_value(tf.where(tf.math.is_nan(values), first, values), first, last)

    bins = not_above([edges[1:-1] for edges in ends], inside)
    lows = tf.constant(_padded([edges[:-1] or edges for edges in ends]))
    highs = tf.constant(_padded([edges[1:] or edges for edges in ends]))
    low, high = _taken(lows, bins), _taken(highs, bins)
    share = tf.math.divide_no_nan(inside - low, high - low)
    return tf.cast(bins, tf.float64) + share


def not_above(edges: Sequence[Sequence[float]], values: tf.Tensor) -> tf.Tensor:
    """Returns by value the number of its feature's edges that are not above it.

    Args:
        edges: By feature, in rising order.
        values: float32 or float64 (..., features), in whose precision edges are compared.

    Returns:
        int64 (..., features).
    """
    by_feature = tf.transpose(tf.reshape(values, [-1, len(edges)]))
    rows_of_edges = tf.constant(_padded(edges), values.dtype)
    counts = tf.raw_ops.UpperBound(
        sorted_inputs=rows_of_edges, values=by_feature, out_type=tf.int64
    )
    return tf.reshape(tf.transpose(counts), tf.shape(values))


def found_of(rules: Sequence[IdRule]) -> list[Numbers]:
    """Returns what the audit found for rules.

    Raises:
        ValueError: A rule was not fitted yet.
    """
    found = [rule.numbers for rule in rules if rule.numbers is not None]
    if len(found) < len(rules):
        raise ValueError(
            f"found a rule {rules[0].kind} without numbers of train, expected an audited schema"
        )
    return found


def _padded(edges: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns edges as rows of one length, at least 1; what is added is above all numbers."""
    length = max(1, *map(len, edges))
    rows = np.full((len(edges), length), np.inf)
    for row, of_feature in zip(rows, edges, strict=True):
        row[: len(of_feature)] = of_feature
    return rows


def _taken(edges: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Takes an edge of its feature, (features, edges), for each place, (..., features)."""
    features, length = edges.shape
    offsets = tf.range(features, dtype=tf.int64) * length
    return tf.gather(tf.reshape(edges, [-1]), places + offsets)
