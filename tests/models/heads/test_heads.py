"""Losses and predictions of heads, by value against NumPy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logsumexp
from scipy.stats import expon, truncnorm

from lt4rec_tf.models.heads import cqe, cread, d2q, egmn, ordinal, wlr
from lt4rec_tf.schema.label_bins import Bins
from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles

RNG = np.random.default_rng(5)
LABELS = np.array([0.0, 0.1, 0.35, 0.8, 1.0], np.float32)
WEIGHTS = np.array([1.0, 2.0, 0.0, 1.0, 0.5], np.float32)
THRESHOLDS = np.array([0.1, 0.4, 0.4, 1.0])
MEANS = np.array([0.05, 0.2, 0.4, 0.6, 1.0])
SHARES = np.array([0.8, 0.5, 0.5, 0.001])
BINS = Bins(THRESHOLDS, MEANS, SHARES)


def outputs(count):
    return RNG.normal(size=(len(LABELS), count)).astype(np.float32)


def weighted(losses):
    return np.sum(losses * WEIGHTS) / WEIGHTS.sum()


def entropy(label, chance):
    return -label * np.log(chance) - (1 - label) * np.log(1 - chance)


def test_wlr_is_least_where_the_odds_are_the_mean():
    unit, y = 4.0, tf.constant([1.0, 2.0, 9.0])
    o = tf.Variable([np.log(4.0 / unit)] * 3, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = wlr.loss(o, y, tf.ones(3), unit=unit)
    assert abs(tf.reduce_sum(tape.gradient(loss, o))) < 1e-6
    np.testing.assert_allclose(wlr.prediction(o, unit), [4.0] * 3, rtol=1e-6)


def test_wlr_is_a_cross_entropy_of_weighted_rows():
    o = outputs(1)[:, 0]
    p = expit(o.astype(np.float64))
    expected = weighted(-(LABELS / 2) * np.log(p) - np.log(1 - p))
    assert float(wlr.loss(o, LABELS, WEIGHTS, unit=2.0)) == pytest.approx(expected, rel=1e-5)


def test_cread_sums_its_three_parts():
    o = outputs(4)
    p = expit(o + np.log(SHARES / (1 - SHARES)))
    restored = p @ np.diff(THRESHOLDS, prepend=0)
    above = (LABELS[:, None] > THRESHOLDS.astype(np.float32)).astype(float)
    disorder = np.maximum(p[:, 1:] - p[:, :-1], 0).sum(axis=1)
    error = (restored - LABELS) / 0.5
    huber = np.where(np.abs(error) <= 1, error**2 / 2, np.abs(error) - 0.5)
    losses = entropy(above, p).mean(axis=1) + huber + 2e-5 * disorder
    found = cread.loss(o, LABELS, WEIGHTS, bins=BINS, unit=0.5)
    assert float(found) == pytest.approx(weighted(losses), rel=1e-5)
    np.testing.assert_allclose(cread.prediction(o, BINS), restored, rtol=1e-5)


def test_ordinal_is_the_likelihood_of_the_labels_bin():
    thresholds, means = np.array([0.1, 0.4, 0.9]), np.array([0.05, 0.2, 0.6, 1.0])
    bins = Bins(thresholds, means, np.array([0.75, 0.5, 0.1]))
    o = outputs(3)
    begun = np.array([0.75, 0.5 / 0.75, 0.1 / 0.5])
    p = expit(o + np.log(begun / (1 - begun)))
    up_to = np.cumprod(p, axis=1)  # P(y > t_m)
    at_least = np.concatenate([np.ones((5, 1)), up_to, np.zeros((5, 1))], axis=1)
    of_bin = at_least[:, :-1] - at_least[:, 1:]
    place = np.searchsorted(thresholds.astype(np.float32), LABELS, side="left")
    losses = -np.log(of_bin[np.arange(5), place])
    found = ordinal.loss(o, LABELS, WEIGHTS, bins=bins)
    assert float(found) == pytest.approx(weighted(losses), rel=1e-5)
    np.testing.assert_allclose(ordinal.prediction(o, bins), of_bin @ means, rtol=1e-5)


def test_cqe_is_the_pinball_loss_of_rising_quantiles():
    o, unit, start = outputs(3), 2.0, np.array([0.1, 0.1, 0.7])
    begun = np.log(np.expm1([0.05, cqe.LEAST_STEP, 0.3]))
    q = unit * np.cumsum(np.log1p(np.exp(o + begun)), axis=1)
    levels = np.array([0.25, 0.5, 0.75])
    error = (LABELS[:, None] - q) / unit
    losses = np.where(error >= 0, levels * error, (levels - 1) * error).mean(axis=1)
    found = cqe.loss(o, LABELS, WEIGHTS, start=start, unit=unit)
    assert float(found) == pytest.approx(weighted(losses), rel=1e-5)
    # The trapezoid rule on the levels 0, 1/4, ..., 1, constant beyond the first and last quantile.
    whole = np.concatenate([q[:, :1], q, q[:, -1:]], axis=1)
    np.testing.assert_allclose(
        cqe.prediction(o, start, unit), np.trapezoid(whole, dx=0.25, axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("level", [0.1, 0.25, 0.4, 0.75, 0.99])
def test_cqe_is_linear_between_its_quantiles_and_constant_beyond(level):
    o, start = outputs(3), np.array([0.1, 0.1, 0.7])
    q = np.asarray(cqe.quantiles(o, start, 2.0))
    expected = [np.interp(level, [0.25, 0.5, 0.75], row) for row in q]
    np.testing.assert_allclose(cqe.at_level(o, start, 2.0, level), expected, rtol=1e-5)


def test_the_pinball_loss_finds_the_quantiles_of_a_sample():
    y = RNG.exponential(size=4000).astype(np.float32)
    o, start = tf.Variable(tf.zeros((1, 3))), np.array([1.0, 2.0, 3.0])
    for _ in range(600):
        with tf.GradientTape() as tape:
            loss = cqe.loss(
                tf.repeat(o, len(y), axis=0), tf.constant(y), tf.ones(len(y)), start=start, unit=1.0
            )
        o.assign_sub(2.0 * tape.gradient(loss, o))
    np.testing.assert_allclose(
        cqe.quantiles(o, start, 1.0)[0], np.quantile(y, [0.25, 0.5, 0.75]), atol=0.05
    )


def mixture_of(row):
    """Shares, means and densities of one row's mixture, by scipy."""
    logits, rate, centres, spreads = np.split(row.astype(np.float64), [3, 4, 6])
    soft = lambda x: np.log1p(np.exp(x))  # noqa: E731
    mean = egmn.LEAST_SPREAD + 1 / (soft(rate[0] + np.log(np.expm1(2))) + 1e-6)
    centres = centres + np.log(np.expm1([0.5, 1]))
    centres, spreads = mean + soft(centres), egmn.LEAST_SPREAD + soft(spreads)
    cut = [truncnorm(-c / d, np.inf, loc=c, scale=d) for c, d in zip(centres, spreads, strict=True)]
    return logits - logsumexp(logits), [expon(scale=mean), *cut]


