"""Draws the population of the simulated feed: its videos and its users.

The order of the draws is part of the model: another order gives another world of the same settings.
docs/simulator.md gives the equations.
"""

from __future__ import annotations

import numpy as np

from lt4rec_tf.data.simulator.world import (
    AGE_GROUPS,
    DEVICES,
    FACTORS,
    MAX_TAGS,
    WORLD_STREAM,
    Array,
    FeedSettings,
    Users,
    Videos,
    World,
    scaled_to_length,
    stream,
)

# Duration profile of the published sample: median 78 s, mean 113 s, 90th percentile 229 s,
# range 15 to 601 s; a shifted log-normal passes through all of them.
DURATION_SHIFT_S, DURATION_SCALE_S, DURATION_SPREAD = 20.0, 58.0, 0.97
DURATION_RANGE_S = (15.0, 601.0)


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


def _draw_videos(
    settings: FeedSettings, category_vectors: Array, rng: np.random.Generator
) -> Videos:
    count, categories = settings.videos, settings.categories

    # Publishers keep to a subject, with exceptions.
    publisher = rng.choice(settings.publishers, count, p=_zipf(settings.publishers, 3, 0.8))
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

    vector = (
        0.5 * category_vectors[category]
        + 0.5 * _mean_of_tags(tag_vectors, tags)
        + 0.35 * publisher_vectors[publisher]
        + 0.4 * _normal(rng, count, FACTORS)
    )
    observed_appeal = appeal + 0.5 * _normal(rng, count)

    return Videos(
        publisher=publisher,
        category=category,
        tags=tags,
        vector=scaled_to_length(vector).astype(np.float32),
        quality=quality,
        appeal=appeal,
        cover_quality=np.rint(1000 * observed_appeal).astype(np.int64),
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

    # Interests drift from the first and second favourite towards the first and third.
    first, second, third = (category_vectors[favourites[:, rank]] for rank in range(3))
    of_age = 0.45 * _normal(rng, AGE_GROUPS, FACTORS)[age_group]
    own = 0.4 * _normal(rng, count, FACTORS)
    later_own = 0.4 * _normal(rng, count, FACTORS)
    vector = scaled_to_length(0.5 * first + 0.5 * second + of_age + own)
    later_vector = scaled_to_length(0.5 * first + 0.5 * third + of_age + later_own)

    activity = np.exp(0.8 * _normal(rng, count))

    return Users(
        vector=vector.astype(np.float32),
        later_vector=later_vector.astype(np.float32),
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
    """Draws different tags of each video, mostly of its category; tag t is of t % categories.

    Returns:
        (videos, MAX_TAGS) int, rising within a video, -1 after the last.
    """
    shape = (len(category), MAX_TAGS)
    tags_of_category = settings.tags // settings.categories
    own = category[:, None] + settings.categories * rng.integers(tags_of_category, size=shape)
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
    """Returns the mean vector of each video's tags, (videos, FACTORS); 0 where it has none."""
    present = (tags >= 0)[:, :, None]
    return (tag_vectors[tags] * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)


def _draw_arrivals(count: int, new_share: float, days: int, rng: np.random.Generator) -> Array:
    """Draws first days, (count,): 0, and a later day for the share that is new."""
    arrivals = np.zeros(count, np.int64)
    if days == 1:
        return arrivals

    late = rng.permutation(count)[: round(new_share * count)]
    arrivals[late] = rng.integers(1, days, len(late))
    return arrivals


def _shared_and_own(rng: np.random.Generator, publishers: int, publisher: Array) -> Array:
    """Draws standard normal scores, a quarter of whose variance a publisher's videos share."""
    shared = 0.5 * _normal(rng, publishers)[publisher]
    return _standardised(shared + 0.866 * _normal(rng, len(publisher)))


def _standardised(values: Array) -> Array:
    """Scales to mean 0 and variance 1 in this very population: small worlds keep the marginals."""
    return (values - values.mean()) / values.std()


def _zipf(count: int, offset: float, exponent: float) -> Array:
    """Returns probabilities proportional to (rank + offset)^-exponent, rank from 1."""
    weights = (np.arange(1, count + 1) + offset) ** -exponent
    return weights / weights.sum()


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape)
