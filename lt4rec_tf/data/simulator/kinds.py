"""Opens the feed of some settings: plain, with purchases, with reactions or with moods."""

from __future__ import annotations

from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.moods import MoodFeed
from lt4rec_tf.data.simulator.purchases import ShopFeed
from lt4rec_tf.data.simulator.reactions import ReactionFeed
from lt4rec_tf.data.simulator.world import FeedSettings


def open_feed(settings: FeedSettings) -> Feed:
    """Builds the feed of the settings.

    Args:
        settings: Of the feed.

    Returns:
        A `ShopFeed` if they have purchases, a `ReactionFeed` if they have reactions, a `MoodFeed`
        if they have moods, else a `Feed`.
    """
    if settings.purchases:
        return ShopFeed(settings)
    if settings.reactions:
        return ReactionFeed(settings)
    return MoodFeed(settings) if settings.moods else Feed(settings)
