"""Times of rows: numbers, or dates in ISO 8601 to ms since 1970, a whole batch at a time."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.values import Values, single

_HOUR, _SIXTIETH = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
_ZONE = rf"(?:[Zz]|UTC|[+-]{_HOUR}(?::?{_SIXTIETH})?)"
_CLOCK = rf"{_HOUR}:{_SIXTIETH}(?::{_SIXTIETH}(?:[.,][0-9]{{1,9}})?)?\s?{_ZONE}?"
_ISO = rf"[0-9]{{4}}(?:-{_MONTH}-{_DAY}|/{_MONTH}/{_DAY})(?:[Tt ]{_CLOCK})?"
_LENGTH = 40  # bytes, of which the longest text takes 36
_SPACE, _PLUS, _MINUS = ord(" "), ord("+"), ord("-")
_DAYS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def times_of(column: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """Reads each row's time: a number as it stands, or a date in milliseconds since 1970.

    Returns:
        float64 (batch,), NaN where the row has none.
    """
    read = single(column, tf.float64)
    numbers = _finite(read)
    if column.dtype != tf.string:
        return numbers

    def with_dates() -> tf.Tensor:
        milliseconds, is_date = iso_times(single(column, tf.string).values)
        return tf.where(is_date, tf.cast(milliseconds, tf.float64), numbers)

    # A column of numbers is not searched for dates.
    return tf.cond(tf.reduce_any(read.present & ~read.valid), with_dates, lambda: numbers)


def numbers_of(column: tf.Tensor) -> tf.Tensor:
    """Reads each row's number, float64 (batch,), NaN where it is none, or infinite."""
    return _finite(single(column, tf.float64))


def _finite(read: Values) -> tf.Tensor:
    finite = read.valid & tf.math.is_finite(read.values)
    return tf.where(finite, read.values, tf.constant(np.nan, tf.float64))


def iso_times(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads dates such as 2026-11-01 and times such as 2026-11-01 05:00:00.123+08:00.

    Without a zone they are UTC. Parts of a second beyond the thousandth are dropped, as they are
    of Parquet's timestamps.

    >>> iso_times(tf.constant(["1970-01-02", "1970/01/01T08:00:01+08:00", "7"]))[0].numpy().tolist()
    [86400000, 1000, 0]

    Args:
        text: Strings (batch,).

    Returns:
        int64 (batch,), milliseconds since 1970, 0 where the text is no time; and bool (batch,): it
        is one. 2026-02-30 is none, nor is any hour above 23.
    """
    text = tf.strings.strip(text)
    valid = tf.strings.regex_full_match(text, _ISO)
    text = tf.where(valid, text, "1970-01-01")
    codes = tf.cast(tf.io.decode_raw(text, tf.uint8, fixed_length=_LENGTH), tf.int32)
    digits = codes - ord("0")
    is_digit = (digits >= 0) & (digits <= 9)

    def at(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, places, axis=1, batch_dims=1)

    year = _number(digits, 0, 4)
    month, day = _number(digits, 5), _number(digits, 8)
    valid &= (year > 0) & (day <= _days_of(year, month))

    has_clock, has_seconds = codes[:, 10] != 0, codes[:, 16] == ord(":")
    hour = tf.where(has_clock, _number(digits, 11), 0)
    minute = tf.where(has_clock, _number(digits, 14), 0)
    second = tf.where(has_seconds, _number(digits, 17), 0)
    has_parts = has_seconds & ((codes[:, 19] == ord(".")) | (codes[:, 19] == ord(",")))
    part_digits = tf.math.cumprod(tf.cast(is_digit[:, 20:29], tf.int32), axis=1)
    thousandths = tf.reduce_sum(part_digits[:, :3] * digits[:, 20:23] * [100, 10, 1], axis=1)
    thousandths = tf.where(has_parts, thousandths, 0)

    # The zone stands behind the last part of the time of day that there is, and perhaps a space.
    zone = tf.where(has_seconds, 19, 16) + tf.where(
        has_parts, 1 + tf.reduce_sum(part_digits, axis=1), 0
    )
    zone += tf.cast(at(codes, zone) == _SPACE, tf.int32)
    sign = tf.cast(at(codes, zone) == _PLUS, tf.int32) - tf.cast(
        at(codes, zone) == _MINUS, tf.int32
    )
    hours = 10 * at(digits, zone + 1) + at(digits, zone + 2)
    minutes_at = zone + 3 + tf.cast(at(codes, zone + 3) == ord(":"), tf.int32)
    minutes = 10 * at(digits, minutes_at) + at(digits, minutes_at + 1)
    minutes = tf.where(at(is_digit, minutes_at), minutes, 0)
    offset = tf.where(has_clock, sign * (60 * hours + minutes), 0)

    minutes_of_day = 60 * hour + minute - offset
    days = tf.cast(_days_since_1970(year, month, day), tf.int64)
    milliseconds = (days * 1440 + tf.cast(minutes_of_day, tf.int64)) * 60_000
    milliseconds += tf.cast(1000 * second + thousandths, tf.int64)
    return tf.where(valid, milliseconds, 0), valid


def _number(digits: tf.Tensor, start: int, count: int = 2) -> tf.Tensor:
    """Returns the decimals that stand at a place in each row."""
    powers = [10**power for power in reversed(range(count))]
    return tf.reduce_sum(digits[:, start : start + count] * powers, axis=1)


def _days_of(year: tf.Tensor, month: tf.Tensor) -> tf.Tensor:
    """Returns the number of days of a month."""
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return tf.gather(_DAYS, month) + tf.cast(is_leap & (month == 2), tf.int32)


def _days_since_1970(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Counts days of the Gregorian calendar, int32; a year begins in March, so leap days end it."""
    year -= tf.cast(month <= 2, tf.int32)
    months = (month + 9) % 12
    day_of_year = (153 * months + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468
