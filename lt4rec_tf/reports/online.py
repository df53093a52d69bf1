"""Table 3 of LT4REC: what each ranking earned in sessions, as Markdown and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lt4rec_tf.metrics.sessions import SessionRatios
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

# Statistic -> (column, decimals, whether its difference is told in per cent too).
COLUMNS = {
    "view_time": ("view time a session, s", 1, True),
    "cvr": ("CVR", 4, False),
    "ctr": ("CTR", 4, False),
}
INTERVALS = ("value", "low", "high", "difference", "difference_low", "difference_high")


def online_table(policies: Sequence[str], found: Mapping[str, SessionRatios]) -> str:
    """One line a policy, with intervals; a difference is bold where its interval excludes zero.

    Args:
        policies: Their names, the base first.
        found: By statistic, of `COLUMNS`.
    """
    header = ["policy"]
    for name in found:
        header += [COLUMNS[name][0], "to base"]
    lines = [
        [policy, *(cell for name in found for cell in _cells(name, found[name], place))]
        for place, policy in enumerate(policies)
    ]
    return markdown_table(header, lines)


def by_policy(
    policies: Sequence[str], runs: Sequence[str], found: Mapping[str, SessionRatios]
) -> dict[str, Any]:
    """Every number by policy, statistic and run, for JSON."""
    return {
        policy: {
            name: {item: float(getattr(ratios, item)[place]) for item in INTERVALS}
            | {"by_run": dict(zip(runs, ratios.by_run[:, place].tolist(), strict=True))}
            for name, ratios in found.items()
        }
        for place, policy in enumerate(policies)
    }


def _cells(name: str, found: SessionRatios, place: int) -> list[str]:
    _, decimals, relative = COLUMNS[name]
    value, difference = found.value[place], found.difference[place]
    low, high = found.difference_low[place], found.difference_high[place]
    bounds = f"[{found.low[place]:.{decimals}f}, {found.high[place]:.{decimals}f}]"
    cell = f"{value:.{decimals}f} {bounds}"
    if place == 0:
        return [cell, ABSENT]
    text = f"{difference:+.{decimals}f}"
    if relative:
        text += f" ({100 * difference / found.value[0]:+.2f} %)"
    if low > 0 or high < 0:
        text = f"**{text}**"
    return [cell, f"{text} [{low:+.{decimals}f}, {high:+.{decimals}f}]"]
