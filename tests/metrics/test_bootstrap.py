"""Intervals from resampled users, against scikit-learn on every replicate."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from lt4rec_tf.metrics import binary, bootstrap
from lt4rec_tf.metrics.bootstrap import METRICS, paired_interval, resampled_counts
from tests.support.evaluations import OURS


def nrmse_of(labels, scores, sample_weight):
    return math.sqrt(1 - r2_score(labels, scores, sample_weight=sample_weight))


def nmae_of(labels, scores, sample_weight):
    error = mean_absolute_error(labels, scores, sample_weight=sample_weight)
    return error / np.average(labels, weights=sample_weight)


def spearman_of(labels, scores, sample_weight):
    times = sample_weight.astype(int)
    return stats.spearmanr(np.repeat(labels, times), np.repeat(scores, times)).statistic


def gini_of(labels, scores, sample_weight):
    """Of labels 0 and 1: sum(y (2 a - n)) is n_1 (1 + n_0 (2 AUC - 1)), and AUC at best 1."""
    zeros = sample_weight[labels == 0].sum()
    area = 2 * roc_auc_score(labels, scores, sample_weight=sample_weight) - 1
    return (1 + zeros * area) / (1 + zeros)


def entropy_of(labels, scores, sample_weight):
    share = np.average(labels, weights=sample_weight)
    return log_loss(labels, scores, sample_weight=sample_weight) / stats.entropy([share, 1 - share])


def calibration_error_of(labels, scores, sample_weight):
    """By rows one after another: equal scores in the bin of their middle."""
    times = sample_weight.astype(int)
    labels, scores = np.repeat(labels, times), np.repeat(scores, times)
    errors = np.zeros(15)
    for label, score in zip(labels, scores, strict=True):
        twice_middle = 2 * np.sum(scores < score) + np.sum(scores == score)
        errors[15 * twice_middle // (2 * len(scores))] += (score - label) / len(scores)
    return np.abs(errors).sum()


REFERENCE = {
    "ne": entropy_of,
    "ece": calibration_error_of,
    "auc": roc_auc_score,
    "log_loss": log_loss,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "rmse": root_mean_squared_error,
    "nrmse": nrmse_of,
    "nmae": nmae_of,
    "spearman": spearman_of,
    "gini": gini_of,
}


def rows_of(seed, rows=120, users=9, seeds=3):
    """Labels, two models' scores on a coarse grid (many ties), users of unequal sizes."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.4).astype(float)
    scores, base = rng.integers(1, 8, size=(2, seeds, rows)) / 8
    user = (users * rng.random(rows) ** 2).astype(np.int64)
    return labels, scores, base, 10**12 - 7 * user


def by_hand(metric, labels, scores, base, users, replicates, seed):
    """Every replicate one after another, with scikit-learn's weighted metric of each seed."""
    names = np.unique(users)
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.integers(len(scores), size=(replicates, len(scores)))
    counts = resampled_counts(rng, replicates, len(names))
    mean_differences = []
    for chosen, of_user in zip(drawn_seeds, counts, strict=True):
        weights = of_user[np.searchsorted(names, users)]
        differences = [
            REFERENCE[metric](labels, scores[place], sample_weight=weights)
            - REFERENCE[metric](labels, base[place], sample_weight=weights)
            for place in chosen
        ]
        mean_differences.append(np.mean(differences))
    return np.percentile(mean_differences, [2.5, 97.5])


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_are_those_of_every_replicate_measured_by_scikit_learn(metric):
    labels, scores, base, users = rows_of(1)
    interval = paired_interval(metric, labels, scores, base, users, replicates=60, seed=5)
    low, high = by_hand(metric, labels, scores, base, users, 60, 5)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)
    assert interval.low < interval.difference < interval.high


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_means_over_seeds_of_the_metric_itself(metric):
    labels, scores, base, users = rows_of(2)
    interval = paired_interval(metric, labels, scores, base, users, replicates=5, seed=0)
    value, of_base = (np.mean([OURS[metric](labels, s) for s in both]) for both in (scores, base))
    assert interval.value == pytest.approx(value, abs=1e-14)
    assert interval.base == pytest.approx(of_base, abs=1e-14)
    assert interval.difference == interval.value - interval.base


