"""What a task on a ratio or an amount is predicted by: its head, and what train says of its label.

`models.heads` holds the losses and predictions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lt4rec_tf.core.toml import TomlTable

LEVELS = 200  # steps between the quantiles 0 and 1 of a label
# By kind of head with a size: the key that says it, and what it is unless a schema says it.
SIZES = {
    "cread": ("bins", 32),
    "ordinal": ("bins", 32),
    "cqe": ("quantiles", 19),
    "egmn": ("gaussians", 5),
}
KINDS = ("plain", "wlr", "d2q", *SIZES)
_MOST = 1000  # of every size: an output each, or several
LEAST_SHARE = 1e-3  # of a label above or below a threshold, whose logit a head begins with


@dataclass(frozen=True)
class Head:
    """How the outputs of a network become the prediction of a ratio or an amount.

    Attributes:
        kind: "plain" (the task's loss), "wlr", "d2q", "cread", "ordinal", "cqe" or "egmn".
        size: Of cread and ordinal: bins; of cqe: quantiles; of egmn: Gaussians; 0 of others.
    """

    kind: str = "plain"
    size: int = 0

    @property
    def is_plain(self) -> bool:
        """Tells if the task's own loss is learned."""
        return self.kind == "plain"


PLAIN = Head()


def usual_head(kind: str) -> Head:
    """Returns the head of this kind, with the size that it has unless a schema says another.

    >>> usual_head("cread"), usual_head("wlr")
    (Head(kind='cread', size=32), Head(kind='wlr', size=0))
    """
    return Head(kind, SIZES[kind][1] if kind in SIZES else 0)


def read_head(table: TomlTable) -> Head:
    """Reads a task's `head = { kind = ... }`; plain where it says none.

    Raises:
        TomlError: The kind is unknown, or the size is none.
    """
    if not table.has("head"):
        return PLAIN
    head = table.table("head")
    kind = head.choice("kind", KINDS)
    if kind not in SIZES:
        head.close()
        return Head(kind)
    key, usual = SIZES[kind]
    size = head.integer(key, minimum=2 if key != "gaussians" else 1, default=usual)
    if size > _MOST:
        raise head.error(key, size, f"at most {_MOST}")
    head.close()
    return Head(kind, size)


def said_of_head(head: Head) -> dict[str, str | int]:
    """Returns a head as a schema's `head` says it.

    >>> said_of_head(Head("cqe", 9))
    {'kind': 'cqe', 'quantiles': 9}
    """
    said: dict[str, str | int] = {"kind": head.kind}
    if head.kind in SIZES:
        said[SIZES[head.kind][0]] = head.size
    return said


@dataclass(frozen=True)
class LabelQuantiles:
    """The quantiles of a task's label over its population in train.

    Attributes:
        curves: The quantiles at the levels 0, 1/200, ..., 1, rising: those of all rows; behind
            them, where rows have durations, those of groups of equal duration.
        bounds: The seconds at which the second group and those after it begin, increasing.
        rows: The rows of the population.
        estimated: True if they are those of an even sample of the rows.
        earlier: True if an earlier run found them, which this one goes on from.

    Raises:
        ValueError: The numbers are others.
    """

    curves: tuple[tuple[float, ...], ...]
    bounds: tuple[float, ...] = ()
    rows: int = 0
    estimated: bool = False
    earlier: bool = False

    def __post_init__(self) -> None:
        """Refuses curves that no head can invert."""
        groups = len(self.curves) - 1
        if groups != (len(self.bounds) + 1 if self.bounds else 0) and groups != 1:
            raise ValueError(f"curves: found {len(self.curves)} with {len(self.bounds)} bounds")
        for curve in self.curves:
            numbers = np.array(curve)
            if numbers.shape != (LEVELS + 1,) or not (np.diff(numbers) >= 0).all():
                raise ValueError(f"curves: expected {LEVELS + 1} numbers that do not fall")
            if not (numbers >= 0).all() or not np.isfinite(numbers).all():
                raise ValueError("curves: expected finite numbers, 0 or more")
        if not (np.diff(np.array(self.bounds)) > 0).all():
            raise ValueError("bounds: expected increasing numbers")

    @property
    def by_duration(self) -> bool:
        """Tells if there are curves of groups of equal duration."""
        return len(self.curves) > 1

    def at(self, levels: np.ndarray) -> np.ndarray:
        """Returns the quantiles of all rows at some levels, in [0, 1]."""
        return np.interp(levels, np.linspace(0, 1, LEVELS + 1), np.array(self.curves[0]))

    def group_of(self, seconds: np.ndarray) -> np.ndarray:
        """Returns which curve is whose: the first one, of all rows, where a duration is unknown."""
        known = np.isfinite(seconds) & (seconds > 0) & self.by_duration
        return np.where(known, 1 + np.searchsorted(self.bounds, seconds, side="right"), 0)

    def means(self) -> np.ndarray:
        """Returns the mean of the label by curve, (curves,)."""
        curves = np.array(self.curves)
        return (curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2


class Bins(NamedTuple):
    """Thresholds that cut a label into bins.

    Attributes:
        thresholds: Not falling, (bins - 1,); a label equal to one lies in the bin below it.
        means: Of the labels in each bin, rising, (bins,); of an empty one the threshold below it.
        shares: Of the labels that lie above each threshold, in (0, 1), (bins - 1,).
    """

    thresholds: np.ndarray
    means: np.ndarray
    shares: np.ndarray


def equal_bins(quantiles: LabelQuantiles, bins: int) -> Bins:
    """Returns bins of equal shares.

    Equal labels lie in one bin: where a threshold would fall among them, the bins above it stay
    empty.

    >>> found = equal_bins(LabelQuantiles((tuple(np.linspace(0, 1, LEVELS + 1).tolist()),)), 4)
    >>> found.thresholds.tolist(), found.means.round(6).tolist(), found.shares.tolist()
    ([0.25, 0.5, 0.75], [0.125, 0.375, 0.625, 0.875], [0.75, 0.5, 0.25])

    Args:
        quantiles: Of the label.
        bins: Two or more.
    """
    return _cut(quantiles, quantiles.at(np.arange(1, bins) / bins))


def _cut(quantiles: LabelQuantiles, thresholds: np.ndarray) -> Bins:
    count = 50 * LEVELS
    labels = quantiles.at((np.arange(count) + 0.5) / count)
    bin_of = np.searchsorted(thresholds, labels, side="left")
    counts = np.bincount(bin_of, minlength=len(thresholds) + 1)
    sums = np.bincount(bin_of, labels, minlength=len(thresholds) + 1)
    below = np.concatenate([thresholds[:1], thresholds])
    shares = np.clip(counts[::-1].cumsum()[::-1][1:] / count, LEAST_SHARE, 1 - LEAST_SHARE)
    return Bins(thresholds, np.where(counts > 0, sums / np.maximum(counts, 1), below), shares)


def adaptive_bins(quantiles: LabelQuantiles, bins: int) -> Bins:
    """Returns bins at CREAD's thresholds t_1 <= ... <= t_M, by error-adaptive discretisation.

    No label lies above the last one.

    t_m is the quantile at gamma(m / M), gamma(z) = (1 - e^(-a z)) / (1 - e^-a): bins of equal
    shares with a = 0, and towards bins of equal width at the upper end with a larger one. The a of
    a grid is taken that minimises A_w + 50 A_b, with labels in [0, 1], d_m = t_m - t_(m-1) and
    p_m the share of bin m:

    A_w = sum_m p_m^2 * sum_m d_m^2 / p_m, the error of learning; A_b = sum_m p_m^2 * sum_m d_m^2,
    that of restoration.

    Source: CREAD (Sun et al., AAAI 2024, arXiv 2401.07521), section "Error-Adaptive
    Discretization"; grid and weight of A_b as in EGMN's authors' code for it.

    Args:
        quantiles: Of the label.
        bins: M, two or more.
    """
    largest = quantiles.curves[0][-1] or 1.0
    best = (math.inf, quantiles.at(np.arange(1, bins + 1) / bins))
    for a in np.arange(0.001, 5.0, 0.1):
        levels = -np.expm1(-a * np.arange(1, bins + 1) / bins) / -np.expm1(-a)
        thresholds = quantiles.at(levels)
        shares, widths = np.diff(levels, prepend=0.0), np.diff(thresholds / largest, prepend=0.0)
        even = np.sum(shares**2)
        error = even * np.sum(widths**2 / shares) + 50 * even * np.sum(widths**2)
        if error < best[0]:
            best = (float(error), thresholds)
    return _cut(quantiles, best[1])
