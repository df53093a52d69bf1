"""The simulated feed with reactions: clicked videos that are liked, shared, disliked and so on.

    p(reaction k | click) = sigmoid(intercept_k + sum of REACTION_WEIGHTS[k] x causes
                                    + OWN_PROPENSITY g_uk + OWN_TASTE <u, R_k v> / sqrt(FACTORS))

g_uk is a user's inclination to the reaction and R_k a fixed rotation of the interests, both its
own: reactions share causes and differ by what they make of a user's interests. The intercepts are
calibrated so that the shares of clicks are REACTION_RATES. All draws have streams of their own:
impressions, clicks and play times are those of the feed without reactions. docs/simulator.md gives
the equations.
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
    FACTORS,
    REACTION_STREAM,
    TASTE_STREAM,
    Array,
    FeedSettings,
    World,
    stream,
)

# Share of clicks with each reaction; their order is that of columns and of streams.
REACTION_RATES = {
    "like": 0.08,
    "follow": 0.03,
    "comment": 0.03,
    "share": 0.02,
    "save": 0.04,
    "dislike": 0.02,
}
REACTIONS = tuple(REACTION_RATES)

# The appeal's weights are multiplied by settings.conflict.
REACTION_WEIGHTS = {
    "like": {
        "interest": 0.6,
        "similarity": 0.1,
        "appeal": -0.3,
        "quality": 0.5,
        "evening": 0.1,
    },
    "follow": {
        "interest": 0.5,
        "appeal": -0.3,
        "quality": 0.6,
        "novelty": 0.2,
    },
    "comment": {
        "interest": 0.4,
        "appeal": 0.3,
        "evening": 0.2,
        "large_screen": -0.2,
    },
    "share": {
        "interest": 0.2,
        "appeal": -0.2,
        "quality": 0.5,
        "duration": -0.3,
        "large_screen": -0.3,
    },
    "save": {
        "interest": 0.5,
        "similarity": 0.1,
        "appeal": -0.4,
        "quality": 0.4,
        "duration": 0.4,
    },
    "dislike": {
        "interest": -0.6,
        "similarity": -0.1,
        "appeal": 0.5,
        "quality": -0.5,
    },
}
OWN_PROPENSITY, OWN_TASTE = 0.6, 0.6


@dataclass(frozen=True)
class Tastes:
    """What each reaction has of its own, in the order of REACTIONS."""

    propensity: Array  # (reactions, users) standard normal: inclination to react so
    rotation: Array  # (reactions, FACTORS, FACTORS), each orthogonal


@dataclass(frozen=True)
class ReactionTruth(Truth):
    """The truth of impressions, reactions included."""

    reactions: Array  # (rows, reactions): p(reaction | click)


@dataclass(frozen=True)
class ReactionOutcomes(Outcomes):
    """Outcomes of impressions, reactions included."""

    reactions: Array  # (rows, reactions) 0 or 1; 0 where not clicked


class ReactionFeed(Feed):
    """A simulated feed with reactions: the impressions, clicks and play times of `Feed`, and more.

    Args:
        settings: Of the feed. Building a feed takes O(users + videos) time and memory.
    """

    def __init__(self, settings: FeedSettings) -> None:
        super().__init__(settings)
        self.tastes = draw_tastes(self.world)
        self.reaction_intercepts = self._calibrate_reactions()

    def blocks(
        self, day: int, start: int, stop: int
    ) -> Iterator[tuple[Impressions, ReactionTruth, ReactionOutcomes]]:
        """Yields rows start..stop of a day, a block at a time, in order of time.

        Args:
            day: From 0.
            start: First row's number within the day.
            stop: One past the last row's number, at most `rows_of_day(day)`.
        """
        blocks = super().blocks(day, start, stop)
        for block, (impressions, truth, outcomes) in enumerate(blocks, start // feed.BLOCK_ROWS):
            reaction_truth = cast(ReactionTruth, truth)  # `Feed.blocks` calls the method below
            uniform = self.uniforms(REACTION_STREAM, day, block, len(REACTIONS), impressions)
            yield impressions, reaction_truth, draw_reactions(reaction_truth, outcomes, uniform)

    def truth(self, day: int, impressions: Impressions) -> ReactionTruth:
        """Returns the truth of any impressions, shown by the feed or not.

        Args:
            day: From 0.
            impressions: Their numbers are not used.
        """
        scores = self._reaction_scores(day, impressions)
        return ReactionTruth(
            **vars(super().truth(day, impressions)),
            reactions=sigmoid(self.reaction_intercepts + scores),
        )

    def _reaction_scores(self, day: int, impressions: Impressions) -> Array:
        """Returns what moves each reaction, (rows, reactions)."""
        causes = self.causes(day, impressions)
        causes["appeal"] = self.settings.conflict * causes["appeal"]
        user_vector = self.on_day(day).user_vector[impressions.user]
        video_vector = self.world.videos.vector[impressions.video]

        scores = []
        for index, reaction in enumerate(REACTIONS):
            rotated = video_vector @ self.tastes.rotation[index].T
            taste = np.einsum("rk,rk->r", user_vector, rotated) / np.sqrt(FACTORS)
            propensity = self.tastes.propensity[index, impressions.user]
            shared = weighted_sum(REACTION_WEIGHTS[reaction], causes)
            scores.append(shared + OWN_PROPENSITY * propensity + OWN_TASTE * taste)
        return np.stack(scores, axis=1)

    def _calibrate_reactions(self) -> Array:
        """Returns the intercepts under which the expected shares of clicks are right."""
        weights, scores = self.scores_of_sample(self._reaction_scores)
        scores_and_rates = zip(scores.T, REACTION_RATES.values(), strict=True)
        return np.array([level_among(weights, score, rate) for score, rate in scores_and_rates])


def draw_reactions(truth: ReactionTruth, outcomes: Outcomes, uniform: Array) -> ReactionOutcomes:
    """Turns uniform numbers into reactions; given a click, those to one video are independent.

    Args:
        truth: (rows,) of impressions.
        outcomes: (rows,) their clicks and play times.
        uniform: (reactions, rows) in [0, 1).

    >>> truth = ReactionTruth(*np.ones((3, 2)), reactions=np.array([[0.1], [0.1]]))
    >>> clicked = Outcomes(click=np.array([1, 0]), play_time=np.array([9, 0]))
    >>> draw_reactions(truth, clicked, np.array([[0.05, 0.05]])).reactions
    array([[1],
           [0]])
    """
    reacted = (truth.reactions > uniform.T) & (outcomes.click == 1)[:, None]
    return ReactionOutcomes(**vars(outcomes), reactions=reacted.astype(np.int64))


def draw_tastes(world: World) -> Tastes:
    """Draws what each reaction has of its own, each from a stream that nothing else uses.

    A rotation is the orthogonal factor of a normal matrix, its signs such that all are as likely.

    Args:
        world: The population.

    Source of the draw: Mezzadri, How to Generate Random Matrices from the Classical Compact Groups
        (arXiv math-ph/0609050).
    """
    propensities, rotations = [], []
    for index in range(len(REACTIONS)):
        rng = stream(world.settings.seed, TASTE_STREAM, index)
        factor, triangle = np.linalg.qr(rng.standard_normal((FACTORS, FACTORS)))
        rotations.append(factor * np.sign(np.diag(triangle)))
        propensities.append(rng.standard_normal(len(world.users.age_group)))
    return Tastes(np.stack(propensities), np.stack(rotations))
