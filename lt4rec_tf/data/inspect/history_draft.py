"""Drafts attention to lists of what users did before: which lists, and what candidates are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lt4rec_tf.data.inspect.column_roles import is_history, words_of
from lt4rec_tf.data.inspect.column_stats import ColumnStats
from lt4rec_tf.schema.types import Feature

_LEAST_FOUND = 0.1  # of a list's values, among those of the candidate that a sample holds
_OF_ANY_LIST = {"id", "ids", "list", "user", "click"}  # beside words of histories
_HAVE_ROWS = ("fitted", "vocabulary")  # rules by which a value has an embedding row of its own


def attend(
    features: Sequence[Feature], columns: Mapping[str, ColumnStats]
) -> tuple[list[Feature], dict[str, str]]:
    """Lets candidates attend to lists that have the names of histories.

    A list is compared with the item feature that shares a word of its name, or else, where both are
    text, with the one that has most of its values. Further lists whose lengths are the same in
    every row tell more of the same events.

    Args:
        features: As drafted, lists pooled by their mean.
        columns: By name.

    Returns:
        The features, and by name of each list of events what is said of it.
    """
    items = [f for f in features if f.side == "item" and f.ids.kind in _HAVE_ROWS]
    candidates = [feature for feature in items if not feature.multivalued]
    drafted = {feature.name: feature for feature in features}
    notes: dict[str, str] = {}
    first_by_lengths: dict[bytes, str] = {}

    # The lists with a candidate go first: one of them says how the events of all are pooled.
    compared = []
    for feature in _histories(features, columns):
        candidate = _candidate(feature, columns, candidates)
        compared.append((candidate is None, feature, candidate))
    for _, feature, candidate in sorted(compared, key=lambda found: found[0]):
        lengths = columns[feature.column].lengths.tobytes()
        first = first_by_lengths.get(lengths)
        if candidate is not None:
            feature = replace(
                feature, table=candidate.table, ids=candidate.ids, candidate=candidate.name
            )
        if first is not None:
            feature = replace(feature, aligned_with=first)
            notes[feature.name] = f"tells of the same events as {first}, position by position"
        elif candidate is not None:
            first_by_lengths[lengths] = feature.name
            feature = replace(feature, pooling="attention")
            notes[feature.name] = (
                f"weighed by {candidate.name}, the newest first: see docs/attention.md"
            )
        drafted[feature.name] = replace(feature, side="user")
    return list(drafted.values()), notes


def _histories(
    features: Sequence[Feature], columns: Mapping[str, ColumnStats]
) -> Iterator[Feature]:
    for feature in features:
        if feature.multivalued and is_a_past(columns[feature.column]):
            yield feature


def is_a_past(stats: ColumnStats) -> bool:
    """Tells if a column holds lists and has the name of what a user did before."""
    return stats.longest > 1 and is_history(stats.name)


def _candidate(
    feature: Feature, columns: Mapping[str, ColumnStats], candidates: Sequence[Feature]
) -> Feature | None:
    """Returns the feature whose values a list holds; None: none is known to."""
    values = columns[feature.column].values
    found = []
    for candidate in candidates:
        if candidate.dtype != feature.dtype or not values:
            continue
        share = len(values & columns[candidate.column].values) / len(values)
        named = bool(_words(feature.column) & _words(candidate.column))
        # Whole numbers of any two columns are alike.
        if share >= _LEAST_FOUND and (named or feature.dtype == "string"):
            found.append((named, share, candidate))
    return max(found, key=lambda one: one[:2])[2] if found else None


def _words(name: str) -> set[str]:
    """Returns the words of a column's name that say what its values are.

    >>> sorted(_words("hist_video_ids")), sorted(_words("iid"))
    (['video'], ['iid'])
    """
    said = {word for word in words_of(name) if not is_history(word)} - _OF_ANY_LIST
    return {word.removesuffix("s") for word in said}
