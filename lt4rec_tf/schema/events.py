"""What users did before: lists whose positions are events, to which candidates attend."""

from __future__ import annotations

from dataclasses import dataclass

from lt4rec_tf.schema.types import Feature, Schema


@dataclass(frozen=True)
class EventSequence:
    """What a user did before: lists of a row in which position p is the same event, newest first.

    Attributes:
        lists: What is known of each event: the list that says how they are pooled, and those that
            are aligned with it.
        candidates: By list, the item feature that its values are compared with, or None; at least
            one has one.
    """

    lists: tuple[Feature, ...]
    candidates: tuple[Feature | None, ...]

    @property
    def compared(self) -> tuple[tuple[int, Feature], ...]:
        """The places of the lists that have a candidate, each with its candidate."""
        return tuple((i, f) for i, f in enumerate(self.candidates) if f is not None)

    @property
    def name(self) -> str:
        """The name of the list that says how the events are pooled."""
        return self.lists[0].name

    @property
    def pooling(self) -> str:
        """How they are pooled.

        "attention": a candidate weighs each event (DIN); "softmax_attention": its weights sum to 1;
        "transformer": the events see each other first (BST).
        """
        return self.lists[0].pooling

    @property
    def max_values(self) -> int:
        """The most events; of more, the first ones count."""
        return self.lists[0].max_values

    @property
    def nearest(self) -> int:
        """How many events a candidate attends to; 0: all."""
        return self.lists[0].nearest

    @property
    def search(self) -> str:
        """How the nearest are found, see `Feature.search`."""
        return self.lists[0].search


def sequences_of(schema: Schema) -> tuple[EventSequence, ...]:
    """Returns a schema's sequences of events, in the order of their first lists."""
    sequences = []
    for first in schema.features:
        if first.pooling == "mean":
            continue
        aligned = [other for other in schema.features if other.aligned_with == first.name]
        lists = (first, *aligned)
        candidates = tuple(
            None if events.candidate is None else schema.feature(events.candidate)
            for events in lists
        )
        sequences.append(EventSequence(lists, candidates))
    return tuple(sequences)
