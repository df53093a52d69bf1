"""Populations nest: a refund is defined among conversions, and these among clicks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from lt4rec_tf.schema.types import Label, Task


def nested(labels: Sequence[Label], tasks: Sequence[Task]) -> tuple[Label, ...]:
    """Returns the labels, each with the populations in which some task learns it.

    A label that some task learns over all rows, or that no task learns, is defined in all rows.
    """
    populations: dict[str, list[str | None]] = {label.name: [] for label in labels}
    for task in tasks:
        populations[task.label].append(task.population)

    nested_labels = []
    for label in labels:
        names = [name for name in populations[label.name] if name is not None]
        within = names if len(names) == len(populations[label.name]) else []
        nested_labels.append(dataclasses.replace(label, within=tuple(dict.fromkeys(within))))
    return tuple(nested_labels)


def circle(labels: Iterable[Label]) -> list[str]:
    """Returns labels of which each is defined only where the next is 1, the first again at the end.

    Empty where populations nest. A label that is defined in all rows is in no circle.
    """
    within = {label.name: label.within for label in labels}
    for name in within:
        path = _path_back(name, within)
        if path:
            return path
    return []


def _path_back(start: str, within: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns a way from a label through the labels it lies within back to it; empty: none."""
    pending, seen = [[start]], set()
    while pending:
        path = pending.pop()
        for outer in within[path[-1]]:
            if outer == start:
                return [*path, start]
            if outer not in seen:
                seen.add(outer)
                pending.append([*path, outer])
    return []