def error_interval(metric, labels, scores, users, **draws):
    """The interval of one model's error, which is its difference to a model without error."""
    perfect = np.broadcast_to(labels, np.shape(scores))
    interval = paired_interval(metric, labels, scores, perfect, users, **draws)
    assert interval.base == 0.0
    return interval


def test_a_draw_is_users_with_all_their_rows():
    # Two users of 1 and 3 rows: a user drawn twice counts all rows twice.
    interval = error_interval(
        "mae", [0.0] * 4, [[8.0, 4.0, 4.0, 4.0]], [1, 2, 2, 2], replicates=200, seed=0
    )
    assert (interval.value, interval.low, interval.high) == (5.0, 4.0, 8.0)


def test_pairs_of_one_seed_stay_together():
    # The seeds differ widely, the models of one seed by exactly 1.
    base = np.array([[1.0, 1.0], [50.0, 50.0], [900.0, 900.0]])
    interval = paired_interval("mae", [0.0, 0.0], base + 1, base, [1, 2], replicates=200, seed=0)
    assert (interval.difference, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_seeds_are_drawn_too():
    # One user: what varies is which of two seeds is drawn twice, or each once.
    interval = error_interval("mae", [0.0], [[1.0], [3.0]], [1], replicates=200, seed=0)
    assert (interval.value, interval.low, interval.high) == (2.0, 1.0, 3.0)


def test_one_seed_leaves_scipys_bootstrap_over_users():
    losses = np.random.default_rng(3).gamma(2.0, size=80)
    interval = error_interval(
        "mae", np.zeros(80), losses[None], np.arange(80), replicates=20_000, seed=1
    )
    expected = stats.bootstrap(
        (losses,), np.mean, n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=0.01)


def test_one_user_leaves_scipys_bootstrap_over_seeds():
    losses = np.random.default_rng(4).gamma(2.0, size=12)
    interval = error_interval("mae", [0.0], losses[:, None], [5], replicates=20_000, seed=1)
    expected = stats.bootstrap(
        (losses,), np.mean, n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=0.01)


def test_users_and_seeds_of_known_variance_are_covered():
    rng = np.random.default_rng(6)
    users, seeds, trials = 150, 8, 150
    of_user, of_seed, noise = 1.0, 0.2, 0.5
    covered, widths = 0, []
    for trial in range(trials):
        losses = (
            20
            + of_user * rng.standard_normal(users)
            + of_seed * rng.standard_normal((seeds, 1))
            + noise * rng.standard_normal((seeds, users))
        )
        interval = error_interval(
            "mae", np.zeros(users), losses, np.arange(users), replicates=200, seed=trial
        )
        covered += interval.low <= 20 <= interval.high
        widths.append(interval.high - interval.low)
    # Seeds are drawn with variance (n - 1) / n; seeds x users are few in the sum.
    deviation = math.sqrt(of_user**2 / users + of_seed**2 * (seeds - 1) / seeds**2)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    assert 0.88 <= covered / trials <= 0.98


def test_a_lower_level_gives_a_narrower_interval():
    labels, scores, base, users = rows_of(7)
    wide, narrow = (
        paired_interval("auc", labels, scores, base, users, replicates=200, seed=0, level=level)
        for level in (0.95, 0.5)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), metric=st.sampled_from(METRICS))
def test_swapping_the_models_flips_the_signs(seed, metric):
    labels, scores, base, users = rows_of(seed, rows=40)
    there, back = (
        paired_interval(metric, labels, *pair, users, replicates=50, seed=seed)
        for pair in ((scores, base), (base, scores))
    )
    np.testing.assert_allclose(
        [back.difference, back.low, back.high, back.base, back.value],
        [-there.difference, -there.high, -there.low, there.value, there.base],
        atol=1e-14,
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), metric=st.sampled_from(METRICS))
def test_equal_models_differ_by_exactly_nothing(seed, metric):
    labels, scores, _, users = rows_of(seed, rows=40)
    interval = paired_interval(
        metric, labels, scores, scores.copy(), users, replicates=50, seed=seed
    )
    assert (interval.difference, interval.low, interval.high) == (0.0, 0.0, 0.0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_auc_depends_on_order_alone(seed):
    labels, scores, base, users = rows_of(seed, rows=40)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    as_given = paired_interval("auc", labels, scores, base, users, replicates=50, seed=0)
    changed = paired_interval(
        "auc",
        labels[shuffled],
        np.exp(scores)[:, shuffled],
        -1 / base[:, shuffled],
        users[shuffled] // 7,
        replicates=50,
        seed=0,
    )
    assert changed == as_given


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32))
def test_every_replicate_draws_as_many_units_as_there_are(replicates, units, seed):
    counts = resampled_counts(np.random.default_rng(seed), replicates, units)
    assert counts.shape == (replicates, units)
    assert (counts.sum(axis=1) == units).all()


