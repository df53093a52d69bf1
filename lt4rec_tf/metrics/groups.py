"""Users as groups of rows, and what rows without a user are to each statistic.

A row without a user belongs to no group. GAUC leaves it out, because it compares rows of one user.
Everything that draws or counts users takes it for a group of its own: nothing says that two such
rows are alike.
"""

from __future__ import annotations

import numpy as np

NO_USER = -1  # hashes of users are 0 or more


def has_user(users: np.ndarray) -> np.ndarray:
    """Tells which rows have a user, bool (rows,).

    Args:
        users: Hashes, `NO_USER` where a row has none, (rows,).
    """
    return np.asarray(users) != NO_USER


def own_groups(users: np.ndarray) -> np.ndarray:
    """Returns the users with a negative number of its own for each row without one, (rows,).

    >>> own_groups(np.array([7, NO_USER, 7, NO_USER])).tolist()
    [7, -2, 7, -4]

    Args:
        users: Hashes, `NO_USER` where a row has none, (rows,).
    """
    users = np.asarray(users)
    if has_user(users).all():
        return users
    return np.where(has_user(users), users, -1 - np.arange(len(users)))
