"""The signature `rank`: one request, many candidates, LT4REC's Eq. 3 or an expression of one's own.

    score = prod_t p_t ** a_t * length ** c

Where the tasks t are of several scenarios, each counts for the candidates of its own alone, and
candidates of none have the score 0.

User and context features have shape (requests,), multi-valued ones (requests, values). Item
features have one dimension more: (requests, candidates) and (requests, candidates, values); where
requests have different numbers of candidates, the shorter lists are padded with anything, and what
comes back for padding is ignored. Outputs are float32 (requests, candidates). All tensors share
their first dimension, as TensorFlow Serving's row form and its batching want.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import tensorflow as tf

from lt4rec_tf.core.flags import ConfigError, by_name
from lt4rec_tf.data.input.features import raw_specs
from lt4rec_tf.schema.types import Feature, Schema, Task, chained_tasks
from lt4rec_tf.serving.expression import (
    INSIDE,
    LARGEST,
    Expression,
    names_in,
    parse_expression,
    value_of,
)
from lt4rec_tf.serving.reads import Sides
from lt4rec_tf.serving.scenarios import Scenarios, conditions_by_task, is_inside

LENGTH = "length"  # as which an expression reads the length, whatever its input is called
# Replaces NaN and infinity, which JSON cannot represent: finite, and below every other score.
LOWEST = -LARGEST


@dataclass(frozen=True)
class Ranking:
    """How candidates are scored.

    Attributes:
        exponents: Task -> a_t; a task that is not named does not count; none with an expression.
        length: The input that holds each candidate's length; empty: none.
        length_exponent: c.
        extra_input: `length` where it is no feature of the schema; empty where it is one.
        expression: Scores instead of Eq. 3; None: Eq. 3 does.
        scores_alone: `rank` answers scores and no task's predictions.
        scenarios: By task that counts for some candidates alone, the conditions of these; empty:
            all candidates are scored alike.
    """

    exponents: Mapping[str, float]
    length: str = ""
    length_exponent: float = 0.0
    extra_input: str = ""
    expression: Expression | None = None
    scores_alone: bool = False
    scenarios: Scenarios = field(default_factory=dict)


def ranking_of(
    schema: Schema,
    exponents: Sequence[str],
    length: str,
    length_exponent: float,
    expression: str = "",
) -> Ranking | None:
    """Builds the rank score from its flags.

    Args:
        schema: With the tasks that are served.
        exponents: "task=exponent" each; none: those of `default_tasks`, 1 each.
        length: An item feature that is a number, or the duration column of a ratio label, or "".
        length_exponent: Of the length; 1 with an expression, which has its own.
        expression: Scores instead of Eq. 3, from the tasks and, where one is given, `length`; "":
            Eq. 3 does.

    Returns:
        None where a request has no two sides: all features are items', or none is.

    Raises:
        ConfigError: An unknown task, an exponent that is no number above 0, an unknown length; an
            expression that cannot be read, stands beside exponents, misses its length or leaves
            it unread, or scores where there is no `rank`.
        UnknownScenarioError: The tasks are of several scenarios, and no feature tells which one is
            a candidate's.
    """
    sides = sides_of(schema)
    if not sides.asking or not sides.ranked:
        if expression:
            raise ConfigError(
                "--rank_expression: expected none: all features are items' or none is, so that "
                "there is no signature rank"
            )
        return None

    if expression:
        written = _written(schema, exponents, length, length_exponent, expression)
        chosen = [name.removeprefix(INSIDE) for name in names_in(written) if INSIDE in name]
        scenarios = conditions_by_task(schema, chosen, "rank_expression")
        return _with_length(
            schema, Ranking({}, expression=written, scenarios=scenarios), length, 0.0
        )

    exponent_by_task = dict.fromkeys(default_tasks(schema), 1.0)
    if exponents:
        tasks = [task.name for task in schema.tasks]
        exponent_by_task = by_name("rank_exponents", exponents, tasks, float, "an exponent")
    scenarios = _scenarios(schema, [*exponent_by_task])
    return _with_length(
        schema, Ranking(exponent_by_task, scenarios=scenarios), length, length_exponent
    )


def default_tasks(schema: Schema) -> list[str]:
    """Returns the tasks by which candidates are scored where no flag names any.

    These are a pair of chained tasks, or else all. Of scenarios these are the pair or all tasks of
    each; tasks of none stand for all rows, and go first.
    """
    groups: list[list[Task]] = []
    for task in schema.tasks:
        group = next((group for group in groups if group[0].shares_scenario(task)), [])
        if not group:
            groups.append(group)
        group.append(task)

    default: list[str] = []
    for group in [group for group in groups if not group[0].where] or groups:
        names = [task.name for task in group]
        chained = chained_tasks(schema, names)
        default += chained[0] if chained else names
    return default


def _scenarios(schema: Schema, names: Sequence[str]) -> Scenarios:
    """Returns the conditions of tasks that are of several scenarios; of one, none are needed."""
    tasks = [schema.task(name) for name in names]
    if all(task.shares_scenario(tasks[0]) for task in tasks):
        return {}
    return conditions_by_task(schema, [task.name for task in tasks if task.where], "rank_exponents")


def _written(
    schema: Schema, exponents: Sequence[str], length: str, length_exponent: float, text: str
) -> Expression:
    if exponents:
        raise ConfigError(
            f"--rank_exponents: found {','.join(exponents)}, expected none with "
            "--rank_expression, which scores instead of Eq. 3"
        )
    if length_exponent != 1:
        raise ConfigError(
            f"--length_exponent: found {length_exponent}, expected 1 with --rank_expression: "
            f"write {LENGTH} ** {length_exponent} there"
        )

    tasks = [task.name for task in schema.tasks]
    of_scenarios = [task.name for task in schema.tasks if task.where]
    expression = parse_expression(text, list(dict.fromkeys([*tasks, LENGTH])), of_scenarios)
    # A task named LENGTH takes the name: then no length can be read.
    read = LENGTH in names_in(expression) and LENGTH not in tasks
    if read and not length:
        raise ConfigError(
            f"--rank_expression: found {LENGTH!r}, expected --length_feature beside it, which "
            f"says where the length is found, or one of the names {', '.join(tasks)}"
        )
    if length and not read:
        raise ConfigError(
            f"--length_feature: found {length!r}, expected none: --rank_expression does not "
            f"read {LENGTH}"
        )
    return expression


def _with_length(schema: Schema, ranking: Ranking, length: str, exponent: float) -> Ranking:
    if not length:
        return ranking
    with_length = replace(ranking, length=length, length_exponent=exponent)
    if any(f.name == length and f.side == "item" and _is_number(f) for f in schema.features):
        return with_length

    durations = [label.duration for label in schema.labels if label.duration]
    if length not in durations or length in [feature.name for feature in schema.features]:
        numbers = [f.name for f in schema.features if f.side == "item" and _is_number(f)]
        raise ConfigError(
            f"--length_feature: found {length!r}, expected a numeric item feature or a label's "
            f"duration, here {', '.join([*numbers, *durations]) or 'none'}"
        )
    return replace(with_length, extra_input=length)


def _is_number(feature: Feature) -> bool:
    return feature.dtype != "string" and not feature.multivalued


def sides_of(schema: Schema) -> Sides:
    """Returns the fields that a request's candidates share, and those that differ between them.

    A list to which candidates attend is given once a request, and is another field for each.
    """
    differs = [feature.side == "item" or feature.is_of_events for feature in schema.features]
    ranked = [index for index, of_candidate in enumerate(differs) if of_candidate]
    asking = [index for index, of_candidate in enumerate(differs) if not of_candidate]
    return Sides(tuple(asking), tuple(ranked))


def rank_specs(schema: Schema, ranking: Ranking) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of `rank` by name."""
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
    """Computes Eq. 3 or the ranking's expression, float32 (requests, candidates).

    Eq. 3 is 0 where the length is not a positive, finite number. An expression is `LOWEST`, the
    lowest finite float32, where its value is infinite or NaN (a division by 0, a logarithm of 0)
    and where it reads a length that is not a positive, finite number. Such candidates sort last,
    and JSON can represent their score.

    Args:
        ranking: Exponents, or an expression.
        chances: Task -> probabilities; of amounts, any numbers, in Eq. 3 0 where below.
        raw: The request's inputs.
    """
    if ranking.expression:
        return _expression_score(ranking, ranking.expression, chances, raw)

    scores = tf.ones_like(next(iter(chances.values())))
    inside = _inside(ranking, raw)
    for task, exponent in ranking.exponents.items():
        # A predicted amount may be negative, and negative numbers have no real powers.
        power = tf.pow(tf.maximum(chances[task], 0.0), tf.cast(exponent, scores.dtype))
        scores *= tf.where(inside[task], power, 1.0) if task in inside else power
    if inside and inside.keys() == ranking.exponents.keys():
        is_scored = functools.reduce(tf.logical_or, inside.values())
        scores = tf.where(is_scored, scores, 0.0)

    if ranking.length:
        length = tf.cast(raw[ranking.length], scores.dtype)
        is_valid = _is_positive(length)
        power = tf.pow(
            tf.where(is_valid, length, 1.0), tf.cast(ranking.length_exponent, scores.dtype)
        )
        scores = tf.where(is_valid, scores * power, 0.0)
    return tf.cast(scores, tf.float32)


def _inside(ranking: Ranking, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Tells by task that has conditions which candidates they hold for, see `is_inside`."""
    # Tasks may share a scenario. A set would have another order in each process.
    scenarios = dict.fromkeys(ranking.scenarios.values())
    inside = {found: is_inside(found, raw) for found in scenarios}
    return {task: inside[found] for task, found in ranking.scenarios.items()}


def _expression_score(
    ranking: Ranking,
    expression: Expression,
    chances: Mapping[str, tf.Tensor],
    raw: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    names = dict(chances)
    names |= {f"{INSIDE}{task}": inside for task, inside in _inside(ranking, raw).items()}
    if ranking.length:
        names[LENGTH] = tf.cast(raw[ranking.length], tf.float32)

    # Broadcast: an expression without names scores every candidate alike.
    shape = tf.shape(next(iter(chances.values())))
    scores = tf.broadcast_to(value_of(expression, names), shape)
    is_valid = tf.math.is_finite(scores)
    if ranking.length:
        is_valid &= _is_positive(names[LENGTH])
    return tf.where(is_valid, scores, tf.constant(LOWEST, tf.float32))


def _is_positive(length: tf.Tensor) -> tf.Tensor:
    return tf.math.is_finite(length) & (length > 0)
