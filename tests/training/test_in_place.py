"""Whole variables read and set without a copy."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.training.in_place import set_value, value_of


def address(value):
    """Returns where a tensor's numbers lie."""
    return np.asarray(memoryview(value)).ctypes.data


@pytest.fixture
def table():
    """A table of which a step has updated a row, so that plain reads copy it."""
    variable = tf.Variable(tf.zeros((100, 8)))
    variable.scatter_update(tf.IndexedSlices(tf.ones((1, 8)), [3]))
    assert address(variable.read_value()) != address(variable.read_value())
    return variable


def test_a_value_is_the_tables_own_memory(table):
    values = value_of(table), value_of(table)
    assert address(values[0]) == address(values[1])
    assert values[0].numpy()[3].tolist() == [1] * 8
    assert not values[0].numpy()[4:].any()


def test_a_value_that_is_still_held_is_not_changed_by_a_step(table):
    value = value_of(table)
    table.scatter_update(tf.IndexedSlices(tf.fill((1, 8), 7.0), [3]))
    assert value.numpy()[3].tolist() == [1] * 8
    assert table.numpy()[3].tolist() == [7] * 8


def test_a_table_takes_over_the_memory_of_a_value(table):
    value = tf.fill((100, 8), 2.0)
    where = address(value)
    set_value(table, value)
    del value
    assert address(value_of(table)) == where

    table.scatter_update(tf.IndexedSlices(tf.zeros((1, 8)), [5]))
    assert table.numpy().sum() == 2 * 99 * 8
    assert address(value_of(table)) == where, "copied, although nobody else holds it"


def test_replicas_have_one_value():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = tf.Variable([1.0, 2.0])
        assert value_of(mirrored).numpy().tolist() == [1, 2]
        set_value(mirrored, tf.constant([3.0, 4.0]))
        assert value_of(mirrored).numpy().tolist() == [3, 4]
