"""Units of times, dates of numbers, numbers of dates, and limits beyond which a time is far."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.core.time_units import (
    date_of,
    from_date,
    is_date,
    limits_of,
    unit_of,
    with_date,
)

EPOCHS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DIGITS = {"YYYYMMDD": 8, "YYYYMMDDHH": 10, "YYYYMMDDHHMM": 12, "YYYYMMDDHHMMSS": 14}
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 12, 31, 23))


def number_of(moment, unit):
    if unit in EPOCHS:
        return float(moment.replace(tzinfo=UTC).timestamp() * EPOCHS[unit])
    return float(f"{moment:%Y%m%d%H%M%S}"[: DIGITS[unit]])


@pytest.mark.parametrize("unit", [*EPOCHS, *DIGITS])
@given(moments=st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2030, 12, 31)), min_size=4))
def test_the_unit_of_numbers_is_found(unit, moments):
    # From 2033 on seconds may spell a date and an hour by chance.
    assert unit_of(np.array([number_of(moment, unit) for moment in moments])) == unit


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], ""),
        ([np.nan, np.inf], ""),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], ""),
        ([19891231], ""),
        ([21010101], ""),
        ([20261301], ""),
        ([20260230], ""),
        ([20240229], "YYYYMMDD"),
        ([20230229], ""),
        ([2026112024], "s"),  # no hour: a second of 2034
        ([2026112023], "YYYYMMDDHH"),
        ([20261120.5], ""),
        ([np.nan, 20261120], "YYYYMMDD"),
        ([20261120, 20261121, 0], "YYYYMMDD"),
        ([20261120, 0, 0], ""),
        ([20261120] * 99 + [5], "YYYYMMDD"),
        ([20261120] * 98 + [5] * 2, ""),
        ([20261120] * 198 + [5] * 2, "YYYYMMDD"),
    ],
)
def test_units_by_hand(times, expected):
    assert unit_of(np.array(times, float)) == expected


@pytest.mark.parametrize("unit", [*EPOCHS, *DIGITS])
@given(moment=MOMENTS)
def test_a_date_and_its_number_are_the_same(unit, moment):
    fields = {"s": "second", "ms": "second", "us": "second", "ns": "second"}.get(unit)
    moment = moment.replace(microsecond=0)
    if not fields:
        cut = {8: {"hour": 0, "minute": 0, "second": 0}, 10: {"minute": 0, "second": 0}}
        moment = moment.replace(**cut.get(DIGITS[unit], {"second": 0} if unit[-2:] != "SS" else {}))
    number = from_date(moment.isoformat(), unit)
    assert number == pytest.approx(number_of(moment, unit), rel=1e-15)
    assert from_date(date_of(number, unit), unit) == number
    assert datetime.fromisoformat(date_of(number, unit)) == moment


@given(moment=MOMENTS, minutes=st.integers(-14 * 60, 14 * 60))
def test_zones_are_read_as_python_reads_them(moment, minutes):
    zone = timedelta(minutes=minutes)
    hours = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    expected = (moment - zone).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert from_date(f"{moment.isoformat()}{hours}", "ms") == expected // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-13-01", "2026-02-30", "2026-11-01 25:00", "2026-11-01 05", "20261101"],
)
def test_what_is_no_date(text):
    assert not is_date(text)
    with pytest.raises(ValueError):
        from_date(text, "ms")


def test_a_time_of_day_is_refused_where_the_unit_has_none():
    assert from_date("2026-11-25", "YYYYMMDD") == 20261125
    assert from_date("2026-11-25 00:00", "YYYYMMDD") == 20261125
    assert from_date("2026-11-25T12:00", "YYYYMMDDHH") == 2026112512
    with pytest.raises(ValueError, match="finer than YYYYMMDD"):
        from_date("2026-11-25T12:00", "YYYYMMDD")
    with pytest.raises(ValueError, match="finer than YYYYMMDDHHMMSS"):
        from_date("2026-11-25T12:00:00.5", "YYYYMMDDHHMMSS")


@pytest.mark.parametrize(
    ("time", "unit", "expected"),
    [
        (20261120, "YYYYMMDD", "20261120 (2026-11-20)"),
        (99991231, "YYYYMMDD", "99991231 (9999-12-31)"),
        (20261131, "YYYYMMDD", "20261131"),
        (1795132800, "s", "1795132800 (2026-11-20)"),
        (1795132860.5, "s", "1795132860.5 (2026-11-20 00:01)"),
        (1795132801000, "ms", "1795132801000 (2026-11-20 00:00:01)"),
        (1795132800 * 10**9, "ns", "1795132800000000000 (2026-11-20)"),
        (0, "ms", "0 (1970-01-01)"),
        (1e30, "ms", f"{1e30:.0f}"),
        (np.inf, "ms", "inf"),
        (7, "", "7"),
        (0.25, "", "0.25"),
    ],
)
def test_dates_stand_beside_numbers(time, unit, expected):
    assert with_date(float(time), unit) == expected


@pytest.mark.parametrize(
    ("times", "far"),
    [
        ([20261101, 20261102, 20261103], [99991231, 20991231, 20000101, 0]),
        ([1795132800000, 1795219200000], [253402214400000, 0, 1795132800]),
        ([*range(1, 10)], [99991231, 20261101, 5000]),
        ([9] * 5, [99991231, -1000]),
    ],
)
def test_one_far_time_is_beyond_the_limits(times, far):
    for mistake in far:
        given = np.repeat(np.array([*times, mistake], float), [50] * len(times) + [1])
        earliest, latest = limits_of(given, unit_of(given))
        assert not earliest <= mistake <= latest
        assert earliest <= min(times) <= max(times) <= latest


def test_years_of_logs_and_late_rows_are_not_far():
    days = np.array([19950101.0] * 50 + [20151231.0] * 50)
    assert limits_of(days, "YYYYMMDD") == (19900101, 20251231)
    earliest, latest = limits_of(np.array([1.0] * 50), "", [7.0, 9.0])  # boundaries that are given
    assert earliest < 0
    assert latest == 9 + 100 * 8
