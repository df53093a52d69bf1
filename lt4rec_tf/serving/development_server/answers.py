"""What TensorFlow Serving writes: numbers, predictions, outputs; and examples as it reads them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.serving.development_server.protocol import (
    DTYPE_NAMES,
    INT64,
    bytes_of,
    invalid,
    json_type,
)


def row_answer(outputs: Mapping[str, np.ndarray]) -> bytes:
    """{"predictions": [...]}: one value a row, or one object a row for several outputs."""
    rows = None
    for name, values in outputs.items():
        if values.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows is not None and len(values) != rows:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(values)} expecting: {rows}"
            )
        rows = len(values)
    written = {name: [_text(v, name) for v in values] for name, values in outputs.items()}
    predictions = [
        row[0] if len(outputs) == 1 else _object(outputs, row)
        for row in zip(*written.values(), strict=True)
    ]
    return _encoded('{"predictions": [' + ", ".join(predictions) + "]}")


def column_answer(outputs: Mapping[str, np.ndarray]) -> bytes:
    """{"outputs": ...}: the values of one output, or an object by name."""
    written = [_text(values, name) for name, values in outputs.items()]
    answer = written[0] if len(outputs) == 1 else _object(outputs, written)
    return _encoded('{"outputs": ' + answer + "}")


def results_answer(results: list[str]) -> bytes:
    """{"results": [...]}: what regress and classify answer."""
    return _encoded('{"results": [' + ", ".join(results) + "]}")


def class_text(classes: np.ndarray | None, scores: np.ndarray | None, row: int) -> str:
    """One row of a classify answer: [["label", score], ...]."""
    labels = [] if classes is None else [_string(value) for value in classes[row]]
    decimals = [] if scores is None else [decimal_text(value) for value in scores[row]]
    length = max(len(labels), len(decimals))
    pairs = zip(labels or ['""'] * length, decimals or ["0.0"] * length, strict=True)
    return "[" + ", ".join(f"[{label}, {score}]" for label, score in pairs) + "]"


def _object(names: Mapping[str, Any], texts: Any) -> str:
    pairs = (f"{json.dumps(name)}: {text}" for name, text in zip(names, texts, strict=True))
    return "{" + ", ".join(pairs) + "}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(values: Any, name: str) -> str:
    if isinstance(values, np.ndarray) and values.ndim:
        return "[" + ", ".join(_text(inner, name) for inner in values) + "]"
    value = values[()] if isinstance(values, np.ndarray) else values
    if isinstance(value, bytes):
        if name.endswith("_bytes"):
            return json.dumps({"b64": base64.b64encode(value).decode()})
        return _string(value)
    dtype = tf.as_dtype(value.dtype)
    if dtype == tf.bool:
        return "true" if value else "false"
    if dtype.is_integer:
        return str(int(value))
    if dtype in (tf.float32, tf.float64):
        return decimal_text(value)
    kind = DTYPE_NAMES.get(dtype.name, dtype.name)
    raise invalid(f"Failed to write JSON value for tensor type: {kind}")


def _string(value: bytes) -> str:
    return json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def decimal_text(value: Any) -> str:
    """A float32 or float64 in six digits if they tell it, else in all; ".0" after whole numbers.

    >>> [decimal_text(np.float32(x)) for x in (0.2, 1 / 3, 2, 9e6, 3e-5, -np.inf)]
    ['0.2', '0.333333343', '2.0', '9e+06', '3e-05', '-Infinity']
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    kind = type(value)
    text = f"{float(value):g}"
    if kind(text) != value:
        text = f"{float(value):.{9 if kind is np.float32 else 17}g}"
    return text if "." in text or "e" in text else text + ".0"


def serialized_examples(request: Mapping[str, Any]) -> list[bytes]:
    """The tf.Example of each object in `examples`; the features of `context` are shared by all."""
    context = _example(request["context"]) if "context" in request else b""
    examples = request.get("examples")
    if "examples" not in request:
        raise invalid("key 'examples' is expected and was not found")
    if not isinstance(examples, list):
        raise invalid("Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid("'examples' value is an empty array")
    # Protocol buffers written one after the other merge when they are read.
    return [context + _example(example) for example in examples]


def _example(features: Any) -> bytes:
    if not isinstance(features, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(features)}")
    example = tf.train.Example()
    for name, content in features.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add(value, name, feature)
    return example.SerializeToString()


def _add(value: Any, name: str, feature: tf.train.Feature) -> None:
    """A whole number or truth value is int64, a decimal float, text bytes; never mixed."""
    kind: str
    content: int | float | bytes
    if isinstance(value, bool | int):
        kind, content = "int64_list", int(value)
        if value > INT64[1]:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    elif isinstance(value, float):
        with np.errstate(over="ignore"):
            kind, content = "float_list", float(np.float32(value))
    elif isinstance(value, str) or (isinstance(value, dict) and list(value) == ["b64"]):
        kind, content = "bytes_list", bytes_of(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    if feature.WhichOneof("kind") not in (None, kind):
        expected = feature.WhichOneof("kind").removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    getattr(feature, kind).value.append(content)
