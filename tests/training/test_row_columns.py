"""Columns of a split's rows, in memory and in files."""

import gc
import tempfile

import numpy as np
import pytest

from lt4rec_tf.training import row_columns
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.predictions import Predictions
from lt4rec_tf.training.row_columns import joined

DTYPES = (np.float32, np.int64)


def pieces(*sizes):
    first = 0
    for size in sizes:
        numbers = np.arange(first, first + size)
        yield numbers.astype(np.float32) / 4, numbers
        first += size


@pytest.mark.parametrize("in_memory", [0, 10, 21, 22, 1000])
def test_columns_are_those_of_the_batches(monkeypatch, in_memory):
    monkeypatch.setattr(row_columns, "ROWS_IN_MEMORY", in_memory)
    numbers, users = joined(pieces(8, 0, 8, 6), DTYPES)
    assert (numbers.dtype, users.dtype) == DTYPES
    assert users.tolist() == list(range(22))
    assert numbers.tolist() == [number / 4 for number in range(22)]
    assert isinstance(users, np.memmap) == (in_memory < 22)


def test_no_batches_have_no_rows():
    assert [(len(column), column.dtype) for column in joined([], DTYPES)] == [
        (0, np.float32),
        (0, np.int64),
    ]


def test_files_have_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(row_columns, "ROWS_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    columns = joined(pieces(8), DTYPES)
    assert list(tmp_path.iterdir()) == []
    assert columns[1].tolist() == list(range(8))
    del columns
    gc.collect()


def test_predictions_in_files_have_the_metrics_of_those_in_memory(monkeypatch, small_schema):
    rng = np.random.default_rng(6)
    click = rng.integers(0, 2, 300).astype(np.float32)
    ratio = rng.random(300).astype(np.float32) * click
    logits = rng.normal(size=(2, 300)).astype(np.float32)
    users = rng.integers(0, 20, 300)
    columns = [*logits, click, ratio, np.ones_like(click), click, users]
    batches = [[column[start : start + 64] for column in columns] for start in range(0, 300, 64)]

    def metrics():
        dtypes = [column.dtype.type for column in columns]
        first, second, clicks, ratios, ones, clicked, groups = joined(batches, dtypes)
        labels, weights = {"ctr": clicks, "cvr": ratios}, {"ctr": ones, "cvr": clicked}
        predictions = Predictions({"ctr": first, "cvr": second}, labels, weights, groups)
        return measure(predictions, small_schema, ("ctr", "cvr"))

    in_memory = metrics()
    monkeypatch.setattr(row_columns, "ROWS_IN_MEMORY", 100)
    assert metrics() == in_memory
    assert len(in_memory) == 3
