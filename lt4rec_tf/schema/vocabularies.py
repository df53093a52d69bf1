"""Vocabularies that grow: `[[grown]]` in a schema adds values behind a table's own.

    [[grown]]
    table = "device"
    values = ["watch", "car"]

What was there before keeps its place, so its embedding rows do too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from lt4rec_tf.core.toml import TomlTable, toml_text
from lt4rec_tf.schema.types import Feature, Schema

Growth = Mapping[str, Sequence[str]]  # table -> values, in the order of their ids


def grow(schema: Schema, growth: Growth) -> Schema:
    """The schema with values added behind the vocabularies of tables."""
    return dataclasses.replace(schema, features=_grown(schema.features, growth))


def _grown(features: Sequence[Feature], growth: Growth) -> tuple[Feature, ...]:
    found = []
    for feature in features:
        added = tuple(growth.get(feature.table, ()))
        if added:
            ids = dataclasses.replace(feature.ids, vocabulary=feature.ids.vocabulary + added)
            feature = dataclasses.replace(feature, ids=ids)
        found.append(feature)
    return tuple(found)


def read_grown(top: TomlTable, features: Sequence[Feature]) -> tuple[Feature, ...]:
    """Reads the `[[grown]]` tables of a schema, in order, and adds their values.

    Args:
        top: The schema's top table.
        features: As the schema's own keys say them.

    Raises:
        TomlError: A table that is no vocabulary, or a value that it holds already.
    """
    found = tuple(features)
    for entry in top.tables("grown", ()):
        table, values = entry.text("table"), entry.texts("values")
        entry.close()
        known = {feature.table: feature.ids for feature in found}
        rule = known.get(table)
        if rule is None or rule.kind != "vocabulary":
            names = [name for name, ids in known.items() if ids.kind == "vocabulary"]
            raise entry.error("table", table, f"a vocabulary: one of {', '.join(names) or 'none'}")
        again = sorted(set(values) & set(rule.vocabulary))
        if again:
            raise entry.error("values", again[0], f"values that {table!r} does not hold yet")
        found = _grown(found, {table: values})
    return found


def with_growth(schema_text: str, growth: Growth) -> str:
    r"""A schema's TOML text with values added behind vocabularies.

    >>> with_growth('name = "feed"', {"device": ["watch"]})
    'name = "feed"\n\n[[grown]]\ntable = "device"\nvalues = ["watch"]\n'
    """
    sections = [
        f"\n[[grown]]\ntable = {toml_text(table)}\nvalues = [{', '.join(map(toml_text, values))}]\n"
        for table, values in growth.items()
        if values
    ]
    return schema_text.rstrip("\n") + "\n" + "".join(sections) if sections else schema_text


def growth_between(before: Schema, after: Schema) -> dict[str, tuple[str, ...]]:
    """What a schema's vocabularies hold beyond those of an earlier one that they begin with.

    Returns:
        Table -> the values; tables that did not grow are left out.

    Raises:
        ValueError: A vocabulary does not begin with the earlier one.
    """
    known = {f.table: f.ids.vocabulary for f in before.features if f.ids.kind == "vocabulary"}
    found = {}
    for feature in after.features:
        if feature.ids.kind != "vocabulary":
            continue
        first = known[feature.table]
        if feature.ids.vocabulary[: len(first)] != first:
            raise ValueError(
                f"vocabulary of table {feature.table!r}: found one that does not begin with the "
                f"{len(first)} values of {before.path}"
            )
        if added := feature.ids.vocabulary[len(first) :]:
            found[feature.table] = added
    return found
