"""Metrics of ranks on resampled rows; see `metrics.resampled`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lt4rec_tf.metrics.draws import Measure, Weights, drawn_rows, of_rows, ratios


@dataclass(frozen=True)
class Sorted:
    """A column in rising order, whose draws are then running sums.

    Attributes:
        users: The users of the rows by rising value, (rows,).
        weights: Of these rows, (rows,); None: all count once.
        below: How many rows have a lower value than each row, (rows,).
        not_above: How many rows have no higher value, (rows,).
    """

    users: np.ndarray
    weights: Weights
    below: np.ndarray
    not_above: np.ndarray

    @classmethod
    def of(cls, column: np.ndarray, user_of: np.ndarray, weights: Weights = None) -> Sorted:
        """Sorts a column (rows,)."""
        order = np.argsort(column)
        sides = (np.searchsorted(column[order], column, side=side) for side in ("left", "right"))
        return cls(user_of[order], of_rows(weights, order), *sides)

    def places(self, drawn: np.ndarray) -> np.ndarray:
        """Returns twice the distance of each row's mid-rank from the mean rank: whole numbers.

        Of n rows drawn, w tie with a row and c lie below: its mid-rank is c + (w + 1) / 2, the
        mean rank (n + 1) / 2, and the result c + (c + w) - n. Rows count their weights.

        >>> rising = Sorted.of(np.array([0.5, 0.1, 0.5]), np.array([0, 1, 2]))
        >>> rising.places(np.array([[1.0], [1.0], [1.0]])).T  # mid-ranks 2.5, 1, 2.5 about 2
        array([[ 1., -2.,  1.]])

        Args:
            drawn: How often each user is drawn, (users, replicates).

        Returns:
            (rows, replicates).
        """
        up_to = np.zeros((len(self.users) + 1, drawn.shape[1]))
        np.cumsum(drawn_rows(drawn, self.users, self.weights), axis=0, out=up_to[1:])
        places = up_to[self.below]
        places += up_to[self.not_above]
        places -= up_to[-1]
        return places


def spearman_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of Pearson's correlation of weighted mid-ranks; rows are sorted once."""
    sorted_labels = Sorted.of(labels, user_of, weights)
    sorted_scores = [Sorted.of(of_seed, user_of, weights) for of_seed in scores]

    def measure(counts: np.ndarray) -> np.ndarray:
        drawn = np.ascontiguousarray(counts.T)
        of_row = drawn_rows(drawn, user_of, weights)
        places = sorted_labels.places(drawn)
        weighted = of_row * places
        label_spread = np.einsum("ir,ir->r", weighted, places)

        correlations = []
        for of_seed in sorted_scores:
            places = of_seed.places(drawn)
            covariance = np.einsum("ir,ir->r", weighted, places)
            places *= places
            spread = np.einsum("ir,ir->r", of_row, places)
            correlations.append(ratios(covariance, np.sqrt(spread * label_spread)))
        return np.stack(correlations, axis=1)

    return measure


def gini_by_counts(
    labels: np.ndarray, scores: np.ndarray, user_of: np.ndarray, weights: Weights = None
) -> Measure:
    """Returns the measure of the ratio of sums y (2 a - n) in `metrics.amounts.gini`."""
    sorted_labels = Sorted.of(labels, user_of, weights)
    sorted_scores = [Sorted.of(of_seed, user_of, weights) for of_seed in scores]

    def measure(counts: np.ndarray) -> np.ndarray:
        drawn = np.ascontiguousarray(counts.T)
        of_row = drawn_rows(drawn, user_of, weights)
        amounts = of_row * labels[:, None]
        places = sorted_labels.places(drawn)
        differ = ((places != 0) & (of_row > 0)).any(axis=0)  # equal labels are all in the middle
        places += 1
        best = np.where(differ, np.einsum("ir,ir->r", amounts, places), 0.0)

        coefficients = []
        for of_seed in sorted_scores:
            raw = np.einsum("ir,ir->r", amounts, of_seed.places(drawn) + 1)
            coefficients.append(ratios(raw, best))
        return np.stack(coefficients, axis=1)

    return measure
