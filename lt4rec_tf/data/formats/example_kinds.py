"""Kinds of values in `tf.train.Example`, which writers choose by value; mixed ones become text.

A writer that passes on what it is given writes 7 as an integer and 7.5 as a float, in one column;
another day's job writes the same ids as text. `tf.io.parse_example` reads one kind a column, and
text holds them all exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats.values import EXACT_IN_FLOAT32, SMALLEST_FLOAT32

_DTYPES = {"bytes_list": "string", "int64_list": "int64", "float_list": "float32"}


def kinds_of(record: bytes) -> dict[str, str]:
    """Returns by column that an Example has its dtype, "string", "int64" or "float32".

    Raises:
        DecodeError: It is malformed.
    """
    kinds = {}
    for name, feature in tf.train.Example.FromString(record).features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is not None:
            kinds[name] = _DTYPES[kind]
    return kinds


def other_kinds(record: bytes, kinds: Mapping[str, str], columns: Collection[str]) -> set[str]:
    """Returns those of some columns that an Example holds in another dtype than theirs.

    Raises:
        DecodeError: It is malformed.
    """
    found = kinds_of(record)
    return {name for name in columns if found.get(name, kinds[name]) != kinds[name]}


def with_texts(record: bytes, kinds: Mapping[str, str]) -> bytes:
    """Returns an Example with its numbers as texts, where a column is to hold texts.

    Args:
        record: The Example, serialized; a malformed one is returned as it is.
        kinds: By column its dtype.
    """
    try:
        example = tf.train.Example.FromString(record)
    except DecodeError:
        return record

    changed = False
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind in ("int64_list", "float_list") and kinds.get(name) == "string":
            texts = list(map(_text, getattr(feature, kind).value))
            feature.bytes_list.value[:] = texts  # which clears the other list
            changed = True
    return example.SerializeToString(deterministic=True) if changed else record


def example_text(record: bytes) -> bytes:
    """Writes an Example's columns and values for people; a malformed one as it is.

    >>> feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[7, 8]))
    >>> features = tf.train.Features(feature={"tags": feature})
    >>> example_text(tf.train.Example(features=features).SerializeToString())
    b'tags=7|8'
    """
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return record

    columns = []
    for name in sorted(features):
        kind = features[name].WhichOneof("kind")
        values = getattr(features[name], kind).value if kind else []
        texts = [value if isinstance(value, bytes) else _text(value) for value in values]
        columns.append(name.encode() + b"=" + b"|".join(texts))
    return b", ".join(columns) or record


def _text(value: float) -> bytes:
    if abs(value) < SMALLEST_FLOAT32:
        return b"0"
    if isinstance(value, int) or (value.is_integer() and abs(value) < EXACT_IN_FLOAT32):
        return b"%d" % value
    return str(np.float32(value)).encode()  # the shortest that means it
