"""Vocabularies that grow: `[[grown]]` in a schema adds values behind a table's own.

    [[grown]]
    table = "device"
    values = ["watch", "car"]

Earlier values keep their ids, and so their embedding rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from lt4rec_tf.core.toml import TomlTable, toml_text
from lt4rec_tf.schema.types import Feature, Schema

Growth = Mapping[str, Sequence[str]]  # table -> values, in the order of their ids


def grow(schema: Schema, growth: Growth) -> Schema:
    """Returns the schema with values added behind the vocabularies of tables."""
    return dataclasses.replace(schema, features=_grown(schema.features, growth))


def _grown(features: Sequence[Feature], growth: Growth) -> tuple[Feature, ...]:
    grown_features = []
    for feature in features:
        added = tuple(growth.get(feature.table, ()))
        if added:
            ids = dataclasses.replace(feature.ids, vocabulary=feature.ids.vocabulary + added)
            feature = dataclasses.replace(feature, ids=ids)
        grown_features.append(feature)
    return tuple(grown_features)


def read_grown(top: TomlTable, features: Sequence[Feature]) -> tuple[Feature, ...]:
    """Reads the `[[grown]]` tables of a schema, in order, and adds their values.

    Args:
        top: The schema's top table.
        features: As the schema's own keys say them.

    Raises:
        TomlError: A table that is no vocabulary, or a value that it holds already.
    """
    grown_features = tuple(features)
    for entry in top.tables("grown", ()):
        table, values = entry.text("table"), entry.texts("values")
        entry.close()

        rules = {feature.table: feature.ids for feature in grown_features}
        rule = rules.get(table)
        if rule is None or rule.kind != "vocabulary":
            names = [name for name, ids in rules.items() if ids.kind == "vocabulary"]
            raise entry.error("table", table, f"a vocabulary: one of {', '.join(names) or 'none'}")
        repeated = sorted(set(values) & set(rule.vocabulary))
        if repeated:
            raise entry.error("values", repeated[0], f"values that {table!r} does not hold yet")

        grown_features = _grown(grown_features, {table: values})
    return grown_features


def with_growth(schema_text: str, growth: Growth) -> str:
    r"""Returns a schema's TOML text with values added behind vocabularies.

    >>> with_growth('name = "feed"', {"device": ["watch"]})
    'name = "feed"\n\n[[grown]]\ntable = "device"\nvalues = ["watch"]\n'
    """
    sections = []
    for table, values in growth.items():
        if values:
            texts = ", ".join(map(toml_text, values))
            sections.append(f"\n[[grown]]\ntable = {toml_text(table)}\nvalues = [{texts}]\n")
    return schema_text.rstrip("\n") + "\n" + "".join(sections) if sections else schema_text


def growth_between(before: Schema, after: Schema) -> dict[str, tuple[str, ...]]:
    """Returns the values that a schema's vocabularies have beyond those of an earlier one.

    Returns:
        Table -> the values; tables that did not grow are left out.

    Raises:
        ValueError: A vocabulary does not begin with the earlier one.
    """
    earlier_by_table = {}
    for feature in before.features:
        if feature.ids.kind == "vocabulary":
            earlier_by_table[feature.table] = feature.ids.vocabulary

    growth = {}
    for feature in after.features:
        if feature.ids.kind != "vocabulary":
            continue
        earlier = earlier_by_table[feature.table]
        if feature.ids.vocabulary[: len(earlier)] != earlier:
            raise ValueError(
                f"vocabulary of table {feature.table!r}: found one that does not begin with the "
                f"{len(earlier)} values of {before.path}"
            )
        if added := feature.ids.vocabulary[len(earlier) :]:
            growth[feature.table] = added
    return growth
