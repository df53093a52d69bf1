"""Times as numbers whose differences are durations, whatever unit they have."""

from __future__ import annotations

import numpy as np

from lt4rec_tf.core.time_units import NO_UNIT, PER_SECOND


def ticks_of(times: np.ndarray, unit: str) -> tuple[np.ndarray, float]:
    """Turns times into ticks, which are ordered as the times are and evenly spaced.

    Seconds and parts of them since 1970 are ticks already. What spells a date becomes seconds since
    1970, so that 20270101 is one day after 20261231.

    >>> ticks_of(np.array([20261231.0, 20270101.0]), "YYYYMMDD")[0].tolist()
    [1798675200.0, 1798761600.0]
    >>> ticks_of(np.array([2026112005.0, 2026112006.0]), "YYYYMMDDHH")[0].tolist()
    [1795150800.0, 1795154400.0]
    >>> ticks_of(np.array([1795132800123.0]), "ms")[1]
    1000.0

    Args:
        times: float64, each of the unit.
        unit: One of `time_units.unit_of`.

    Returns:
        float64 of the times' shape, and the number of ticks in a second; NaN where the unit is
        unknown, so that no duration is.
    """
    if unit == NO_UNIT:
        return times, float("nan")
    if unit in PER_SECOND:
        return times, float(PER_SECOND[unit])

    numbers = times.astype(np.int64)
    seconds = np.zeros_like(numbers)
    # The last two digits count what is smallest: seconds, minutes or hours.
    smallest = {"YYYYMMDD": (), "YYYYMMDDHH": (3600,), "YYYYMMDDHHMM": (60, 3600)}
    for size in smallest.get(unit, (1, 60, 3600)):
        numbers, part = np.divmod(numbers, 100)
        seconds += size * part

    months = (numbers // 10**4 - 1970) * 12 + numbers // 100 % 100 - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    days += numbers % 100 - 1
    return (days * 86_400 + seconds).astype(np.float64), 1.0
