"""Logs parsed once: the same batches as the pipeline that streams."""

import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.in_memory import HeldRows, draw, hold
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import good_row, line, opened, schema, write_lines
from tests.support.paths import PROJECT, real_data

ROWS = 50


@pytest.fixture(scope="module")
def feed(tmp_path_factory):
    """50 good rows in two files, opened and audited."""
    folder = tmp_path_factory.mktemp("held")
    write_lines(folder / "part_0.csv", [line(good_row(number)) for number in range(20)])
    write_lines(folder / "part_1.csv", [line(good_row(number)) for number in range(20, ROWS)])
    return opened(schema(folder), folder)[0]


@pytest.fixture(scope="module")
def held(feed):
    return hold(batches(feed, "train", 16), limit_gib=1.0)


def in_batches(rows, batch_size):
    return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)


def assert_same_batches(found, expected):
    tf.nest.assert_same_structure(found, expected)
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert isinstance(ours, tf.Tensor)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)


def numbers(batches_read):
    ids = [batch["features"]["number"].numpy() for batch in batches_read]
    return (np.concatenate(ids) - 2).tolist() if ids else []


@pytest.mark.parametrize("batch_size", [1, 7, 16, 50, 64])
def test_unshuffled_it_is_the_pipeline_batch_for_batch(feed, held, batch_size):
    streamed = list(batches(feed, "train", batch_size))
    remembered = list(held.batches(batch_size))
    assert len(remembered) == len(streamed)
    for found, expected in zip(remembered, streamed, strict=True):
        assert_same_batches(found, expected)


def test_a_compiled_step_takes_both(feed, held):
    calls = tf.function(
        lambda batch: tf.reduce_sum(batch["labels"]["cvr"]),
        input_signature=[batches(feed, "train", 8).element_spec],
    )
    for found, expected in zip(held.batches(8), batches(feed, "train", 8), strict=True):
        assert calls(found) == calls(expected)


def rows_of(batches_read):
    """Every row as one tuple of all of its values, in order of batches."""
    rows = []
    for batch in batches_read:
        leaves = [np.asarray(leaf).astype(np.float64) for leaf in tf.nest.flatten(batch)]
        # Hashes of users are too long for float64, so they take part as text.
        users = [str(user) for user in batch["user"].numpy()]
        table = np.concatenate([leaf.reshape(len(users), -1) for leaf in leaves], axis=1)
        rows += [(user, *row) for user, row in zip(users, table.tolist(), strict=True)]
    return rows


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (3, 1)])
def test_shuffled_it_has_the_pipeline_s_rows(feed, held, seed, epoch):
    streamed = rows_of(batches(feed, "train", 7, Order(shuffle_seed=seed, epoch=epoch)))
    remembered = rows_of(held.batches(7, Order(shuffle_seed=seed, epoch=epoch)))
    assert remembered != streamed
    assert sorted(remembered) == sorted(streamed)


def test_all_rows_come_once_and_only_the_last_batch_is_short(held):
    sizes = [len(batch["user"]) for batch in held.batches(12, Order(shuffle_seed=1))]
    assert sizes == [12, 12, 12, 12, 2]
    assert sorted(numbers(held.batches(12, Order(shuffle_seed=1)))) == list(range(ROWS))


def test_seed_and_epoch_decide_the_order(held):
    first = numbers(held.batches(7, Order(shuffle_seed=1)))
    assert first == numbers(held.batches(7, Order(shuffle_seed=1, epoch=0)))
    second = numbers(held.batches(7, Order(shuffle_seed=1, epoch=1)))
    other = numbers(held.batches(7, Order(shuffle_seed=2, epoch=0)))
    assert first != second != other != first
    assert first != list(range(ROWS))
    # The batch's size cuts the same order into other pieces.
    assert first == numbers(held.batches(11, Order(shuffle_seed=1)))


def test_the_order_is_the_documented_permutation(held):
    expected = np.random.default_rng([5, 2]).permutation(ROWS).tolist()
    assert numbers(held.batches(16, Order(shuffle_seed=5, epoch=2))) == expected


@pytest.mark.parametrize("skipped", [0, 3, 8, 20])
@pytest.mark.parametrize("seed", [None, 3])
def test_skipping_batches_goes_on_where_the_pass_was_left(held, skipped, seed):
    whole = numbers(held.batches(7, Order(shuffle_seed=seed, epoch=2)))
    rest = numbers(held.batches(7, Order(shuffle_seed=seed, epoch=2, skip_batches=skipped)))
    assert rest == whole[7 * skipped :]


def bytes_of(held: HeldRows) -> int:
    return sum(column.nbytes for column in held.columns)


def test_an_empty_split_gives_no_batch(feed):
    empty = hold(batches(feed, "test", 4), limit_gib=1.0)
    assert len(empty) == bytes_of(empty) == 0
    for seed in (None, 1):
        assert list(empty.batches(4, Order(shuffle_seed=seed))) == []


nested = st.fixed_dictionaries({"rows": st.integers(1, 40), "together": st.integers(1, 12)})


