"""Requests to every signature from real rows, to check, warm up and document a version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.examples import encode_row
from lt4rec_tf.schema.types import Feature, Schema
from lt4rec_tf.serving.publish import Arrays
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import OF_CANDIDATES, REGRESS, TF_EXAMPLE

Signatures = Mapping[str, Any]  # name -> concrete function


def requests_of(schema: Schema, signatures: Signatures, raw: Arrays) -> dict[str, Arrays]:
    """Returns the same rows as a request to each signature but `rank` and `score`.

    Args:
        schema: Features.
        signatures: Name -> concrete function.
        raw: Every feature's values, (rows,) or (rows, values).

    Returns:
        Signature -> input -> values.
    """
    examples = serialized_examples(schema, raw)
    requests: dict[str, Arrays] = {}
    for name, function in signatures.items():
        inputs = [spec.name for spec in tf.nest.flatten(function.structured_input_signature)]
        if name == TF_EXAMPLE or name.startswith(REGRESS):
            requests[name] = dict.fromkeys(inputs, examples)
        elif name not in OF_CANDIDATES:
            requests[name] = {feature: raw[feature] for feature in inputs}
    return requests


def rank_request(
    schema: Schema, ranking: Ranking, raw: Arrays, requests: int
) -> tuple[Arrays, Arrays]:
    """Makes requests to `rank`: the user of a request's first row, and the items of all its rows.

    Args:
        schema: Features.
        ranking: Of the signature.
        raw: Every feature's values, (rows,) or (rows, values); rows that make no whole request are
            left out.
        requests: Their number.

    Returns:
        The requests, and the rows of `serving_default` that must have the same probabilities.
    """
    candidates = len(next(iter(raw.values()))) // requests
    sent: dict[str, np.ndarray] = {}
    rows: dict[str, np.ndarray] = {}
    for feature in schema.features:
        values = raw[feature.name][: requests * candidates]
        by_request = values.reshape(requests, candidates, *values.shape[1:])
        if feature.side == "item":
            sent[feature.name], rows[feature.name] = by_request, values
        else:
            sent[feature.name] = by_request[:, 0]
            rows[feature.name] = np.repeat(by_request[:, 0], candidates, axis=0)
    if ranking.extra_input:
        lengths = np.linspace(1.0, 100.0, requests * candidates, dtype=np.float32)
        sent[ranking.extra_input] = lengths.reshape(requests, candidates)
    return sent, rows


def serialized_examples(schema: Schema, raw: Arrays) -> np.ndarray:
    """Serializes rows as tf.Examples without padding and without missing values.

    Args:
        schema: Features.
        raw: Every feature's values, (rows,) or (rows, values).

    Returns:
        object (rows,) of bytes.
    """
    rows = len(next(iter(raw.values())))
    serialized = np.empty(rows, object)
    for row in range(rows):
        present: dict[str, tuple[str, list[Any]]] = {}
        for feature in schema.features:
            values = _present_values(feature, raw[feature.name][row])
            if values:
                present[feature.name] = feature.dtype, values
        serialized[row] = encode_row(present)
    return serialized


def _present_values(feature: Feature, value: np.ndarray) -> list[Any]:
    """Returns a row's values of a feature up to the last one that is not missing."""
    missing = feature.missing.encode() if isinstance(feature.missing, str) else feature.missing
    values = np.atleast_1d(np.asarray(value))
    # Only padding at the end is left out: a missing value between others keeps its position.
    present = np.flatnonzero([item != missing and item == item for item in values.tolist()])
    return values[: present[-1] + 1].tolist() if len(present) else []
