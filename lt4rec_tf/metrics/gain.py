"""The mean gain of several tasks over their single-task models."""

from __future__ import annotations

import math
from collections.abc import Mapping


def mean_relative_gain(
    values: Mapping[str, float], base: Mapping[str, float], directions: Mapping[str, str]
) -> float:
    """Returns the mean over tasks of (value - base) / |base|, negated where less is better.

    Source: Delta_m of Maninis et al., Attentive Single-Tasking of Multiple Tasks (CVPR 2019).

    Args:
        values: Task -> its metric.
        base: Task -> the single-task model's.
        directions: Task -> "max" if more is better, else "min".

    Returns:
        Above 0 where the tasks gain on average; -inf where a value is not finite.

    >>> values, base = {"ctr": 0.76, "cvr": 0.05}, {"ctr": 0.75, "cvr": 0.10}
    >>> round(mean_relative_gain(values, base, {"ctr": "max", "cvr": "min"}), 4)
    0.2567
    """
    gains = []
    for task, direction in directions.items():
        if not (math.isfinite(values[task]) and math.isfinite(base[task])):
            return -math.inf
        sign = 1.0 if direction == "max" else -1.0
        gains.append(sign * (values[task] - base[task]) / abs(base[task]))
    return sum(gains) / len(gains)
