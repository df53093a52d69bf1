"""Table 3 of LT4REC: each ranking's view time, CVR and CTR, as Markdown and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lt4rec_tf.metrics.sessions import SessionRatios
from lt4rec_tf.reports.differences import is_clear
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

# Statistic -> (column, decimals, whether its difference is given in per cent too).
COLUMNS = {
    "view_time": ("view time a session, s", 1, True),
    "cvr": ("CVR", 4, False),
    "ctr": ("CTR", 4, False),
}
INTERVALS = ("value", "low", "high", "difference", "difference_low", "difference_high")


def online_table(policies: Sequence[str], statistics: Mapping[str, SessionRatios]) -> str:
    """Returns one line per policy, with intervals; differences are bold if these exclude zero.

    They exclude it as they are printed. Of one run a line says what its intervals leave out.

    Args:
        policies: Their names, the base first.
        statistics: Name, of `COLUMNS` -> values by policy.

    Returns:
        A Markdown table, with a line below it where there is one run.
    """
    header = ["policy"]
    for name in statistics:
        header += [COLUMNS[name][0], "to base"]

    lines = []
    for index, policy in enumerate(policies):
        cells = [policy]
        for name, ratios in statistics.items():
            cells += _cells(name, ratios, index)
        lines.append(cells)
    table = markdown_table(header, lines)
    runs = {len(ratios.by_run) for ratios in statistics.values()}
    if runs != {1}:
        return table
    return (
        f"{table}\n\none run: intervals are over sessions, with these trained models; another "
        "training of the same rows may differ by more"
    )


def by_policy(
    policies: Sequence[str], runs: Sequence[str], statistics: Mapping[str, SessionRatios]
) -> dict[str, Any]:
    """Returns every number by policy, statistic and run, for JSON.

    Args:
        policies: Their names, the base first.
        runs: Names of the runs, in the order of `SessionRatios.by_run`.
        statistics: Name -> values by policy.
    """
    numbers: dict[str, dict[str, Any]] = {}
    for index, policy in enumerate(policies):
        numbers[policy] = {}
        for name, ratios in statistics.items():
            values_by_run = ratios.by_run[:, index].tolist()
            numbers[policy][name] = {
                **{item: float(getattr(ratios, item)[index]) for item in INTERVALS},
                "by_run": dict(zip(runs, values_by_run, strict=True)),
            }
    return numbers


def _cells(name: str, ratios: SessionRatios, index: int) -> list[str]:
    """Returns a policy's value and its difference to the base, each with its interval."""
    _, decimals, relative = COLUMNS[name]
    bounds = f"[{ratios.low[index]:.{decimals}f}, {ratios.high[index]:.{decimals}f}]"
    cell = f"{ratios.value[index]:.{decimals}f} {bounds}"
    if index == 0:
        return [cell, ABSENT]

    difference = ratios.difference[index]
    printed, low, high = (
        f"{number:+.{decimals}f}"
        for number in (difference, ratios.difference_low[index], ratios.difference_high[index])
    )
    text = printed
    if relative:
        text += f" ({100 * difference / ratios.value[0]:+.2f} %)"
    if is_clear(printed, low, high):
        text = f"**{text}**"
    return [cell, f"{text} [{low}, {high}]"]
