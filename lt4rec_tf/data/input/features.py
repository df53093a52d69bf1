"""The one feature function: raw values to ids, in the input pipeline and in served models alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.fingerprints import fingerprint, search
from lt4rec_tf.data.formats.values import DTYPES, has_ids, id_of, id_text, is_null
from lt4rec_tf.data.input import fitted_numbers
from lt4rec_tf.schema.fitted import Vocabulary, searchable
from lt4rec_tf.schema.types import (
    FIRST_VALUE_ID,
    FITTED_NUMBERS,
    UNKNOWN_ID,
    Feature,
    IdRule,
    Schema,
)

LARGEST_NUMBER = 1e6  # of a numeric feature, after its transform


def raw_specs(schema: Schema) -> dict[str, tf.TensorSpec]:
    """Returns the raw inputs that `features_to_ids` takes, as signatures of models name them.

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

    Strings hash by farmhash64; integers hash as their decimal text, so that 7 and "7" agree, and so
    does "7.0", see `values.has_ids`.

    Args:
        schema: The features and their rules.
        raw: By feature: (batch,), or (batch, values) when multi-valued, of the feature's dtype.
            Lists shorter than others are padded with the feature's missing value; of longer ones
            than `max_values` the first values count.

    Returns:
        By feature: int64 ids of the same shape, lists cut, in [0, rows of the feature's table), 0
        for missing and padding. Features whose rule gives numbers: float32 (batch,), NaN where
        missing or not finite.
    """
    raw = {feature.name: _first_values(feature, raw[feature.name]) for feature in schema.features}
    ids_by_feature: dict[str, tf.Tensor] = {}
    for features in _groups(schema, raw):
        # All at once: a small operation costs a request more than what it computes.
        ids = _ids(features, [raw[feature.name] for feature in features], schema.nulls)
        names = [feature.name for feature in features]
        ids_by_feature.update(zip(names, tf.unstack(ids, num=len(names), axis=-1), strict=True))
    return {feature.name: ids_by_feature[feature.name] for feature in schema.features}


def _first_values(feature: Feature, values: tf.Tensor) -> tf.Tensor:
    """Cuts lists where training cuts them: by place, so that a missing value takes one too."""
    length = values.shape[-1] if feature.multivalued else 1
    if length is not None and length <= feature.max_values:
        return values
    return values[..., : feature.max_values]


def _groups(schema: Schema, raw: Mapping[str, tf.Tensor]) -> list[list[Feature]]:
    """Groups the features whose values can be stacked in one tensor and have one kind of rule."""
    groups: dict[tuple, list[Feature]] = {}
    for feature in schema.features:
        shape = feature.name if feature.multivalued else raw[feature.name].shape.rank
        rule = feature.ids
        key = (shape, feature.dtype, rule.kind, rule.transform, has_ids(feature))
        groups.setdefault(key, []).append(feature)
    return list(groups.values())


def _ids(features: Sequence[Feature], raw: Sequence[tf.Tensor], nulls: Sequence[str]) -> tf.Tensor:
    """Returns the ids of features that are alike; the last dimension is the features'."""
    rules = [feature.ids for feature in features]
    values = tf.stack(raw, axis=-1)
    missing = _are_missing(features, values, nulls)
    if has_ids(features[0]):  # and so have all of them
        values = id_text(values)
        missing |= values == [id_of(str(feature.missing)) for feature in features]

    kind = rules[0].kind
    if kind == "numeric":
        return _numeric(rules, values, missing)
    if kind in FITTED_NUMBERS:
        return _fitted_numbers(rules, values, missing)
    ids = _IDS_OF_KIND[kind](rules, values)
    return tf.where(missing, tf.zeros_like(ids), ids)


def _are_missing(features: Sequence[Feature], values: tf.Tensor, nulls: Sequence[str]) -> tf.Tensor:
    missing = values == tf.constant([feature.missing for feature in features], values.dtype)
    if values.dtype == tf.string:
        return missing | (values == "") | is_null(values, nulls)
    if values.dtype == tf.float32:
        return missing | tf.math.is_nan(values)
    return missing


def _numeric(rules: Sequence[IdRule], values: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    numbers = tf.cast(values, tf.float32)
    if rules[0].transform == "log1p":
        numbers = tf.math.log1p(tf.maximum(numbers, 0.0))

    means = tf.constant([rule.mean for rule in rules], tf.float32)
    scales = tf.constant([rule.scale for rule in rules], tf.float32)
    return _usable((numbers - means) / scales, missing)


def _usable(numbers: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    """Returns numbers as float32, NaN where they are missing or not finite, huge ones clipped."""
    # An infinite input would turn every weight it meets into NaN: it counts as missing.
    usable = ~missing & tf.math.is_finite(numbers)
    # A huge one would overflow in the cross layer's products, to the same effect.
    numbers = tf.clip_by_value(numbers, -LARGEST_NUMBER, LARGEST_NUMBER)
    return tf.where(usable, tf.cast(numbers, tf.float32), np.float32(np.nan))


def _fitted_numbers(rules: Sequence[IdRule], values: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    # float64, in which the audit has them: days and times since 1970 differ little in float32.
    numbers = tf.cast(values, tf.float64)
    missing |= ~tf.math.is_finite(numbers)
    kind = rules[0].kind
    if kind == "quantiles":
        ids = fitted_numbers.quantile_ids(rules, numbers)
        return tf.where(missing, tf.zeros_like(ids), ids)
    convert = {
        "standardised": fitted_numbers.standardised,
        "piecewise_linear": fitted_numbers.positions,
    }[kind]
    return _usable(convert(rules, numbers), missing)


def _integer_ids(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    minima = tf.constant([rule.minimum for rule in rules], values.dtype)
    maxima = tf.constant([rule.maximum for rule in rules], values.dtype)
    inside = (values >= minima) & (values <= maxima)
    # Replaced before the subtraction: the distance of a huge value would overflow.
    offsets = tf.where(inside, values, minima) - minima
    return tf.where(inside, offsets + FIRST_VALUE_ID, tf.ones_like(values))


def _boundary_ids(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    # float32 values meet float32 boundaries, so that a logged 0.7 is not below the boundary 0.7.
    dtype = tf.float32 if values.dtype == tf.float32 else tf.float64
    boundaries = [rule.boundaries for rule in rules]
    return fitted_numbers.not_above(boundaries, tf.cast(values, dtype)) + 1


def _hash_ids(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    columns = tf.unstack(_text(values), num=len(rules), axis=-1)
    buckets = [
        tf.strings.to_hash_bucket_fast(column, rule.buckets)
        for rule, column in zip(rules, columns, strict=True)
    ]
    return tf.stack(buckets, axis=-1) + 1


def _vocabulary_ids(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    with tf.init_scope():  # once, when the graph is made
        marks = [fingerprint(tf.constant(rule.vocabulary)).numpy() for rule in rules]
    tensors = [
        (tf.constant(rising), tf.constant(index)) for rising, index in map(searchable, marks)
    ]
    return _ids_of_places(tensors, values)


def _fitted_ids(rules: Sequence[IdRule], values: tf.Tensor) -> tf.Tensor:
    fitted = [rule.fitted for rule in rules if rule.fitted is not None]
    if len(fitted) < len(rules):
        raise ValueError("found a fitted rule without its vocabulary, expected an audited schema")
    return _ids_of_places([_searchable_tensors(vocabulary) for vocabulary in fitted], values)


def _ids_of_places(
    vocabularies: Sequence[tuple[tf.Tensor, tf.Tensor]], values: tf.Tensor
) -> tf.Tensor:
    """Returns ids by the places of values in their features' vocabularies; 1 for unknown values.

    Args:
        vocabularies: By feature, fingerprints and places as `searchable` returns them.
        values: (..., features).
    """
    marks = tf.transpose(fingerprint(tf.reshape(_text(values), [-1, len(vocabularies)])))
    places = [
        search(rising, indices, of_feature, UNKNOWN_ID - FIRST_VALUE_ID)
        for (rising, indices), of_feature in zip(
            vocabularies, tf.split(marks, len(vocabularies)), strict=True
        )
    ]
    ids = tf.cast(tf.concat(places, axis=0), tf.int64) + FIRST_VALUE_ID
    return tf.reshape(tf.transpose(ids), tf.shape(values))


_TENSORS: WeakKeyDictionary[Vocabulary, tuple[tf.Tensor, tf.Tensor]] = WeakKeyDictionary()


def _searchable_tensors(vocabulary: Vocabulary) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a vocabulary as tensors, of which all graphs share one copy."""
    if vocabulary not in _TENSORS:
        rising, indices = vocabulary.searchable
        with tf.init_scope():
            _TENSORS[vocabulary] = tf.constant(rising), tf.constant(indices)
    return _TENSORS[vocabulary]


_IDS_OF_KIND = {
    "boundaries": _boundary_ids,
    "fitted": _fitted_ids,
    "hash": _hash_ids,
    "integer": _integer_ids,
    "vocabulary": _vocabulary_ids,
}


def _text(raw: tf.Tensor) -> tf.Tensor:
    return raw if raw.dtype == tf.string else tf.strings.as_string(raw)
