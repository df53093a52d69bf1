"""Features of a history, in the schema of the shards that hold it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lt4rec_tf.core.flags import expect
from lt4rec_tf.data.convert.history_settings import AGE, PREFIX, Carried, History
from lt4rec_tf.schema.reader import MISSING_OF_DTYPE, OF_ONE_NUMBER
from lt4rec_tf.schema.types import Feature, IdRule, Schema

# A minute, ten, an hour, six, a day, three, a week, 30 days; in seconds.
_AGES = (60.0, 600.0, 3600.0, 21600.0, 86400.0, 259200.0, 604800.0, 2592000.0)


def list_feature(feature: Feature, kept: int) -> Feature:
    """Returns the feature that reads of past events what another one reads of the row itself.

    Both share an embedding table, so that a past item and a candidate are one thing.

    Args:
        feature: Of single values.
        kept: The most events of a row.
    """
    return dataclasses.replace(
        feature,
        name=PREFIX + feature.name,
        column=PREFIX + feature.column,
        multivalued=True,
        max_values=kept,
        side="user",
    )


def age_feature(kept: int) -> Feature:
    """Returns the feature of the seconds between each past event and its row."""
    rule = IdRule("boundaries", boundaries=_AGES)
    missing = MISSING_OF_DTYPE["int64"]
    return Feature(AGE, AGE, "int64", True, kept, "", "user", AGE, missing, rule)


def with_history(schema: Schema, history: History, has_ages: bool) -> tuple[Schema, list[str]]:
    """Adds the features of a history to a schema of shards.

    Args:
        schema: Of the shards without them.
        history: What is in the shards.
        has_ages: True if the ages of events are there too.

    Returns:
        The schema, and lines that say which columns no feature reads, and why.

    Raises:
        ConfigError: A feature of this name is there already.
    """
    made: list[Feature] = []
    lines = []
    for item in history.carried:
        readers = [feature for feature in schema.features if feature.column == item.name]
        for feature in readers:
            why = _why_no_list(feature, item)
            if why:
                lines.append(f"no feature {PREFIX}{feature.name}: {why}")
            else:
                made.append(list_feature(feature, history.kept))
        if not readers:
            lines.append(f"no feature of {PREFIX}{item.name}: no feature reads {item.name}")
    if has_ages:
        made.append(age_feature(history.kept))

    made = attended(schema, made)
    names = {feature.name for feature in schema.features}
    for feature in made:
        expected = f"{schema.path} without a feature {feature.name}"
        expect(feature.name not in names, "history", feature.column, expected)
    features = (*schema.features, *made)
    return dataclasses.replace(schema, features=features), lines


def attended(schema: Schema, lists: Sequence[Feature]) -> list[Feature]:
    """Lets candidates attend to lists of the same events, where one holds what candidates are.

    Args:
        schema: Of the row itself.
        lists: Of past events; those of items are named after the items' features.
    """
    candidates = {
        PREFIX + feature.name: feature.name
        for feature in schema.features
        if feature.side == "item" and not feature.multivalued
    }
    first = next((feature.name for feature in lists if feature.name in candidates), None)
    if first is None:
        return [*lists]
    return [
        dataclasses.replace(
            feature,
            pooling="attention" if feature.name == first else "mean",
            candidate=candidates.get(feature.name),
            aligned_with=None if feature.name == first else first,
        )
        for feature in lists
    ]


def _why_no_list(feature: Feature, item: Carried) -> str:
    """Returns why a feature has no list of past events; "": it has one."""
    if feature.ids.kind in OF_ONE_NUMBER:
        return f"a list cannot have ids of kind {feature.ids.kind}"
    both = (feature.missing, item.absent)
    is_absent = item.kind.dtype == "string" or both[0] == both[1] or both[0] != both[0]
    return "" if is_absent else f"its missing value is not {item.absent}, as in another feature"
