"""Draws sessions on the simulated feed, and shows candidates in the order of a ranking.

Every candidate of every request brings the random numbers that decide whether it is clicked and
how long it is watched, should it be shown. They do not depend on who ranks: two rankings that show
a video at the same place see the same happen, so their differences are paired. docs/simulator.md
says what such a session leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.simulator.exposure import (
    NETWORK_SHARES,
    TRAFFIC_SHARES,
    Day,
    Impressions,
    draw_candidates,
    draw_users,
)
from lt4rec_tf.data.simulator.feed import (
    PARTIAL_CONCENTRATION,
    REPLAY_MEAN,
    REPLAY_SHARE,
    Feed,
    Outcomes,
    Truth,
)
from lt4rec_tf.data.simulator.world import ONLINE_STREAM, Array, SimulatorError, World, stream

BLOCK_CANDIDATES = 16_384

# Halvings of [0, 1]: finer than the millisecond of the longest video that a log would keep.
QUANTILE_STEPS = 32


@dataclass(frozen=True)
class SessionPlan:
    """The number of sessions and their size.

    Attributes:
        sessions: Visits of one user each.
        requests: Requests of a session.
        candidates: Different videos that a request can choose from.
        shown: Videos that a request shows, from position 1 down.
        seed: Of everything drawn, together with the feed's own.
    """

    sessions: int
    requests: int
    candidates: int
    shown: int
    seed: int

    @property
    def sessions_of_block(self) -> int:
        """Sessions in memory at a time; a session is never cut."""
        return max(1, BLOCK_CANDIDATES // (self.requests * self.candidates))

    @property
    def blocks(self) -> int:
        """Number of blocks that hold all sessions."""
        return -(-self.sessions // self.sessions_of_block)


@dataclass(frozen=True)
class Exponents:
    """The exponents a, b and c of Eq. 3."""

    ctr: float
    cvr: float
    length: float


@dataclass(frozen=True)
class Draws:
    """Independent uniform numbers in [0, 1), one of each kind a candidate; all (rows,)."""

    click: Array
    complete: Array
    replay: Array  # whether a completed video is played on
    replay_length: Array
    partial: Array  # how much is seen of a video that is not completed


@dataclass(frozen=True)
class SessionBlock:
    """Some whole sessions: all candidates, by session, request, and candidate.

    Attributes:
        day: On which they take place.
        candidates: (rows,) impressions, each as if it were shown at position 1.
        draws: (rows,) the random numbers that decide their outcomes.
    """

    day: int
    candidates: Impressions
    draws: Draws


def session_blocks(feed: Feed, plan: SessionPlan) -> Iterator[SessionBlock]:
    """Draws the sessions, a block at a time; the first ones do not depend on how many follow.

    They take place on the first day after the log, which no split of it holds. A session is one
    user (by activity, as in the log) at one hour in one network; every request has a source video
    of its own and candidates as the feed draws them.

    Args:
        feed: Simulates the users and videos.
        plan: The number of sessions and their size.

    Raises:
        SimulatorError: There are too few videos for so many candidates.
    """
    day = feed.settings.days
    released = len(feed.on_day(day).released)
    if 2 * plan.candidates > released:
        raise SimulatorError(
            f"candidates: found {plan.candidates}, expected at most {released // 2}, "
            "half of the feed's videos"
        )

    for block in range(plan.blocks):
        rng = stream(feed.settings.seed, ONLINE_STREAM, plan.seed, block)
        candidates = _draw_sessions(feed.world, feed.on_day(day), plan, rng)
        rows = len(candidates.user)
        draws = Draws(*rng.random((len(fields(Draws)), rows)))

        # Whole blocks are drawn, so the sessions of the last one do not depend on the plan's end.
        sessions_left = plan.sessions - block * plan.sessions_of_block
        rows_of_session = rows // plan.sessions_of_block
        used = np.arange(min(plan.sessions_of_block, sessions_left) * rows_of_session)
        yield SessionBlock(day, _take(candidates, used), _take(draws, used))


def _draw_sessions(
    world: World, day: Day, plan: SessionPlan, rng: np.random.Generator
) -> Impressions:
    """Draws the candidates of a whole block."""
    sessions = plan.sessions_of_block
    user = draw_users(day, sessions, rng).repeat(plan.requests)
    source, video = draw_candidates(world, day, user, plan.candidates, rng)

    # A session takes place in one hour and one network.
    hour = rng.choice(len(TRAFFIC_SHARES), sessions, p=TRAFFIC_SHARES)
    network = rng.choice(len(NETWORK_SHARES), sessions, p=NETWORK_SHARES)

    rows = video.size
    return Impressions(
        number=np.arange(rows),
        user=user.repeat(plan.candidates),
        video=video.ravel(),
        source=source.repeat(plan.candidates),
        position=np.ones(rows, np.int64),
        hour=hour.repeat(rows // sessions),
        network=network.repeat(rows // sessions),
    )


def rank_scores(
    pctr: np.ndarray, pcvr: np.ndarray, seconds: np.ndarray, exponents: Exponents
) -> np.ndarray:
    """Computes pctr^a * pcvr^b * length^c, by which candidates are ranked. Source: LT4REC, Eq. 3.

    Args:
        pctr: (rows,) in (0, 1).
        pcvr: (rows,) in (0, 1).
        seconds: (rows,) lengths, above 0.
        exponents: a, b and c.

    >>> rank_scores(np.array([0.5]), np.array([0.4]), np.array([30.0]), Exponents(1, 2, 1)).round(9)
    array([2.4])
    """
    pctr, pcvr = pctr.astype(np.float64), pcvr.astype(np.float64)
    return pctr**exponents.ctr * pcvr**exponents.cvr * seconds**exponents.length


def show(
    feed: Feed, block: SessionBlock, plan: SessionPlan, scores: Array
) -> tuple[Array, Array, Array]:
    """Shows each request's best candidates in falling order of score, and sums their outcomes.

    Args:
        feed: Knows the truth.
        block: Some sessions.
        plan: The plan that they were drawn by.
        scores: (rows,) of the block's candidates; of equal scores the first is shown first.

    Returns:
        Sums over each session, (sessions,): seconds watched, clicks, and watch ratios of clicks.

    Raises:
        ValueError: A score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.sum(~np.isfinite(scores))} scores are not finite")

    falling = -scores.reshape(-1, plan.candidates)
    best = np.argsort(falling, axis=1, kind="stable")[:, : plan.shown]
    rows = (best + plan.candidates * np.arange(len(best))[:, None]).ravel()
    positions = np.tile(np.arange(1, plan.shown + 1), len(best))
    impressions = replace(_take(block.candidates, rows), position=positions)

    duration = 100 * feed.world.videos.duration[impressions.video]  # milliseconds
    truth = feed.truth(block.day, impressions)
    results = outcomes(truth, duration, _take(block.draws, rows))
    ratio = np.minimum(1, results.play_time / duration)  # 0 where unclicked

    def sum_of_sessions(values: Array) -> Array:
        return np.sum(values.reshape(-1, plan.requests * plan.shown), axis=1)

    return (
        sum_of_sessions(results.play_time / 1000),
        sum_of_sessions(results.click),
        sum_of_sessions(ratio),
    )


