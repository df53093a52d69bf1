"""Batches that Python reads, by their number: each file is read once, in its order."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.data.formats.numbered_batches import NumberedBatches

BATCHES, SIZE = 40, 3


class Reader:
    """Reads a file of numbers, and counts how often it was opened and read."""

    def __init__(self):
        self.opened = self.read = 0

    def __call__(self, path):
        self.opened += 1
        for start in range(0, BATCHES * SIZE, SIZE):
            self.read += 1
            yield np.array(
                [b"%s %d" % (path.name.encode(), start + i) for i in range(SIZE)], object
            )


def expected(name):
    return [f"{name} {number}".encode() for number in range(BATCHES * SIZE)]


def records(dataset):
    return [record for batch in dataset.batch(7).as_numpy_iterator() for record in batch]


def test_a_file_is_opened_once_and_read_in_its_order():
    reader = Reader()
    dataset = NumberedBatches(reader).dataset(tf.constant("/logs/a"))
    assert records(dataset) == expected("a")
    assert (reader.opened, reader.read) == (1, BATCHES)


def test_files_that_are_read_in_turns_are_opened_once_each():
    reader = Reader()
    batches = NumberedBatches(reader)
    paths = tf.data.Dataset.from_tensor_slices(["/logs/a", "/logs/b", "/logs/c"])
    found = records(paths.interleave(batches.dataset, cycle_length=3, num_parallel_calls=3))
    for name in "abc":
        assert [record for record in found if record.startswith(name.encode())] == expected(name)
    assert (reader.opened, reader.read) == (3, 3 * BATCHES)


def test_passes_side_by_side_do_not_meet():
    reader = Reader()
    dataset = NumberedBatches(reader).dataset(tf.constant("/logs/a"))
    pairs = itertools.islice(zip(dataset, dataset, strict=True), 20)
    assert [pair[0].numpy() for pair in pairs] == expected("a")[:20]
    assert records(dataset) == expected("a")  # two were given up


@pytest.mark.parametrize("when", [True, False])
def test_a_file_may_be_left_out(when):
    dataset = NumberedBatches(Reader()).dataset(tf.constant("/logs/a"), when=tf.constant(when))
    assert records(dataset) == (expected("a") if when else [])


def test_files_of_passes_that_were_given_up_are_closed(monkeypatch):
    monkeypatch.setattr("lt4rec_tf.data.formats.numbered_batches._MOST_OPEN", 2)
    closed = []

    def read(path: Path):
        try:
            yield from Reader()(path)
        finally:
            closed.append(path.name)

    batches = NumberedBatches(read)
    for name in "abcd":
        next(iter(batches.dataset(tf.constant(f"/logs/{name}"))))
    assert closed[:2] == ["a", "b"]
    assert records(batches.dataset(tf.constant("/logs/a"))) == expected("a")
