"""Hash buckets and the share of values that share one."""

from __future__ import annotations

import math


def shared_values(distinct: int, buckets: int) -> float:
    """Returns the chance that a value shares its bucket: 1 - (1 - 1 / buckets)^(distinct - 1).

    >>> round(shared_values(3, 2), 6), shared_values(1, 10), shared_values(2, 1)
    (0.75, 0.0, 1.0)

    Args:
        distinct: Different values, 0 or more.
        buckets: 1 or more.
    """
    if buckets == 1:
        return float(distinct > 1)
    # By logarithms, as the share may be tiny.
    return -math.expm1(max(0, distinct - 1) * math.log1p(-1.0 / buckets))


def needed_buckets(distinct: int, shared: float) -> int:
    """Returns the fewest buckets in which at most a share of values shares one with another.

    >>> needed_buckets(3, 0.75), needed_buckets(1_000_000, 0.05)
    (2, 19495707)

    Args:
        distinct: Different values, 1 or more.
        shared: `shared_values` at most, in (0, 1).
    """
    if distinct == 1:
        return 1
    # (1 - 1 / buckets)^(distinct - 1) = 1 - shared, solved for the buckets.
    least = -1.0 / math.expm1(math.log1p(-shared) / (distinct - 1))
    return math.ceil(least - 1e-9 * least)
