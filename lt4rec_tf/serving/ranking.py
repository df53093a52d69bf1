"""The signature `rank`: one request, many candidates, LT4REC's Eq. 3.

    score = prod_t p_t ** a_t * length ** c

User and context features have shape (requests,), multi-valued ones (requests, values). Item
features have one dimension more: (requests, candidates) and (requests, candidates, values); where
requests have different numbers of candidates, the shorter lists are padded with anything, and what
comes back for padding is ignored. Outputs are float32 (requests, candidates). All tensors share
their first dimension, as TensorFlow Serving's row form and its batching want.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from lt4rec_tf.config import ConfigError, by_task
from lt4rec_tf.data.features import raw_specs
from lt4rec_tf.schema import Feature, Schema
from lt4rec_tf.serving.split import Sides
from lt4rec_tf.training.evaluation import chained_tasks


@dataclass(frozen=True)
class Ranking:
    """How candidates are scored.

    Attributes:
        exponents: Task -> a_t; a task that is not named does not count.
        length: The input that holds each candidate's length; empty: none.
        length_exponent: c.
        extra_input: `length` where it is no feature of the schema; empty where it is one.
    """

    exponents: Mapping[str, float]
    length: str = ""
    length_exponent: float = 0.0
    extra_input: str = ""


def ranking_of(
    schema: Schema, exponents: Sequence[str], length: str, length_exponent: float
) -> Ranking | None:
    """What flags say about the rank score.

    Args:
        schema: With the tasks that are served.
        exponents: "task=exponent" each; none: 1 for a pair of chained tasks, or else for all.
        length: An item feature that is a number, or the duration column of a ratio label, or "".
        length_exponent: Of the length.

    Returns:
        None where no request can be parted: all features are items', or none is.

    Raises:
        ConfigError: An unknown task, an exponent that is no number above 0, an unknown length.
    """
    sides = sides_of(schema)
    if not sides.asking or not sides.ranked:
        return None
    tasks = [task.name for task in schema.tasks]
    chained = chained_tasks(schema, tasks)
    found = dict.fromkeys(chained[0] if chained else tasks, 1.0)
    if exponents:
        found = by_task("rank_exponents", exponents, tasks, float, "an exponent")
    if not length:
        return Ranking(found)
    if any(f.name == length and f.side == "item" and _is_number(f) for f in schema.features):
        return Ranking(found, length, length_exponent)
    durations = [label.duration for label in schema.labels if label.duration]
    if length not in durations or length in [feature.name for feature in schema.features]:
        numbers = [f.name for f in schema.features if f.side == "item" and _is_number(f)]
        raise ConfigError(
            f"--length_feature: found {length!r}, expected a numeric item feature or a label's "
            f"duration, here {', '.join([*numbers, *durations]) or 'none'}"
        )
    return Ranking(found, length, length_exponent, extra_input=length)


def _is_number(feature: Feature) -> bool:
    return feature.dtype != "string" and not feature.multivalued


def sides_of(schema: Schema) -> Sides:
    """Which fields a request says once, and which of every candidate."""
    ranked = [place for place, f in enumerate(schema.features) if f.side == "item"]
    asking = [place for place, f in enumerate(schema.features) if f.side != "item"]
    return Sides(tuple(asking), tuple(ranked))


def rank_specs(schema: Schema, ranking: Ranking) -> dict[str, tf.TensorSpec]:
    """The inputs of `rank` by name."""
    specs = raw_specs(schema)
    for feature in schema.features:
        if feature.side == "item":
            spec = specs[feature.name]
            specs[feature.name] = tf.TensorSpec((None, *spec.shape), spec.dtype, feature.name)
    if ranking.extra_input:
        specs[ranking.extra_input] = tf.TensorSpec((None, None), tf.float32, ranking.extra_input)
    return specs


def score(
    ranking: Ranking, chances: Mapping[str, tf.Tensor], raw: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Eq. 3, float32 (requests, candidates); 0 where the length is no positive, finite number.

    Args:
        ranking: Exponents.
        chances: Task -> probabilities.
        raw: The request's inputs.
    """
    found = tf.ones_like(next(iter(chances.values())))
    for task, exponent in ranking.exponents.items():
        found *= tf.pow(chances[task], tf.cast(exponent, found.dtype))
    if ranking.length:
        length = tf.cast(raw[ranking.length], found.dtype)
        known = tf.math.is_finite(length) & (length > 0)
        power = tf.pow(tf.where(known, length, 1.0), tf.cast(ranking.length_exponent, found.dtype))
        found = tf.where(known, found * power, 0.0)
    return tf.cast(found, tf.float32)
