"""Fingerprints of texts: looking a text up among known ones without a lookup table.

A table is a resource: a signature that holds one must be initialised when it is loaded, and
tf.data runs a map that reads one on a single thread where determinism is asked for. A search among
sorted fingerprints is neither.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# farmhash64 modulo this: fits int64. Two of n texts collide with a chance of about n^2 / 2^63.
FINGERPRINTS = 2**62


def fingerprint(texts: tf.Tensor) -> tf.Tensor:
    """Returns for each text a number that hardly any other text has, int64 of the same shape."""
    return tf.strings.to_hash_bucket_fast(texts, FINGERPRINTS)


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
    # One more than any fingerprint stands last, so that the search never ends past the array.
    order = np.argsort(known, kind="stable")
    ordered = tf.constant(np.append(known[order], FINGERPRINTS), tf.int64)
    indices = tf.constant(np.append(order, len(known)), tf.int64)

    nearest = tf.searchsorted(ordered, marks)
    missing = tf.constant(len(known), tf.int64)
    return tf.where(tf.gather(ordered, nearest) == marks, tf.gather(indices, nearest), missing)
