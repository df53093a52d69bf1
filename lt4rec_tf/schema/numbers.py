"""What an audit finds of the numbers of train, by which rules of numbers are fitted.

A run keeps one file of them, in which floats are written so that they are read back exactly.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.schema.types import FITTED_NUMBERS, Feature, IdRule, Schema

# Networks read numbers about 0 with a deviation about 1. One that is further from 0 than this
# drowns what the other features say.
EXTREME = 100.0
UNBOUNDED = ("numeric", "standardised")  # kinds of rules whose numbers have no bounds


@dataclass(frozen=True)
class Numbers:
    """The numbers of a table's features in train; those that are missing or infinite do not count.

    Attributes:
        count: How many there are.
        mean: Of the transformed numbers; 0 where there are none.
        deviation: Of the transformed numbers, the root of their mean squared distance to the mean.
        edges: Increasing: of quantiles the boundaries between bins, of piecewise_linear the ends of
            all bins, from the smallest number to the largest.
        estimated: True if the edges are those of an even sample of the numbers.
        earlier: True if all of it was found by an earlier run, which this one goes on from.
    """

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    edges: tuple[float, ...] = ()
    estimated: bool = False
    earlier: bool = False

    @property
    def scale(self) -> float:
        """The deviation, or 1 where all numbers are equal.

        >>> Numbers(9, 2.0, 0.5).scale, Numbers(9, 2.0, 0.0).scale
        (0.5, 1.0)
        """
        return self.deviation or 1.0


NumbersByTable = Mapping[str, Numbers]


def fitted_rules(schema: Schema) -> dict[str, IdRule]:
    """Returns by table its rule, of those that an audit fits to the numbers of train."""
    return {
        feature.table: feature.ids
        for feature in schema.features
        if feature.ids.kind in FITTED_NUMBERS
    }


def with_numbers(schema: Schema, numbers: NumbersByTable) -> Schema:
    """Returns the schema with what was found of the tables that a rule is fitted to."""

    def with_found(feature: Feature) -> IdRule:
        if feature.ids.kind not in FITTED_NUMBERS or feature.table not in numbers:
            return feature.ids
        return dataclasses.replace(feature.ids, numbers=numbers[feature.table])

    return schema.with_rules(with_found)


def numbers_of(schema: Schema) -> dict[str, Numbers]:
    """Returns by table what was found, where an audit has."""
    return {
        feature.table: feature.ids.numbers
        for feature in schema.features
        if feature.ids.numbers is not None
    }


def write_numbers(path: Path, numbers: NumbersByTable) -> None:
    """Writes a file of all tables with its checksum, atomically; none where there is no table."""
    if numbers or path.exists():
        tables = {table: dataclasses.asdict(found) for table, found in numbers.items()}
        artifacts.write_json(path, {"sha256": _checksum(tables), "tables": tables})


class _Content(TypedDict):
    sha256: str
    tables: dict[str, Numbers]


def read_numbers(path: Path) -> dict[str, Numbers]:
    """Reads back what `write_numbers` wrote; nothing where there is no file.

    Raises:
        RunError: The file is not the one that was written.
    """
    if not path.exists():
        return {}
    content = read_typed(path, _Content)
    digest = _checksum(content["tables"])
    if digest != content["sha256"]:
        raise artifacts.RunError(
            f"{path}: found tables with sha256 {digest}, expected sha256 {content['sha256']}, "
            "which it says"
        )
    return {
        table: Numbers(**(found | {"edges": tuple(found["edges"])}))
        for table, found in content["tables"].items()
    }


def _checksum(tables: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
