"""Draws the impressions of the simulated feed and their outcomes, and knows the truth.

    p(click)               = sigmoid(click_intercept + sum of CLICK_WEIGHTS x causes)
    s                      = sum of WATCH_WEIGHTS x causes
    p(to the end | click)  = sigmoid(complete_intercept + s)
    watch ratio otherwise  ~ Beta with mean sigmoid(partial_intercept + PARTIAL_SLOPE s)

The intercepts are calibrated so that the marginals are those of the settings. docs/simulator.md
says where the weights come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np

from lt4rec_tf.data.simulator.exposure import (
    NETWORKS,
    NO_VIDEO,
    TRAFFIC_SHARES,
    Day,
    Impressions,
    expose,
    world_on_day,
)
from lt4rec_tf.data.simulator.population import build_world
from lt4rec_tf.data.simulator.world import (
    BLOCK_STREAM,
    CALIBRATION_STREAM,
    DEVICES,
    FACTORS,
    Array,
    FeedSettings,
    World,
    stream,
)

# Rows are drawn in blocks, each with its own random stream: rows do not depend on how they are
# cut into files, and a block can be made without the ones before it.
BLOCK_ROWS = 16_384
CALIBRATION_ROWS, CALIBRATION_DAYS = 8_192, 8

CLICK_WEIGHTS = {
    "interest": 0.75,
    "similarity": 0.4,
    "appeal": 0.6,
    "quality": 0.25,
    "duration": -0.18,
    "position": 1.25,  # log odds of the average user are flatter than those of one user
    "evening": 0.1,
    "novelty": 0.2,
    "propensity": 0.35,
}
WATCH_WEIGHTS = {
    "interest": 0.6,
    "similarity": 0.1,
    "appeal": -0.6,  # x settings.conflict
    "quality": 0.5,
    "duration": -0.6,
    "position": 0.05,
    "evening": 0.1,
    "completion_taste": 0.6,
    "cellular": -0.2,
    "large_screen": 0.2,
}
PARTIAL_SLOPE = 0.45
PARTIAL_CONCENTRATION = 3.0  # a + b of Beta(a, b)

# Completed videos that are watched on from the start: logs hold play times above the duration.
REPLAY_SHARE, REPLAY_MEAN = 0.15, 0.4

# Click rate at each position in the published sample, smoothed to fall.
CLICK_RATE_BY_POSITION = np.array(
    [0.565, 0.565, 0.41, 0.365, 0.355, 0.35, 0.325, 0.285, 0.28, 0.28]
)
EVENING_HOUR = 21


@dataclass(frozen=True)
class Truth:
    """The true probabilities of impressions; all arrays are (rows,) in [0, 1]."""

    click: Array  # p(click)
    complete: Array  # p(watched to the end | click)
    partial_mean: Array  # E[watch ratio | click, not to the end]

    @property
    def watch_ratio(self) -> Array:
        """E[min(1, play time / duration) | click] = complete + (1 - complete) partial_mean.

        >>> Truth(np.array([0.4]), np.array([0.5]), np.array([0.6])).watch_ratio
        array([0.8])
        """
        return self.complete + (1 - self.complete) * self.partial_mean


@dataclass(frozen=True)
class Outcomes:
    """Clicks and play times of impressions. All arrays are (rows,)."""

    click: Array  # 0 or 1
    play_time: Array  # milliseconds, int; 0 exactly where not clicked


@dataclass(frozen=True)
class Intercepts:
    """Levels that make the marginals those of the settings."""

    click: float
    complete: float
    partial: float


class Feed:
    """A simulated video feed: draws impressions and knows their truth.

    Args:
        settings: Of the feed. Building a feed takes O(users + videos) time and memory.
    """

    def __init__(self, settings: FeedSettings) -> None:
        self.world: World = build_world(settings)
        self.settings: FeedSettings = self.world.settings
        self.on_day: Callable[[int], Day] = lru_cache(2)(partial(world_on_day, self.world))
        self.intercepts = self._calibrate()

    def rows_of_day(self, day: int) -> int:
        """Returns the number of impressions of a day; days differ by at most one."""
        rows, days = self.settings.rows, self.settings.days
        return rows * (day + 1) // days - rows * day // days

    def blocks(
        self, day: int, start: int, stop: int
    ) -> Iterator[tuple[Impressions, Truth, Outcomes]]:
        """Yields rows start..stop of a day, a block at a time, in order of time.

        Args:
            day: From 0.
            start: First row's number within the day.
            stop: One past the last row's number, at most `rows_of_day(day)`.
        """
        for block in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
            first = block * BLOCK_ROWS
            numbers = np.arange(first, first + BLOCK_ROWS)
            rng = stream(self.settings.seed, BLOCK_STREAM, day, block)

            # The whole block is drawn: a row does not depend on the range asked for.
            impressions = expose(
                self.world,
                self.on_day(day),
                numbers,
                self.rows_of_day(day),
                rng,
                visits=self.settings.moods,
            )
            truth = self.truth(day, impressions)
            outcomes = self.draw_outcomes(impressions, truth, rng)

            rows = slice(max(start - first, 0), min(stop - first, BLOCK_ROWS))
            yield _cut(impressions, rows), _cut(truth, rows), _cut(outcomes, rows)

    def truth(self, day: int, impressions: Impressions) -> Truth:
        """Returns the true probabilities of any impressions, shown by the feed or not.

        Args:
            day: From 0.
            impressions: Their numbers are not used.
        """
        return self.truth_of_scores(*self._scores(day, impressions))

    def truth_of_scores(self, click: Array, watch: Array) -> Truth:
        """Returns the true probabilities by the weighted sums of causes.

        Args:
            click: (rows,) sums for a click.
            watch: (rows,) sums for watching.
        """
        levels = self.intercepts
        return Truth(
            click=sigmoid(levels.click + click),
            complete=sigmoid(levels.complete + watch),
            partial_mean=sigmoid(levels.partial + PARTIAL_SLOPE * watch),
        )

    def draw_outcomes(
        self, impressions: Impressions, truth: Truth, rng: np.random.Generator
    ) -> Outcomes:
        """Draws clicks and play times; a completed video may be played on."""
        rows = len(impressions.user)
        click = rng.random(rows) < truth.click
        completed = rng.random(rows) < truth.complete
        replay = np.where(rng.random(rows) < REPLAY_SHARE, rng.exponential(REPLAY_MEAN, rows), 0)
        partial = rng.beta(
            PARTIAL_CONCENTRATION * truth.partial_mean,
            PARTIAL_CONCENTRATION * (1 - truth.partial_mean),
        )

        ratio = np.where(completed, 1 + replay, partial)
        play_time = np.rint(ratio * (100 * self.world.videos.duration[impressions.video]))
        return Outcomes(
            click=click.astype(np.int64),
            play_time=np.where(click, np.maximum(play_time, 1), 0).astype(np.int64),
        )

    def causes(self, day: int, impressions: Impressions) -> dict[str, Array]:
        """Returns all that moves a click or watching, (rows,) each.

        The names are those of CLICK_WEIGHTS and WATCH_WEIGHTS.
        """
        videos, users, state = self.world.videos, self.world.users, self.on_day(day)
        user, video = impressions.user, impressions.video

        vector = videos.vector[video]
        interest = np.einsum("rk,rk->r", state.user_vector[user], vector)
        similarity = np.einsum("rk,rk->r", videos.vector[impressions.source], vector)
        similarity = np.where(impressions.source == NO_VIDEO, 0, similarity / np.sqrt(FACTORS))
        by_position = np.log(CLICK_RATE_BY_POSITION / (1 - CLICK_RATE_BY_POSITION))

        return {
            "interest": interest / np.sqrt(FACTORS),
            "similarity": similarity,
            "appeal": users.susceptibility[user] * videos.appeal[video],
            "quality": videos.quality[video],
            "duration": videos.duration_score[video],
            "position": by_position[impressions.position - 1],
            "evening": np.cos((impressions.hour - EVENING_HOUR) * (2 * np.pi / 24)),
            "novelty": state.novelty[video],
            "propensity": users.propensity[user],
            "completion_taste": users.completion_taste[user],
            "cellular": (impressions.network != NETWORKS.index("wifi")).astype(float),
            "large_screen": (users.device[user] >= DEVICES.index("tablet")).astype(float),
        }

    def _scores(self, day: int, impressions: Impressions) -> tuple[Array, Array]:
        """Returns the weighted sums of causes, of a click and of watching, (rows,) each."""
        causes = self.causes(day, impressions)
        watch_weights = WATCH_WEIGHTS | {"appeal": self.settings.conflict * WATCH_WEIGHTS["appeal"]}
        return weighted_sum(CLICK_WEIGHTS, causes), weighted_sum(watch_weights, causes)

    def calibration_sample(self) -> Iterator[tuple[int, Impressions]]:
        """Yields (day, impressions of it): a fixed sample, spread over days and hours."""
        days = np.unique(np.linspace(0, self.settings.days - 1, CALIBRATION_DAYS).astype(int))
        for day in days.tolist():
            rng = stream(self.settings.seed, CALIBRATION_STREAM, day)
            numbers = np.arange(CALIBRATION_ROWS)
            impressions = expose(self.world, self.on_day(day), numbers, CALIBRATION_ROWS, rng)
            hour = rng.choice(len(TRAFFIC_SHARES), CALIBRATION_ROWS, p=TRAFFIC_SHARES)
            yield day, replace(impressions, hour=hour)

    def scores_of_sample(self, scores: Callable[[int, Impressions], Array]) -> tuple[Array, Array]:
        """Returns p(click) of the calibration sample, (rows,), and its scores, (rows, ...).

        Args:
            scores: (day, impressions) -> what moves outcomes of a click, (rows, ...).
        """
        sample = [*self.calibration_sample()]
        clicked = [Feed.truth(self, day, impressions).click for day, impressions in sample]
        found = [scores(day, impressions) for day, impressions in sample]
        return np.concatenate(clicked), np.concatenate(found)

    def uniforms(
        self, key: int, day: int, block: int, count: int, impressions: Impressions
    ) -> Array:
        """Draws uniform numbers for what happens after a click, (count, rows) in [0, 1).

        They are drawn for the whole block: a row's fate does not depend on where a range starts.

        Args:
            key: One of the `_STREAM` constants of `world`.
            day: From 0.
            block: Its number within the day.
            count: Numbers a row.
            impressions: Rows of the block.
        """
        rng = stream(self.settings.seed, key, day, block)
        return rng.random((count, BLOCK_ROWS))[:, impressions.number - block * BLOCK_ROWS]

    def _calibrate(self) -> Intercepts:
        """Finds the intercepts under which the expected marginals are those of the settings.

        Each marginal is an expectation, so no luck of clicks enters, and rises with its intercept.
        """
        targets = self.settings
        scores = [self._scores(day, impressions) for day, impressions in self.calibration_sample()]
        click_score, watch_score = (np.concatenate(parts) for parts in zip(*scores, strict=True))

        click = solve(lambda level: sigmoid(level + click_score).mean(), targets.click_rate)

        clicked = sigmoid(click + click_score)
        complete = level_among(clicked, watch_score, targets.complete_rate)

        unfinished = clicked * (1 - sigmoid(complete + watch_score))
        partial_ratio = (targets.watch_ratio - targets.complete_rate) / (1 - targets.complete_rate)
        partial = solve(
            lambda level: np.average(
                sigmoid(level + PARTIAL_SLOPE * watch_score), weights=unfinished
            ),
            partial_ratio,
        )
        return Intercepts(click, complete, partial)


def solve(increasing: Callable[[float], float], target: float) -> float:
    """Finds the argument in [-30, 30] at which an increasing function takes a value, by bisection.

    Args:
        increasing: Takes the value somewhere in that range.
        target: The value.

    >>> round(solve(lambda x: x**3, 8.0), 6)
    2.0
    """
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < target else (low, middle)
    return (low + high) / 2


def level_among(weights: Array, score: Array, rate: float) -> float:
    """Finds the intercept under which an outcome has a given mean probability.

        weighted mean of sigmoid(intercept + score) = rate

    Args:
        weights: (rows,) at least 0, such as probabilities of a click.
        score: (rows,) what moves the outcome's log odds.
        rate: In (0, 1).

    >>> round(level_among(np.array([1.0, 0.0]), np.array([2.0, 9.0]), 0.5), 6)
    -2.0
    """
    return solve(lambda level: np.average(sigmoid(level + score), weights=weights), rate)


def weighted_sum(weights: dict[str, float], causes: dict[str, Array]) -> Array:
    """Returns the sum of weight x cause, (rows,).

    Args:
        weights: Of each cause.
        causes: (rows,) each; those without a weight do not count.

    >>> weighted_sum({"b": 2.0}, {"a": np.ones(2), "b": np.array([1.0, 3.0])})
    array([2., 6.])
    """
    return np.sum([weight * causes[name] for name, weight in weights.items()], axis=0)


def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + e^-x), elementwise.

    >>> sigmoid(np.array([0.0]))
    array([0.5])
    """
    return 1 / (1 + np.exp(-x))


Table = TypeVar("Table", Impressions, Truth, Outcomes)


def _cut(table: Table, rows: slice) -> Table:
    return type(table)(**{field.name: getattr(table, field.name)[rows] for field in fields(table)})
