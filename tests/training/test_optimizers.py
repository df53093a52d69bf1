"""Updates of dense and of sparse variables, against Keras."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.training.lazy_adam import LazyAdam
from lt4rec_tf.training.optimizers import build_optimizer, reset, slots
from lt4rec_tf.training.two_optimizers import TwoOptimizers

ROWS = tf.constant([0, 2, 2], tf.int64)
ALL = ["adam", "adam_by_row", "adagrad", "rowwise_adagrad"]


def gradients_of_steps(steps=3, shape=(4, 2)):
    rng = np.random.default_rng(3)
    return [tf.constant(rng.normal(size=shape), tf.float32) for _ in range(steps)]


def test_dense_updates_are_keras_adams():
    ours, theirs = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((4, 2)))
    lazy, adam = LazyAdam(0.1), keras.optimizers.Adam(0.1, jit_compile=False)
    for gradient in gradients_of_steps():
        lazy.apply_gradients([(gradient, ours)])
        adam.apply_gradients([(gradient, theirs)])
    # TensorFlow's kernel computes 1 - beta in float32.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_rows_touched_by_every_step_are_adams_too():
    ours, theirs = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((4, 2)))
    lazy, adam = LazyAdam(0.1), keras.optimizers.Adam(0.1, jit_compile=False)
    for gradient in gradients_of_steps():
        lazy.apply_gradients([(tf.IndexedSlices(gradient, tf.range(4), (4, 2)), ours)])
        adam.apply_gradients([(gradient, theirs)])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_untouched_rows_stay_bit_identical(name):
    table = tf.Variable(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    before = table.numpy()
    optimizer = build_optimizer(name, 0.1, [table])
    first = tf.IndexedSlices(tf.ones((4, 2)), tf.range(4), (4, 2))
    optimizer.apply_gradients([(first, table)])
    moved = table.numpy()
    assert not np.array_equal(moved, before)
    slots = [variable.numpy() for variable in optimizer.variables[1:]]
    optimizer.apply_gradients([(tf.IndexedSlices(tf.ones((3, 2)), ROWS, (4, 2)), table)])
    np.testing.assert_array_equal(table.numpy()[[1, 3]], moved[[1, 3]])
    assert (table.numpy()[[0, 2]] != moved[[0, 2]]).all()
    for slot, old in zip(optimizer.variables[1:], slots, strict=True):
        np.testing.assert_array_equal(slot.numpy()[[1, 3]], old[[1, 3]])


@pytest.mark.parametrize("name", ALL)
def test_a_step_does_not_even_read_other_rows(name):
    # Whatever is computed of whole tables, such as Keras's decay by 0, would make infinity NaN.
    table = tf.Variable([[np.inf, 1.0], [1.0, 1.0]])
    optimizer = build_optimizer(name, 0.1, [table])
    optimizer.apply_gradients([(tf.IndexedSlices(tf.ones((1, 2)), [1], (2, 2)), table)])
    assert table.numpy()[0].tolist() == [np.inf, 1.0]
    assert (table.numpy()[1] < 1.0).all()


@pytest.mark.parametrize("name", ALL)
def test_rows_looked_up_twice_count_their_summed_gradient_once(name):
    twice, once = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((4, 2)))
    values = tf.constant([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    summed = tf.constant([[1.0, 2.0], [3.5, -0.5]])
    build_optimizer(name, 0.1, [twice]).apply_gradients(
        [(tf.IndexedSlices(values, ROWS, (4, 2)), twice)]
    )
    build_optimizer(name, 0.1, [once]).apply_gradients(
        [(tf.IndexedSlices(summed, tf.constant([0, 2], tf.int64), (4, 2)), once)]
    )
    np.testing.assert_allclose(twice, once, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_strict_updates_leave_cut_weights_bit_identical(name):
    # The other task moves the weight and leaves momentum behind; plain Adam would coast on it.
    kernel = tf.Variable([[1.0, 2.0]])
    optimizer = build_optimizer(name, 0.1, [kernel])
    optimizer.update_masks = {kernel.ref(): tf.constant([[1.0, 1.0]])}
    optimizer.apply_gradients([(tf.constant([[3.0, 3.0]]), kernel)])
    before = kernel.numpy()
    slots = [variable.numpy() for variable in optimizer.variables[1:]]
    optimizer.update_masks = {kernel.ref(): tf.constant([[1.0, 0.0]])}
    optimizer.apply_gradients([(tf.constant([[3.0, 0.0]]), kernel)])
    assert kernel.numpy()[0, 1].tobytes() == before[0, 1].tobytes()
    assert kernel.numpy()[0, 0] != before[0, 0]
    for slot, old in zip(optimizer.variables[1:], slots, strict=True):
        assert slot.numpy()[0, 1].tobytes() == old[0, 1].tobytes()


def test_plain_adam_would_move_a_cut_weight():
    # Why strict updates exist; if Keras ever changes this, LazyAdam can go.
    kernel = tf.Variable([[1.0]])
    adam = keras.optimizers.Adam(0.1, jit_compile=False)
    adam.apply_gradients([(tf.constant([[3.0]]), kernel)])
    before = float(kernel[0, 0])
    adam.apply_gradients([(tf.constant([[0.0]]), kernel)])
    assert float(kernel[0, 0]) != before


@pytest.mark.parametrize("name", ALL)
def test_reset_is_a_fresh_optimiser(name):
    kernel = tf.Variable([[1.0, 2.0]])
    used, fresh = build_optimizer(name, 0.1, [kernel]), build_optimizer(name, 0.1, [kernel])
    used.apply_gradients([(tf.constant([[3.0, -3.0]]), kernel)])
    reset(used)
    assert len(used.variables) == len(fresh.variables)
    for ours, theirs in zip(used.variables, fresh.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_adam_by_row_counts_the_steps_of_each_row():
    # Row 0 takes both steps, row 1 the second alone: each is where Adam is after as many.
    table = tf.Variable(tf.ones((2, 2)))
    optimizer = build_optimizer("adam_by_row", 0.1, [table])
    gradients = np.array([[[3.0, 4.0], [0.0, 0.0]], [[-1.0, 1.0], [0.5, 2.0]]], np.float32)
    looked_up = [[0], [0, 1]]
    expected = []
    for steps in (gradients[:, 0], gradients[1:, 1]):
        alone, adam = tf.Variable(tf.ones(2)), keras.optimizers.Adam(0.1, jit_compile=False)
        for gradient in steps:
            adam.apply_gradients([(tf.constant(gradient), alone)])
        expected.append(alone.numpy())
    for gradient, rows in zip(gradients, looked_up, strict=True):
        given = tf.IndexedSlices(tf.constant(gradient[rows]), tf.constant(rows), (2, 2))
        optimizer.apply_gradients([(given, table)])
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    state = slots(optimizer, ["t"], [table])
    assert sorted(state) == ["iterations", "momentum/t", "steps/t", "velocity/t"]
    assert state["steps/t"].numpy().tolist() == [[2.0], [1.0]]


def test_adam_by_row_of_dense_gradients_is_adam():
    ours, theirs = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((4, 2)))
    by_row = build_optimizer("adam_by_row", 0.1, [ours])
    adam = keras.optimizers.Adam(0.1, jit_compile=False)
    for gradient in gradients_of_steps():
        by_row.apply_gradients([(gradient, ours)])
        adam.apply_gradients([(gradient, theirs)])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("sparse", [True, False])
def test_rowwise_adagrad_by_value(sparse):
    table = tf.Variable(tf.ones((3, 2)))
    optimizer = build_optimizer("rowwise_adagrad", 0.1, [table])
    gradients = np.array([[3.0, 4.0], [0.0, 1.0], [-1.0, 1.0]], np.float32)
    expected, squares = np.ones((3, 2)), np.zeros((3, 1))
    for _ in range(2):
        given = tf.constant(gradients)
        if sparse:
            given = tf.IndexedSlices(given, tf.range(3), (3, 2))
        optimizer.apply_gradients([(given, table)])
        squares += (gradients**2).mean(axis=1, keepdims=True)
        expected -= 0.1 * gradients / np.sqrt(squares)
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    np.testing.assert_allclose(optimizer.variables[1], squares, rtol=1e-6)


def test_tables_and_other_weights_have_an_optimiser_each():
    table, kernel = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((1, 2)))
    alone = [tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((1, 2)))]
    both = TwoOptimizers(
        build_optimizer("rowwise_adagrad", 0.5, [table]),
        build_optimizer("adam", 0.1, [kernel]),
        [table.ref()],
    )
    of_table = build_optimizer("rowwise_adagrad", 0.5, alone[:1])
    of_kernel = build_optimizer("adam", 0.1, alone[1:])
    sparse = tf.IndexedSlices(tf.ones((3, 2)), ROWS, (4, 2))
    mask = tf.constant([[1.0, 0.0]])
    both.update_masks = {kernel.ref(): mask}
    of_kernel.update_masks = {alone[1].ref(): mask}
    for _ in range(2):
        both.apply_gradients([(sparse, table), (tf.constant([[2.0, 3.0]]), kernel)])
        of_table.apply_gradients([(sparse, alone[0])])
        of_kernel.apply_gradients([(tf.constant([[2.0, 3.0]]), alone[1])])
    np.testing.assert_array_equal(table, alone[0])
    np.testing.assert_array_equal(kernel, alone[1])
    assert kernel.numpy()[0, 1] == 1.0
    assert kernel.numpy()[0, 0] != 1.0

    state = slots(both, ["embedding/table", "tower"], [table, kernel])
    assert sorted(state) == [
        "accumulator/embedding/table",
        "iterations",
        "momentum/tower",
        "tables/iterations",
        "velocity/tower",
    ]
    assert {v.ref() for v in state.values()} == {v.ref() for v in both.variables}
    reset(both)
    assert all(not np.any(variable.numpy()) for variable in both.variables)


def test_unknown_optimisers_are_refused():
    with pytest.raises(ValueError, match="'sgd', expected 'adam', 'adagrad', "):
        build_optimizer("sgd", 0.1, [])
