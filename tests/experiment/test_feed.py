"""Batches of a split that is measured many times."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.config.settings import DataSettings
from lt4rec_tf.experiment import feed
from tests.support.feeds import good_row, line, opened, schema, write_lines


@pytest.fixture
def source(tmp_path):
    write_lines(tmp_path / "part_0.csv", [line(good_row(number)) for number in range(20)])
    return opened(schema(tmp_path), tmp_path)[0]


def leaves(batches):
    return [[leaf.numpy() for leaf in tf.nest.flatten(batch)] for batch in batches]


@pytest.mark.parametrize(("limit", "readings"), [(1.0, 1), (1e-9, 4)])
def test_a_split_measured_often_is_parsed_once_where_it_is_small(
    source, monkeypatch, limit, readings
):
    read = []

    def split_batches(*arguments):
        read.append(arguments)
        return original(*arguments)

    original = feed.split_batches
    expected = leaves(original(source, "train"))
    monkeypatch.setattr(feed, "split_batches", split_batches)
    monkeypatch.setattr(feed, "HELD_GIB", limit)
    feed._small_split.cache_clear()
    for _ in range(3):
        found = leaves(feed.repeated_batches(source, "train", DataSettings()))
        assert len(found) == len(expected) == 1
        for ours, theirs in zip(found[0], expected[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(read) == readings
    feed._small_split.cache_clear()