def test_units_are_drawn_evenly():
    counts = resampled_counts(np.random.default_rng(0), 20_000, 4)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(counts.var(axis=0), 3 / 4, atol=0.03)  # binomial: n p (1 - p)


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_do_not_depend_on_how_many_replicates_are_held(metric, monkeypatch):
    arguments = rows_of(8)
    whole = paired_interval(metric, *arguments, replicates=31, seed=2)
    monkeypatch.setattr(bootstrap, "_CELLS_TOGETHER", 2 * 120)
    parts = paired_interval(metric, *arguments, replicates=31, seed=2)
    np.testing.assert_allclose(astuple(parts), astuple(whole), rtol=0, atol=1e-14)


def test_seeds_of_the_draws_decide_the_bounds():
    arguments = rows_of(9)
    first, again, other = (
        paired_interval("auc", *arguments, replicates=40, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_replicates_of_one_class_are_left_out_and_counted():
    # User 1 has one positive, user 2 one negative: AUC needs both, a chance of 1 / 2.
    interval = paired_interval(
        "auc", [1.0, 0.0], [[0.9, 0.1]], [[0.5, 0.5]], [1, 2], replicates=400, seed=0
    )
    assert (interval.value, interval.base) == (1.0, 0.5)
    assert (interval.difference, interval.low, interval.high) == (0.5, 0.5, 0.5)
    assert 150 < interval.undefined < 250


def test_a_metric_without_a_value_has_no_interval():
    interval = paired_interval(
        "auc", [1.0, 1.0], [[0.9, 0.1]], [[0.5, 0.1]], [1, 2], replicates=30, seed=0
    )
    assert all(map(math.isnan, astuple(interval)[:5]))
    assert interval.undefined == 30


def test_log_loss_of_a_certain_and_wrong_score_is_that_of_the_metric():
    interval = paired_interval(
        "log_loss", [1.0, 0.0], [[0.0, 1.0]], [[1.0, 0.0]], [1, 2], replicates=9, seed=0
    )
    assert interval.value == binary.log_loss([1.0, 0.0], [0.0, 1.0])


GOOD = {
    "metric": "auc",
    "labels": [0.0, 1.0],
    "scores": [[0.1, 0.2]],
    "base_scores": [[0.3, 0.4]],
    "users": [1, 2],
    "replicates": 3,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "gauc"}, "metric: found 'gauc', expected one of auc, log_loss, mse, mae"),
        ({"labels": [0.0, 0.5]}, "labels: found 0.5 in row 1, expected 0 or 1 for auc"),
        ({"labels": [0.0, float("nan")], "metric": "mse"}, "labels: found nan in row 1"),
        ({"labels": [0, -2], "metric": "nmae"}, "found -2.0 in row 1, expected 0 or more for nmae"),
        ({"labels": [0, -2], "metric": "gini"}, "labels: found -2.0 .* 0 or more for gini"),
        ({"users": [1]}, "users: found 1 rows, expected 2"),
        ({"labels": [], "users": []}, "labels: found no row"),
        ({"scores": [0.1, 0.2]}, r"scores: found shape \(2,\), expected \(seeds, 2\)"),
        ({"scores": [[0.1, 0.2, 0.3]]}, r"scores: found shape \(1, 3\)"),
        ({"base_scores": [[0.1, 0.2]] * 2}, "base_scores: found 2 seeds, expected 1 as in scores"),
        (
            {"base_scores": [[0.1, math.inf]]},
            "base_scores: found inf in row 1 of the seed at place 0, expected finite",
        ),
        (
            {"metric": "log_loss", "scores": [[0.1, 1.5]]},
            r"scores: found 1.5 in row 1 .* expected numbers in \[0, 1\]",
        ),
        ({"replicates": 0}, "found 0 replicates, expected at least 1"),
        ({"level": 1.0}, "level 1.0"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    arguments = GOOD | changes
    with pytest.raises(ValueError, match=message):
        paired_interval(**arguments)
