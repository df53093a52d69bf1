"""Keys of a list that say which events it is about and how a candidate attends to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lt4rec_tf.core.toml import TomlTable, Words
from lt4rec_tf.schema.events import EventSequence, sequences_of
from lt4rec_tf.schema.types import Feature, Schema

POOLINGS = ("mean", "attention", "softmax_attention", "transformer")
BY_HASH = "hash"  # a search by the likeness of vectors
# By key, what a list without it says.
_ABSENT: Mapping[str, Any] = {
    "pooling": "mean",
    "candidate": None,
    "aligned_with": None,
    "nearest": 0,
    "search": "",
}


def read_pooling(table: TomlTable) -> dict[str, Any]:
    """Reads the keys of a list's pooling, by the attributes of `Feature`.

    Raises:
        TomlError: One is of another kind than expected.
    """
    keys: dict[str, Any] = {
        "pooling": table.choice("pooling", POOLINGS, _ABSENT["pooling"]),
        "candidate": table.text("candidate", None),
        "aligned_with": table.text("aligned_with", None),
    }
    if table.has("nearest"):
        keys["nearest"] = table.integer("nearest", minimum=1)
        keys["search"] = table.text("search", BY_HASH)
    return keys


def said_of_pooling(feature: Feature) -> list[str]:
    """Returns the keys that a schema needs for a list's pooling, in order."""
    return [key for key, absent in _ABSENT.items() if getattr(feature, key) != absent]


def check_sequences(top: TomlTable, schema: Schema) -> None:
    """Refuses lists that cannot be pooled as they say.

    Raises:
        TomlError: Naming the list and the key, what was found and what was expected.
    """
    by_name = {feature.name: feature for feature in schema.features}
    for feature in schema.features:
        _check_aligned(top, feature, by_name)
        _check_candidate(top, feature, by_name)
    for sequence in sequences_of(schema):
        if not sequence.compared:
            place = f"features[{sequence.name}].candidate"
            expected = "the item feature that the list's values are compared with"
            raise top.error(place, Words("nothing"), expected)
        _check_search(top, sequence)


def _check_aligned(top: TomlTable, feature: Feature, by_name: Mapping[str, Feature]) -> None:
    if feature.aligned_with is None:
        return
    first = by_name.get(feature.aligned_with)
    if first is None or first.pooling == "mean":
        leading = [other.name for other in by_name.values() if other.pooling != "mean"]
        expected = f"a list whose pooling is not mean, here {', '.join(leading) or 'none'}"
        raise top.error(f"features[{feature.name}].aligned_with", feature.aligned_with, expected)
    if feature.pooling != "mean":
        expected = f"nothing beside aligned_with: {first.name} says how its events are pooled"
        raise top.error(f"features[{feature.name}].pooling", feature.pooling, expected)
    if feature.side != first.side:
        expected = f"{first.side}, as {first.name} is, with which it is aligned"
        raise top.error(f"features[{feature.name}].side", feature.side, expected)
    if feature.max_values != first.max_values:
        expected = f"{first.max_values}, as {first.name} has, with which it is aligned"
        raise top.error(f"features[{feature.name}].max_values", feature.max_values, expected)


def _check_candidate(top: TomlTable, feature: Feature, by_name: Mapping[str, Feature]) -> None:
    if feature.pooling != "mean" and feature.side == "item":
        expected = "user or context: a candidate looks at what the user did before"
        raise top.error(f"features[{feature.name}].side", feature.side, expected)
    if feature.candidate is None:
        return
    place = f"features[{feature.name}].candidate"
    if feature.pooling == "mean" and feature.aligned_with is None:
        expected = "a pooling that attends to candidates, such as attention, or aligned_with"
        raise top.error(place, feature.candidate, expected)

    other = by_name.get(feature.candidate)
    fits = other is not None and other.side == "item" and not other.multivalued
    if other is None or not fits or other.ids.gives_numbers:
        fitting = [
            item.name
            for item in by_name.values()
            if item.side == "item" and not item.multivalued and not item.ids.gives_numbers
        ]
        expected = f"an item feature of one value that is no number: {', '.join(fitting) or 'none'}"
        raise top.error(place, feature.candidate, expected)


def _check_search(top: TomlTable, sequence: EventSequence) -> None:
    if not sequence.nearest:
        return
    if sequence.pooling == "transformer":
        expected = "nothing with transformer, in which all events see each other"
        raise top.error(f"features[{sequence.name}].nearest", sequence.nearest, expected)
    if sequence.nearest >= sequence.max_values:
        expected = f"fewer than max_values, {sequence.max_values}"
        raise top.error(f"features[{sequence.name}].nearest", sequence.nearest, expected)

    # Ids are compared: they must be those of one table.
    comparable = [
        sequence.lists[place].name
        for place, candidate in sequence.compared
        if candidate.table == sequence.lists[place].table
    ]
    if sequence.search not in (BY_HASH, *comparable):
        lists = f" or a list that shares its candidate's table: {', '.join(comparable) or 'none'}"
        expected = BY_HASH + lists
        raise top.error(f"features[{sequence.name}].search", sequence.search, expected)
