"""Counts of values by split, against Counter, and what is kept where they do not fit."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit.value_counts import ValueCounts, marks_of
from lt4rec_tf.metrics.deciding import LEAST_OF_CLASS, cells_of, deciding_auc

BATCHES = st.lists(
    st.lists(st.tuples(st.integers(-5, 40) | st.sampled_from([2**63 - 1, -(2**63)]),
                       st.integers(0, 2)), max_size=20),
    max_size=6,
)  # fmt: skip


@given(BATCHES, st.integers(1, 30), st.integers(1, 50))
def test_counts_are_those_of_a_counter_for_the_values_that_are_kept(batches, kept, pending):
    counts = ValueCounts(kept, pending)
    expected = Counter()
    for batch in batches:
        keys = np.array([key for key, _ in batch], np.int64)
        counts.add(keys, np.array([split for _, split in batch], np.int64))
        expected.update(batch)
    table = counts.table()

    values = {key for key, _ in expected}
    below = 2**63 // table.times
    marks = marks_of(np.array(sorted(values), np.int64))
    chosen = [key for key, mark in zip(sorted(values), marks.tolist(), strict=True) if mark < below]
    assert table.keys.tolist() == chosen
    assert len(chosen) <= kept
    assert table.times == 1 or len(values) > kept
    for key, row in zip(table.keys.tolist(), table.counts.tolist(), strict=True):
        assert row == [expected[key, split] for split in range(3)]


def test_distinct_values_are_estimated_beyond_the_bound():
    counts = ValueCounts(kept=2000, pending=5000)
    for start in range(0, 100_000, 5000):
        counts.add(np.arange(start, start + 5000), np.zeros(5000, int))
    table = counts.table()
    assert table.times == 64
    assert len(table.keys) * table.times == pytest.approx(100_000, rel=0.1)


def test_a_value_is_judged_by_other_rows_alone():
    random = np.random.default_rng(1)
    labels = random.random(4000) < 0.3
    assert deciding_auc(np.arange(4000), labels) == 0.5  # names that never come again
    assert deciding_auc(random.integers(0, 1000, 4000), labels) == pytest.approx(0.5, abs=0.03)
    # Tells half of the rows: 3/4 of the pairs, and half of the rest by chance.
    half = np.where(random.random(4000) < 0.5, labels, 2)
    assert deciding_auc(half, labels) == pytest.approx(0.875, abs=0.01)
    assert deciding_auc(labels * 7, labels) == 1.0
    assert deciding_auc(~labels, labels) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_were_drawn_with_a_usual_seed_are_halved_as_others(seed):
    labels = np.random.default_rng(seed).random(600) < 0.3
    assert deciding_auc(labels, labels) == 1.0


def test_few_rows_say_nothing():
    labels = np.arange(100) < LEAST_OF_CLASS
    assert deciding_auc(labels, labels) == 1.0
    labels = np.arange(100) < LEAST_OF_CLASS - 1
    assert np.isnan(deciding_auc(labels, labels))


def test_a_value_that_many_rows_share_has_a_cell_of_its_own():
    numbers = np.concatenate([np.zeros(900), np.random.default_rng(0).random(100), [np.nan] * 5])
    cells = cells_of(numbers)
    assert set(cells[:900]) & set(cells[900:]) == set()
    assert len(set(cells[900:1000])) > 15
    assert set(cells[1000:]) == {-1}
