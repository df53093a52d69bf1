"""What TensorFlow Serving reads: JSON, leniently, as arrays; and what it refuses.

Nothing here knows of a model; `serving_versions` loads and runs them.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# What messages call a dtype, where TensorFlow's Python names differ.
DTYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}
INT32, INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
UINT32, UINT64 = (0, 2**32 - 1), (0, 2**64 - 1)
# Escapes in JSON: a pair of surrogates, half a pair, or another one.
ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F])|.)", re.DOTALL
)
WHOLE_RANGES = {
    **dict.fromkeys((tf.int8, tf.uint8, tf.int16, tf.int32), INT32),
    tf.int64: INT64,
    tf.uint32: UINT32,
    tf.uint64: UINT64,
}


class ServingError(Exception):
    """A request is refused.

    Args:
        code: One of `HTTP_STATUS`.
        message: What the client reads.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def invalid(message: str) -> ServingError:
    """Returns the refusal of a request that cannot be."""
    return ServingError("INVALID_ARGUMENT", message)


def parse_json(body: bytes) -> dict[str, Any]:
    """The first JSON object of a body: NaN and infinities pass, what follows it is not read.

    Bytes that are no text become halves of surrogate pairs, which answers write as these bytes.
    """
    decoder = json.JSONDecoder(
        object_pairs_hook=lambda pairs: dict(reversed(pairs)),  # the first of equal keys stays
        parse_int=_parse_whole,
        parse_float=_parse_decimal,
    )
    text = body.decode("utf-8", "surrogateescape").lstrip(" \t\r\n")
    if not text:
        raise invalid("JSON Parse error: The document is empty")
    try:
        found, end = decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None
    if any(match["half"] for match in ESCAPE.finditer(text, 0, end)):
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.")
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {_shown(found)} Is not object")
    return found


def _parse_whole(text: str) -> int | float:
    if len(text) > 20:
        return _parse_decimal(text)
    whole = int(text)
    return whole if INT64[0] <= whole <= UINT64[1] else float(whole)


def _parse_decimal(text: str) -> float:
    decimal = float(text)
    if math.isinf(decimal):
        raise json.JSONDecodeError("Number too big to be stored in double.", text, 0)
    return decimal


def signature_name(request: Mapping[str, Any]) -> str:
    """Returns the signature that a request names, serving_default where it names none."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    return name or "serving_default"


def predict_inputs(
    request: Mapping[str, Any], dtypes: Mapping[str, tf.DType]
) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of a predict request, and whether it came as rows.

    Args:
        request: Holds `instances` (rows) or `inputs` (columns).
        dtypes: Of the signature's inputs, by name.
    """
    rows, columns = "instances" in request, "inputs" in request
    if rows and columns:
        raise invalid("expecting only one of 'inputs' or 'instances' keys to exist")
    if rows:
        return _of_rows(request["instances"], dtypes), True
    if columns:
        return _of_columns(request["inputs"], dtypes), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _of_rows(instances: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    if not isinstance(instances, list):
        raise invalid("Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    named = _is_named(instances[0])
    if not named and len(dtypes) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    columns: dict[str, list[np.ndarray]] = {}
    for place, row in enumerate(instances):
        if _is_named(row) != named:
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {got} at item {place} of input list")
        for name, value in row.items() if named else [(next(iter(dtypes)), row)]:
            try:
                _append(columns, name, value, dtypes)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {place}{key} of 'instances' list. Error: {error}"
                ) from None
        if named and set(row) != set(dtypes):
            raise invalid(
                f"Failed to process element: {place} of 'instances' list. JSON object: "
                f"{_shown(row)} keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return {name: np.stack(values) for name, values in columns.items()}


def _append(
    columns: dict[str, list[np.ndarray]], name: str, value: Any, dtypes: Mapping[str, tf.DType]
) -> None:
    if name not in dtypes:
        raise invalid(f"JSON object: does not have named input: {name}")
    values = columns.setdefault(name, [])
    values.append(tensor_of(value, dtypes[name]))
    first, last = values[0], values[-1]
    if first.size != last.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {last.size}")
    if first.shape != last.shape:
        raise invalid(f"Expecting shape {list(first.shape)} but got: {list(last.shape)}")


def _of_columns(inputs: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    if not _is_named(inputs):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        return {name: tensor_of(inputs, dtype) for name, dtype in dtypes.items()}
    for name in dtypes:
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: tensor_of(inputs[name], dtype) for name, dtype in dtypes.items()}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def tensor_of(value: Any, dtype: tf.DType) -> np.ndarray:
    """A scalar or nested lists as an array; the first element of each list tells the shape."""
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    leaves = list(_leaves(value, 0, shape, dtype))
    with np.errstate(over="ignore"):  # 1e40 is infinity as a float
        if dtype in WHOLE_RANGES:
            wide = np.uint64 if dtype == tf.uint64 else np.int64
            return np.array(leaves, wide).astype(dtype.as_numpy_dtype).reshape(shape)
        return np.array(leaves, dtype.as_numpy_dtype).reshape(shape)


def _leaves(value: Any, level: int, shape: Sequence[int], dtype: tf.DType) -> Iterator[Any]:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        yield _leaf(value, dtype)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for inner in value:
        yield from _leaves(inner, level + 1, shape, dtype)


def _leaf(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string and isinstance(value, str | dict):
        return bytes_of(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in (tf.float32, tf.float64) and number:
        return value
    if dtype in WHOLE_RANGES and number and isinstance(value, int):
        lowest, highest = WHOLE_RANGES[dtype]
        if lowest <= value <= highest:
            return value
    if dtype == tf.bool and isinstance(value, bool):
        return value
    name = DTYPE_NAMES.get(dtype.name, dtype.name)
    if dtype in (tf.string, tf.float32, tf.float64, tf.bool, *WHOLE_RANGES):
        raise invalid(
            f"JSON Value: {_shown(value)} Type: {json_type(value)} is not of expected type: {name}"
        )
    raise ServingError(
        "UNIMPLEMENTED", f"Conversion of JSON Value: {_shown(value)} to type: {name}"
    )


def bytes_of(value: str | dict[str, Any]) -> bytes:
    """The bytes of a JSON string or of {"b64": "..."}."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def json_type(value: Any) -> str:
    """Returns what the server calls a JSON value's type in refusals."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    kinds = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return kinds[type(value)]


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