def test_egmn_is_the_likelihood_of_its_mixture():
    o, unit = outputs(egmn.outputs_of(2)), 3.0
    z = LABELS.astype(np.float64) / unit
    losses, expectations = [], []
    for row, label in zip(o, z, strict=True):
        log_shares, parts = mixture_of(row)
        density = logsumexp(log_shares + [part.logpdf(label) for part in parts])
        shares = np.exp(log_shares)
        expectation = shares @ [part.mean() for part in parts]
        entropy_of = -np.sum(shares * log_shares)
        losses.append(-density - 0.1 * entropy_of + abs(expectation - label))
        expectations.append(unit * expectation)
    found = float(egmn.loss(o, LABELS, WEIGHTS, unit=unit))
    assert found == pytest.approx(weighted(np.array(losses)), rel=1e-4)
    np.testing.assert_allclose(egmn.prediction(o, unit), expectations, rtol=1e-4)


def test_egmn_is_finite_whatever_a_network_says():
    far = np.array([[200.0] * 8, [-200.0] * 8, [0.0] * 8], np.float32)
    o = tf.Variable(far)
    with tf.GradientTape() as tape:
        loss = egmn.loss(o, tf.constant([0.0, 1.0, 0.5]), tf.ones(3), unit=1.0)
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, o)).all()


# Two groups: ratios of short videos are spread, half of the long ones' are 1.
SHORT = np.linspace(0, 1, LEVELS + 1)
LONG = np.minimum(1, np.linspace(0, 2, LEVELS + 1))
GROUPS = LabelQuantiles(
    (tuple(np.sort(np.r_[SHORT, LONG])[::2][: LEVELS + 1].tolist()), tuple(SHORT), tuple(LONG)),
    (60.0,),
)


def test_a_quantile_is_the_share_of_the_rows_group():
    seconds = tf.constant([10.0, 10.0, 90.0, 90.0, 90.0])
    labels = tf.constant([0.25, 1.0, 0.5, 1.0, 0.0])
    found = d2q.quantile_of(GROUPS, labels, seconds).numpy()
    # Of the long ones the levels 1/2 to 1 have the ratio 1: the middle of them.
    np.testing.assert_allclose(found, [0.25, 1.0, 0.25, 0.75, 0.0], atol=1e-6)


def test_an_unknown_duration_takes_the_curve_of_all_rows():
    labels = tf.constant([0.3, 0.3, 0.3])
    unknown = d2q.quantile_of(GROUPS, labels, tf.constant([np.nan, 0.0, -1.0])).numpy()
    assert unknown.tolist() == d2q.quantile_of(GROUPS, labels, None).numpy().tolist()
    assert abs(unknown[0] - d2q.quantile_of(GROUPS, labels, tf.fill(3, 10.0))[0]) > 0.01


@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9),
    st.sampled_from([10.0, 60.0, 1e9, np.nan]),
)
def test_a_prediction_inverts_the_quantile_and_keeps_the_order(labels, seconds):
    y = np.sort(np.array(labels, np.float32))
    durations = tf.fill(len(y), np.float32(seconds))
    share = d2q.quantile_of(GROUPS, tf.constant(y), durations).numpy().astype(np.float64)
    assert (np.diff(share) >= 0).all()
    inner = np.clip(share, 1e-6, 1 - 1e-6)
    logits = np.log(inner / (1 - inner)).astype(np.float32)
    found = d2q.prediction(GROUPS, tf.constant(logits), durations).numpy()
    assert (np.diff(found) >= -1e-6).all()  # TensorFlow rounds a sigmoid by its place in a batch
    np.testing.assert_allclose(found, y, atol=1e-4)


def test_labels_beyond_the_curves_lie_at_their_ends():
    found = d2q.quantile_of(GROUPS, tf.constant([2.0, -1.0]), tf.constant([10.0, 10.0]))
    assert found.numpy().tolist() == [1.0, 0.0]
