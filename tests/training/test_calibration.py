"""Fitted maps, against scikit-learn and SciPy; what they keep; rows that are too few."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from lt4rec_tf.training import calibration
from lt4rec_tf.training.calibration import (
    MOST_KNOTS,
    MOST_SLOPE,
    Rows,
    UncalibratedError,
    calibrated,
    fit,
    isotonic,
    platt_curve,
)
from lt4rec_tf.training.predictions import Predictions


def log(rows=4000, seed=5):
    """Clicks whose log odds are .6 z + .5 of the logits z, ratios of these, durations, weights."""
    rng = np.random.default_rng(seed)
    logits = np.round(rng.normal(size=rows), 2).astype(np.float32)
    chances = expit(0.6 * logits + 0.5)
    click = (rng.random(rows) < chances).astype(np.float32)
    ratio = expit(0.5 * logits + rng.normal(size=rows)).astype(np.float32)
    return Predictions(
        logits={"ctr": logits, "cvr": logits},
        labels={"ctr": click, "cvr": click * ratio},
        weights={"ctr": rng.choice([0.5, 2.0], rows).astype(np.float32), "cvr": click},
        users=rng.integers(0, 9, rows),
        durations=rng.choice([5.0, 20.0, 20.5, 90.0, np.nan], rows).astype(np.float32),
    )


def rows_of(predictions, task):
    inside = predictions.weights[task] > 0
    order = np.argsort(predictions.logits[task][inside], kind="stable")
    columns = predictions.logits[task], predictions.labels[task], predictions.weights[task]
    return Rows(*(column[inside][order].astype(np.float64) for column in columns))


def test_a_knot_is_the_centre_of_a_step_of_scikit_learns_regression():
    rng = np.random.default_rng(0)
    values, shares = [-2.0, -1.0, 0.0, 1.0, 2.5], [0.1, 0.3, 0.25, 0.6, 0.9]
    logits = np.repeat(values, 400)
    labels = (rng.random(2000) < np.repeat(shares, 400)).astype(float)
    weights = rng.choice([1.0, 3.0], 2000)
    found = isotonic(Rows(logits, labels, weights))

    (curve,) = found.curves
    reference = IsotonicRegression().fit(logits, labels, sample_weight=weights)
    np.testing.assert_allclose(expit(curve.calibrated), reference.predict(curve.logits), rtol=1e-6)
    assert found.steps == len(curve.logits) == 4  # the second and the third are one
    middle = np.average(
        [-1.0, 0.0], weights=np.bincount(np.repeat([9, 0, 1, 9, 9], 400), weights)[:2]
    )
    np.testing.assert_allclose(curve.logits, [-2.0, middle, 1.0, 2.5], rtol=1e-6)


def test_weights_of_rows_decide_which_steps_are_one():
    """Means .5 and .2 pool to .35, below .4; where rows of the first weigh nine times, to .47."""
    logits = np.repeat([-1.0, 0.0, 1.0], 100)
    labels = np.tile(np.arange(100) % 10, 3) < np.repeat([5, 2, 4], 100)
    alike = Rows(logits, labels.astype(float), np.ones(300))
    assert isotonic(alike).steps == 2
    found = isotonic(alike._replace(weights=np.repeat([9.0, 1.0, 1.0], 100)))
    assert found.steps == 1
    (curve,) = found.curves
    assert expit(curve.calibrated) == pytest.approx([(9 * 0.5 + 0.2 + 0.4) / 11], rel=1e-5)
    assert curve.logits == pytest.approx([(-9 + 0 + 1) / 11], rel=1e-5)


@pytest.mark.parametrize("task", ["ctr", "cvr"])
def test_platts_two_numbers_are_those_of_the_greatest_likelihood(task):
    rows = rows_of(log(), task)

    def loss(line):
        z = line[0] * rows.logits + line[1]
        return np.sum(rows.weights * (np.logaddexp(0, z) - rows.labels * z))

    expected = minimize(loss, [1.0, 0.0], tol=1e-9).x
    curve = platt_curve(rows)
    np.testing.assert_allclose([curve.slope, curve.calibrated[0]], expected, rtol=1e-4, atol=1e-4)
    if task == "ctr":
        np.testing.assert_allclose(expected, [0.6, 0.5], atol=0.1)


@given(
    st.lists(st.tuples(st.integers(-30, 30), st.integers(0, 4)), min_size=2, max_size=60),
    st.integers(1, 60),
)
def test_an_isotonic_map_keeps_order_and_means(pairs, times):
    logits, labels = (np.repeat(column, times) for column in np.array(sorted(pairs)).T)
    found = isotonic(Rows(logits / 3, labels / 4, np.ones(len(logits))))
    (curve,) = found.curves
    assert len(curve.logits) <= MOST_KNOTS
    slopes = np.diff(curve.calibrated) / np.diff(curve.logits)
    assert np.all((slopes > 0.0099) & (slopes <= MOST_SLOPE * 1.001))
    if len(curve.logits) == 1:
        count = len(labels)
        mean = np.clip(np.mean(labels / 4), 1 / (count + 2), 1 - 1 / (count + 2))
        assert expit(curve.calibrated[0]) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(
    ("gap", "shares", "knots"),
    [
        (0.01, (100, 900), 1),  # log odds rise 439 times as fast as logits
        (0.05, (100, 900), 2),  # 88 times
        (0.0005, (500, 510), 1),  # 80 times, over a gap too small
    ],
)
def test_knots_are_neither_steep_nor_close(gap, shares, knots):
    logits = np.repeat([0.0, gap], 1000)
    labels = np.tile(np.arange(1000), 2) < np.repeat(shares, 1000)
    found = isotonic(Rows(logits, labels.astype(float), np.ones(2000)))
    assert (found.steps, len(found.curves[0].logits)) == (2, knots)


def test_a_line_is_lifted_that_would_be_too_flat_to_keep_logits_apart():
    logits = np.repeat([0.0, 2.0, 3.0], 1000)
    labels = np.tile(np.arange(1000), 3) < np.repeat([500, 501, 900], 1000)
    (curve,) = isotonic(Rows(logits, labels.astype(float), np.ones(3000))).curves
    np.testing.assert_allclose(curve.calibrated, [0.0, 0.02, logit(0.9)], atol=1e-6)


def test_steps_are_merged_until_few_are_left_and_each_has_rows(monkeypatch):
    rng = np.random.default_rng(2)
    logits = np.sort(rng.normal(size=60_000))
    labels = (rng.random(60_000) < expit(2 * logits)).astype(float)
    rows = Rows(logits, labels, np.ones(60_000))
    found = isotonic(rows)
    assert found.steps > MOST_KNOTS >= len(found.curves[0].logits) > 40
    assert 0 < found.distance < 0.01
    inner = np.abs(logits) < 2
    answers = expit(np.interp(logits, found.curves[0].logits, found.curves[0].calibrated))
    np.testing.assert_allclose(answers[inner], expit(2 * logits)[inner], atol=0.05)

    monkeypatch.setattr(calibration, "MOST_KNOTS", 5)
    assert len(isotonic(rows).curves[0].logits) == 5


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_a_map_leaves_the_order_and_mends_the_mean(small_schema, method):
    before, task = log(), small_schema.task("ctr")
    after = calibrated(before, small_schema, {"ctr": fit(method, before, task), "other": None})
    labels, weights = before.labels["ctr"], before.weights["ctr"]
    areas = [roc_auc_score(labels, p.of(task), sample_weight=weights) for p in (before, after)]
    assert areas[0] == pytest.approx(areas[1], abs=1e-9)
    means = [np.average(p.of(task), weights=weights) for p in (before, after)]
    expected = np.average(labels, weights=weights)
    assert abs(means[1] - expected) < 0.002 < 0.05 < abs(means[0] - expected)
    assert after.logits["cvr"] is before.logits["cvr"]


def test_maps_of_a_sampled_log_are_of_the_log_before(small_schema):
    ctr = dataclasses.replace(small_schema.task("ctr"), negatives_kept=0.1)
    schema = dataclasses.replace(small_schema, tasks=(ctr, small_schema.task("cvr")))
    after = calibrated(log(), schema, {"ctr": fit("platt", log(), ctr)})
    weights = after.measured_weights(ctr)
    expected = np.average(after.labels["ctr"], weights=weights)
    assert expected < 0.2
    assert np.average(after.of(ctr), weights=weights) == pytest.approx(expected, abs=1e-5)


def test_each_group_of_durations_has_its_own_map(small_schema):
    task, before = small_schema.task("cvr"), log()
    labels = before.labels["cvr"] / np.where(before.durations > 50, 4, 1)
    before = dataclasses.replace(before, labels={"cvr": labels.astype(np.float32)})
    found = fit("duration", before, task)
    assert found.bounds[0] == 12.5  # between durations
    assert found.bounds[-1] in (55.0, 55.25)
    after = calibrated(before, small_schema, {"cvr": found})
    inside = before.weights["cvr"] > 0
    for length in (5.0, 90.0):
        rows = inside & (before.durations == length)
        assert after.of(task)[rows].mean() == pytest.approx(labels[rows].mean(), abs=0.02)

    pooled = fit("isotonic", before, task)
    assert found.curves[0] == pooled.curves[0]
    unknown = inside & np.isnan(before.durations)
    without = calibrated(before, small_schema, {"cvr": pooled})
    np.testing.assert_array_equal(after.of(task)[unknown], without.of(task)[unknown])


def changed(**columns):
    predictions = log()
    parts = {name: {"cvr": column(predictions)} for name, column in columns.items()}
    return dataclasses.replace(predictions, **parts)


@pytest.mark.parametrize(
    ("method", "predictions", "complaint"),
    [
        (
            "isotonic",
            changed(weights=lambda p: p.weights["cvr"] * (np.arange(4000) < 90)),
            r"found \d\d rows, expected 100 or more",
        ),
        ("isotonic", changed(weights=lambda p: 0 * p.weights["cvr"]), "found 0 rows"),
        ("platt", changed(labels=lambda p: 0 * p.labels["cvr"]), "found label 0 alone"),
        (
            "platt",
            changed(logits=lambda p: -p.logits["cvr"]),
            "rise -.* times as fast as predictions', expected 0.01 to 100",
        ),
        (
            "isotonic",
            changed(logits=lambda p: np.where(np.arange(4000) == 7, np.nan, p.logits["cvr"])),
            "the network diverged",
        ),
        (
            "duration",
            dataclasses.replace(log(), durations=np.full(4000, np.nan, np.float32)),
            "found 0 rows with a duration, expected 400 or more",
        ),
    ],
)
def test_rows_without_an_answer_are_refused(small_schema, method, predictions, complaint):
    every = dataclasses.replace(predictions, weights=dict(predictions.weights))
    if "diverged" in complaint:
        every.weights["cvr"] = np.ones(4000, np.float32)
    with pytest.raises(UncalibratedError, match=complaint):
        fit(method, every, small_schema.task("cvr"))


def test_a_binary_task_needs_rows_of_both_labels(small_schema):
    few = log()
    few.labels["ctr"][:] = np.arange(4000) < 9
    with pytest.raises(UncalibratedError, match="found 9 rows with label 1 and 3991 with label 0"):
        fit("isotonic", few, small_schema.task("ctr"))


def test_labels_that_a_logit_separates_have_no_line():
    logits = np.linspace(-1, 1, 200)
    with pytest.raises(UncalibratedError, match="times as fast"):
        platt_curve(Rows(logits, (logits > 0).astype(float), np.ones(200)))
    found = isotonic(Rows(logits, (logits > 0).astype(float), np.ones(200)))
    assert expit(found.curves[0].calibrated) == pytest.approx([1 / 102, 101 / 102], rel=1e-5)
