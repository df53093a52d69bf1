"""Metrics of amounts, by hand and against SciPy and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lt4rec_tf.metrics import binary
from lt4rec_tf.metrics.amounts import gini, nmae, nrmse, rmse, spearman
from lt4rec_tf.metrics.resampled import MEASURES
from tests.support.evaluations import OURS

METRICS = [rmse, nrmse, nmae, spearman, gini]

# Amounts: often 0, often tied, seldom very large.
amount = st.one_of(st.just(0.0), st.integers(0, 4).map(float), st.floats(1e-3, 1e6))
tying = st.integers(-3, 3).map(lambda half: half / 2)
prediction = st.one_of(tying, st.floats(-1e6, 1e6))


def columns(*elements):
    """Columns of one length, as arrays."""
    rows = st.lists(st.tuples(*elements), min_size=1, max_size=40)
    return rows.map(lambda pairs: tuple(map(np.array, zip(*pairs, strict=True))))


def differ(column):
    return column.min() < column.max()


def curve(labels, scores):
    """The published reading: shares of the labels' sum in the first 1, 2, ... rows by score."""
    falling = np.argsort(-scores, kind="stable")
    return np.cumsum(labels[falling]) / labels.sum()


def published_gini(labels, scores):
    """As google/lifetime_value has it; rows that tie come as they stand."""
    raw, best = (2 * curve(labels, one).sum() / len(labels) - 1 for one in (scores, labels))
    return raw / best


# By hand


def test_errors_by_hand():
    labels, predictions = [0.0, 0.0, 2.0, 10.0], [1.0, -1.0, 2.0, 7.0]
    # Squares 1, 1, 0, 9; the mean 3, deviations 3, 3, 1, 7.
    assert rmse(labels, predictions) == pytest.approx(math.sqrt(11 / 4), rel=1e-15)
    assert nrmse(labels, predictions) == pytest.approx(math.sqrt(11 / 68), rel=1e-15)
    assert nmae(labels, predictions) == pytest.approx(5 / 12, rel=1e-15)


def test_spearman_by_hand():
    # Ranks 1.5, 1.5, 3, 4 and 1, 2, 3, 4 about 2.5: 4.5 / sqrt(4.5 * 5).
    rho = spearman([0.0, 0.0, 1.0, 5.0], [0.1, 0.2, 0.3, 0.9])
    assert rho == pytest.approx(math.sqrt(0.9), rel=1e-15)
    assert spearman([0.0, 1.0, 2.0], [3.0, 2.0, 1.0]) == -1.0
    assert math.isnan(spearman([0.0, 1.0], [0.0, -0.0]))  # the two zeros tie


def test_gini_by_hand():
    labels = [0.0, 0.0, 1.0, 3.0]
    # Best: 3, 4, 4, 4 of 4, raw 2 * 15/16 - 1 = 14/16.
    # The tie of labels 0 and 1 counts 0.5 each: 0.5, 1, 4, 4 of 4, raw 2 * 9.5/16 - 1 = 3/16.
    assert gini(labels, [0.1, 0.5, 0.5, 0.2]) == pytest.approx(3 / 14, rel=1e-15)
    # From the lowest: 0, 0, 1, 4 of 4, raw 2 * 5/16 - 1 = -6/16.
    assert gini(labels, [4.0, 4.0, 3.0, 2.0]) == pytest.approx(-6 / 14, rel=1e-15)
    # All tied: 1, 2, 3, 4 of 4, raw 2 * 10/16 - 1 = 1/4, the term of a finite sample.
    assert gini(labels, [7.0] * 4) == pytest.approx(4 / 14, rel=1e-15)


# Against others


@given(columns(amount, prediction))
def test_errors_equal_scikit_learn(rows):
    labels, predictions = rows
    expected = sklearn.metrics.root_mean_squared_error(labels, predictions)
    assert rmse(labels, predictions) == pytest.approx(expected, rel=1e-12, abs=1e-150)
    if labels.sum():
        expected = sklearn.metrics.mean_absolute_error(labels, predictions) / labels.mean()
        assert nmae(labels, predictions) == pytest.approx(expected, rel=1e-12)
    if differ(labels):
        # The coefficient of determination may round to 1: its complement has few digits there.
        squared = 1 - sklearn.metrics.r2_score(labels, predictions)
        assert nrmse(labels, predictions) ** 2 == pytest.approx(squared, rel=1e-9, abs=1e-12)


