"""What each of several processes reads: together all rows, none twice."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches, epoch_seeds, part_batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.distributed.shards import Shard, own_batch_size, own_files, own_rows, steps_of
from lt4rec_tf.schema.reader import load_schema
from tests.support.schemas import few_features

pytestmark = pytest.mark.slow(minutes=1)

counts = st.integers(1, 9)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    simulate(folder, FeedSettings(rows=6_000))
    schema = load_schema(few_features("simulated_feed", folder))
    opened = open_source(schema, folder, SplitRule("time"))
    return audit.complete(opened, audit.audit(opened))


def columns(read):
    """Every row of some batches as one line of numbers, sorted: which rows, not in which order."""
    features = [np.concatenate([b["features"][f] for b in read]) for f in read[0]["features"]]
    labels = [np.concatenate([b["labels"][t] for b in read]) for t in read[0]["labels"]]
    users = np.concatenate([b["user"] for b in read])
    rows = [*(column.reshape(len(users), -1) for column in features), *(c[:, None] for c in labels)]
    table = np.concatenate([users[:, None], *rows], axis=1)
    return table[np.lexsort(table.T)]


@given(st.lists(st.integers(), max_size=30), counts)
def test_files_fall_to_one_process_each(files, count):
    shares = [own_files(files, Shard(index, count)) for index in range(count)]
    assert sorted(chain(*shares)) == sorted(files)


@given(st.integers(0, 10_000), counts)
def test_rows_fall_to_one_process_each_and_evenly(rows, count):
    shares = [own_rows(rows, Shard(index, count)) for index in range(count)]
    taken = [list(range(rows))[share] for share in shares]
    assert [*chain(*taken)] == list(range(rows))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


@given(st.lists(st.integers(1, 500), min_size=1, max_size=9), st.integers(9, 64), counts)
def test_after_the_last_step_every_row_was_read(rows_by_file, batch_size, count):
    steps = steps_of(rows_by_file, batch_size, count)
    if len(rows_by_file) < count:
        assert (steps - 1) * batch_size < sum(rows_by_file) <= steps * batch_size
        return
    shards = [Shard(index, count) for index in range(count)]
    read = [steps * own_batch_size(batch_size, shard) for shard in shards]
    rows = [sum(own_files(rows_by_file, shard)) for shard in shards]
    assert all(r >= n for r, n in zip(read, rows, strict=True))
    one_less = [(steps - 1) * own_batch_size(batch_size, shard) for shard in shards]
    assert any(r < n for r, n in zip(one_less, rows, strict=True))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_of_their_own_files_read_all_rows_once(source, count):
    files = len(source.files_of_split["train"])
    assert files >= count
    whole = columns([*batches(source, "train", 256)])
    together = []
    for index in range(count):
        together += batches(source, "train", 256, Order(shuffle_seed=1), Shard(index, count))
    np.testing.assert_allclose(columns(together), whole, rtol=1e-6)


def test_with_fewer_files_than_processes_they_cut_the_same_batches(source):
    count = len(source.files_of_split["train"]) + 1
    order = Order(shuffle_seed=3, epoch=2, skip_batches=1)
    shares = [
        [*batches(source, "train", 500, order, Shard(index, count))] for index in range(count)
    ]
    for batch, *parts in zip(batches(source, "train", 500, order), *shares, strict=True):
        for key in ("user", "duration"):
            np.testing.assert_array_equal(np.concatenate([p[key] for p in parts]), batch[key])
        for feature, ids in batch["features"].items():
            together = np.concatenate([part["features"][feature] for part in parts])
            np.testing.assert_allclose(together, ids, rtol=1e-6)


@pytest.mark.parametrize("parts", [2, 20])  # of own files; of batches, some of no batch
@pytest.mark.parametrize("seeds", [None, epoch_seeds(1, 0)])
def test_the_parts_are_the_split(source, parts, seeds):
    read = []
    for part in range(parts):
        read += part_batches(source, "train", 100, tf.constant(part, tf.int64), parts, seeds, 1_000)
    whole = columns([*batches(source, "train", 256)])
    np.testing.assert_allclose(columns(read), whole, rtol=1e-6)
    assert all(len(batch["user"]) <= 100 for batch in read)
