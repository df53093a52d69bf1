"""The population stability index of ids between two periods."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SOME, LARGE = 0.1, 0.25  # the usual thresholds of the index
LEAST_EXPECTED = 5.0  # of a cell in either period, as for a chi-squared test
_QUANTILE = 1.6448536269514722  # of the standard normal, 95 %


@dataclass(frozen=True)
class Shift:
    """The shift of a distribution between two periods.

    Attributes:
        index: The population stability index; NaN where a period has no value.
        by_chance: What it stays below in 95 % of cases where nothing has moved.
        cells: Ids that are compared one by one, and 1 if others are compared together.
    """

    index: float
    by_chance: float
    cells: int

    @property
    def verdict(self) -> str:
        """Is "large" or "some" by the usual thresholds; "" where it is less, or may be chance.

        >>> Shift(0.3, 0.01, 9).verdict, Shift(0.3, 0.4, 9).verdict
        ('large', '')
        """
        if not self.index > self.by_chance:
            return ""
        return "large" if self.index >= LARGE else "some" if self.index >= SOME else ""


def shift(before: np.ndarray, after: np.ndarray) -> Shift:
    """Computes the population stability index of two counts over the same ids.

    PSI = sum_i (q_i - p_i) ln(q_i / p_i), with p_i = (n_i + 1/2) / (N + B/2) the share of cell i
    before, q_i the same after, N the values and B the cells. The 1/2 keeps a cell finite that is
    empty on one side. Below 0.1 little has moved, from 0.25 on much (Siddiqi, Credit Risk
    Scorecards, 2006).

    A table of thousands of ids has many that occur a few times, whose shares differ by chance
    alone, and the index adds all of it up. Hence ids of fewer than 5 expected values on either side
    are one cell together; and without any shift PSI / (1/N + 1/M) is about chi-squared with B - 1
    degrees of freedom (Yurdakul, Statistical Properties of Population Stability Index, Western
    Michigan University, 2018), whose normal approximation gives `by_chance` = (1/N + 1/M) (B - 1 +
    1.645 sqrt(2 (B - 1))). Rows of a feed are not drawn one by one (a user's come together), so
    that an index above it may still be no shift; arXiv 2303.01227 reviews the index.

    >>> round(shift(np.array([60, 40]), np.array([40, 60])).index, 4)
    0.1589

    Args:
        before: Values of each id in the earlier period, int (ids,).
        after: The same in the later one.

    Raises:
        ValueError: The counts are not of the same ids.
    """
    if before.shape != after.shape:
        raise ValueError(f"found counts of {before.shape} and {after.shape}, expected equal shapes")
    total_before, total_after = int(before.sum()), int(after.sum())
    if not total_before or not total_after:
        return Shift(math.nan, math.nan, 0)

    # Ids with few values in the smaller period are compared together.
    smaller = min(total_before, total_after) / (total_before + total_after)
    alone = (before + after) * smaller >= LEAST_EXPECTED
    cells_before, cells_after = _cells(before, alone), _cells(after, alone)
    cells = len(cells_before)

    p = (cells_before + 0.5) / (total_before + cells / 2)
    q = (cells_after + 0.5) / (total_after + cells / 2)

    noise = 1 / total_before + 1 / total_after
    free = cells - 1
    return Shift(
        index=float(np.sum((q - p) * np.log(q / p))),
        by_chance=noise * (free + _QUANTILE * math.sqrt(2 * free)),
        cells=cells,
    )


def _cells(counts: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Returns the counts of ids compared alone, then of all others together if there are any."""
    others = counts[~alone].sum()
    together = [others] if not alone.all() else []
    return np.concatenate([counts[alone], together])