@given(columns(amount, prediction))
def test_spearman_equals_scipy(rows):
    labels, predictions = rows
    if differ(labels) and differ(predictions):
        expected = stats.spearmanr(labels, predictions).statistic
        assert spearman(labels, predictions) == pytest.approx(expected, abs=1e-12)
    else:
        assert math.isnan(spearman(labels, predictions))


@given(columns(amount, prediction))
def test_gini_without_ties_is_the_published_formula(rows):
    labels, predictions = rows
    if differ(labels) and len(set(predictions)) == len(predictions):
        expected = published_gini(labels, predictions)
        assert gini(labels, predictions) == pytest.approx(expected, abs=1e-12)


@given(columns(amount, tying))
def test_gini_of_ties_is_the_published_formula_on_their_means(rows):
    labels, predictions = rows
    if differ(labels):
        shared = np.array([labels[predictions == one].mean() for one in predictions])
        raw = 2 * curve(shared, predictions).mean() - 1
        best = 2 * curve(labels, labels).mean() - 1
        assert gini(labels, predictions) == pytest.approx(raw / best, abs=1e-12)


def test_gini_of_ties_is_the_mean_over_the_orders_of_rows():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(30) < 0.5, 0.0, rng.lognormal(2.0, 1.5, 30))
    predictions = rng.integers(0, 3, 30).astype(float)
    orders = (rng.permutation(30) for _ in range(4000))
    mean = np.mean([published_gini(labels[order], predictions[order]) for order in orders])
    assert gini(labels, predictions) == pytest.approx(mean, abs=0.01)


def test_many_float32_rows():
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(100_000) < 0.7, 0, rng.lognormal(3, 2, 100_000))
    labels = labels.astype(np.float32)
    predictions = (np.sqrt(labels) + rng.gamma(2.0, 4.0, 100_000)).astype(np.float32)
    expected = stats.spearmanr(labels, predictions).statistic
    assert spearman(labels, predictions) == pytest.approx(expected, abs=1e-12)
    unique = predictions + 1e-9 * np.arange(100_000)
    expected = published_gini(labels.astype(float), unique)
    assert gini(labels, unique) == pytest.approx(expected, abs=1e-12)


# Properties


@pytest.mark.parametrize("metric", [spearman, gini])
@given(columns(amount, st.integers(-20, 20)))
def test_order_alone_matters(metric, rows):
    labels, predictions = rows
    value = metric(labels, predictions)
    for increasing in (np.exp, lambda x: x**3.0 - 5, lambda x: x / 7):
        assert metric(labels, increasing(predictions)) == pytest.approx(value, abs=0, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS)
@given(rows=columns(amount, prediction), seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(metric, rows, seed):
    labels, predictions = rows
    order = np.random.default_rng(seed).permutation(len(labels))
    value = metric(labels, predictions)
    shuffled = metric(labels[order], predictions[order])
    assert shuffled == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True)


@given(columns(amount))
def test_perfect_predictions(rows):
    (labels,) = rows
    assert rmse(labels, labels) == 0.0
    for metric, best in ((nrmse, 0.0), (spearman, 1.0), (gini, 1.0)):
        value = metric(labels, labels)
        assert value == best if differ(labels) else math.isnan(value)
    assert nmae(labels, labels) == 0.0 if labels.sum() else math.isnan(nmae(labels, labels))


@given(columns(amount))
def test_predictions_that_know_nothing(rows):
    (labels,) = rows
    if differ(labels):
        mean = np.full(len(labels), labels.mean())
        assert nrmse(labels, mean) == pytest.approx(1.0, rel=1e-9)
        best = 2 * curve(labels, labels).mean() - 1
        assert gini(labels, mean) == pytest.approx(1 / len(labels) / best, rel=1e-9)
    if labels.sum():
        assert nmae(labels, np.zeros(len(labels))) == pytest.approx(1.0, rel=1e-12)


@given(columns(amount, prediction))
def test_values_lie_in_their_ranges(rows):
    for metric in (rmse, nrmse, nmae):
        value = metric(*rows)
        assert value >= 0 or math.isnan(value)
    assert abs(spearman(*rows)) <= 1 or math.isnan(spearman(*rows))
    assert -1 < gini(*rows) <= 1 + 1e-12 or math.isnan(gini(*rows))


