"""Calibration by bins of about equal mass, against scikit-learn, SciPy and counting by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from lt4rec_tf.metrics.binary import ne
from lt4rec_tf.metrics.calibration import ece, error_by_label, mass_bins, reliability


def clicks(rows=150, seed=3):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(rows) / rows * 0.9 + 0.05  # no ties
    return (rng.random(rows) < scores**2).astype(float), scores


def test_normalised_entropy_is_the_log_loss_over_that_of_the_mean():
    labels, scores = clicks()
    mean = np.full(len(labels), labels.mean())
    assert ne(labels, scores) == pytest.approx(log_loss(labels, scores) / log_loss(labels, mean))
    assert ne(labels, mean) == pytest.approx(1.0, abs=1e-12)
    assert ne(labels, scores) < 1
    weights = np.arange(len(labels)) % 3
    share = np.average(labels, weights=weights)
    expected = log_loss(labels, scores, sample_weight=weights) / stats.entropy([share, 1 - share])
    assert ne(labels, scores, weights) == pytest.approx(expected, rel=1e-12)


def test_normalised_entropy_of_one_class_is_undefined():
    assert math.isnan(ne([1, 1], [0.5, 0.9]))
    assert math.isnan(ne([], []))


def test_bins_hold_equally_many_rows():
    _, scores = clicks()
    bins = mass_bins(scores, bins=15)
    assert np.bincount(bins).tolist() == [10] * 15
    np.testing.assert_array_equal(bins, np.argsort(np.argsort(scores)) // 10)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9))
def test_equal_values_share_a_bin_and_bins_rise_with_values(values, bins):
    found = mass_bins(values, bins=bins)
    assert found.min() >= 0
    assert found.max() < bins
    of_value = {}
    for value, index in zip(values, found, strict=True):
        assert of_value.setdefault(value, index) == index
    ordered = [of_value[value] for value in sorted(of_value)]
    assert ordered == sorted(ordered)


def test_calibration_error_is_that_of_scikit_learns_curve():
    labels, scores = clicks()
    observed, predicted = calibration_curve(labels, scores, n_bins=15, strategy="quantile")
    assert ece(labels, scores) == pytest.approx(np.mean(np.abs(observed - predicted)), rel=1e-12)


def test_calibration_error_of_ratios_is_in_their_unit():
    ratios, scores = np.array([0.25, 0.75, 0.5, 1.0]), np.array([0.5, 0.5, 0.75, 0.75])
    assert ece(ratios, scores, bins=2) == 0.0  # means agree in both bins
    assert ece(ratios, scores + 0.125, bins=2) == 0.125
    assert ece(60 * ratios, 60 * scores + 3, bins=2) == 3.0


def test_calibration_error_counts_weights_as_rows():
    labels, scores = clicks(40)
    weights = np.arange(40) % 4
    repeated = [np.repeat(column, weights) for column in (labels, scores)]
    assert ece(labels, scores, weights) == pytest.approx(ece(*repeated), rel=1e-12)
    assert math.isnan(ece([], []))


def test_perfect_probabilities_have_the_calibration_error_of_noise():
    rng = np.random.default_rng(0)
    share, rows = 0.3, 1500
    scores = share + 1e-6 * rng.random((400, rows))
    found = [ece(rng.random(rows) < share, of_draw) for of_draw in scores]
    expected = math.sqrt(2 * share * (1 - share) * 15 / (math.pi * rows))
    assert np.mean(found) == pytest.approx(expected, rel=0.03)


def test_reliability_of_clicks_has_wilsons_intervals():
    labels, scores = clicks()
    found = reliability(labels, scores, np.zeros(150, int))
    observed, predicted = calibration_curve(labels, scores, n_bins=15, strategy="quantile")
    np.testing.assert_allclose([part["label"] for part in found], observed)
    np.testing.assert_allclose([part["prediction"] for part in found], predicted)
    for part in found:
        assert part["rows"] == 10
        share = stats.binomtest(round(10 * part["label"]), 10).proportion_ci(method="wilson")
        assert (part["low"], part["high"]) == pytest.approx((share.low, share.high), abs=1e-12)


def test_reliability_of_ratios_has_the_intervals_of_a_mean():
    rng = np.random.default_rng(5)
    labels, scores = rng.random(60), np.repeat([0.2, 0.7], 30)
    low, high = reliability(labels, scores, np.arange(60), bins=2)
    half = 1.959963984540054 * stats.sem(labels[:30])
    assert (low["label"], low["prediction"]) == pytest.approx((labels[:30].mean(), 0.2))
    assert (low["low"], low["high"]) == pytest.approx((low["label"] - half, low["label"] + half))

    # Rows that are repeated within a user say nothing new.
    users = np.repeat(np.arange(60), 3)
    again = reliability(np.repeat(labels, 3), np.repeat(scores, 3), users, bins=2)
    assert again[0]["rows"] == 90
    for name in ("label", "low", "high"):
        assert [part[name] for part in again] == pytest.approx([low[name], high[name]])
    alone = reliability(labels, scores, np.zeros(60, int), bins=2)[0]
    assert math.isnan(alone["low"])
    # Neither do weights, where all are equal.
    weighed = reliability(labels, scores, np.arange(60), np.full(60, 0.5), bins=2)[0]
    assert weighed == pytest.approx(low)


def test_weighted_clicks_have_no_binomial_interval():
    labels, scores = clicks(20)
    weights = np.where(np.arange(20) < 10, 1.0, 4.0)
    (found,) = reliability(labels, scores, np.arange(20), weights, bins=1)
    mean = np.average(labels, weights=weights)
    spread = np.sqrt(20 / 19 * np.sum((weights * (labels - mean)) ** 2)) / weights.sum()
    assert found["label"] == pytest.approx(mean)
    assert found["high"] - mean == pytest.approx(1.959963984540054 * spread)


def test_errors_by_label_add_up_to_the_whole():
    rng = np.random.default_rng(8)
    labels = np.round(rng.random(500), 1)
    labels[:200] = 0.0  # a value that many rows share has a bin
    scores, weights = rng.random(500), rng.integers(0, 3, 500)
    found = error_by_label(labels, scores)
    assert sum(part["rows"] for part in found) == 500
    assert (found[0]["low"], found[0]["high"], found[0]["rows"]) == (0.0, 0.0, (labels == 0).sum())
    for name, errors in (("mse", (labels - scores) ** 2), ("mae", np.abs(labels - scores))):
        whole = sum(part["rows"] * part[name] for part in found) / 500
        assert whole == pytest.approx(errors.mean(), rel=1e-12)
    ends = [(part["low"], part["high"]) for part in found]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))

    repeated = error_by_label(np.repeat(labels, weights), np.repeat(scores, weights))
    weighed = error_by_label(labels, scores, weights)
    for part, expected in zip(weighed, repeated, strict=True):
        del part["rows"], expected["rows"]
        assert part == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_an_interval_holds_the_share_that_it_is_of(label):
    for rows in range(1, 200):
        (found,) = reliability(np.full(rows, label), np.full(rows, 0.5), np.arange(rows))
        assert found["low"] <= found["label"] <= found["high"]
