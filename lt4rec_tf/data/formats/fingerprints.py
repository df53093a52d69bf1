"""Fingerprints of texts: looking a text up among known ones without a lookup table.

A table is a resource: a signature that holds one must be initialised when it is loaded, and
tf.data runs a map that reads one on a single thread where determinism is asked for. A search among
sorted fingerprints is neither.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lt4rec_tf.schema.fitted import FINGERPRINTS, searchable

_CHECK_KEY = [0x6C74, 0x7265]  # any two numbers, the same ones throughout an audit


def fingerprint(texts: tf.Tensor) -> tf.Tensor:
    """Returns for each text a number that hardly any other text has, int64 of the same shape.

    It is farmhash64 modulo 2^62. Two of n texts collide with a chance of about n^2 / 2^63.
    """
    return tf.strings.to_hash_bucket_fast(texts, FINGERPRINTS)


def check(texts: tf.Tensor) -> tf.Tensor:
    """Returns for each text a number by which two texts of one fingerprint differ, int32.

    It is SipHash modulo 2^31, which knows nothing of farmhash: of such pairs all but one in 2^31
    are told apart.
    """
    buckets = tf.strings.to_hash_bucket_strong(texts, 2**31, _CHECK_KEY)
    return tf.cast(buckets, tf.int32)


def find(known: np.ndarray, marks: tf.Tensor) -> tf.Tensor:
    """Finds fingerprints among known ones.

    Args:
        known: int64 (n,), in any order.
        marks: int64 (batch,).

    Returns:
        int64 (batch,), the index in `known`, n for those that are not there.

    >>> find(np.array([30, 10, 20]), tf.constant([10, 20, 40], tf.int64)).numpy().tolist()
    [1, 2, 3]
    """
    rising, indices = (tf.constant(array) for array in searchable(known))
    return tf.cast(search(rising, indices, marks[tf.newaxis], len(known))[0], tf.int64)


def search(rising: tf.Tensor, indices: tf.Tensor, marks: tf.Tensor, absent: int) -> tf.Tensor:
    """Finds fingerprints among known ones that are in order already, see `find`.

    Args:
        rising: int64 (n + 1,), from `schema.fitted.searchable`, as are
        indices: int32 (n + 1,).
        marks: int64 (1, batch).
        absent: Returned for a fingerprint that is not there.

    Returns:
        int32 (1, batch).
    """
    # Not `tf.searchsorted`, which adds a dozen operations for shapes that are known here.
    nearest = tf.raw_ops.LowerBound(sorted_inputs=tf.expand_dims(rising, 0), values=marks)
    is_known = tf.gather(rising, nearest) == marks
    return tf.where(is_known, tf.gather(indices, nearest), absent)
