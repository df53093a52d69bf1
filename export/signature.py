"""Signatures of a served model, read from the server's metadata; no package needed.

`serving_default` takes one value per row of each feature, or one list. A signature that takes one
more axis of some features (`rank`) scores candidates: those features are lists with one place per
candidate, the others are about the request. A signature whose one input is named `inputs` or
`examples` takes rows as tf.Examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_SIGNATURE = "serving_default"


class InputError(Exception):
    """A flag, a CSV or a signature for it cannot be used; says what was found and expected."""


@dataclass(frozen=True)
class Feature:
    """An input of a signature.

    Args:
        name: The input, and the CSV's column unless `Reading.columns` says otherwise.
        dtype: "string", "int64" or "float32".
        is_list: A row has a list of values.
        of_candidate: The value differs between the rows of one request.
    """

    name: str
    dtype: str
    is_list: bool = False
    of_candidate: bool = False


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature.

    Args:
        name: As the server has it.
        kind: "rows", "candidates", "regress" (the regress call, of tf.Examples) or "examples"
            (the predict call, of serialized tf.Examples).
        features: Read from the CSV.
        outputs: Names of its answers.
    """

    name: str
    kind: str
    features: tuple[Feature, ...]
    outputs: tuple[str, ...]


def read_signature(metadata: Mapping[str, Any], name: str) -> Signature:
    """Reads a signature from the signature definitions that a server's metadata lists.

    Args:
        metadata: Signature -> {"inputs": {name: {"dtype", "tensor_shape"}}, "outputs": ...}.
        name: Of the signature.

    Raises:
        InputError: The model has no such signature, or one of a dtype that rows do not have.
    """
    known = sorted(key for key in metadata if not key.startswith("__"))
    if name not in known:
        raise InputError(f"signature {name}: not found, expected one of {', '.join(known)}")

    inputs = metadata[name].get("inputs", {})
    by_row = metadata.get(DEFAULT_SIGNATURE, {}).get("inputs", {})
    outputs = tuple(sorted(metadata[name].get("outputs", {})))

    of_examples = {"inputs": "regress", "examples": "examples"}.get("".join(inputs))
    if of_examples:
        features = tuple(_feature(key, by_row[key], by_row) for key in sorted(by_row))
        return Signature(name, of_examples, features, outputs)

    features = tuple(_feature(key, inputs[key], by_row) for key in sorted(inputs))
    kind = "candidates" if any(feature.of_candidate for feature in features) else "rows"
    return Signature(name, kind, features, outputs)


def _feature(name: str, found: Mapping[str, Any], by_row: Mapping[str, Any]) -> Feature:
    dtypes = {"DT_STRING": "string", "DT_INT64": "int64", "DT_FLOAT": "float32"}
    if found["dtype"] not in dtypes:
        raise InputError(f"input {name}: is {found['dtype']}, expected one of {', '.join(dtypes)}")
    # An input of this signature alone is one value per row, unless it has an axis too many.
    rank_of_row = _rank(by_row[name]) if name in by_row else max(1, _rank(found) - 1)
    return Feature(name, dtypes[found["dtype"]], rank_of_row > 1, _rank(found) > rank_of_row)


def _rank(found: Mapping[str, Any]) -> int:
    return len(found.get("tensor_shape", {}).get("dim", ()))
