"""The population of the simulated feed: its settings, its videos and its users.

Everything is an array with one entry per video or per user; memory is O(users + videos), whatever
the number of impressions. Vectors of interests have squared length `FACTORS`, so that
`<user, video> / sqrt(FACTORS)` has about unit variance. docs/simulator.md gives the equations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lt4rec_tf.core.errors import InputError

Array = np.ndarray

FACTORS = 4
AGE_GROUPS = 8  # 0 is "unknown"
MAX_TAGS = 3
DEVICES = ("android", "ios", "tablet", "tv")
FORMATS = ("csv", "tfrecord")

# The published log has 30 impressions a user and 27 a video (10M, 11M and 297M).
IMPRESSIONS_PER_USER = 40
IMPRESSIONS_PER_VIDEO = 30

# First entry of a stream's key below the seed: every stream is independent of all others.
WORLD_STREAM, BLOCK_STREAM, CALIBRATION_STREAM, ONLINE_STREAM = 0, 1, 2, 3
SHOP_STREAM, PURCHASE_STREAM = 4, 5
TASTE_STREAM, REACTION_STREAM = 6, 7
MIDNIGHT_STREAM, HOUR_STREAM = 8, 9


class SimulatorError(InputError, ValueError):
    """The settings are impossible, or the folder was made with others."""


@dataclass(frozen=True)
class FeedSettings:
    """Settings of a simulated feed.

    A count of 0 is derived from the number of rows (see `resolved`).

    Attributes:
        rows: Impressions in all.
        users: People; 0 takes one for every 40 rows.
        videos: Videos; 0 takes one for every 30 rows.
        publishers: Owners of videos; 0 takes one for every twelve videos.
        categories: Kinds of videos.
        tags: Finer kinds; each belongs to one category.
        days: Days of the log, numbered from 0.
        shards_per_day: Files that each day is cut into; does not change the rows.
        seed: The only source of randomness.
        click_rate: Share of impressions clicked, in (0, 1).
        complete_rate: Share of clicked videos watched to the end, in (0, 1).
        watch_ratio: Mean watch ratio of clicked videos, in (complete_rate, 1).
        conflict: How strongly the cover's appeal, which raises clicks, lowers watching; 0 not at
            all.
        drift: How fast interests and popularity move from day to day; 0 not at all.
        new_video_share: Share of videos that are released after day 0, in [0, 0.9].
        new_user_share: Share of users who arrive after day 0, in [0, 0.9].
        format: File format of the impressions, "csv" or "tfrecord".
        purchases: True if videos have prices and some clicks become purchases.
        purchase_rate: Share of clicks that purchase, in (0, 1), where there are purchases.
        reactions: True if some clicked videos are liked, shared and so on; not with purchases.
        moods: True if tastes change within hours too; not with purchases or reactions.
    """

    rows: int = 120_000
    users: int = 0
    videos: int = 0
    publishers: int = 0
    categories: int = 20
    tags: int = 200
    days: int = 7
    shards_per_day: int = 2
    seed: int = 17
    click_rate: float = 121 / 297
    complete_rate: float = 0.513
    watch_ratio: float = 0.818
    conflict: float = 1.0
    drift: float = 1.0
    new_video_share: float = 0.3
    new_user_share: float = 0.2
    format: str = "csv"
    purchases: bool = False
    purchase_rate: float = 0.12
    reactions: bool = False
    moods: bool = False

    def __post_init__(self) -> None:
        """Refuses settings that no feed can have.

        Raises:
            SimulatorError: A setting lies outside its range.
        """
        minimum = {"rows": 1, "users": 0, "videos": 0, "publishers": 0, "categories": 1, "days": 1}
        minimum |= {"shards_per_day": 1, "seed": 0, "conflict": 0, "drift": 0}
        for name, least in minimum.items():
            self._require(getattr(self, name) >= least, name, f"at least {least}")

        for name in ("click_rate", "complete_rate", "purchase_rate"):
            self._require(0 < getattr(self, name) < 1, name, "a number in (0, 1)")
        for name in ("new_video_share", "new_user_share"):
            self._require(0 <= getattr(self, name) <= 0.9, name, "a number in [0, 0.9]")
        self._require(
            self.complete_rate < self.watch_ratio < 1, "watch_ratio", "in (complete_rate, 1)"
        )

        self._require(
            self.tags >= self.categories, "tags", f"at least categories={self.categories}"
        )
        # A request shows up to 10 different videos, none of them its source.
        self._require(self.videos == 0 or self.videos >= 200, "videos", "0 or at least 200")
        self._require(self.format in FORMATS, "format", f"one of {FORMATS}")
        alone = not (self.reactions and self.purchases)
        self._require(alone, "reactions", "False with purchases")
        alone = not (self.moods and (self.purchases or self.reactions))
        self._require(alone, "moods", "False with purchases or reactions")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise SimulatorError(f"{name}: found {getattr(self, name)!r}, expected {expected}")

    def resolved(self) -> FeedSettings:
        """Returns the same settings with every count written out.

        Without purchases their rate does nothing. It is reset, so that settings of one log are
        equal.

        >>> FeedSettings(rows=120_000).resolved().users
        3000
        """
        videos = self.videos or max(200, round(self.rows / IMPRESSIONS_PER_VIDEO))
        return replace(
            self,
            users=self.users or max(50, round(self.rows / IMPRESSIONS_PER_USER)),
            videos=videos,
            publishers=self.publishers or max(10, videos // 12),
            purchase_rate=self.purchase_rate if self.purchases else FeedSettings.purchase_rate,
        )


@dataclass(frozen=True)
class Videos:
    """One entry per video; see docs/simulator.md for what each does."""

    publisher: Array  # (videos,) int
    category: Array  # (videos,) int
    tags: Array  # (videos, MAX_TAGS) int, -1 after the last
    vector: Array  # (videos, FACTORS)
    quality: Array  # standard normal
    appeal: Array  # standard normal: of the cover
    cover_quality: Array  # thousandths, int: the appeal as somebody else measured it
    duration_score: Array  # standard normal
    duration: Array  # tenths of a second, int
    popularity: Array  # sums to 1
    trend_phase: Array  # radians
    release_day: Array  # int


@dataclass(frozen=True)
class Users:
    """One entry per user; see docs/simulator.md for what each does."""

    vector: Array  # (users, FACTORS): interests on day 0
    later_vector: Array  # (users, FACTORS): where they drift to
    favourites: Array  # (users, 2) categories
    age_group: Array  # int in [0, AGE_GROUPS)
    device: Array  # index into DEVICES
    activity: Array  # sums to 1
    propensity: Array  # normal: inclination to click
    completion_taste: Array  # normal: inclination to watch to the end
    susceptibility: Array  # in [0.5, 1.5]: to covers
    first_day: Array  # int


@dataclass(frozen=True)
class World:
    """All that is fixed before the first impression."""

    settings: FeedSettings  # resolved
    videos: Videos
    users: Users
    factor_phase: Array  # (FACTORS,) radians: when each interest is in season


def stream(seed: int, *key: int) -> np.random.Generator:
    """Returns the generator of one part of the simulation, independent of every other part.

    Args:
        seed: Of the settings.
        key: Begins with one of the `_STREAM` constants.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def scaled_to_length(vectors: Array) -> Array:
    """Scales rows to squared length FACTORS.

    >>> scaled_to_length(np.array([[3.0, 4.0]])).round(3)
    array([[1.2, 1.6]])
    """
    return vectors * (np.sqrt(FACTORS) / np.linalg.norm(vectors, axis=1, keepdims=True))
