"""Requests to every signature from real rows, to check, warm up and document a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def user_ids(schema: Schema) -> tuple[str, ...]:
    """Returns the features that name a user: those made of the schema's column of users.

    Where a schema names no such column, they are a user's single values that become rows by a hash
    or by a vocabulary fitted to the logs; a vocabulary that is written down names nobody.
    """
    if schema.user is not None:
        return tuple(f.name for f in schema.features if f.column == schema.user)
    return tuple(
        feature.name
        for feature in schema.features
        if feature.side == "user"
        and not feature.multivalued
        and feature.ids.kind in ("hash", "fitted")
    )


def without_users(schema: Schema, requests: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Returns requests in which the features that name a user are missing.

    Args:
        schema: Features.
        requests: Signature -> input -> values, as `requests_of` and `rank_request` make them.
    """
    missing = {name: schema.feature(name).missing for name in user_ids(schema)}

    def hidden(signature: str, name: str, values: np.ndarray) -> np.ndarray:
        if signature == TF_EXAMPLE or signature.startswith(REGRESS):
            return _without_features(values, missing)
        if name not in missing:
            return values
        value = missing[name]
        return np.full_like(values, value.encode() if isinstance(value, str) else value)

    return {
        signature: {name: hidden(signature, name, values) for name, values in inputs.items()}
        for signature, inputs in requests.items()
    }


def _without_features(serialized: np.ndarray, names: Iterable[str]) -> np.ndarray:
    rows = np.empty_like(serialized)
    for row, text in enumerate(serialized):
        example = tf.train.Example.FromString(text)
        for name in names:
            example.features.feature.pop(name, None)
        rows[row] = example.SerializeToString(deterministic=True)
    return rows


def _present_values(feature: Feature, value: np.ndarray) -> list[Any]:
    """Returns a row's values of a feature up to the last one that is not missing."""
    missing = feature.missing.encode() if isinstance(feature.missing, str) else feature.missing
    values = np.atleast_1d(np.asarray(value))
    # Only padding at the end is left out: a missing value between others keeps its position.
    present = np.flatnonzero([item != missing and item == item for item in values.tolist()])
    return values[: present[-1] + 1].tolist() if len(present) else []
