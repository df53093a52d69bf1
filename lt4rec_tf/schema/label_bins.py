"""Thresholds of labels, of which heads are made, from the labels' quantiles in train."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles

LEAST_SHARE = 1e-3  # of a label above or below a threshold, whose logit a head begins with


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
