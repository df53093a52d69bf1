"""Batches of users and of the items that they met, drawn anew for each pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lt4rec_tf.data.public.interactions import Interactions, in_sorted


def triples(
    train: Interactions, batch: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Draws as many triples as there are pairs: user, item that she met, item that she did not.

    The user is uniform among those with items, the item among hers, the other among all she did not
    meet. A user who met all items is left out.

    Args:
        train: Pairs of users and items that they met.
        batch: Triples at a time.
        rng: Of the draws.

    Yields:
        Three int64 arrays of users 0..users-1 and items 0..items-1.

    Source: the code of LightGCN (arXiv 2002.02126).
    """
    counts, keys = train.counts, train.keys
    eligible = np.flatnonzero((counts > 0) & (counts < train.items))
    pairs = len(train.item_ids)
    for start in range(0, pairs if len(eligible) else 0, batch):
        users = rng.choice(eligible, min(batch, pairs - start))
        met = train.item_ids[train.first[users] + rng.integers(0, counts[users])]
        yield users, met, _not_met(users, keys, train.items, rng)


def _not_met(
    users: np.ndarray, keys: np.ndarray, items: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws an item for each user that she did not meet: those that she met are drawn again."""
    drawn = rng.integers(0, items, len(users))
    again = np.arange(len(users))
    while len(again):
        again = again[in_sorted(keys, users[again] * items + drawn[again])]
        drawn[again] = rng.integers(0, items, len(again))
    return drawn


def users_with_items(
    train: Interactions, batch: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields every user who met an item, once, in random order, with all her items.

    Args:
        train: Pairs of users and items that they met.
        batch: Users at a time.
        rng: Of the order.

    Yields:
        Users, int64 (batch,); of each pair the position of its user among them, and its item.
    """
    order = rng.permutation(np.flatnonzero(train.counts > 0))
    for start in range(0, len(order), batch):
        users = order[start : start + batch]
        yield users, *train.of_users(users)
