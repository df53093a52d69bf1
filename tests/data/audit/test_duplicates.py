"""Counting records that come more than once, in bounded memory."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.config.parse import parse
from lt4rec_tf.data.audit import checks, duplicates
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.duplicates import DistinctCounter, Duplicates
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.experiment.logs import audited
from tests.support.feeds import good_row, line, opened, schema, write_lines


def counted(marks, kept, numbers, part=100):
    counter = DistinctCounter(kept, numbers)
    for start in range(0, len(marks), part):
        counter.add(marks[start : start + part])
    return counter


@given(st.lists(st.integers(0, 63), max_size=200), st.integers(1, 50))
def test_what_fits_is_counted_exactly(numbers, part):
    marks = np.array(numbers, np.int64)
    found = counted(marks, kept=64, numbers=64, part=part).duplicates()
    assert found == Duplicates(len(numbers) - len(set(numbers)), estimated=False)


def test_what_is_worked_on_in_blocks_is_counted_exactly(monkeypatch):
    monkeypatch.setattr(duplicates, "_PENDING", 3)
    marks = np.random.default_rng(4).integers(0, 40, 100)
    for part in (1, 7, 100):
        found = counted(marks, kept=64, numbers=64, part=part)
        assert found.distinct() == len(np.unique(marks))
        assert found._distinct.tolist() == np.unique(marks).tolist()


@pytest.mark.parametrize("copies", [1, 3])
def test_what_does_not_fit_is_estimated(copies):
    rng = np.random.default_rng(0)
    marks = np.repeat(rng.integers(0, 2**62, 200_000), copies)
    rng.shuffle(marks)
    found = counted(marks, kept=10_000, numbers=2**62, part=5_000).duplicates()
    assert found.estimated
    # 5 standard errors of a count from 5,000 kept ones at least.
    assert abs(found.rows - 200_000 * (copies - 1)) < 5 * 200_000 / np.sqrt(5_000)


def test_the_estimate_depends_on_the_records_and_not_on_their_order():
    marks = np.random.default_rng(0).integers(0, 2**62, 20_000)
    found = counted(marks, kept=1_000, numbers=2**62).duplicates()
    assert counted(marks[::-1], kept=1_000, numbers=2**62, part=777).duplicates() == found


def test_one_record_that_makes_up_half_of_a_log_does_not_mislead():
    marks = np.random.default_rng(0).integers(0, 2**62, 40_000)
    marks[::2] = marks[0]
    found = counted(marks, kept=4_000, numbers=2**62).duplicates()
    assert abs(found.rows - 19_999) < 5 * 20_000 / np.sqrt(2_000)


def test_memory_is_bounded():
    counter = DistinctCounter(kept=1_000, numbers=2**62)
    rng = np.random.default_rng(0)
    for _ in range(200):
        counter.add(rng.integers(0, 2**62, 500))
        assert len(counter._distinct) <= 1_000
        assert counter._waiting <= 1_000


def test_copies_over_all_files_are_told_and_stop_a_run(tmp_path):
    lines = [line(good_row(number)) for number in range(30)]
    write_lines(tmp_path / "a.csv", lines)
    write_lines(tmp_path / "b.csv.gz", lines[:9])
    found = opened(schema(tmp_path), tmp_path, SplitRule("time", 1, 2))[1]
    assert found.duplicates == Duplicates(9, estimated=False)
    assert "duplicate rows: 9 (23.08 %)\n" in describe(found)
    checks.check(found, 0.0, 9 / 39)
    with pytest.raises(DataError, match=r"duplicate rows: 9 .*expected at most a fraction 0\.2 "):
        checks.check(found, 0.0, 0.2)


def test_a_run_says_from_how_many_rows_it_estimated(tmp_path):
    write_lines(tmp_path / "a.csv", 2 * [line(good_row(number)) for number in range(40)])
    source = open_source(schema(tmp_path), tmp_path, SplitRule("random"))
    flags = ["--schema=a", "--data_dir=b", "--split=random", "--duplicate_rows_remembered=16"]
    data = dataclasses.replace(parse(["train", *flags], "")[0].data, max_duplicate_fraction=0.9)

    said = []
    found = audited(source, tmp_path / "run", data, said.append)[1].duplicates
    assert found.estimated
    assert found.one_in in (4, 8)  # of 40 different rows at most 16 are remembered
    assert (
        f"%, estimated from one row in {found.one_in}, about {80 // found.one_in}: more rows "
        "differ than --duplicate_rows_remembered)\n"
    ) in said[-1]


def test_an_audit_of_before_says_no_share():
    kept = {"rows": 40, "estimated": True}
    assert Duplicates(**kept) == Duplicates(40, estimated=True, one_in=1)
