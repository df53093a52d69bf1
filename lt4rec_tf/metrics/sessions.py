"""Ratios over sessions, such as view time a session or clicks an impression, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lt4rec_tf.metrics.bootstrap import resampled_counts

_DRAWN_TOGETHER = 2_000_000  # sessions


@dataclass(frozen=True)
class SessionRatios:
    """A ratio of sums under several policies, the first of which is the base.

    Attributes:
        by_run: (runs, policies).
        value: (policies,) mean over runs; `low` and `high` are its interval.
        low: (policies,).
        high: (policies,).
        difference: (policies,) to the base; `difference_low` and `difference_high` its interval.
        difference_low: (policies,).
        difference_high: (policies,).
    """

    by_run: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    difference: np.ndarray
    difference_low: np.ndarray
    difference_high: np.ndarray


def session_ratios(
    numerators: np.ndarray,
    denominators: np.ndarray,
    *,
    replicates: int,
    seed: int,
    level: float = 0.95,
) -> SessionRatios:
    """Measures mean over runs of sum over sessions n / sum over sessions d, with intervals.

    Percentile bootstrap: a replicate draws sessions with replacement and, where there are several,
    runs with replacement. All policies and runs of a replicate are given the same sessions, so that
    differences are paired. Replicates in which a ratio is undefined (no click at all) do not count
    for it. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 13.3.

    Args:
        numerators: (runs, policies, sessions).
        denominators: The same shape, each at least 0.
        replicates: Number of bootstrap replicates.
        seed: Of the draws; calls with one seed draw the same sessions and runs.
        level: Probability that an interval should cover.

    >>> seconds = np.array([[[2.0, 4.0], [3.0, 5.0]]])  # one run, two policies, two sessions
    >>> ratios = session_ratios(seconds, np.ones_like(seconds), replicates=100, seed=0)
    >>> ratios.value, ratios.difference, ratios.difference_low, ratios.difference_high
    (array([3., 4.]), array([0., 1.]), array([0., 1.]), array([0., 1.]))
    """
    runs, policies, sessions = numerators.shape
    flat = np.concatenate([numerators, denominators]).reshape(-1, sessions)
    by_run = _ratios(flat.sum(axis=1)[None], runs, policies)[0]

    rng = np.random.default_rng(seed)
    drawn_runs = rng.integers(runs, size=(replicates, runs))
    block = max(1, _DRAWN_TOGETHER // sessions)  # replicates that are held at once
    parts = []
    for first in range(0, replicates, block):
        count = min(block, replicates - first)
        ratios = _ratios(resampled_counts(rng, count, sessions) @ flat.T, runs, policies)
        chosen = drawn_runs[first : first + count, :, None]
        parts.append(np.take_along_axis(ratios, chosen, axis=1).mean(axis=1))
    values = np.concatenate(parts)  # (replicates, policies)

    value = by_run.mean(axis=0)
    low, high = _percentiles(values, level)
    difference_low, difference_high = _percentiles(values - values[:, :1], level)
    return SessionRatios(
        by_run, value, low, high, value - value[0], difference_low, difference_high
    )


def _ratios(sums: np.ndarray, runs: int, policies: int) -> np.ndarray:
    """Returns (replicates, runs, policies) from sums (replicates, 2 x runs x policies)."""
    numerator, denominator = np.moveaxis(sums.reshape(-1, 2, runs, policies), 1, 0)
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _percentiles(values: np.ndarray, level: float) -> np.ndarray:
    """Returns (2, policies) bounds; NaN where no replicate is defined."""
    tails = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
    bounds = np.full((2, values.shape[1]), np.nan)
    for policy, column in enumerate(values.T):
        defined = column[~np.isnan(column)]
        if len(defined):
            bounds[:, policy] = np.percentile(defined, tails)
    return bounds