@given(nested, st.integers(1, 50), st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 6))
def test_any_structure_comes_back_and_no_row_is_lost(sizes, batch_size, seed, epoch, skipped):
    count = sizes["rows"]
    rows = {
        "index": np.arange(count),
        "inner": {"pairs": np.arange(2 * count, dtype=np.float32).reshape(count, 2)},
        "flags": (np.arange(count) % 3 == 0, np.arange(count, dtype=np.int32)),
    }
    held = hold(in_batches(rows, sizes["together"]), limit_gib=1.0)
    read = list(held.batches(batch_size, Order(shuffle_seed=seed, epoch=epoch)))
    again = held.batches(batch_size, Order(shuffle_seed=seed, epoch=epoch, skip_batches=skipped))
    for found, expected in zip(again, read[skipped:], strict=True):
        assert_same_batches(found, expected)
    order = np.concatenate([batch["index"] for batch in read])
    assert sorted(order) == list(range(count))
    for batch in read:  # the columns of a row stay together
        own = batch["index"].numpy()
        expected = tf.nest.map_structure(lambda column, own=own: tf.constant(column[own]), rows)
        assert_same_batches(batch, expected)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6), st.integers(1, 3))
def test_integers_of_any_size_come_back_exactly(values, together):
    held = hold(in_batches(np.array(values, np.int64), together), limit_gib=1.0)
    (batch,) = held.batches(len(values))
    assert batch.dtype == tf.int64
    assert batch.numpy().tolist() == values


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ([0, 2**31 - 1], 4),
        ([-(2**31), 0], 4),
        ([0, 2**31], 8),
        ([-(2**31) - 1, 0], 8),
        ([2**40, 1], 8),  # one batch fits and one does not
    ],
)
def test_integers_are_narrowed_where_a_whole_column_fits(values, width):
    held = hold(in_batches(np.array(values), 1), limit_gib=1.0)
    assert bytes_of(held) == 2 * width


def test_bytes_are_counted_by_column(held):
    # number, video, three tags and, of 64 bits, the user; length, two labels, two weights.
    floats = sum(leaf.dtype == tf.float32 for leaf in tf.nest.flatten(held.spec))
    assert bytes_of(held) == ROWS * (4 * (1 + 1 + 3) + 8 + 4 * floats)


def test_rows_beyond_the_limit_are_refused():
    rows = in_batches(np.zeros((100, 2), np.float32), 10)
    limit = 800 / 2**30  # all of it
    assert bytes_of(hold(rows, limit)) == 800
    message = "--memory_limit_gib: found 6.71e-07 GiB in the first 90 rows.*at most 6.7e-07 GiB"
    with pytest.raises(DataError, match=f"{message}.*--reading=stream"):
        hold(rows, 6.7e-07)


@pytest.mark.parametrize("together", [1, 7, 100])
def test_drawn_rows_do_not_depend_on_batches_and_keep_their_order(together):
    numbers_read = np.arange(100)
    drawn, count = draw(in_batches(numbers_read, together), most=10, seed=3)
    (column,) = drawn.columns
    # The rows of the ten lowest lots.
    lots = np.random.default_rng(3).random(100)
    np.testing.assert_array_equal(column, np.sort(np.argsort(lots)[:10]))
    assert count == 100
    whole, count = draw(in_batches(numbers_read, together), most=100, seed=3)
    np.testing.assert_array_equal(whole.columns[0], numbers_read)
    empty, count = draw(in_batches(numbers_read[:0], together), most=10, seed=3)
    assert (len(empty), count) == (0, 0)


def test_a_permuted_part_moves_with_all_its_values(held):
    order = np.random.default_rng(0).permutation(ROWS)
    moved = held.permuted(("features", "tags"), order)
    (before,), (after,) = list(held.batches(ROWS)), list(moved.batches(ROWS))
    assert before["features"]["tags"].shape == (ROWS, 3)
    np.testing.assert_array_equal(
        after["features"]["tags"], before["features"]["tags"].numpy()[order]
    )
    for name in ("number", "video", "length"):
        np.testing.assert_array_equal(after["features"][name], before["features"][name])
    np.testing.assert_array_equal(after["labels"]["ctr"], before["labels"]["ctr"])


def test_held_rows_cannot_be_changed_by_who_reads_them(held):
    first = next(held.batches(4))["labels"]["ctr"].numpy()
    first[:] = 7.0
    assert next(held.batches(4))["labels"]["ctr"].numpy().max() <= 1.0
    with pytest.raises(ValueError, match=re.escape("read-only")):
        held.columns[0][0] = 1


def test_the_kuairand_sample():
    folder = real_data("kuairand_feedback_sample")
    made = load_schema(PROJECT / "configs" / "schemas" / "kuairand_feedback.toml")
    source = open_source(made, folder, SplitRule("time"))
    source = audit.complete(source, audit.audit(source))
    held = hold(batches(source, "validation", 4096), limit_gib=0.1)
    for found, expected in zip(held.batches(500), batches(source, "validation", 500), strict=True):
        assert_same_batches(found, expected)
