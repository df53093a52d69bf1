"""A paired difference of two models of a comparison, as tables print it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lt4rec_tf.reports.text_tables import ABSENT, ReportedTask

UNDEFINED = "nan"
# Metrics whose differences are in per cent of the base. A calibration error may be near 0, and
# normalised entropy is a share already: in per cent its difference would be that of the log loss.
RELATIVE = ("log_loss", "mse", "mae", "rmse", "nrmse", "nmae")


def difference_cell(differences: Mapping[str, Mapping[str, Any]], task: ReportedTask) -> str:
    """Returns a task's difference, `-` where there is none; see `interval_cell`.

    Args:
        differences: Of a model, as results.json holds them.
        task: Of the schema.
    """
    if task["name"] not in differences:
        return ABSENT
    return interval_cell(differences[task["name"]])


def interval_cell(numbers: Mapping[str, Any]) -> str:
    """Returns a difference with its interval: errors in per cent of the base, others as they are.

    Bold where the interval excludes zero as it is printed: what rounds to zero is not bold. A
    difference over one seed has no interval.

    >>> numbers = {"metric": "auc", "base": 0.7, "difference": 0.002, "low": 0.001, "high": 0.003}
    >>> interval_cell(numbers)
    '**+0.0020** [+0.0010, +0.0030]'
    >>> interval_cell(numbers | {"low": 0.00001})
    '+0.0020 [+0.0000, +0.0030]'

    Args:
        numbers: metric, seeds, base, difference, low, high, as results.json holds them.
    """
    difference, base = number(numbers["difference"]), number(numbers["base"])
    bounds = [number(numbers["low"]), number(numbers["high"])]
    from_one_seed = numbers.get("seeds") == 1
    if not all(map(math.isfinite, (difference, base, *([] if from_one_seed else bounds)))):
        return UNDEFINED

    decimals, unit, scale = 4, "", 1.0
    if numbers["metric"] in RELATIVE and base > 0:
        decimals, unit, scale = 2, " %", 100 / base
    text = f"{scale * difference:+.{decimals}f}"
    if from_one_seed:
        return f"{text}{unit}"

    low, high = (f"{scale * bound:+.{decimals}f}" for bound in bounds)
    shown = f"{text}{unit}"
    if is_clear(text, low, high):
        shown = f"**{shown}**"
    return f"{shown} [{low}, {high}]"


def is_clear(difference: str, low: str, high: str) -> bool:
    """Tells if a difference excludes zero as it is printed, with its interval.

    >>> is_clear("+0.02", "+0.01", "+0.03"), is_clear("+0.02", "+0.00", "+0.03")
    (True, False)
    """
    return float(difference) != 0 and (float(low) > 0 or float(high) < 0)


def number(value: float | None) -> float:
    """Returns a number of results.json, NaN where it is undefined."""
    return math.nan if value is None else float(value)
