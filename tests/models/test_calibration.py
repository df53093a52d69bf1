"""Calibration maps: values between and beyond knots, order, groups of durations, refusals."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from lt4rec_tf.models.calibration import (
    Calibration,
    Curve,
    calibrated_logits,
    calibrated_outputs,
)
from lt4rec_tf.models.heads.of_task import prediction

KNOTS = Curve((-2.0, 0.0, 1.0), (-1.0, 1.0, 1.5), 0.5)
NAN = math.nan


def applied(calibration, logits, seconds=None):
    seconds = None if seconds is None else tf.constant(seconds, tf.float32)
    return calibrated_logits(calibration, tf.constant(logits, tf.float32), seconds).numpy()


def test_between_knots_a_map_is_a_line_and_beyond_them_it_has_its_slope():
    logits = [[-4.0, -2.0, -1.0], [0.5, 1.0, 3.0]]
    expected = [[-2.0, -1.0, 0.0], [1.25, 1.5, 2.5]]
    np.testing.assert_array_equal(applied(Calibration("isotonic", (KNOTS,)), logits), expected)
    assert KNOTS.steepest == 1.0
    inner = np.linspace(-2, 1, 50)
    found = applied(Calibration("isotonic", (KNOTS,)), inner)
    np.testing.assert_allclose(found, np.interp(inner, KNOTS.logits, KNOTS.calibrated), atol=1e-6)


numbers = st.lists(
    st.floats(-20, 20, width=32), min_size=1, max_size=12, unique_by=lambda x: round(x, 2)
)


@given(numbers, numbers, st.floats(0.01, 9), st.lists(st.floats(-40, 40, width=32), min_size=2))
def test_a_larger_logit_never_gets_a_smaller_answer(x, y, slope, logits):
    count = min(len(x), len(y))
    curve = Curve(tuple(sorted(x[:count])), tuple(sorted(y[:count])), slope)
    near_knots = [np.nextafter(np.float32(knot), side) for knot in x for side in (-99, 99)]
    in_order = np.unique(np.float32([*logits, *x, *near_knots]))
    answers = applied(Calibration("isotonic", (curve,)), in_order)

    assert (np.diff(answers) >= 0).all()
    # What lies so far apart that rounding cannot hide it has another answer.
    least = min([slope, *(np.diff(curve.calibrated) / np.diff(curve.logits))])
    far = np.diff(in_order) * least > 1e-4
    assert (np.diff(answers)[far] > 0).all()
    chances = tf.sigmoid(answers).numpy()
    assert chances.min() >= 0
    assert chances.max() <= 1


def test_a_duration_decides_which_curve_is_a_rows():
    lines = [Curve((0.0,), (offset,)) for offset in (0.0, 1.0, 2.0, 3.0)]
    grouped = Calibration("duration", tuple(lines), (10.0, 60.0))
    seconds = [[5.0, 10.0, 59.0], [60.0, 600.0, NAN], [0.0, -1.0, math.inf]]
    expected = [[1.0, 2.0, 2.0], [3.0, 3.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_array_equal(applied(grouped, np.zeros((3, 3)), seconds), expected)
    longer = dataclasses.replace(grouped, curves=(*lines[:3], KNOTS))
    found = applied(longer, [-2.0, -2.0, 3.0], [5.0, 99.0, 99.0])
    np.testing.assert_array_equal(found, [-1.0, -1.0, 2.5])


def test_where_negatives_were_sampled_the_map_is_of_the_log_before(small_schema):
    task = dataclasses.replace(small_schema.task("ctr"), negatives_kept=0.1)
    outputs = tf.constant([-1.0, 0.3])
    doubled = Calibration("platt", (Curve((0.0,), (0.25,), 2.0),))
    before = logit(prediction(task, outputs).numpy().astype(np.float64))
    after = prediction(task, calibrated_outputs(task, outputs, doubled))
    np.testing.assert_allclose(logit(after), 2 * before + 0.25, rtol=1e-5)
    assert calibrated_outputs(task, outputs, None) is outputs


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda: Curve((), ()), "found 0 and 0 numbers"),
        (lambda: Curve((0.0, 1.0), (0.0,)), "found 2 and 1 numbers"),
        (lambda: Curve((0.0, 0.0), (0.0, 1.0)), "logits: expected finite numbers, each above"),
        (lambda: Curve((0.0, 1.0), (1.0, 1.0 + 1e-9)), "calibrated: expected finite numbers"),
        (lambda: Curve((0.0,), (NAN,)), "calibrated: expected finite"),
        (lambda: Curve((0.0,), (0.0,), 0.0), "slope: found 0.0"),
        (lambda: Calibration("duration", (KNOTS,)), "curves: found 1, expected 2 with 0 bounds"),
        (lambda: Calibration("platt", (KNOTS, KNOTS)), "curves: found 2, expected 1"),
        (lambda: Calibration("duration", (KNOTS,) * 4, (2.0, 2.0)), "bounds: expected increasing"),
    ],
)
def test_a_map_that_would_change_the_order_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        change()


def test_words_tell_methods_apart():
    grouped = Calibration("duration", (KNOTS, KNOTS, Curve((0.0,), (1.0,))), (9.0,), rows=1500)
    assert grouped.words == "duration, 2 groups of 3, 1 knots, of 1,500 rows"
    assert Calibration("isotonic", (KNOTS,), rows=7).words == "isotonic, 3 knots, of 7 rows"
