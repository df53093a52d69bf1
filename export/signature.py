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

from errors import InputError, RefusedError, shown

DEFAULT_SIGNATURE = "serving_default"
DTYPES = {"DT_STRING": "string", "DT_INT64": "int64", "DT_FLOAT": "float32"}


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
class Output:
    """An output of a signature.

    Args:
        name: As the server has it.
        dtype: As the server has it, "DT_FLOAT".
        rank: Number of its axes; None: not known.
    """

    name: str
    dtype: str
    rank: int | None


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature.

    Args:
        name: As the server has it.
        kind: "rows", "candidates", "regress" (the regress call, of tf.Examples) or "examples"
            (the predict call, of serialized tf.Examples).
        features: Read from the CSV.
        outputs: Its answers, by name.
    """

    name: str
    kind: str
    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]


def read_signature(metadata: Any, name: str) -> Signature:
    """Reads a signature from the signature definitions that a server's metadata lists.

    Args:
        metadata: Signature -> {"inputs": {name: {"dtype", "tensor_shape"}}, "outputs": ...}.
        name: Of the signature.

    Raises:
        InputError: The model has no such signature, or one of a dtype that rows do not have.
        RefusedError: The metadata is not of that form, or the signature has no inputs or outputs.
    """
    definitions = _object(metadata, "signatures")
    known = sorted(key for key in definitions if not key.startswith("__"))
    if name not in known:
        expected = f"one of {', '.join(known)}" if known else "one that the model has: it has none"
        raise InputError(f"signature {name}: not found, expected {expected}")

    inputs = _tensors(definitions, name, "inputs")
    outputs = _tensors(definitions, name, "outputs")
    by_row = _tensors(definitions, DEFAULT_SIGNATURE, "inputs")

    of_examples = {("inputs",): "regress", ("examples",): "examples"}.get(tuple(inputs))
    read = by_row if of_examples else inputs
    features = tuple(_feature(key, read[key], by_row) for key in sorted(read))
    if not features:
        raise RefusedError(f"metadata: signature {name}: found no inputs, expected features")
    if not outputs:
        raise RefusedError(f"metadata: signature {name}: found no outputs, expected some")

    kind = of_examples or ("candidates" if any(f.of_candidate for f in features) else "rows")
    answers = [Output(key, outputs[key]["dtype"], _rank(outputs[key])) for key in sorted(outputs)]
    return Signature(name, kind, features, tuple(answers))


def _tensors(definitions: Mapping[str, Any], name: str, side: str) -> Mapping[str, Any]:
    """Returns a signature's inputs or outputs by name; every one has a dtype and a shape's form."""
    definition = _object(definitions.get(name, {}), f"signature {name}")
    tensors = _object(definition.get(side, {}), f"{side} of signature {name}")
    for key, tensor in tensors.items():
        place = f"{side[:-1]} {key} of signature {name}"
        dtype = _object(tensor, place).get("dtype")
        if not isinstance(dtype, str):
            raise RefusedError(f"metadata: dtype of {place}: found {shown(dtype)}, expected a text")
        axes = _object(tensor.get("tensor_shape", {}), f"shape of {place}").get("dim", [])
        if not isinstance(axes, list):
            raise RefusedError(f"metadata: shape of {place}: found {shown(axes)}, expected a list")
    return tensors


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RefusedError(f"metadata: {place}: found {shown(value)}, expected an object")
    return value


def _feature(name: str, tensor: Mapping[str, Any], by_row: Mapping[str, Any]) -> Feature:
    if tensor["dtype"] not in DTYPES:
        raise InputError(f"input {name}: is {tensor['dtype']}, expected one of {', '.join(DTYPES)}")
    rank = _rank(tensor) or 0
    # An input of this signature alone is one value per row, unless it has an axis too many.
    rank_of_row = (_rank(by_row[name]) or 0) if name in by_row else max(1, rank - 1)
    return Feature(name, DTYPES[tensor["dtype"]], rank_of_row > 1, rank > rank_of_row)


def _rank(tensor: Mapping[str, Any]) -> int | None:
    shape = tensor.get("tensor_shape", {})
    return None if shape.get("unknown_rank") else len(shape.get("dim", ()))
