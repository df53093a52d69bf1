"""The population of the simulated feed: what its videos and users are, before any impression.

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

# Duration profile of the published sample: median 78 s, mean 113 s, 90th percentile 229 s,
# range 15 to 601 s; a shifted log-normal passes through all of them.
DURATION_SHIFT_S, DURATION_SCALE_S, DURATION_SPREAD = 20.0, 58.0, 0.97
DURATION_RANGE_S = (15.0, 601.0)

# The published log has 30 impressions a user and 27 a video (10M, 11M and 297M).
IMPRESSIONS_PER_USER = 40
IMPRESSIONS_PER_VIDEO = 30

# First entry of a stream's key below the seed: every stream is independent of all others.
WORLD_STREAM, BLOCK_STREAM, CALIBRATION_STREAM, ONLINE_STREAM = 0, 1, 2, 3
SHOP_STREAM, PURCHASE_STREAM = 4, 5


class SimulatorError(InputError, ValueError):
    """The settings are impossible, or the folder was made with others."""


@dataclass(frozen=True)
class FeedSettings:
    """What to simulate. A count of 0 is derived from the number of rows (see `resolved`).

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
        purchases: Whether videos have prices and some clicks become purchases.
        purchase_rate: Share of clicks that purchase, in (0, 1), where there are purchases.
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

    def __post_init__(self) -> None:
        """Refuses settings that no feed can have."""
        counts = {"rows": 1, "users": 0, "videos": 0, "publishers": 0, "categories": 1, "days": 1}
        counts |= {"shards_per_day": 1, "seed": 0, "conflict": 0, "drift": 0}
        for name, least in counts.items():
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

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise SimulatorError(f"{name}: found {getattr(self, name)!r}, expected {expected}")

    def resolved(self) -> FeedSettings:
        """The same settings with every count written out, and without a rate of no purchases.

        >>> FeedSettings(rows=120_000).resolved().users
        3000
        """
        videos = self.videos or max(200, round(self.rows / IMPRESSIONS_PER_VIDEO))
        return replace(
            self,
            users=self.users or max(50, round(self.rows / IMPRESSIONS_PER_USER)),
            videos=videos,
            publishers=self.publishers or max(10, videos // 12),
            # Without purchases the rate does nothing: such settings give one log, so are equal.
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
    """The generator of one part of the simulation, independent of every other part."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def build_world(settings: FeedSettings) -> World:
    """Draws the population; a function of the settings alone."""
    settings = settings.resolved()
    rng = stream(settings.seed, WORLD_STREAM)
    category_vectors = _normal(rng, settings.categories, FACTORS)
    return World(
        settings=settings,
        videos=_draw_videos(settings, category_vectors, rng),
        users=_draw_users(settings, category_vectors, rng),
        factor_phase=rng.uniform(0, 2 * np.pi, FACTORS),
    )


def scaled_to_length(vectors: Array) -> Array:
    """Rows scaled to squared length FACTORS.

    >>> scaled_to_length(np.array([[3.0, 4.0]])).round(3)
    array([[1.2, 1.6]])
    """
    return vectors * (np.sqrt(FACTORS) / np.linalg.norm(vectors, axis=1, keepdims=True))


def _draw_videos(
    settings: FeedSettings, category_vectors: Array, rng: np.random.Generator
) -> Videos:
    count, categories = settings.videos, settings.categories
    publisher = rng.choice(settings.publishers, count, p=_zipf(settings.publishers, 3, 0.8))
    # Publishers keep to a subject, with exceptions.
    subject = rng.integers(categories, size=settings.publishers)[publisher]
    category = np.where(rng.random(count) < 0.8, subject, rng.integers(categories, size=count))
    tags = _draw_tags(settings, category, rng)
    tag_vectors = 0.8 * category_vectors[np.arange(settings.tags) % categories]
    tag_vectors += 0.6 * _normal(rng, settings.tags, FACTORS)
    publisher_vectors = _normal(rng, settings.publishers, FACTORS)
    quality = _shared_and_own(rng, settings.publishers, publisher)
    appeal = _shared_and_own(rng, settings.publishers, publisher)
    duration_score = 0.2 * _normal(rng, categories)[category] + 0.98 * _normal(rng, count)
    duration_score = _standardised(duration_score)
    seconds = DURATION_SHIFT_S + DURATION_SCALE_S * np.exp(DURATION_SPREAD * duration_score)
    popularity = np.empty(count)
    popularity[np.argsort(-(0.4 * quality + _normal(rng, count)))] = _zipf(count, 5, 0.9)
    return Videos(
        publisher=publisher,
        category=category,
        tags=tags,
        vector=scaled_to_length(
            0.5 * category_vectors[category]
            + 0.5 * _mean_of_tags(tag_vectors, tags)
            + 0.35 * publisher_vectors[publisher]
            + 0.4 * _normal(rng, count, FACTORS)
        ).astype(np.float32),
        quality=quality,
        appeal=appeal,
        cover_quality=np.rint(1000 * (appeal + 0.5 * _normal(rng, count))).astype(np.int64),
        duration_score=duration_score,
        duration=np.rint(10 * np.clip(seconds, *DURATION_RANGE_S)).astype(np.int64),
        popularity=popularity,
        trend_phase=rng.uniform(0, 2 * np.pi, count),
        release_day=_draw_arrivals(count, settings.new_video_share, settings.days, rng),
    )


def _draw_users(settings: FeedSettings, category_vectors: Array, rng: np.random.Generator) -> Users:
    count = settings.users
    favourites = rng.choice(settings.categories, (count, 3), p=_zipf(settings.categories, 3, 0.7))
    age_group = rng.integers(1, AGE_GROUPS, count)
    of_age = 0.45 * _normal(rng, AGE_GROUPS, FACTORS)[age_group]
    own = 0.4 * _normal(rng, count, FACTORS)
    later_own = 0.4 * _normal(rng, count, FACTORS)
    # Interests drift from the first and second favourite towards the first and third.
    first, second, third = (category_vectors[favourites[:, i]] for i in range(3))
    activity = np.exp(0.8 * _normal(rng, count))
    return Users(
        vector=scaled_to_length(0.5 * first + 0.5 * second + of_age + own).astype(np.float32),
        later_vector=scaled_to_length(0.5 * first + 0.5 * third + of_age + later_own).astype(
            np.float32
        ),
        favourites=favourites[:, :2],
        age_group=np.where(rng.random(count) < 0.15, 0, age_group),
        device=rng.choice(len(DEVICES), count, p=(0.6, 0.3, 0.07, 0.03)),
        activity=activity / activity.sum(),
        propensity=_normal(rng, count),
        completion_taste=_normal(rng, count),
        susceptibility=rng.uniform(0.5, 1.5, count),
        first_day=_draw_arrivals(count, settings.new_user_share, settings.days, rng),
    )


def _draw_tags(settings: FeedSettings, category: Array, rng: np.random.Generator) -> Array:
    """(videos, MAX_TAGS) different tags, mostly of the video's category, -1 after the last.

    Tag t belongs to category t % categories.
    """
    shape = (len(category), MAX_TAGS)
    own = category[:, None] + settings.categories * rng.integers(
        settings.tags // settings.categories, size=shape
    )
    tags = np.where(rng.random(shape) < 0.85, own, rng.integers(settings.tags, size=shape))
    tags.sort(axis=1)
    repeated = np.zeros(shape, bool)
    repeated[:, 1:] = tags[:, 1:] == tags[:, :-1]
    count = rng.choice(MAX_TAGS + 1, len(category), p=(0.04, 0.26, 0.4, 0.3))
    dropped = repeated | (np.arange(MAX_TAGS) >= count[:, None])
    tags[dropped] = settings.tags  # sorts behind every tag
    tags.sort(axis=1)
    return np.where(tags == settings.tags, -1, tags)


def _mean_of_tags(tag_vectors: Array, tags: Array) -> Array:
    present = (tags >= 0)[:, :, None]
    return (tag_vectors[tags] * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)


def _draw_arrivals(count: int, new_share: float, days: int, rng: np.random.Generator) -> Array:
    """The first day of each: 0, or spread evenly over the later days for the share that is new."""
    if days == 1:
        return np.zeros(count, np.int64)
    arrivals = np.zeros(count, np.int64)
    late = rng.permutation(count)[: round(new_share * count)]
    arrivals[late] = rng.integers(1, days, len(late))
    return arrivals


def _shared_and_own(rng: np.random.Generator, publishers: int, publisher: Array) -> Array:
    """Standard normal, a quarter of its variance common to a publisher's videos."""
    shared = 0.5 * _normal(rng, publishers)[publisher]
    return _standardised(shared + 0.866 * _normal(rng, len(publisher)))


def _standardised(values: Array) -> Array:
    """Mean 0 and variance 1 in this very population, so that small worlds keep the marginals."""
    return (values - values.mean()) / values.std()


def _zipf(count: int, offset: float, exponent: float) -> Array:
    """Probabilities proportional to (rank + offset)^-exponent, rank from 1."""
    weights = (np.arange(1, count + 1) + offset) ** -exponent
    return weights / weights.sum()


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape)
