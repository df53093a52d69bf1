"""Units of the times in logs: which one numbers have, their dates, and what lies far away.

Numbers count seconds, or parts of them, since 1970, or spell a date: 20261120. Others, such as a
counter of days, have no unit, and no dates. All dates are UTC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

# How often an epoch's unit lies in a second, and the digits of a date's. Dates stand first: few
# numbers are one by chance, while 2026112005 may be a second of the year 2034 as well.
_DIGITS = {"YYYYMMDD": 8, "YYYYMMDDHH": 10, "YYYYMMDDHHMM": 12, "YYYYMMDDHHMMSS": 14}
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NO_UNIT = ""

_FIRST_YEAR, _LAST_YEAR = 1990, 2100
_OTHERS = 0.01  # of the times may have another unit than the bulk, or lie far from it
_YEARS = 10  # from the bulk of times with a unit, beyond which one is far
_WIDTHS = 100  # the same of times without one, in widths of the bulk
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ISO = re.compile(
    r"\s*(\d{4})(?:-(\d\d)-(\d\d)|/(\d\d)/(\d\d))"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s?(?:[Zz]|UTC|([+-])(\d\d)(?::?(\d\d))?)?)?\s*",
    re.ASCII,
)


def unit_of(times: np.ndarray) -> str:
    """Finds the unit that the median and all but a hundredth of some times have.

    One time may always have another.

    >>> unit_of(np.array([20261119.0, 20261120.0, 99991231.0]))
    'YYYYMMDD'
    >>> unit_of(np.array([1795132800.0])), unit_of(np.array([1.0, 2.0, 3.0]))
    ('s', '')

    Args:
        times: Any numbers; those that are not finite do not count.

    Returns:
        "YYYYMMDD" or longer, "s", "ms", "us" or "ns" since 1970, from 1990 to 2100; "" for none.
    """
    times = np.sort(times[np.isfinite(times)])
    if not len(times):
        return NO_UNIT
    most_others = max(1, int(_OTHERS * len(times)))
    middle = (len(times) - 1) // 2
    for unit in (*_DIGITS, *PER_SECOND):
        fits = have_unit(times, unit)
        if fits[middle] and np.sum(~fits) <= most_others:
            return unit
    return NO_UNIT


def have_unit(times: np.ndarray, unit: str) -> np.ndarray:
    """Tells which times have a unit, bool of their shape; some may have another one as well.

    >>> have_unit(np.array([1795132800.0, 7.0]), "s"), have_unit(np.array([7.0]), "")
    (array([ True, False]), array([ True]))

    Args:
        times: Finite numbers.
        unit: One of `unit_of`; "": all have it.
    """
    if unit == NO_UNIT:
        return np.ones(times.shape, bool)
    return _is_date(times, _DIGITS[unit]) if unit in _DIGITS else _is_within(times, unit)


def by_unit(times: np.ndarray) -> dict[str, np.ndarray]:
    """Tells which times have which unit; each has one at most.

    >>> by_unit(np.array([1795132800.0, 7.0, 1795132800000.0]))
    {'s': array([ True, False, False]), 'ms': array([False, False,  True])}

    Args:
        times: Finite numbers.

    Returns:
        By unit that some of them have, bool of the times' shape.
    """
    found = {}
    rest = np.ones(times.shape, bool)
    for unit in (*_DIGITS, *PER_SECOND):
        fits = rest & _is_within(times, unit)
        if unit in _DIGITS and fits.any():
            fits &= _is_date(times, _DIGITS[unit])
        if fits.any():
            found[unit] = fits
            rest &= ~fits
    return found


def unit_of_most(rows: Mapping[str, int], total: int) -> str:
    """Finds the unit that most of some times, and all but a hundredth of them, have.

    `unit_of` for times that are counted, not held.

    >>> unit_of_most({"s": 995, "ms": 3}, 1000), unit_of_most({"s": 900}, 1000)
    ('s', '')

    Args:
        rows: By unit, how many have it, as `by_unit` tells.
        total: The number of all times.
    """
    most_others = max(1, int(_OTHERS * total))
    fitting = [unit for unit, n in rows.items() if total - n <= most_others and 2 * n > total]
    return fitting[0] if fitting else NO_UNIT


def are_mixed(rows: Sequence[int], total: int) -> bool:
    """Tells if times have several units, none of them by mistake, and hardly any has none.

    >>> are_mixed([500, 490], 1000), are_mixed([990, 10], 1000), are_mixed([500, 400], 1000)
    (True, False, False)

    Args:
        rows: By unit, how many have it.
        total: The number of all times.
    """
    most_others = max(1, int(_OTHERS * total))
    return sum(n > most_others for n in rows) > 1 and total - sum(rows) <= most_others


def _range_of(unit: str) -> tuple[float, float]:
    """Returns the first time of 1990 and the last whole one of 2100."""
    if unit in _DIGITS:
        zeros = 10 ** (_DIGITS[unit] - 8)
        return _FIRST_YEAR * 10**4 * zeros + 101 * zeros, (_LAST_YEAR * 10**4 + 1232) * zeros - 1
    per_second = PER_SECOND[unit]
    first, end = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(_LAST_YEAR + 1, 1, 1, tzinfo=UTC)
    return first.timestamp() * per_second, end.timestamp() * per_second - 1


def _is_within(times: np.ndarray, unit: str) -> np.ndarray:
    first, last = _range_of(unit)
    return (times >= first) & (times <= last)


def _is_date(times: np.ndarray, digits: int) -> np.ndarray:
    """Tells which numbers spell a date of the calendar, with a time of day behind it or without."""
    unit = next(unit for unit, number in _DIGITS.items() if number == digits)
    fits = _is_within(times, unit) & (np.floor(times) == times)
    numbers = np.where(fits, times, _range_of(unit)[0]).astype(np.int64)

    clock = np.zeros_like(numbers)
    for limit in (60, 60, 24)[(14 - digits) // 2 :]:
        numbers, clock = np.divmod(numbers, 100)
        fits &= clock < limit
    year, month, day = numbers // 10**4, numbers // 100 % 100, numbers % 100

    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    length = lengths[np.where((month >= 1) & (month <= 12), month, 0)] + ((month == 2) & is_leap)
    return fits & (day >= 1) & (day <= length)


def limits_of(times: np.ndarray, unit: str, inside: Sequence[float] = ()) -> tuple[float, float]:
    """Finds the limits beyond which a time is far from all others, and more likely a mistake.

    The bulk is what remains of the times without the hundredth that is lowest and the hundredth
    that is highest, one each at least. With a unit, a time is far if it lies more than ten years
    from the bulk, or not within 1990 to 2100. Without one it is far at a hundred times the bulk's
    width, where a width is 1 or a thousandth of the median at least.

    >>> limits_of(np.array([20261119.0, 20261120.0, 20261120.0, 99991231.0]), "YYYYMMDD")
    (20161120.0, 20361120.0)
    >>> limits_of(np.array([1.0, 2.0, 3.0, 4.0, 99991231.0]), "")
    (-198.0, 204.0)

    Args:
        times: Finite numbers, at least one.
        unit: Their unit.
        inside: Times that are not far, such as the boundaries that a user gives.

    Returns:
        (earliest, latest): what is less or greater is far.
    """
    times = np.sort(times)
    cut = max(1, int(_OTHERS * len(times))) if len(times) > 2 else 0
    bulk = times[cut : len(times) - cut]
    lowest, highest = float(min([bulk[0], *inside])), float(max([bulk[-1], *inside]))

    if unit == NO_UNIT:
        width = max(highest - lowest, 1.0, abs(float(np.median(bulk))) / 1000)
        return lowest - _WIDTHS * width, highest + _WIDTHS * width

    first, last = _range_of(unit)
    years: float = _YEARS * 10 ** (_DIGITS[unit] - 4) if unit in _DIGITS else 0
    if unit in PER_SECOND:
        years = _YEARS * 365.25 * 86400 * PER_SECOND[unit]
    return max(first, lowest - years), min(last, highest + years)


def date_of(time: float, unit: str) -> str:
    """Writes a time as a date, with the time of day unless it is midnight; "" where it has none.

    >>> date_of(1795132800000.0, "ms"), date_of(2026112005.0, "YYYYMMDDHH"), date_of(7.0, "")
    ('2026-11-20', '2026-11-20 05:00', '')
    """
    if unit == NO_UNIT or not math.isfinite(time):
        return ""
    try:
        if unit in _DIGITS:
            digits = f"{math.floor(time):0{_DIGITS[unit]}d}".ljust(14, "0")
            moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        else:
            moment = _EPOCH + timedelta(seconds=math.floor(time) // PER_SECOND[unit])
    except (ValueError, OverflowError):  # no date of the calendar
        return ""

    clock = moment.time()
    if (clock.hour, clock.minute, clock.second) == (0, 0, 0):
        return moment.date().isoformat()
    return f"{moment.date()} {clock.isoformat('seconds' if clock.second else 'minutes')}"


def with_date(time: float, unit: str) -> str:
    """Writes a time as a number, and its date behind it where it has one.

    >>> with_date(1795132800000.0, "ms"), with_date(7.5, "")
    ('1795132800000 (2026-11-20)', '7.5')
    """
    is_whole = math.isfinite(time) and time == math.floor(time)
    number, date = f"{time:.0f}" if is_whole else f"{time:.16g}", date_of(time, unit)
    return f"{number} ({date})" if date else number


def is_date(text: str) -> bool:
    """Tells if a text is a date, such as 2026-11-20, with a time of day or without."""
    try:
        _moment_of(text)
    except ValueError:
        return False
    return True


def _moment_of(text: str) -> datetime:
    """Reads a date; parts of a second beyond the thousandth are dropped.

    Raises:
        ValueError: It is none.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no date")
    groups = found.groups()
    year, month, day = (int(part) for part in groups[:5] if part is not None)
    hour, minute, second = (int(part or 0) for part in groups[5:8])
    microsecond = int((groups[8] or "").ljust(3, "0")[:3]) * 1000
    moment = datetime(year, month, day, hour, minute, second, microsecond, UTC)
    if groups[9] is None:
        return moment

    hours, minutes = int(groups[10]), int(groups[11] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"{text!r} is in no time zone")
    try:
        offset = timedelta(hours=hours, minutes=minutes)
        return moment - offset if groups[9] == "+" else moment + offset
    except OverflowError as error:
        raise ValueError(f"{text!r} is beyond the calendar") from error


def from_date(text: str, unit: str) -> float:
    """Returns the number that a date has in a unit.

    >>> from_date("2026-11-20T12:00+08:00", "s"), from_date("2026-11-20", "YYYYMMDDHH")
    (1795147200.0, 2026112000.0)

    Args:
        text: ISO 8601: a date, with a time of day or without; without a zone it is UTC.
        unit: One that has dates.

    Raises:
        ValueError: The text is no date, or names a time of day that the unit cannot express.
    """
    moment = _moment_of(text)
    if unit in PER_SECOND:
        milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
        return milliseconds * PER_SECOND[unit] / 1000

    digits = f"{moment:%Y%m%d%H%M%S}".rjust(14, "0")
    kept = _DIGITS[unit]
    if digits[kept:].strip("0") or moment.microsecond:
        raise ValueError(f"{text!r} is finer than {unit}")
    return float(digits[:kept])
