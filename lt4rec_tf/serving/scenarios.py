"""Tells which candidates of a request are of a task's scenario, by features as logs by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.formats.values import is_null
from lt4rec_tf.data.input.filters import left_out
from lt4rec_tf.schema.types import Feature, Filter, Schema


class UnknownScenarioError(ConfigError):
    """Candidates cannot be scored by their scenario: no feature tells which one is theirs."""


@dataclass(frozen=True)
class Condition:
    """A condition of a scenario and the input of a request that says if it holds.

    Attributes:
        rule: The condition.
        feature: A feature of single values, made of the column that the condition compares.
        nulls: Texts that stand for an absent value.
    """

    rule: Filter
    feature: Feature
    nulls: tuple[str, ...] = ()


Scenarios = Mapping[str, tuple[Condition, ...]]  # by task that has one


def conditions_by_task(schema: Schema, names: Sequence[str], flag: str) -> Scenarios:
    """Returns the conditions of tasks that have a scenario.

    Args:
        schema: The tasks and features.
        names: Tasks that have one.
        flag: Names them; in errors.

    Raises:
        UnknownScenarioError: No feature is made of a column that a condition compares.
    """
    conditions = {}
    for name in names:
        made = []
        for rule in schema.task(name).where:
            feature = _feature_of(schema, rule)
            if feature is None:
                raise UnknownScenarioError(
                    f"--{flag}: found tasks {', '.join(names)} of several scenarios, expected a "
                    f"feature on column {rule.column}, which tells that of a candidate, or tasks "
                    "of one scenario"
                )
            made.append(Condition(rule, feature, schema.nulls))
        conditions[name] = tuple(made)
    return conditions


def _feature_of(schema: Schema, rule: Filter) -> Feature | None:
    """Returns the feature whose raw values are most like the column's, as a condition reads it."""
    of_text = isinstance(rule.values[0], str)
    features = [feature for feature in schema.features if feature.column == rule.column]
    # A text may be written as a number, but a number is compared as it is, without rounding.
    liked = ("string", "int64", "float32") if of_text else ("int64", "string", "float32")
    return min(features, key=lambda feature: liked.index(feature.dtype), default=None)


def is_inside(conditions: tuple[Condition, ...], raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Tells of each candidate, bool, if all conditions hold.

    Args:
        conditions: One or more.
        raw: The request's inputs, items' (requests, candidates), others (requests,).

    Returns:
        (requests, candidates), or (requests, 1) where no condition reads an item.
    """
    inside = tf.constant(True)
    for condition in conditions:
        values = tf.convert_to_tensor(raw[condition.feature.name])
        if condition.feature.side != "item":
            values = values[:, tf.newaxis]
        inside &= tf.reshape(_holds(condition, tf.reshape(values, [-1])), tf.shape(values))
    return inside


def _holds(condition: Condition, values: tf.Tensor) -> tf.Tensor:
    """Tells of each value, bool in its shape (values,), if a condition holds."""
    present = values != tf.constant(condition.feature.missing, values.dtype)
    if values.dtype == tf.string:
        present &= (values != "") & ~is_null(values, condition.nulls)

    # As a reader of logs gives a column: without a value where there is none.
    column = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(values, present), tf.cast(present, tf.int64), validate=False
    )
    rule = condition.rule
    return left_out([rule], {rule.column: column}, tf.zeros_like(present)).by < 0
