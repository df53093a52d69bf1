"""AUC, log loss, calibration and errors, by hand and against scikit-learn."""

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from lt4rec_tf.metrics.amounts import gini, nmae, nrmse, rmse, spearman
from lt4rec_tf.metrics.binary import auc, gauc, log_loss
from lt4rec_tf.metrics.continuous import mae, mse, pcoc, xauc

# A grid makes ties frequent; the wide range makes magnitudes differ.
tying = st.integers(0, 4).map(lambda quarter: quarter / 4)
wide = st.floats(-1e6, 1e6)
probabilities = st.floats(0.0, 1.0)


def columns(*elements, min_size=1, max_size=40):
    """Columns of one length, as lists."""
    rows = st.lists(st.tuples(*elements), min_size=min_size, max_size=max_size)
    return rows.map(lambda found: tuple(map(list, zip(*found, strict=True))))


def pair_share(labels, scores):
    """The share of pairs of different labels in the right order, one pair at a time."""
    won = pairs = 0
    for (y_i, s_i), (y_j, s_j) in combinations(zip(labels, scores, strict=True), 2):
        if y_i != y_j:
            pairs += 1
            won += 0.5 if s_i == s_j else (y_i < y_j) == (s_i < s_j)
    return won / pairs if pairs else math.nan


def group_mean(labels, scores, groups):
    """GAUC, one group at a time, by scikit-learn."""
    weighted = rows = 0.0
    for group in sorted(set(groups)):
        member = np.array([other == group for other in groups])
        y, s = np.array(labels)[member], np.array(scores)[member]
        if len(set(y)) == 2:
            weighted += member.sum() * sklearn.metrics.roc_auc_score(y, s)
            rows += member.sum()
    return weighted / rows if rows else math.nan


# AUC and GAUC


def test_auc_by_hand():
    # Pairs (positive, negative): .4 > .1, .4 = .4, .8 > .1, .8 > .4.
    assert auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8]) == 3.5 / 4
    assert auc([0, 1], [0.2, 0.9]) == 1.0
    assert auc([0, 1], [0.9, 0.2]) == 0.0
    assert auc([0, 1, 1], [0.3, 0.3, 0.3]) == 0.5


@given(columns(st.sampled_from([0, 1]), st.one_of(tying, wide)))
def test_auc_equals_scikit_learn(rows):
    labels, scores = rows
    if len(set(labels)) == 2:
        expected = sklearn.metrics.roc_auc_score(labels, scores)
        assert auc(labels, scores) == pytest.approx(expected, abs=1e-12)
    else:
        assert math.isnan(auc(labels, scores))


@given(columns(st.sampled_from([0, 1]), tying))
def test_auc_turns_with_the_scores_and_with_the_labels(rows):
    labels, scores = map(np.array, rows)
    value = auc(labels, scores)
    assert auc(labels, -scores) == pytest.approx(1 - value, abs=1e-12, nan_ok=True)
    assert auc(1 - labels, scores) == pytest.approx(1 - value, abs=1e-12, nan_ok=True)


@given(columns(st.sampled_from([0, 1]), st.integers(-20, 20)))
def test_auc_sees_only_the_order_of_scores(rows):
    labels, scores = rows
    assert auc(labels, scores) == pytest.approx(auc(labels, np.exp(scores)), abs=0, nan_ok=True)


