"""Reads implicit feedback in the layout of LightGCN: one line a user, `user item item ...`.

A line that cannot be understood ends the reading; what can be understood and is odd is counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.data.formats.files import DataError, open_binary, refuse_utf16
from lt4rec_tf.data.formats.lines import TextForm, read_rows

# Ids number the rows of a table. If a smaller share is in use, they are no numbers from 0 on.
LEAST_USED_SHARE = 0.01


@dataclass(frozen=True)
class Interactions:
    """The items of each user, as a compressed sparse matrix without values.

    Attributes:
        users: Number of users, ids 0..users-1.
        items: Number of items, ids 0..items-1.
        first: int64 (users + 1,): user u's items are `item_ids[first[u] : first[u + 1]]`.
        item_ids: int64 (pairs,), rising within a user, each once.
    """

    users: int
    items: int
    first: np.ndarray
    item_ids: np.ndarray

    @classmethod
    def of_pairs(
        cls, users: int, items: int, user_ids: np.ndarray, item_ids: np.ndarray
    ) -> Interactions:
        """Makes the matrix of pairs; those that occur twice are kept once.

        >>> Interactions.of_pairs(2, 4, np.array([1, 0, 1, 0]), np.array([3, 2, 0, 2]))
        Interactions(users=2, items=4, first=array([0, 1, 3]), item_ids=array([2, 0, 3]))
        """
        pairs = np.unique(user_ids.astype(np.int64) * items + item_ids)
        counts = np.bincount(pairs // items, minlength=users) if len(pairs) else np.zeros(users)
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(users, items, first, pairs % items)

    @property
    def counts(self) -> np.ndarray:
        """Items of each user, int64 (users,)."""
        return np.diff(self.first)

    @property
    def user_ids(self) -> np.ndarray:
        """The user of each pair, int64 (pairs,)."""
        return np.repeat(np.arange(self.users), self.counts)

    @property
    def keys(self) -> np.ndarray:
        """One rising number a pair, user * items + item, int64 (pairs,)."""
        return self.user_ids * self.items + self.item_ids

    def of_users(self, user_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns all pairs of some users.

        >>> some = Interactions.of_pairs(3, 9, np.array([0, 2, 2]), np.array([4, 7, 8]))
        >>> some.of_users(np.array([2, 0]))
        (array([0, 0, 1]), array([7, 8, 4]))

        Args:
            user_ids: int64 (n,).

        Returns:
            For each pair the index of its user in `user_ids`, and its item; int64 (pairs,).
        """
        counts = self.counts[user_ids]
        indices = np.repeat(np.arange(len(user_ids)), counts)
        rank_of_item = np.arange(len(indices)) - np.repeat(np.cumsum(counts) - counts, counts)
        return indices, self.item_ids[self.first[user_ids][indices] + rank_of_item]

    def have(self, user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        """Marks the pairs that are among these, bool of the ids' shape."""
        return in_sorted(self.keys, user_ids * self.items + item_ids)


def in_sorted(rising: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Marks the numbers that are among rising ones, bool of their shape.

    >>> in_sorted(np.array([2, 5]), np.array([5, 3, 9]))
    array([ True, False, False])
    """
    if not len(rising):
        return np.zeros(np.shape(numbers), bool)

    indices = np.searchsorted(rising, numbers)
    return rising[np.minimum(indices, len(rising) - 1)] == numbers


@dataclass(frozen=True)
class Split:
    """A data set in the splits of its authors.

    Attributes:
        train: To learn from, and to take validation pairs from.
        test: To be ranked among all items that train does not have for the user.
        oddities: Counts of odd pairs and users, by kind; kinds that do not occur are absent.
    """

    train: Interactions
    test: Interactions
    oddities: dict[str, int]


def read_split(data_dir: Path) -> Split:
    """Reads train.txt and test.txt, plain or with gzip (.txt.gz).

    Users and items are numbered from 0. Oddities are counted:

    - A pair that comes twice counts once.
    - A pair of test that train has is left out of test, as it cannot be recommended.
    - A user without items stays without.
    - Pairs of test whose item train does not know stay, and are missed.

    Raises:
        DataError: A file is absent, damaged, or holds a line that is not whole numbers, or a user
            twice, or ids far larger than there are users or items; says where.
    """
    train = _read_pairs(_plain_or_gzip(data_dir, "train.txt"))
    test = _read_pairs(_plain_or_gzip(data_dir, "test.txt"))
    return split_of_pairs(str(data_dir), train, test)


Pairs = tuple[np.ndarray, np.ndarray]  # users and items, int64 (pairs,)


def split_of_pairs(where: str, train_pairs: Pairs, test_pairs: Pairs) -> Split:
    """Divides pairs as their authors did; oddities are treated as by `read_split`.

    Args:
        where: Names their origin in messages.
        train_pairs: To learn from.
        test_pairs: To be ranked.

    Raises:
        DataError: There is none to learn from, or ids are far larger than there are users or items.
    """
    (train_users, train_items), (test_users, test_items) = train_pairs, test_pairs
    if not len(train_items):
        raise DataError(f"{where}: found no pair of user and item to train on")

    users = 1 + int(max(train_users.max(), test_users.max(initial=0)))
    items = 1 + int(max(train_items.max(), test_items.max(initial=0)))
    _refuse_sparse_ids(where, "user", np.concatenate([train_users, test_users]), users)
    _refuse_sparse_ids(where, "item", np.concatenate([train_items, test_items]), items)

    train = Interactions.of_pairs(users, items, train_users, train_items)
    all_test = Interactions.of_pairs(users, items, test_users, test_items)
    in_train = train.have(all_test.user_ids, all_test.item_ids)
    test = Interactions.of_pairs(
        users, items, all_test.user_ids[~in_train], all_test.item_ids[~in_train]
    )

    item_in_train = np.zeros(items, bool)
    item_in_train[train.item_ids] = True
    oddities = {
        "train pairs that come twice": len(train_items) - len(train.item_ids),
        "test pairs that come twice": len(test_items) - len(all_test.item_ids),
        "test pairs that train has, left out": int(in_train.sum()),
        "test pairs of items that train does not know": int((~item_in_train[test.item_ids]).sum()),
        "test pairs of users that train does not know": int(test.counts[train.counts == 0].sum()),
        "users without a train pair": int((train.counts == 0).sum()),
        "users without a test pair": int((test.counts == 0).sum()),
    }
    return Split(train, test, {kind: count for kind, count in oddities.items() if count})


def hold_out(
    interactions: Interactions, share: float, seed: int
) -> tuple[Interactions, Interactions]:
    """Takes pairs out at random, user by user, for validation.

    A user of n items gives round(share n), and keeps one at least.

    Args:
        interactions: Train.
        share: In [0, 1).
        seed: Of the choice.

    Returns:
        The pairs that are left, and those taken out.
    """
    counts = interactions.counts
    count_out = np.minimum(np.rint(share * counts).astype(np.int64), np.maximum(counts - 1, 0))

    # Each user's pairs in a random order; the sort keeps users together.
    user_ids = interactions.user_ids
    uniform = np.random.default_rng([seed, *b"validation"]).random(len(user_ids))
    order = np.lexsort((uniform, user_ids))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - interactions.first[user_ids]

    is_out = rank < count_out[user_ids]
    return _chosen(interactions, ~is_out), _chosen(interactions, is_out)


def _chosen(interactions: Interactions, chosen: np.ndarray) -> Interactions:
    """Returns the interactions of chosen pairs, bool (pairs,)."""
    return Interactions.of_pairs(
        interactions.users,
        interactions.items,
        interactions.user_ids[chosen],
        interactions.item_ids[chosen],
    )


def _plain_or_gzip(data_dir: Path, name: str) -> Path:
    for path in (data_dir / name, data_dir / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        f"{data_dir}: found neither {name} nor {name}.gz, expected `user item item ...`"
    )


def _read_pairs(path: Path) -> Pairs:
    """Reads users and items of all pairs, in the file's order.

    A user alone on its line has no pair.
    """
    line_of_user: dict[int, int] = {}
    users, items = [], []
    for number, line in _lines(path):
        ids = _whole_numbers(path, number, line)
        if not len(ids):
            continue

        user = int(ids[0])
        if user in line_of_user:
            raise DataError(
                f"{path}, line {number}: found user {user} again, who has line "
                f"{line_of_user[user]}; expected one line a user"
            )
        line_of_user[user] = number
        users.append(np.full(len(ids) - 1, user, np.int64))
        items.append(ids[1:])

    if not users:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(users), np.concatenate(items)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields (number from 1, line)."""
    refuse_utf16(path)
    try:
        with open_binary(path) as file:
            for row in read_rows(file, TextForm(" ", quoted=False)):
                yield row.line, row.text
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _whole_numbers(path: Path, number: int, line: bytes) -> np.ndarray:
    words = line.split()
    for word in words:
        if not (word.isdigit() and len(word) < 19):
            text = word.decode("utf-8", "backslashreplace")
            raise DataError(
                f"{path}, line {number}: found {text[:40]!r}, expected a user and her items, "
                "whole numbers of 0 or more"
            )
    return np.array(words, np.int64)


def _refuse_sparse_ids(where: str, kind: str, ids: np.ndarray, count: int) -> None:
    """Refuses ids of which too few are in use to be numbers from 0 on."""
    used = len(np.unique(ids))
    if used < LEAST_USED_SHARE * count:
        raise DataError(
            f"{where}: found {kind} {count - 1:,} with {used:,} {kind}s in all; expected "
            f"{kind}s numbered from 0 on, without large gaps"
        )
