"""Draws requests of the simulated feed, and the videos that it shows in them.

Nothing here depends on clicks, so the days of a log, and the blocks of a day, can be made in any
order and on their own. docs/simulator.md gives the equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lt4rec_tf.data.simulator.world import Array, World, scaled_to_length

NETWORKS = ("wifi", "4g", "5g")
NETWORK_SHARES = (0.65, 0.25, 0.1)
NO_VIDEO = -1

# Share of requests by number of videos shown: the position profile of the published sample.
REQUEST_SIZES = np.arange(4, 11)
REQUEST_SIZE_SHARES = np.array([0.10, 0.03, 0.07, 0.06, 0.02, 0.02, 0.70])
MAX_POSITIONS = 10

# Share of a day's requests by hour: a trough at night, peaks at noon and in the evening.
TRAFFIC = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 5, 5, 6, 8, 7, 6, 5, 5, 6, 7, 8, 9, 10, 8, 5])
TRAFFIC_SHARES = TRAFFIC / TRAFFIC.sum()

DRIFT_RADIANS_PER_DAY = 0.06
SEASON_DAYS, SEASON_STRENGTH = 14, 0.2
TREND_DAYS, TREND_STRENGTH = 10, 0.6
NOVELTY_DAYS, NOVELTY_BOOST = 1.5, 2.0

SOURCE_MISSING, SOURCE_OF_FAVOURITE = 0.12, 0.6
LIKE_SOURCE, LIKE_FAVOURITE = 0.45, 0.25  # candidates; the rest are drawn by popularity alone

# Of a feed with moods: mean requests of a visit, and mean minutes between two of them at average
# traffic; a visit ends with its block of rows, so that a block has room for some 30 requests of it.
VISIT_REQUESTS, VISIT_GAP_MINUTES, ROOM_FOR_VISIT = 12, 4, 30


@dataclass(frozen=True)
class Impressions:
    """Rows of the log before anything happened. All arrays are (rows,) and integer."""

    number: Array  # running number within the day
    user: Array
    video: Array
    source: Array  # video watched before, NO_VIDEO when none
    position: Array  # from 1
    hour: Array
    network: Array  # index into NETWORKS


@dataclass(frozen=True)
class Day:
    """The world as it is on one day."""

    user_vector: Array  # (users, FACTORS)
    arrived: Array  # (users,) running sum of activity
    novelty: Array  # (videos,) in [0, 1]
    released: Array  # videos that can be shown
    by_category: Array  # videos, sorted by category
    popular: Array  # (videos + 1,) running sum of popularity in that order, from 0
    category_start: Array  # (categories + 1,) indices into by_category


def world_on_day(world: World, day: int) -> Day:
    """Returns interests, popularity and arrivals as they are on a day, from the day alone.

    A user's vector turns from `vector` towards `later_vector` by DRIFT_RADIANS_PER_DAY, and every
    factor has its season; a video's popularity follows its trend and is raised while it is new.

    Args:
        world: The population.
        day: From 0.
    """
    videos, users, drift = world.videos, world.users, world.settings.drift
    angle = drift * DRIFT_RADIANS_PER_DAY * day
    turned = np.cos(angle) * users.vector + np.sin(angle) * users.later_vector
    season = np.sin(2 * np.pi * day / SEASON_DAYS + world.factor_phase)
    in_season = scaled_to_length(turned) * (1 + drift * SEASON_STRENGTH * season)

    age = day - videos.release_day
    # Day 0 is the start of the log, not of the videos that are there by then.
    is_new = (videos.release_day > 0) & (age >= 0)
    novelty = np.where(is_new, np.exp(-np.maximum(age, 0) / NOVELTY_DAYS), 0.0)

    trend = np.sin(2 * np.pi * day / TREND_DAYS + videos.trend_phase)
    popularity = videos.popularity * (1 + NOVELTY_BOOST * novelty) * (age >= 0)
    popularity *= np.exp(drift * TREND_STRENGTH * trend)

    by_category = np.argsort(videos.category, kind="stable")
    categories = np.arange(world.settings.categories + 1)

    return Day(
        user_vector=in_season.astype(np.float32),
        arrived=np.cumsum(users.activity * (users.first_day <= day)),
        novelty=novelty,
        released=np.flatnonzero(age >= 0),
        by_category=by_category,
        popular=np.concatenate([[0.0], np.cumsum(popularity[by_category])]),
        category_start=np.searchsorted(videos.category[by_category], categories),
    )


def expose(
    world: World,
    day: Day,
    numbers: Array,
    rows_of_day: int,
    rng: np.random.Generator,
    *,
    visits: bool = False,
) -> Impressions:
    """Draws requests and the videos shown in them.

    A request has a user, an hour, a network, a source video, and 4 to 10 different videos: like
    the source, of a favourite category, or merely popular. Rows are in order of time: the hour is
    the one by which the share number / rows_of_day of the day's traffic has passed.

    Args:
        world: The population.
        day: The world on the day.
        numbers: (rows,) running numbers within the day, ascending.
        rows_of_day: How many numbers the day has.
        rng: Randomness.
        visits: Whether a user's requests come in visits, not scattered.
    """
    rows = len(numbers)
    sizes = rng.choice(REQUEST_SIZES, rows // REQUEST_SIZES[0] + 1, p=REQUEST_SIZE_SHARES)
    ends = np.cumsum(sizes)
    requests = int(np.searchsorted(ends, rows)) + 1
    starts = (ends - sizes)[:requests]
    request = np.repeat(np.arange(requests), sizes[:requests])[:rows]
    position = np.arange(rows) - starts[request]  # from 0

    user = draw_users(day, requests, rng)
    if visits:
        user = user[first_of_visits(requests, rows_of_day, rng)]
    source, videos = draw_candidates(world, day, user, MAX_POSITIONS, rng)

    # Numbers beyond the day's last exist in its last block only and are thrown away.
    traffic_passed = np.minimum(numbers[starts] / rows_of_day, 1.0)
    hour = np.searchsorted(np.cumsum(TRAFFIC_SHARES[:-1]), traffic_passed, side="right")
    network = rng.choice(len(NETWORKS), requests, p=NETWORK_SHARES)

    return Impressions(
        number=numbers,
        user=user[request],
        video=videos[request, position],
        source=source[request],
        position=position + 1,
        hour=hour[request],
        network=network[request],
    )


def draw_users(day: Day, count: int, rng: np.random.Generator) -> Array:
    """Draws users who have arrived by the day, by their activity, (count,)."""
    return _draw(day.arrived, rng.random(count))


def first_of_visits(requests: int, rows_of_day: int, rng: np.random.Generator) -> Array:
    """Draws visits, and returns the request that each request's visit begins with, (requests,).

    Requests are dealt at random to as many visits as there are at a time. With each request its
    visit ends, and another begins in its place, with probability 1 / VISIT_REQUESTS.

    Args:
        requests: Of a block, in order of time.
        rows_of_day: How many rows the day has.
        rng: Randomness.
    """
    requests_of_day = rows_of_day / (REQUEST_SIZES @ REQUEST_SIZE_SHARES)
    at_a_time = min(requests_of_day * VISIT_GAP_MINUTES / (24 * 60), requests / ROOM_FOR_VISIT)
    place = rng.integers(max(1, round(at_a_time)), size=requests)
    begins = rng.random(requests) < 1 / VISIT_REQUESTS

    by_place = np.argsort(place, kind="stable")
    begins = begins[by_place]
    begins[0] = True
    begins[1:] |= np.diff(place[by_place]) > 0
    last_begin = np.maximum.accumulate(np.where(begins, np.arange(requests), 0))

    first = np.empty(requests, np.int64)
    first[by_place] = by_place[last_begin]
    return first


def draw_candidates(
    world: World, day: Day, user: Array, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draws what requests could show: like the source, of a favourite category, or popular.

    Args:
        world: The population.
        day: The world on the day.
        user: (requests,) whose requests.
        count: Candidates of a request.
        rng: Randomness.

    Returns:
        (requests,) source videos, NO_VIDEO where there is none, and (requests, count) videos,
        different from each other and from the source.
    """
    requests = len(user)
    favourite = world.users.favourites[user, rng.integers(2, size=requests)]
    source = _draw_sources(day, favourite, rng)
    category_like_source = np.where(source == NO_VIDEO, favourite, world.videos.category[source])

    channel = rng.random((requests, count))
    category = np.where(channel < LIKE_SOURCE + LIKE_FAVOURITE, favourite[:, None], -1)
    category = np.where(channel < LIKE_SOURCE, category_like_source[:, None], category)

    videos = np.concatenate([source[:, None], _draw_videos(day, category, rng)], axis=1)
    while (repeated := _repeated(videos)).any():
        videos[repeated] = rng.choice(day.released, int(repeated.sum()))
    return source, videos[:, 1:]


