"""L2 on the rows of a batch, clipping and weight decay, by value."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.tickets.masks import union
from lt4rec_tf.training.adjustment import Adjustment
from lt4rec_tf.training.lazy_adam import LazyAdam
from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_small, read_variables
from tests.support.training import random_masks, small_trainer

TABLE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
# Row 2 stands twice: its gradient is (4, 1).
SPARSE = tf.IndexedSlices(tf.constant([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]]), [2, 2, 0], (3, 2))
DENSE = tf.constant([[2.0], [0.0]])


def variables():
    return tf.Variable(TABLE), tf.Variable([[7.0], [8.0]])


def whole(gradient):
    return tf.convert_to_tensor(gradient).numpy()


def test_nothing_is_changed_unasked():
    assert Adjustment().of([SPARSE, None, DENSE], []) == [SPARSE, None, DENSE]


@pytest.mark.parametrize("sparse", [True, False])
def test_l2_pulls_each_row_of_the_batch_once(sparse):
    table, kernel = variables()
    adjustment = Adjustment([table.ref()], embedding_l2=0.25)
    given = SPARSE if sparse else tf.constant(whole(SPARSE))
    of_table, of_kernel = adjustment.of([given, DENSE], [table, kernel])
    expected = whole(SPARSE) + 2 * 0.25 * TABLE
    if sparse:  # row 1 was not looked up
        assert sorted(of_table.indices.numpy()) == [0, 2]
        expected[1] = 0
    np.testing.assert_allclose(whole(of_table), expected)
    assert of_kernel is DENSE


@pytest.mark.parametrize(("limit", "factor"), [(2.5, 0.5), (5.0, 1.0), (9.0, 1.0)])
def test_clipping_is_by_the_norm_of_all_gradients(limit, factor):
    # 4^2 + 1^2 + 2^2 + 2^2 = 25; of the rows as they stand it would be 19.
    clipped = Adjustment(clip_norm=limit).of([SPARSE, None, DENSE], [])
    assert clipped[1] is None
    np.testing.assert_allclose(whole(clipped[0]), factor * whole(SPARSE), rtol=1e-6)
    np.testing.assert_allclose(whole(clipped[2]), factor * whole(DENSE), rtol=1e-6)


def test_clipping_counts_what_l2_adds():
    table, _ = variables()
    adjustment = Adjustment([table.ref()], embedding_l2=0.5, clip_norm=1.0)
    (of_table,) = adjustment.of([SPARSE], [table])
    assert np.linalg.norm(whole(of_table)) == pytest.approx(1.0)
    row_0, row_2 = whole(of_table)[[0, 2]]
    ratio = np.array([4.0 + 5.0, 1.0 + 6.0]) / (2.0 + 2.0)  # of row 2 to row 0's second number
    np.testing.assert_allclose(row_2 / row_0[1], ratio, rtol=1e-6)


def test_decay_shrinks_kernels_and_nothing_else():
    rate, decay = 0.1, 0.5
    starts = [np.ones((2, 2)), np.ones(2), np.ones((3, 2))]
    gradients = [tf.zeros((2, 2)), tf.zeros(2), tf.IndexedSlices(tf.zeros((1, 2)), [1], (3, 2))]
    weights = [tf.Variable(start, dtype=tf.float32) for start in starts]
    LazyAdam(rate, decay).apply_gradients(zip(gradients, weights, strict=True))
    np.testing.assert_allclose(weights[0], np.full((2, 2), 1 - rate * decay), rtol=1e-6)
    np.testing.assert_array_equal(weights[1], starts[1])
    np.testing.assert_array_equal(weights[2], starts[2])


@pytest.mark.parametrize("schedule", ["alternate", "both"])
def test_a_weight_cut_for_every_task_does_not_decay(small_schema, tmp_path, schedule):
    network = build_small(small_schema)
    for seed, task in enumerate(network.tasks):
        network.wear(task, random_masks(network, task, seed))
    before = read_variables(network)
    small_trainer(
        network, small_schema, schedule=schedule, weight_decay=5.0, embedding_l2=0.1, clip_norm=1.0
    ).fit(tmp_path, "joint", Plan(epochs=1))
    for name, mask in union([network.masks(task) for task in network.tasks]).items():
        kernel, old = network.variables[f"{name}/kernel"].numpy(), before[f"{name}/kernel"]
        assert kernel[~mask].tobytes() == old[~mask].tobytes()
        assert (np.abs(kernel[mask]) < np.abs(old[mask])).mean() > 0.6
