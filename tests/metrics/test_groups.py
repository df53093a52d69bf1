"""Rows without a user: out of GAUC, units of their own where users are drawn."""

import numpy as np

from lt4rec_tf.metrics.bootstrap import paired_interval
from lt4rec_tf.metrics.groups import NO_USER, has_user, own_groups

USERS = np.array([5, NO_USER, 5, NO_USER, 0])


def test_every_row_without_a_user_is_a_group_of_its_own():
    assert has_user(USERS).tolist() == [True, False, True, False, True]
    groups = own_groups(USERS)
    assert groups[[0, 2, 4]].tolist() == [5, 5, 0]
    assert len(set(groups.tolist())) == 4
    assert (groups[[1, 3]] < 0).all()


def test_rows_without_a_user_are_drawn_one_by_one():
    labels = np.array([1.0, 0.0, 1.0, 0.0])
    errors = np.array([[0.0, 1.0, 1.0, 1.0]])  # the model is wrong in rows 0 and 2

    def interval(users):
        return paired_interval(
            "mse", labels, labels[None], errors, users, replicates=400, seed=3, level=0.9
        )

    nobody = np.full(4, NO_USER)
    assert interval(own_groups(nobody)) == interval(np.arange(-1, -5, -1))
    assert interval(own_groups(nobody)).low < interval(own_groups(nobody)).high
    assert interval(nobody).low == interval(nobody).high  # as one user: nothing to draw