def _draw_sources(day: Day, favourite: Array, rng: np.random.Generator) -> Array:
    """Draws the video watched before each request, (requests,); NO_VIDEO where there is none."""
    requests = len(favourite)
    category = np.where(rng.random(requests) < SOURCE_OF_FAVOURITE, favourite, -1)
    source = _draw_videos(day, category, rng)
    return np.where(rng.random(requests) < SOURCE_MISSING, NO_VIDEO, source)


def _draw_videos(day: Day, category: Array, rng: np.random.Generator) -> Array:
    """Draws videos by the day's popularity, within a category or, for -1, among all."""
    low = day.popular[day.category_start[category]]
    high = day.popular[day.category_start[category + 1]]
    within = (category >= 0) & (high > low)  # a category may have no released video
    low, high = np.where(within, low, 0.0), np.where(within, high, day.popular[-1])

    point = low + rng.random(category.shape) * (high - low)
    index = np.searchsorted(day.popular, point, side="right") - 1
    # A point rounded up to the whole sum would lie behind the last released video.
    last = np.searchsorted(day.popular, day.popular[-1], side="left") - 1
    return day.by_category[np.minimum(index, last)]


def _draw(running_sum: Array, uniform: Array) -> Array:
    """Returns indices with probabilities proportional to the steps of a running sum.

    >>> _draw(np.array([1.0, 1.0, 4.0]), np.array([0.0, 0.2, 0.3, 0.99]))
    array([0, 0, 2, 2])
    """
    return np.searchsorted(running_sum, uniform * running_sum[-1], side="right")


def _repeated(rows: Array) -> Array:
    """Marks the entries whose value occurs further left in their row.

    >>> _repeated(np.array([[7, 8, 7, 7]]))
    array([[False, False,  True,  True]])
    """
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    repeated = np.zeros(rows.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    return repeated
