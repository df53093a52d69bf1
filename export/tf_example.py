"""Writes a tf.Example without TensorFlow: nested length-delimited fields of protocol buffers.

Example    { Features features = 1 }
Features   { map<string, Feature> feature = 1 }      an entry: { key = 1, value = 2 }
Feature    { BytesList = 1 | FloatList = 2 | Int64List = 3 }      each: { repeated value = 1 }
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any


def serialize(features: Mapping[str, Any]) -> bytes:
    """Serializes a tf.Example.

    Args:
        features: By name: str, int or float, or a list of one of these.

    >>> serialize({"age": 7}).hex()
    '0a0e0a0c0a0361676512051a030a0107'
    """
    entries = b""
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        entries += _field(1, _field(1, name.encode()) + _field(2, _feature(values)))
    return _field(1, entries)


def _feature(values: list) -> bytes:
    if isinstance(values[0], str):
        return _field(1, b"".join(_field(1, value.encode()) for value in values))
    if isinstance(values[0], float):
        return _field(2, _field(1, b"".join(_float32(value) for value in values)))
    return _field(3, _field(1, b"".join(_varint(value) for value in values)))


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # beyond float32, which the server's JSON parser reads as infinity too
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _field(number: int, content: bytes) -> bytes:
    length_delimited = 2
    return _varint(number << 3 | length_delimited) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value %= 2**64  # negative integers in two's complement
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