def test_auc_is_exact_on_many_float32_rows():
    rng = np.random.default_rng(1)
    labels = (rng.random(100_000) < 0.3).astype(np.float32)
    scores = np.round(rng.random(100_000) + 0.2 * labels, 3).astype(np.float32)
    expected = sklearn.metrics.roc_auc_score(labels, scores)
    assert auc(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_gauc_by_hand():
    labels = [0, 1, 0, 1, 1, 1]
    scores = [0.2, 0.3, 0.9, 0.5, 0.6, 0.1]
    # a: 2 rows, AUC 1; b: 3 rows, AUC 0; c has one class and does not count.
    assert gauc(labels, scores, list("aabbbc")) == (2 * 1 + 3 * 0) / 5


@given(columns(st.sampled_from([0, 1]), st.one_of(tying, wide), st.integers(-3, 3)))
def test_gauc_equals_the_loop_over_groups(rows):
    assert gauc(*rows) == pytest.approx(group_mean(*rows), abs=1e-12, nan_ok=True)


@given(columns(st.sampled_from([0, 1]), tying, st.integers(0, 5)))
def test_gauc_takes_any_names_of_groups_and_any_order_of_rows(rows):
    labels, scores, groups = map(np.array, rows)
    value = gauc(labels, scores, groups)
    huge = groups * (2**62 // 5) - 2**61  # hashes of users use all 64 bits
    assert gauc(labels, scores, huge) == pytest.approx(value, abs=1e-12, nan_ok=True)
    assert gauc(labels, scores, groups.astype(str)) == pytest.approx(value, abs=1e-12, nan_ok=True)
    order = np.random.default_rng(0).permutation(len(labels))
    assert gauc(labels[order], scores[order], groups[order]) == pytest.approx(
        value, abs=1e-12, nan_ok=True
    )


@given(columns(st.sampled_from([0, 1]), tying))
def test_gauc_of_one_group_is_auc(rows):
    labels, scores = rows
    assert gauc(labels, scores, [7] * len(labels)) == pytest.approx(
        auc(labels, scores), abs=1e-12, nan_ok=True
    )


# Log loss and calibration


def test_log_loss_by_hand():
    assert log_loss([1, 0], [0.5, 0.75]) == pytest.approx(
        (math.log(2) + math.log(4)) / 2, abs=1e-15
    )


@given(columns(st.sampled_from([0, 1]), probabilities))
def test_log_loss_equals_scikit_learn(rows):
    labels, predicted = rows
    expected = sklearn.metrics.log_loss(labels, predicted, labels=[0, 1])
    assert log_loss(labels, predicted) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_certain_and_wrong_prediction_costs_a_finite_loss():
    expected = 52 * math.log(2)
    assert log_loss([1], [0.0]) == pytest.approx(expected, abs=1e-12)
    assert log_loss([0], [1.0]) == pytest.approx(expected, abs=1e-12)
    assert log_loss([0, 1], [0.0, 1.0]) == pytest.approx(0.0, abs=1e-15)


def test_pcoc_by_hand():
    assert pcoc([1, 0, 0, 1], [0.5, 0.25, 0.25, 0.5]) == 0.75
    assert pcoc([0.5, 0.25], [0.5, 0.25]) == 1.0


@given(columns(probabilities, probabilities))
def test_pcoc_is_the_ratio_of_means(rows):
    labels, predicted = rows
    if np.mean(labels) > 1e-300:
        expected = np.mean(predicted) / np.mean(labels)
        assert pcoc(labels, predicted) == pytest.approx(expected, rel=1e-12)


# MSE, MAE, XAUC


@given(columns(wide, wide))
def test_errors_equal_scikit_learn(rows):
    squared = sklearn.metrics.mean_squared_error(*rows)
    absolute = sklearn.metrics.mean_absolute_error(*rows)
    assert mse(*rows) == pytest.approx(squared, rel=1e-12, abs=1e-300)
    assert mae(*rows) == pytest.approx(absolute, rel=1e-12, abs=1e-300)


def test_errors_add_up_in_float64():
    # In float32 the sum of these squares would stick at 2^24 * 0.01.
    rows = 2**18
    labels = np.full(rows, 0.1, np.float32)
    expected = float(np.float32(0.1)) ** 2
    assert mse(labels, np.zeros(rows, np.float32)) == pytest.approx(expected, rel=1e-12)


def test_xauc_by_hand():
    labels = [0.2, 0.5, 0.5, 1.0]
    scores = [0.1, 0.3, 0.7, 0.3]
    # Of 6 pairs one has equal labels; 3 are right, 1 ties, 1 is wrong.
    assert xauc(labels, scores) == 3.5 / 5
    assert xauc([0.1, 0.2], [1.0, 2.0]) == 1.0
    assert xauc([0.1, 0.2], [2.0, 1.0]) == 0.0


@given(columns(st.one_of(tying, probabilities), st.one_of(tying, probabilities)))
def test_xauc_equals_the_loop_over_pairs(rows):
    assert xauc(*rows) == pytest.approx(pair_share(*rows), abs=1e-12, nan_ok=True)


@given(columns(tying, tying))
def test_xauc_turns_with_the_scores(rows):
    labels, scores = map(np.array, rows)
    assert xauc(labels, -scores) == pytest.approx(1 - xauc(labels, scores), abs=1e-12, nan_ok=True)


@given(columns(st.sampled_from([0, 1]), tying))
def test_xauc_of_binary_labels_is_auc(rows):
    assert xauc(*rows) == pytest.approx(auc(*rows), abs=1e-12, nan_ok=True)


def test_xauc_of_many_rows_agrees_with_kendalls_tau():
    rng = np.random.default_rng(2)
    labels = rng.permutation(50_000).astype(float)
    scores = labels + 30_000 * rng.normal(size=50_000)
    # Without ties tau = 2 XAUC - 1.
    expected = (kendalltau(labels, scores).statistic + 1) / 2
    assert xauc(labels, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 7, 8, 9, 63, 64, 65])
def test_xauc_at_and_beside_powers_of_two(rows):
    rng = np.random.default_rng(rows)
    labels, scores = rng.integers(0, rows, (2, rows)) / rows
    labels[0], labels[1] = 2.0, 3.0
    assert xauc(labels, scores) == pytest.approx(pair_share(labels, scores), abs=1e-12)


# All of them

OF_AMOUNTS = [rmse, nrmse, nmae, spearman, gini]  # test_amounts.py says what they are
TWO_COLUMNS = [auc, log_loss, mse, mae, xauc, pcoc, *OF_AMOUNTS]
ALL = [*TWO_COLUMNS, lambda labels, scores: gauc(labels, scores, np.zeros(len(labels), int))]


@pytest.mark.parametrize("metric", ALL)
def test_undefined_is_nan_without_a_warning(metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metric([], []))


@pytest.mark.parametrize("metric", [auc, xauc, spearman, gini, ALL[-1]])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_order(metric, label):
    assert math.isnan(metric([label, label], [0.1, 0.9]))
    assert math.isnan(metric([label], [0.1]))


def test_no_observed_click_has_no_calibration():
    assert math.isnan(pcoc([0, 0], [0.1, 0.2]))


@pytest.mark.parametrize("metric", ALL)
def test_metrics_are_plain_floats(metric):
    assert type(metric(np.float32([0, 1]), np.float32([0.25, 0.5]))) is float


@pytest.mark.parametrize("metric", ALL)
def test_columns_that_do_not_fit_are_refused(metric):
    with pytest.raises(
        ValueError, match=r"(scores|predictions|probabilities): found 3 rows.* 2 as in"
    ):
        metric([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"found shape \(2, 1\), expected one dimension"):
        metric([0, 1], [[0.1], [0.2]])


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_refused(metric, wrong):
    with pytest.raises(ValueError, match=r"labels: found .* in row 1"):
        metric([0, wrong], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"(scores|predictions|probabilities): found .* in row 0"):
        metric([0, 1], [wrong, 0.2])


def test_values_out_of_range_are_refused():
    for metric in (auc, log_loss, ALL[-1]):
        with pytest.raises(ValueError, match=r"labels: found 0\.5 in row 1, expected 0 or 1"):
            metric([0, 0.5], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"probabilities: found 1\.5 in row 1"):
        log_loss([0, 1], [0.1, 1.5])
    with pytest.raises(ValueError, match=r"groups: found 1 rows, expected 2 as in labels"):
        gauc([0, 1], [0.1, 0.2], ["a"])
