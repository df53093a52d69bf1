"""Splits of rows into train, validation and test: by time, by user, at random, or by file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.fingerprints import fingerprint
from lt4rec_tf.data.formats.iso_times import numbers_of, times_of
from lt4rec_tf.data.formats.values import Values, single
from lt4rec_tf.schema.types import TimeColumn

SPLITS = ("train", "validation", "test")
_USER_SALT = "lt4rec_tf split by user: "  # users must not fall together as in an embedding's hash
_ROW_SALT = "lt4rec_tf split of a row without a user: "
_RANDOM_SALT = "lt4rec_tf split at random, seed "
_STEPS = 2**32


@dataclass(frozen=True)
class SplitRule:
    """The rule that separates train, validation and test.

    Attributes:
        kind: "none" (all rows train), "time", "user" (no user in two splits; rows without a user
            are spread), "random" (by rows; equal ones are in one split) or "files".
        validation_from: Of time: the first time of validation, in the time column's own unit.
        test_from: Of time: the first time of test.
        validation_fraction: Of user, random, and time where no boundary is given: share of
            validation.
        test_fraction: Of user, random, and time where no boundary is given: share of test.
        split_seed: Of random: another seed spreads the rows otherwise.
        validation_files: Of files: globs, relative to the data folder, of validation's logs.
        test_files: Of files: globs of test's logs; all others train.
        limits: Of time: (earliest, latest), see `time_units.limits_of`; rows beyond are no rows of
            any split. None: no time is far.
    """

    kind: str = "none"
    validation_from: float | None = None
    test_from: float | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    validation_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    split_seed: int = 1
    limits: tuple[float, float] | None = None

    @property
    def held_out(self) -> str:
        """Returns the split that is measured last: test, or train where all rows train."""
        return "train" if self.kind == "none" else "test"

    @property
    def needs_boundaries(self) -> bool:
        """Tells if the boundaries of a split by time are still to be found in the data."""
        return self.kind == "time" and None in (self.validation_from, self.test_from)


def row_times(time: TimeColumn, column: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """Reads each row's time: a number as it stands, or a date in ms since 1970 (UTC).

    Returns:
        float64 (batch,), NaN where the row has none.
    """
    if not time.patterns:
        return times_of(column)

    text = single(column, tf.string).values
    result = tf.fill(tf.shape(text), tf.constant(np.nan, tf.float64))
    for pattern, multiplier in reversed(time.patterns):  # the first that fits is written last
        whole = f"(?s).*?(?:{pattern}).*"
        fits = tf.strings.regex_full_match(text, whole)
        number = numbers_of(tf.strings.regex_replace(text, whole, r"\1", replace_global=False))
        result = tf.where(fits, number * multiplier, result)
    return result


def split_of_times(rule: SplitRule, times: tf.Tensor) -> tf.Tensor:
    """Splits rows by time: before validation_from, before test_from, from then on.

    Returns:
        int32 (batch,), indices in `SPLITS`.
    """
    later = tf.cast(times >= rule.validation_from, tf.int32)
    return later + tf.cast(times >= rule.test_from, tf.int32)


def is_far(rule: SplitRule, times: tf.Tensor) -> tf.Tensor:
    """Tells which times lie beyond the rule's limits, bool (batch,)."""
    earliest, latest = rule.limits or (-np.inf, np.inf)
    return (times < earliest) | (times > latest)


def split_of_users(rule: SplitRule, users: Values, records: tf.Tensor) -> tf.Tensor:
    """Splits rows by a hash of the user, so that all rows of a user fall together.

    A row without a user is split by a hash of its record: such rows are spread by the fractions,
    and equal records fall together.

    Args:
        rule: Holds the fractions, of users.
        users: Texts (batch,).
        records: Strings (batch,), the raw records.

    Returns:
        int32 (batch,), indices in `SPLITS`.
    """
    by_user = tf.strings.join([_USER_SALT, users.values])
    by_row = tf.strings.join([_ROW_SALT, records])
    return _split_of_keys(rule, tf.where(users.present, by_user, by_row))


def split_at_random(rule: SplitRule, records: tf.Tensor) -> tf.Tensor:
    """Splits rows by a hash of their records, so that equal records fall together.

    Args:
        rule: Holds the fractions and the seed.
        records: Strings (batch,), the raw records.

    Returns:
        int32 (batch,), indices in `SPLITS`.
    """
    return _split_of_keys(rule, tf.strings.join([f"{_RANDOM_SALT}{rule.split_seed}: ", records]))


def _split_of_keys(rule: SplitRule, keys: tf.Tensor) -> tf.Tensor:
    steps = fingerprint(keys)
    uniform = tf.cast(steps % _STEPS, tf.float64) / _STEPS  # in [0, 1)

    evaluated = rule.validation_fraction + rule.test_fraction
    is_test = uniform < rule.test_fraction
    return tf.where(is_test, 2, tf.cast(uniform < evaluated, tf.int32))


def boundaries_for(rule: SplitRule, times: np.ndarray) -> tuple[float, float]:
    """Finds the boundaries of a split by time whose shares are nearest to the rule's fractions.

    A boundary is a time that occurs: rows of one time (a day, say) are in one split.

    Args:
        rule: Holds the fractions, and given boundaries, which stay as they are.
        times: The rows' times, or a sample of them, at least one.

    Returns:
        (validation_from, test_from).

    >>> days = np.repeat([1.0, 2.0, 3.0, 4.0], [40, 40, 10, 10])
    >>> boundaries_for(SplitRule("time"), days)
    (3.0, 4.0)
    """
    distinct, counts = np.unique(times, return_counts=True)
    share_from = np.cumsum(counts[::-1])[::-1] / len(times)  # of rows at or after each time

    def nearest(share: float, allowed: np.ndarray) -> float:
        if not allowed.any():  # too few distinct times; the audit's check says which split is empty
            return float(distinct[0])
        distance = np.where(allowed, np.abs(share_from - share), np.inf)
        return float(distinct[np.argmin(distance)])

    test_from = rule.test_from
    if test_from is None:
        # The first time trains and, unless its boundary is given, the second validates.
        last = distinct[:2][-1] if rule.validation_from is None else rule.validation_from
        test_from = nearest(rule.test_fraction, distinct > last)

    validation_from = rule.validation_from
    if validation_from is None:
        test_share = float(np.mean(times >= test_from))
        allowed = (distinct < test_from) & (distinct > distinct[0])
        validation_from = nearest(test_share + rule.validation_fraction, allowed)
    return validation_from, test_from
