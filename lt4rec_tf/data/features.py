"""The one feature function: raw values to ids, in the input pipeline and in served models alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.fingerprints import find, fingerprint
from lt4rec_tf.schema import FIRST_VALUE_ID, Feature, IdRule, Schema

LARGEST_NUMBER = 1e6  # of a numeric feature, after its transform
DTYPES = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}


def raw_specs(schema: Schema) -> dict[str, tf.TensorSpec]:
    """The raw inputs that `features_to_ids` takes, as signatures of served models name them.

    Returns:
        By feature: shape (batch,) or, multi-valued, (batch, values), of the feature's dtype.
    """
    return {
        feature.name: tf.TensorSpec(
            (None, None) if feature.multivalued else (None,), DTYPES[feature.dtype], feature.name
        )
        for feature in schema.features
    }


def features_to_ids(schema: Schema, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Turns raw values into embedding rows; no value, however odd, makes it fail.

    Strings hash by farmhash64; integers hash as their decimal text, so that 7 and "7" agree.

    Args:
        schema: Names the features and their rules.
        raw: By feature: (batch,), or (batch, values) when multi-valued, of the feature's dtype.
            Lists shorter than others are padded with the feature's missing value.

    Returns:
        By feature: int64 ids of the same shape in [0, rows of the feature's table), 0 for missing
        and padding. Numeric features: float32 (batch,), NaN where missing or not finite.
    """
    return {feature.name: _ids(feature, raw[feature.name]) for feature in schema.features}


def _ids(feature: Feature, raw: tf.Tensor) -> tf.Tensor:
    missing = _is_missing(feature, raw)
    rule = feature.ids
    if rule.kind == "numeric":
        return _numeric(rule, raw, missing)
    if rule.kind == "integer":
        ids = _integer_ids(rule, raw)
    elif rule.kind == "boundaries":
        ids = _boundary_ids(rule, raw)
    else:
        text = raw if raw.dtype == tf.string else tf.strings.as_string(raw)
        if rule.kind == "hash":
            ids = tf.strings.to_hash_bucket_fast(text, rule.buckets) + 1
        else:
            ids = _vocabulary_ids(rule, text)
    return tf.where(missing, tf.zeros_like(ids), ids)


def _is_missing(feature: Feature, raw: tf.Tensor) -> tf.Tensor:
    missing = raw == tf.constant(feature.missing, raw.dtype)
    if feature.dtype == "string":
        return missing | (raw == "")
    if feature.dtype == "float32":
        return missing | tf.math.is_nan(raw)
    return missing


def _numeric(rule: IdRule, raw: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    number = tf.cast(raw, tf.float32)
    if rule.transform == "log1p":
        number = tf.math.log1p(tf.maximum(number, 0.0))
    number = (number - rule.mean) / rule.scale
    # An infinite input would turn every weight it meets into NaN: it counts as missing.
    usable = ~missing & tf.math.is_finite(number)
    # A huge one would overflow in the cross layer's products, to the same effect.
    number = tf.clip_by_value(number, -LARGEST_NUMBER, LARGEST_NUMBER)
    return tf.where(usable, number, np.float32(np.nan))


def _integer_ids(rule: IdRule, raw: tf.Tensor) -> tf.Tensor:
    inside = (raw >= rule.minimum) & (raw <= rule.maximum)
    # Replaced before the subtraction: the distance of a huge value would overflow.
    offset = tf.where(inside, raw, rule.minimum) - rule.minimum
    return tf.where(inside, offset + FIRST_VALUE_ID, tf.ones_like(raw))


def _boundary_ids(rule: IdRule, raw: tf.Tensor) -> tf.Tensor:
    # float32 values meet float32 boundaries, so that a logged 0.7 is not below the boundary 0.7.
    dtype = tf.float32 if raw.dtype == tf.float32 else tf.float64
    boundaries = tf.constant(rule.boundaries, dtype)
    flat = tf.reshape(tf.cast(raw, dtype), [-1])
    below = tf.searchsorted(boundaries, flat, side="right", out_type=tf.int64)
    return tf.reshape(below, tf.shape(raw)) + 1


def _vocabulary_ids(rule: IdRule, text: tf.Tensor) -> tf.Tensor:
    with tf.init_scope():
        known = fingerprint(tf.constant(rule.vocabulary)).numpy()
    place = find(known, fingerprint(tf.reshape(text, [-1])))
    ids = tf.where(place < len(known), place + FIRST_VALUE_ID, tf.ones_like(place))
    return tf.reshape(ids, tf.shape(text))
