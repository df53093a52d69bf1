"""The simulated feed with moods: tastes that pass within hours, beside those that last for days.

    interest           = <LASTING_STRENGTH u + MOOD_STRENGTH m(t), v> / sqrt(FACTORS)
    E[m_k(t) m_k(t')]  = exp(-|t - t'| / MOOD_HOURS)

Each component of a user's mood m is an Ornstein-Uhlenbeck process of mean 0 and variance 1, at
whole hours; between them the mood is held. It depends on the user and the time alone. All draws
have streams of their own. Nothing that a row shows depends on moods but its click and play time.
Requests come in visits, so that a user's last rows are of one mood. docs/simulator.md gives the
equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import cast

import numpy as np

from lt4rec_tf.data.simulator.exposure import TRAFFIC_SHARES, Impressions
from lt4rec_tf.data.simulator.feed import CLICK_WEIGHTS, WATCH_WEIGHTS, Feed, Outcomes, Truth
from lt4rec_tf.data.simulator.world import (
    FACTORS,
    HOUR_STREAM,
    MIDNIGHT_STREAM,
    Array,
    FeedSettings,
    stream,
)

# Fixed before any model was trained on the feed.
LASTING_STRENGTH, MOOD_STRENGTH = 0.6, 1.2
MOOD_HOURS = 6.0

HOURS = 24
MS_PER_HOUR = 3_600_000
START_MS = round(1000 * datetime(2026, 1, 5, tzinfo=UTC).timestamp())  # of day 0, a Monday

# Nodes and weights by which a normal mood is averaged out: exact to the truth's six decimals.
AVERAGING_NODES = 24


@dataclass(frozen=True)
class MoodImpressions(Impressions):
    """Rows of the log with their requests and times. All arrays are (rows,) and integer."""

    request: Array  # number of its first row within the day
    time: Array  # of the request, milliseconds since 1970 (UTC)


@dataclass(frozen=True)
class MoodTruth(Truth):
    """The truth of impressions, and what is left of it for those who do not know the mood."""

    click_without_mood: Array  # p(click), averaged over all moods
    watch_ratio_without_mood: Array  # E[watch ratio | click], averaged over all moods


class MoodFeed(Feed):
    """A simulated feed with moods: requests come in visits, and moods move clicks and watching.

    Args:
        settings: Of the feed. Building a feed takes O(users x days + videos) time and memory.
    """

    def __init__(self, settings: FeedSettings) -> None:
        resolved = settings.resolved()
        midnights = draw_midnights(resolved)
        self.moods_on_day: Callable[[int], Array] = lru_cache(2)(
            partial(moods_on_day, resolved, midnights)
        )
        super().__init__(settings)  # calibrates, with moods

    def blocks(
        self, day: int, start: int, stop: int
    ) -> Iterator[tuple[MoodImpressions, MoodTruth, Outcomes]]:
        """Yields rows start..stop of a day, a block at a time, in order of time.

        Args:
            day: From 0.
            start: First row's number within the day.
            stop: One past the last row's number, at most `rows_of_day(day)`.
        """
        rows_of_day = self.rows_of_day(day)
        for impressions, truth, outcomes in super().blocks(day, start, stop):
            request = impressions.number - (impressions.position - 1)
            time = times(day, impressions.hour, request / rows_of_day)
            rows = MoodImpressions(**vars(impressions), request=request, time=time)
            yield rows, cast(MoodTruth, truth), outcomes  # `Feed.blocks` calls the method below

    def truth(self, day: int, impressions: Impressions) -> MoodTruth:
        """Returns the truth of any impressions, shown by the feed or not.

        Args:
            day: From 0, at most the first day after the log.
            impressions: Their numbers are not used.
        """
        click, watch = self._scores(day, impressions)
        mood = self.mood_interest(day, impressions)
        click_without_mood, watch_ratio_without_mood = self._averaged(
            click - CLICK_WEIGHTS["interest"] * mood, watch - WATCH_WEIGHTS["interest"] * mood
        )
        return MoodTruth(
            **vars(self.truth_of_scores(click, watch)),
            click_without_mood=click_without_mood,
            watch_ratio_without_mood=watch_ratio_without_mood,
        )

    def causes(self, day: int, impressions: Impressions) -> dict[str, Array]:
        """Returns all that moves a click or watching, (rows,) each; moods are in the interest.

        Args:
            day: From 0, at most the first day after the log.
            impressions: Their numbers are not used.
        """
        causes = super().causes(day, impressions)
        mood = self.mood_interest(day, impressions)
        return causes | {"interest": LASTING_STRENGTH * causes["interest"] + mood}

    def mood_interest(self, day: int, impressions: Impressions) -> Array:
        """Returns MOOD_STRENGTH <m, v> / sqrt(FACTORS) at the impressions' hours, (rows,).

        Args:
            day: From 0, at most the first day after the log.
            impressions: Their numbers are not used.
        """
        mood = self.moods_on_day(day)[impressions.hour, impressions.user]
        along_video = np.einsum("rk,rk->r", mood, self.world.videos.vector[impressions.video])
        return MOOD_STRENGTH / np.sqrt(FACTORS) * along_video

    def _averaged(self, click: Array, watch: Array) -> tuple[Array, Array]:
        """Averages p(click) and E[watch ratio | click] over moods, (rows,) each.

        Vectors of videos have squared length FACTORS, so that <m, v> / sqrt(FACTORS) is standard
        normal for all. A click says something of the mood: E[ratio | click] is the mean of
        p(click) x ratio over that of p(click).

        Args:
            click: (rows,) scores of a click without the mood.
            watch: (rows,) scores of watching without it.
        """
        nodes, weights = np.polynomial.hermite_e.hermegauss(AVERAGING_NODES)
        clicked, watched = np.zeros_like(click), np.zeros_like(click)
        for node, weight in zip(MOOD_STRENGTH * nodes, weights / weights.sum(), strict=True):
            truth = self.truth_of_scores(
                click + CLICK_WEIGHTS["interest"] * node, watch + WATCH_WEIGHTS["interest"] * node
            )
            clicked += weight * truth.click
            watched += weight * truth.click * truth.watch_ratio
        return clicked, watched / clicked


def draw_midnights(settings: FeedSettings) -> Array:
    """Draws every user's mood at each day's begin, (days + 2, users, FACTORS).

    The last is the end of the first day after the log.

    Args:
        settings: Resolved.
    """
    rng = stream(settings.seed, MIDNIGHT_STREAM)
    kept = np.exp(-HOURS / MOOD_HOURS)
    moods = [rng.standard_normal((settings.users, FACTORS))]
    for _ in range(settings.days + 1):
        moods.append(_next(moods[-1], kept, rng))
    return np.stack(moods)


def moods_on_day(settings: FeedSettings, midnights: Array, day: int) -> Array:
    """Draws the moods at the hours of a day, from the moods at its begin and end alone.

    A path x from the day's begin is bent to the day's end (an Ornstein-Uhlenbeck bridge):

        m_h = x_h + Cov(x_h, x_24) / Var(x_24) (m_24 - x_24)
        Cov(x_h, x_24) / Var(x_24) = r^(24 - h) (1 - r^2h) / (1 - r^48),  r = exp(-1 / MOOD_HOURS)

    Args:
        settings: Resolved.
        midnights: From `draw_midnights`.
        day: From 0, at most the first day after the log.

    Returns:
        (HOURS, users, FACTORS) float32.
    """
    rng = stream(settings.seed, HOUR_STREAM, day)
    kept = np.exp(-1 / MOOD_HOURS)
    path = [midnights[day]]
    for _ in range(HOURS):
        path.append(_next(path[-1], kept, rng))

    missed = midnights[day + 1] - path[HOURS]
    for hour in range(HOURS):
        share = kept ** (HOURS - hour) * (1 - kept ** (2 * hour)) / (1 - kept ** (2 * HOURS))
        path[hour] = (path[hour] + share * missed).astype(np.float32)
    return np.stack(path[:HOURS])


def _next(mood: Array, kept: float, rng: np.random.Generator) -> Array:
    """Draws what a mood becomes after a time in which its autocorrelation falls to `kept`."""
    return kept * mood + np.sqrt(1 - kept**2) * rng.standard_normal(mood.shape)


def times(day: int, hour: Array, traffic_passed: Array) -> Array:
    """Returns when requests were made, (rows,) integer milliseconds since 1970 (UTC).

    Within an hour the traffic is even.

    Args:
        day: From 0; it begins START_MS + 24 hours x day.
        hour: (rows,) of the day.
        traffic_passed: (rows,) share of the day's traffic before the request, within the hour's.

    >>> (times(1, np.array([0, 23]), np.array([0.0, 1.0])) - START_MS) / MS_PER_HOUR - 24
    array([ 0.        , 23.99999972])
    """
    begin = (np.cumsum(TRAFFIC_SHARES) - TRAFFIC_SHARES)[hour]
    share = np.clip((traffic_passed - begin) / TRAFFIC_SHARES[hour], 0, 1)
    within_hour = np.minimum(share * MS_PER_HOUR, MS_PER_HOUR - 1).astype(np.int64)
    return START_MS + (HOURS * day + hour) * MS_PER_HOUR + within_hour
