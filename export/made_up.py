"""Requests made up from a signature's inputs, where there are no rows to ask about."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from request import Request
from rows import Row
from signature import Feature, Signature

VALUES = 1000  # of a feature
PLACES = 3  # of a list


def make_up(signature: Signature, sizes: Sequence[int], places: int) -> Iterator[Request]:
    """Makes up requests without end, the same ones each time.

    Strings are load_test_0 to load_test_999, whole numbers 0 to 999, floats 1 to 100: of the dtype
    and rank of each input, which is all that metadata says. So a model reads unknown values in most
    places: requests measure its speed, and their answers mean nothing.

    Args:
        signature: To call.
        sizes: Rows of the requests, in turn, or their candidates where the signature scores these;
            1 or more each.
        places: Of every list; 0: PLACES.
    """
    chance = random.Random(0)
    while True:
        for size in sizes:
            yield _request(signature, size, places or PLACES, chance)


def _request(signature: Signature, size: int, places: int, chance: random.Random) -> Request:
    made = tuple(
        Row(line, {}, {f.name: _value(f, places, chance) for f in signature.features})
        for line in range(1, size + 1)
    )
    if signature.kind in ("regress", "examples"):
        return Request(made, examples=tuple(row.values for row in made))

    columns = {f.name: [row.values[f.name] for row in made] for f in signature.features}
    if signature.kind == "rows":
        return Request(made, inputs=columns)
    inputs = {
        f.name: [columns[f.name]] if f.of_candidate else columns[f.name][:1]
        for f in signature.features
    }
    return Request(made, inputs=inputs, candidates=size)


def _value(feature: Feature, places: int, chance: random.Random) -> Any:
    if feature.is_list:
        return [_scalar(feature.dtype, chance) for _ in range(places)]
    return _scalar(feature.dtype, chance)


def _scalar(dtype: str, chance: random.Random) -> str | int | float:
    number = chance.randrange(VALUES)
    if dtype == "float32":
        return 1 + number * 99 / (VALUES - 1)
    return f"load_test_{number}" if dtype == "string" else number