def outcomes(truth: Truth, duration: Array, draws: Draws) -> Outcomes:
    """Turns uniform numbers into outcomes, distributed as those of `Feed.draw_outcomes`.

    Each uniform number is turned by the inverse of its distribution function, so a candidate that
    another ranking shows at another position has the nearest fate that its new chances allow.

    Args:
        truth: (rows,) of the impressions.
        duration: (rows,) milliseconds.
        draws: (rows,) of the same candidates.
    """
    click = draws.click < truth.click
    completed = draws.complete < truth.complete
    replay = np.where(draws.replay < REPLAY_SHARE, -REPLAY_MEAN * np.log1p(-draws.replay_length), 0)

    ratio = 1 + replay
    unfinished = click & ~completed
    ratio[unfinished] = partial_ratio(truth.partial_mean[unfinished], draws.partial[unfinished])
    play_time = np.maximum(np.rint(ratio * duration), 1)
    return Outcomes(
        click=click.astype(np.int64), play_time=np.where(click, play_time, 0).astype(np.int64)
    )


def partial_ratio(mean: Array, uniform: Array) -> Array:
    """Finds quantiles of Beta(c mean, c (1 - mean)), c = PARTIAL_CONCENTRATION, by bisection.

    Args:
        mean: (rows,) in (0, 1).
        uniform: (rows,) in [0, 1).

    >>> partial_ratio(np.array([0.5]), np.array([0.5])).round(6)
    array([0.5])
    """
    a, b = PARTIAL_CONCENTRATION * mean, PARTIAL_CONCENTRATION * (1 - mean)
    low, high = np.zeros_like(mean), np.ones_like(mean)
    for _ in range(QUANTILE_STEPS):
        middle = (low + high) / 2
        below = tf.math.betainc(a, b, middle).numpy() <= uniform
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


Table = TypeVar("Table", Impressions, Draws)


def _take(table: Table, rows: Array) -> Table:
    return type(table)(**{field.name: getattr(table, field.name)[rows] for field in fields(table)})
