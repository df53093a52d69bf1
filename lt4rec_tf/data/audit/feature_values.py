"""What the features of a batch hold, as numbers by which values are counted and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.fingerprints import check, fingerprint
from lt4rec_tf.data.formats.values import has_ids, id_of, id_text
from lt4rec_tf.schema.types import Feature, Schema

_NAMED = ("hash", "fitted", "vocabulary", "integer")


def named(schema: Schema) -> list[Feature]:
    """Returns the features of one value a row whose values have ids of their own."""
    return [f for f in schema.features if f.ids.kind in _NAMED and not f.multivalued]


def listed(schema: Schema) -> list[Feature]:
    """Returns the features that are lists of values with ids of their own."""
    return [f for f in schema.features if f.ids.kind in _NAMED and f.multivalued]


def fitted(schema: Schema) -> list[Feature]:
    """Returns the features whose vocabularies are fitted."""
    return [f for f in schema.features if f.ids.kind == "fitted"]


def measured(schema: Schema) -> list[Feature]:
    """Returns the features of one number a row."""
    return [f for f in schema.features if f.ids.kind not in _NAMED and not f.multivalued]


def values_of(schema: Schema, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Takes the values of a batch, in graph.

    Args:
        schema: Its features.
        raw: By feature, as `features_to_ids` takes them.

    Returns:
        "keys": int64 (batch, named features), a whole number itself, a text's fingerprint, by a
        fitted rule the fingerprint of either;
        "numbers": float64 (batch, measured features), NaN where missing; "list/NAME": int64
        (batch, values), keys of the values of a list that count, padded; "check/NAME": int32, of
        the shape of the keys, what tells apart values of one fingerprint, of fitted features.
    """
    rows = tf.shape(next(iter(raw.values())))[0]
    counted = {
        f.name: raw[f.name][:, : f.max_values] if f.multivalued else raw[f.name]
        for f in schema.features
    }
    texts = {f.name: _text(f, counted[f.name]) for f in fitted(schema)}

    def keys_of(feature: Feature) -> tf.Tensor:
        if feature.name in texts:
            return fingerprint(texts[feature.name])
        return _keys(feature, counted[feature.name])

    keys = [keys_of(feature) for feature in named(schema)]
    numbers = [_numbers(feature, counted[feature.name]) for feature in measured(schema)]
    values = {
        "keys": tf.stack(keys, axis=1) if keys else tf.zeros([rows, 0], tf.int64),
        "numbers": tf.stack(numbers, axis=1) if numbers else tf.zeros([rows, 0], tf.float64),
    }
    values |= {f"list/{feature.name}": keys_of(feature) for feature in listed(schema)}
    return values | {f"check/{name}": check(text) for name, text in texts.items()}


def _keys(feature: Feature, values: tf.Tensor) -> tf.Tensor:
    return fingerprint(_text(feature, values)) if values.dtype == tf.string else values


def _text(feature: Feature, values: tf.Tensor) -> tf.Tensor:
    """Returns the texts by whose fingerprints values are known."""
    if values.dtype == tf.string:
        return id_text(values) if has_ids(feature) else values
    return tf.strings.as_string(values)


def _numbers(feature: Feature, values: tf.Tensor) -> tf.Tensor:
    missing = values == tf.constant(feature.missing, values.dtype)
    return tf.where(missing, tf.constant(np.nan, tf.float64), tf.cast(values, tf.float64))


def missing_keys(feature: Feature, nulls: Sequence[str]) -> np.ndarray:
    """Returns the keys of values that are absent, int64."""
    if feature.dtype == "string":
        missing = str(feature.missing)
        return _fingerprints([id_of(missing) if has_ids(feature) else missing, "", *nulls])
    if feature.ids.kind == "fitted":
        return _fingerprints([str(feature.missing)])
    return np.array([feature.missing], np.int64)


def are_unknown(feature: Feature, keys: np.ndarray) -> np.ndarray:
    """Tells of keys, bool, if their values have no id of their own; of hashed ones none."""
    rule = feature.ids
    if rule.kind == "integer":
        return (keys < rule.minimum) | (keys > rule.maximum)
    if rule.kind == "hash":
        return np.zeros(len(keys), bool)
    if rule.kind == "fitted":
        return ~rule.fitted.holds(keys) if rule.fitted else np.ones(len(keys), bool)
    if feature.dtype == "string":
        return ~np.isin(keys, _fingerprints(rule.vocabulary))
    numbers = [int(text) for text in rule.vocabulary if _is_decimal(text)]
    return ~np.isin(keys, np.array(numbers, np.int64))


def _is_decimal(text: str) -> bool:
    """Tells if a text is what TensorFlow writes for some int64."""
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def _fingerprints(texts: Sequence[str]) -> np.ndarray:
    return fingerprint(tf.constant(list(texts), tf.string)).numpy()
