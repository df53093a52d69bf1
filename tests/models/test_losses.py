"""Losses by hand and against scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, mean_squared_error

from lt4rec_tf.models import losses

LOGITS = np.array([-2.0, 0.3, 1.5, 4.0], np.float32)
LABELS = np.array([0.0, 1.0, 1.0, 0.0], np.float32)
ALL = np.ones(4, np.float32)


ONE = np.ones(1, np.float32)
TWO = np.ones(2, np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def test_cross_entropy_is_scikit_learns():
    loss = losses.cross_entropy(LOGITS, LABELS, ALL)
    assert float(loss) == pytest.approx(log_loss(LABELS, sigmoid(LOGITS)), rel=1e-6)


def test_mse_is_scikit_learns_on_probabilities():
    loss = losses.mse(LOGITS, LABELS, ALL)
    assert float(loss) == pytest.approx(mean_squared_error(LABELS, sigmoid(LOGITS)), rel=1e-6)


def test_focal_by_hand():
    # p = .5: positive .75 * .25 * log 2, negative .25 * .25 * log 2
    loss = losses.focal(
        np.zeros(2, np.float32), np.array([1, 0], np.float32), np.ones(2, np.float32)
    )
    assert float(loss) == pytest.approx((0.75 + 0.25) * 0.25 * np.log(2) / 2, rel=1e-6)


def test_soft_cross_entropy_is_least_at_the_label():
    label = np.array([0.3], np.float32)
    at = [
        float(
            losses.LOSSES["soft_cross_entropy"](np.log(p / (1 - p)), label, np.ones(1, np.float32))
        )
        for p in np.array([[0.2], [0.3], [0.4]], np.float32)
    ]
    assert at[1] < min(at[0], at[2])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_rows_outside_the_population_change_nothing(name):
    inside = losses.LOSSES[name](LOGITS[:2], LABELS[:2], ALL[:2])
    weights = np.array([1, 1, 0, 0], np.float32)
    assert float(losses.LOSSES[name](LOGITS, LABELS, weights)) == pytest.approx(float(inside))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_emphasis_multiplies_a_row_and_leaves_the_count(name):
    weights, emphasis = np.array([1, 1, 1, 0], np.float32), np.array([5, 0.2, 1, 9], np.float32)
    rows = [float(losses.LOSSES[name](LOGITS[i : i + 1], LABELS[i : i + 1], ONE)) for i in range(3)]
    found = float(losses.LOSSES[name](LOGITS, LABELS, weights, emphasis))
    assert found == pytest.approx((5 * rows[0] + 0.2 * rows[1] + rows[2]) / 3, rel=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_batch_without_population_has_no_loss_and_no_gradient(name):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.LOSSES[name](logits, LABELS, np.zeros(4, np.float32))
    assert float(loss) == 0.0
    assert tape.gradient(loss, logits).numpy().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_extreme_logits_stay_finite(name):
    logits = tf.constant([-200.0, 200.0, 200.0, -200.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.LOSSES[name](logits, LABELS, ALL)
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, logits)).all()
