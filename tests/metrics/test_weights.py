"""Metrics of weighted rows: against scikit-learn, and against rows repeated by their weights."""

import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.metrics import amounts, binary, continuous
from lt4rec_tf.metrics.bootstrap import paired_interval
from lt4rec_tf.metrics.inputs import weighted_columns
from lt4rec_tf.metrics.resampled import MEASURES
from tests.support.evaluations import OURS

OF_CLICKS = {"auc": binary.auc, "log_loss": binary.log_loss, "gauc": binary.gauc, "ne": binary.ne}
ALL = OURS | OF_CLICKS | {"pcoc": continuous.pcoc, "xauc": continuous.xauc}
WEIGHTS = st.sampled_from([0.0, 0.25, 1.0, 3.0]) | st.floats(0.01, 100.0)


def rows_of(seed, clicks, rows=30):
    """Labels, scores with ties, users, and whole-number weights of which some are 0."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows) if clicks else rng.integers(0, 6, rows) / 2
    scores = rng.integers(1, 8, rows) / 8
    return labels.astype(float), scores, rng.integers(0, 5, rows), rng.integers(0, 4, rows)


def metric_of(name, labels, scores, users, weights=None):
    groups = (users,) if name == "gauc" else ()
    return ALL[name](labels, scores, *groups, weights=weights)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (binary.auc, sklearn.metrics.roc_auc_score),
        (binary.log_loss, partial(sklearn.metrics.log_loss, labels=[0, 1])),
        (continuous.mse, sklearn.metrics.mean_squared_error),
        (continuous.mae, sklearn.metrics.mean_absolute_error),
        (amounts.rmse, sklearn.metrics.root_mean_squared_error),
    ],
)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.floats(0.0, 1.0), WEIGHTS), min_size=2),
)
def test_weighted_metrics_equal_scikit_learn(ours, theirs, rows):
    labels, scores, weights = map(np.array, zip(*rows, strict=True))
    if len(set(labels[weights > 0])) == 2:
        expected = theirs(labels, scores, sample_weight=weights)
        assert ours(labels, scores, weights) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ALL)
def test_a_row_of_weight_w_is_w_rows(name, seed):
    labels, scores, users, weights = rows_of(seed, name in OF_CLICKS)
    repeated = [np.repeat(column, weights) for column in (labels, scores, users)]
    expected = metric_of(name, *repeated)
    assert metric_of(name, labels, scores, users, weights) == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(expected)


@pytest.mark.parametrize("name", ALL)
def test_weights_of_one_change_nothing_and_their_unit_does_not_matter(name):
    labels, scores, users, weights = rows_of(9, name in OF_CLICKS)
    plain = metric_of(name, labels, scores, users)
    assert metric_of(name, labels, scores, users, np.ones(30)) == pytest.approx(plain, rel=1e-13)
    if name != "gini":  # which has 1 / rows in it
        weighted, smaller = (
            metric_of(name, labels, scores, users, unit * weights) for unit in (1.0, 0.01)
        )
        assert weighted == pytest.approx(smaller, rel=1e-12)
        assert weighted != pytest.approx(plain, rel=1e-6)


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), WEIGHTS), max_size=20))
def test_weighted_xauc_is_a_share_of_pairs(rows):
    won = pairs = 0.0
    for (y_i, s_i, w_i), (y_j, s_j, w_j) in combinations(rows, 2):
        if y_i != y_j:
            pairs += w_i * w_j
            won += w_i * w_j * (0.5 if s_i == s_j else (y_i < y_j) == (s_i < s_j))
    columns = [np.array([row[place] for row in rows], float) for place in range(3)]
    expected = won / pairs if pairs else math.nan
    assert continuous.xauc(*columns) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", ALL)
def test_without_any_weight_a_metric_is_undefined(name):
    labels, scores, users, _ = rows_of(0, name in OF_CLICKS)
    assert math.isnan(metric_of(name, labels, scores, users, np.zeros(30)))


def test_weights_that_do_not_fit_are_refused():
    for weights, message in (
        ([1.0, -2.0], r"weights: found -2.0 in row 1, expected 0 or more"),
        ([1.0, math.nan], "weights: found nan in row 1"),
        ([1.0], "weights: found 1 rows, expected 2 as in labels"),
    ):
        with pytest.raises(ValueError, match=message):
            weighted_columns(weights, labels=[0, 1])
        with pytest.raises(ValueError, match=message):
            paired_interval(
                "mse", [0, 1], [[0, 1]], [[1, 0]], [7, 8], replicates=9, seed=0, weights=weights
            )


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("seed", range(3))
def test_a_measure_of_weighted_rows_is_the_metric_by_draws_times_weights(name, seed):
    labels, scores, users, _ = rows_of(seed, name in OF_CLICKS, rows=40)
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 4, 40) / 1
    both = np.stack([scores, scores[::-1]])
    counts = rng.multinomial(5, np.full(5, 1 / 5), size=20).astype(float)
    values = MEASURES[name](labels, both, users, weights)(counts)
    drawn = counts[:, users] * weights
    expected = [[OURS[name](labels, one, weights=w) for one in both] for w in drawn]
    np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_an_interval_of_weighted_rows_is_that_of_rows_repeated(name):
    labels, scores, users, weights = rows_of(3, name in OF_CLICKS, rows=60)
    base = scores[::-1]
    weights[:5] = 1  # so that no user is without rows
    users[:5] = range(5)
    settings = {"replicates": 40, "seed": 1}
    found = paired_interval(
        name, labels, scores[None], base[None], users, weights=weights, **settings
    )
    labels, scores, base, users = (np.repeat(c, weights) for c in (labels, scores, base, users))
    expected = paired_interval(name, labels, scores[None], base[None], users, **settings)
    for bound in ("difference", "low", "high", "base", "value", "undefined"):
        assert getattr(found, bound) == pytest.approx(getattr(expected, bound), rel=1e-10)
