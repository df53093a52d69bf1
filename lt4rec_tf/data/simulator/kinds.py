"""Opens the feed of some settings: plain, with purchases or with reactions."""

from __future__ import annotations

from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.purchases import ShopFeed
from lt4rec_tf.data.simulator.reactions import ReactionFeed
from lt4rec_tf.data.simulator.world import FeedSettings


def open_feed(settings: FeedSettings) -> Feed:
    """Builds the feed of the settings.

    Args:
        settings: Of the feed.

    Returns:
        A `ShopFeed` if they have purchases, a `ReactionFeed` if they have reactions, else a `Feed`.
    """
    if settings.purchases:
        return ShopFeed(settings)
    return ReactionFeed(settings) if settings.reactions else Feed(settings)