@given(columns(amount, tying))
def test_units_do_not_matter(rows):
    labels, predictions = rows
    for metric in (nrmse, nmae, spearman, gini):
        value, in_minutes = metric(*rows), metric(labels / 64, predictions / 64)
        assert in_minutes == pytest.approx(value, rel=1e-12, nan_ok=True)
    assert rmse(labels / 64, predictions / 64) == pytest.approx(rmse(*rows) / 64, rel=1e-12)


@given(columns(st.integers(0, 1), tying))
def test_gini_of_binary_labels_is_that_of_auc(rows):
    zeros = np.sum(rows[0] == 0)
    expected = (1 + zeros * (2 * binary.auc(*rows) - 1)) / (1 + zeros)
    assert gini(*rows) == pytest.approx(expected, abs=1e-12, nan_ok=True)


# What is undefined, what is refused


@pytest.mark.parametrize("metric", [nrmse, spearman, gini])
@pytest.mark.parametrize("label", [0.0, 0.1, 1e6 / 3])
def test_equal_labels_have_no_scale_and_no_order(metric, label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metric([label] * 7, np.arange(7.0)))
        assert math.isnan(metric([label], [label]))


def test_no_amount_at_all():
    assert math.isnan(nmae([0.0, 0.0], [1.0, 2.0]))
    assert rmse([0.0, 0.0], [1.0, 1.0]) == 1.0


@pytest.mark.parametrize("metric", [nmae, gini])
def test_amounts_below_0_are_refused(metric):
    with pytest.raises(ValueError, match=r"labels: found -1\.5 in row 1, expected 0 or more"):
        metric([0.0, -1.5], [0.0, 1.0])
    assert not math.isnan(metric([-0.0, 1.5], [-3.0, 1.0]))


# Of rows drawn again


def drawn_rows(seed, kind, users=7, rows=40):
    """Labels, scores of two seeds, users; some users' labels all equal."""
    rng = np.random.default_rng(seed)
    user_of = np.concatenate([np.arange(users), rng.integers(users, size=rows - users)])
    scores = rng.integers(1, 8, (2, rows)) / 8 if seed % 2 else rng.random((2, rows))
    if kind == "binary":
        return (rng.random(rows) < 0.4).astype(float), scores, user_of
    labels = np.where(rng.random(rows) < 0.5, 0.1, rng.lognormal(2.0, 1.5, rows).round(seed % 3))
    labels[user_of < 3] = 0.1
    labels[user_of == 3] = 0.0
    return labels, scores, user_of


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("seed", range(6))
def test_a_measure_is_the_metric_of_the_rows_repeated(name, seed):
    of_clicks = name in ("auc", "log_loss", "ne")
    labels, scores, user_of = drawn_rows(seed, "binary" if of_clicks else "")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(7, np.full(7, 1 / 7), size=30).astype(float)
    counts[0] = [2, 0, 5, 0, 0, 0, 0]  # labels of 0.1 alone
    counts[1] = [0, 0, 0, 7, 0, 0, 0]  # labels of 0 alone
    counts[2] = [3, 1, 2, 1, 0, 0, 0]  # labels of 0.1 and 0
    values = MEASURES[name](labels, scores, user_of)(counts)
    expected = [
        [OURS[name](np.repeat(labels, times), np.repeat(one, times)) for one in scores]
        for times in counts[:, user_of].astype(int)
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
    if name in ("nrmse", "spearman", "gini"):
        assert np.isnan(values[:2]).all()
        assert not np.isnan(values[2]).any()


@pytest.mark.parametrize("name", ["spearman", "gini"])
def test_a_measure_of_equal_scores(name):
    labels, _, user_of = drawn_rows(0, "")
    scores = np.stack([np.ones(40), labels])
    values = MEASURES[name](labels, scores, user_of)(np.ones((1, 7)))
    expected = math.nan if name == "spearman" else gini(labels, scores[0])
    np.testing.assert_allclose(values, [[expected, 1.0]], rtol=1e-12)


def test_deviations_of_large_labels_keep_their_digits():
    # About 0 the squares are 1e18 and their differences would be lost.
    labels = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    measure = MEASURES["nrmse"](labels, labels[None] + 1, np.array([0, 0, 1, 1]))
    deviations = np.array([math.sqrt(5 / 4), 0.5])  # of 0, 1, 2, 3 and of 0, 1, 0, 1
    values = measure(np.array([[1.0, 1.0], [2.0, 0.0]]))
    np.testing.assert_allclose(values[:, 0], 1 / deviations, rtol=1e-9)
