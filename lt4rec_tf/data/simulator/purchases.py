"""The simulated feed as a shop: prices of videos, and clicks that become purchases.

    p(purchase | click)  = sigmoid(intercept + sum of PURCHASE_WEIGHTS x causes)
    amount of a purchase = price x quantity,  quantity - 1 ~ Geometric with mean extra_u
    E[amount | click]    = p(purchase | click) x price x (1 + extra_u)

The intercept is calibrated so that the share of clicks that purchase is the setting. All draws have
streams of their own: impressions, clicks and play times are those of the feed without purchases.
docs/simulator.md gives the equations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from lt4rec_tf.data.simulator import feed
from lt4rec_tf.data.simulator.exposure import Impressions
from lt4rec_tf.data.simulator.feed import (
    Feed,
    Outcomes,
    Truth,
    level_among,
    sigmoid,
    weighted_sum,
)
from lt4rec_tf.data.simulator.world import (
    AGE_GROUPS,
    PURCHASE_STREAM,
    SHOP_STREAM,
    Array,
    FeedSettings,
    World,
    stream,
)

PURCHASE_WEIGHTS = {
    "interest": 0.5,
    "similarity": 0.1,
    "appeal": -0.5,  # x settings.conflict
    "quality": 0.5,
    "evening": 0.1,
    "large_screen": 0.2,
    "buying_taste": 0.8,
    "dearness": -0.7,
}

# Prices are log-normal: in currency units, median and spread of the logarithm.
PRICE_MEDIAN, PRICE_SPREAD = 12.0, 0.9
PRICE_OF_CATEGORY, PRICE_OF_PUBLISHER = 0.3, 0.2  # shares of the logarithm's variance
BUDGET_SPREAD = 0.6  # of the logarithm of what a user finds a fair price; its median is the prices'
AFFLUENCE_OF_AGE = 0.25  # share of its variance
# Pieces beyond the first: of the average user, and how much faster they grow with affluence.
EXTRA_MEDIAN, EXTRA_SPREAD = 0.5, 0.8


@dataclass(frozen=True)
class Shop:
    """Prices of videos, and means and tastes of users; docs/simulator.md says what each does."""

    price: Array  # (videos,) cents, int, above 0
    affluence: Array  # (users,) standard normal
    buying_taste: Array  # (users,) standard normal: inclination to purchase

    @property
    def extra(self) -> Array:
        """Mean number of pieces after the first, (users,): EXTRA_MEDIAN e^(EXTRA_SPREAD affluence).

        >>> Shop(np.array([100]), np.array([0.0]), np.array([0.0])).extra
        array([0.5])
        """
        return EXTRA_MEDIAN * np.exp(EXTRA_SPREAD * self.affluence)

    def dearness(self, user: Array, video: Array) -> Array:
        """Returns ln(price / budget), (rows,).

        budget = PRICE_MEDIAN e^(BUDGET_SPREAD affluence)

        Args:
            user: (rows,) the payers.
            video: (rows,) the videos paid for.

        >>> shop = Shop(np.array([2400]), np.array([0.0]), np.array([0.0]))
        >>> shop.dearness(np.array([0]), np.array([0])).round(3)
        array([0.693])
        """
        price = np.log(self.price[video] / (100 * PRICE_MEDIAN))
        return price - BUDGET_SPREAD * self.affluence[user]


@dataclass(frozen=True)
class ShopTruth(Truth):
    """The truth of impressions, purchases included; all arrays are (rows,)."""

    purchase: Array  # p(purchase | click)
    paid: Array  # E[amount | purchase], currency units

    @property
    def amount(self) -> Array:
        """E[amount | click] = purchase x paid, in currency units.

        >>> ShopTruth(*np.array([[0.4], [0.5], [0.6], [0.1], [30.0]])).amount
        array([3.])
        """
        return self.purchase * self.paid


@dataclass(frozen=True)
class ShopOutcomes(Outcomes):
    """Outcomes of impressions, purchases included. All arrays are (rows,) and integer."""

    price: Array  # of the video, cents
    purchase: Array  # 0 or 1; 0 where not clicked
    amount: Array  # cents; 0 exactly where not purchased


class ShopFeed(Feed):
    """A simulated feed with purchases: the impressions, clicks and play times of `Feed`, and more.

    Args:
        settings: Of the feed. Building a feed takes O(users + videos) time and memory.
    """

    def __init__(self, settings: FeedSettings) -> None:
        super().__init__(settings)
        self.shop = build_shop(self.world)
        self.purchase_intercept = self._calibrate_purchases()

    def blocks(
        self, day: int, start: int, stop: int
    ) -> Iterator[tuple[Impressions, ShopTruth, ShopOutcomes]]:
        """Yields rows start..stop of a day, a block at a time, in order of time.

        Args:
            day: From 0.
            start: First row's number within the day.
            stop: One past the last row's number, at most `rows_of_day(day)`.
        """
        blocks = super().blocks(day, start, stop)
        for block, (impressions, truth, outcomes) in enumerate(blocks, start // feed.BLOCK_ROWS):
            shop_truth = cast(ShopTruth, truth)  # `Feed.blocks` calls the method below
            uniform = self.uniforms(PURCHASE_STREAM, day, block, 2, impressions)
            purchases = self.draw_purchases(impressions, shop_truth, outcomes, uniform)
            yield impressions, shop_truth, purchases

    def truth(self, day: int, impressions: Impressions) -> ShopTruth:
        """Returns the truth of any impressions, shown by the feed or not.

        Args:
            day: From 0.
            impressions: Their numbers are not used.
        """
        pieces = 1 + self.shop.extra[impressions.user]
        score = self._purchase_scores(day, impressions)
        return ShopTruth(
            **vars(super().truth(day, impressions)),
            purchase=sigmoid(self.purchase_intercept + score),
            paid=self.shop.price[impressions.video] / 100 * pieces,
        )

    def draw_purchases(
        self, impressions: Impressions, truth: ShopTruth, outcomes: Outcomes, uniform: Array
    ) -> ShopOutcomes:
        """Turns uniform numbers into purchases and their amounts.

        P(quantity > k) = (extra / (1 + extra))^k for k = 0, 1, ..., whose mean is 1 + extra; the
        quantity is that distribution's quantile.

        Args:
            impressions: (rows,).
            truth: (rows,) of them.
            outcomes: (rows,) clicks and play times.
            uniform: (2, rows) in [0, 1): one number decides on the purchase, one on the quantity.
        """
        purchase = (outcomes.click == 1) & (uniform[0] < truth.purchase)
        extra = self.shop.extra[impressions.user]
        quantity = 1 + np.floor(np.log1p(-uniform[1]) / np.log(extra / (1 + extra)))
        price = self.shop.price[impressions.video]
        return ShopOutcomes(
            click=outcomes.click,
            play_time=outcomes.play_time,
            price=price,
            purchase=purchase.astype(np.int64),
            amount=np.where(purchase, price * quantity.astype(np.int64), 0),
        )

    def _purchase_scores(self, day: int, impressions: Impressions) -> Array:
        """Returns the weighted sum of causes of a purchase, (rows,)."""
        causes = self.causes(day, impressions) | {
            "buying_taste": self.shop.buying_taste[impressions.user],
            "dearness": self.shop.dearness(impressions.user, impressions.video),
        }
        conflict = self.settings.conflict * PURCHASE_WEIGHTS["appeal"]
        return weighted_sum(PURCHASE_WEIGHTS | {"appeal": conflict}, causes)

    def _calibrate_purchases(self) -> float:
        """Finds the intercept under which the expected share of clicks that purchase is right."""
        weights, score = self.scores_of_sample(self._purchase_scores)
        return level_among(weights, score, self.settings.purchase_rate)


def build_shop(world: World) -> Shop:
    """Draws prices and means; a function of the world, from a stream that nothing else uses.

    Args:
        world: The population.
    """
    rng = stream(world.settings.seed, SHOP_STREAM)
    videos, users, settings = world.videos, world.users, world.settings

    price_score = _explained(
        rng,
        (settings.categories, videos.category, PRICE_OF_CATEGORY),
        (settings.publishers, videos.publisher, PRICE_OF_PUBLISHER),
    )
    price = np.rint(100 * PRICE_MEDIAN * np.exp(PRICE_SPREAD * price_score))

    affluence = _explained(rng, (AGE_GROUPS, users.age_group, AFFLUENCE_OF_AGE))
    return Shop(
        price=np.maximum(price, 1).astype(np.int64),
        affluence=affluence,
        buying_taste=rng.standard_normal(len(users.age_group)),
    )


def _explained(rng: np.random.Generator, *groups: tuple[int, Array, float]) -> Array:
    """Draws scores of mean 0 and variance 1 in this very population, partly common to groups.

    Each group explains a share of the variance.

    Args:
        rng: Randomness.
        groups: Number of groups, (rows,) each row's group, and the share of the variance that is
            common to a group, on average over draws.
    """
    rows = len(groups[0][1])
    total = np.sqrt(1 - sum(share for *_, share in groups)) * rng.standard_normal(rows)
    for count, group, share in groups:
        total += np.sqrt(share) * rng.standard_normal(count)[group]
    return (total - total.mean()) / total.std()
