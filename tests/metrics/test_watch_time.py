"""NDCG by user, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from lt4rec_tf.metrics.watch_time import user_ndcg

ROW = st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 2.0, 30.0]), st.integers(0, 4))


@given(st.lists(ROW, min_size=1, max_size=30))
def test_it_is_the_mean_of_scikit_learns_over_users(rows):
    users, labels, scores = map(np.array, zip(*rows, strict=True))
    expected = []
    for user in np.unique(users):
        mine = users == user
        if mine.sum() > 1 and labels[mine].sum() > 0:
            expected.append(ndcg_score([labels[mine]], [scores[mine]]))
    found = user_ndcg(labels, scores, users)
    if expected:
        assert found == pytest.approx(np.mean(expected))
    else:
        assert np.isnan(found)


def test_users_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="users: found 1 rows, expected 2"):
        user_ndcg([1.0, 2.0], [1.0, 2.0], [1])
    assert np.isnan(user_ndcg([], [], []))
