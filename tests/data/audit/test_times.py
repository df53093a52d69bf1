"""Times that an audit counts, and those that are far from all others."""

import numpy as np
import pytest

from lt4rec_tf.data.audit import marginals
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.times import FarTime, TimeCounts, Times, UnitCounts
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.splits import SplitRule
from tests.support.feeds import good_row, line, opened, schema, write_lines


def counted(*batches):
    counts = TimeCounts()
    first = 1
    for batch in batches:
        counts.add("a.csv", np.arange(first, first + len(batch)), np.array(batch, float))
        first += len(batch)
    return counts.result()


def test_far_times_are_counted_and_the_first_is_named():
    days = np.repeat(np.arange(20261101, 20261111), 100)
    found = counted(days[:500], [*days[500:600], 99991231, 0, 99991231], days[600:], [99991231])
    assert found == Times(
        "YYYYMMDD", 20161101, 20361110, 20261101, 20261110, 4, FarTime("a.csv", 601, 99991231)
    )


def test_far_times_are_counted_among_many_distinct_ones():
    rng = np.random.default_rng(0)
    times = 1_795_132_800_000 + np.cumsum(rng.integers(1, 1000, 50_000))
    times[[30_000, 41_000]] = 0, 253402214400000
    found = counted(*np.split(times, 50))
    kept = times[np.isin(np.arange(50_000), [30_000, 41_000], invert=True)]
    assert (found.unit, found.first, found.last) == ("ms", kept.min(), kept.max())
    assert (found.far, found.first_far) == (2, FarTime("a.csv", 30_001, 0))


def test_no_time_has_no_counts():
    assert counted([], []) is None


@pytest.fixture
def chain_day(tmp_path):
    """A day of a chain, of which two rows have a far time."""
    rows = [good_row(number, day="20261109") for number in range(300)]
    rows[7] |= {"day": "99991231"}
    rows[9] |= {"day": "0"}
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    return opened(schema(tmp_path), tmp_path)


def test_without_a_split_by_time_far_rows_are_kept_and_their_time_does_not_count(chain_day):
    source, found = chain_day
    assert found.unusable == {}
    assert found.splits["train"].rows == 300
    assert (found.times.first, found.times.last, found.times.far) == (20261109, 20261109, 2)
    assert found.times.first_far == FarTime("a.csv", 8, 99991231)
    said = describe(found)
    assert "times 20261109 (2026-11-09) to 20261109 (2026-11-09)" in said
    assert "count nowhere: 2 rows; the first is 99991231 (9999-12-31) in a.csv record 8" in said
    day = marginals.count(source)
    assert (day.rows, day.first_time, day.last_time) == (300, 20261109, 20261109)


def test_audits_of_earlier_versions_have_no_times(chain_day):
    _, found = chain_day
    old = found.to_json()
    del old["times"], old["warnings"]
    assert Audit.from_json(old).times is None
    assert "times " not in describe(Audit.from_json(old))


def test_boundaries_are_shown_with_their_dates(tmp_path):
    rows = [good_row(number, day=f"2026110{1 + number // 10}") for number in range(60)]
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    _, found = opened(schema(tmp_path), tmp_path, SplitRule("time"))
    said = describe(found).splitlines()
    assert "validation from 20261105 (2026-11-05), test from 20261106 (2026-11-06)" in said


def two_units(folder, second):
    """70 rows in seconds, then 30 of the next day in another unit."""
    for day, start in enumerate((1795132800, second)):
        rows = []
        for number in range((70, 30)[day]):
            time = start if isinstance(start, str) else start + number
            rows.append(line(good_row(number, day=str(time))))
        write_lines(folder / f"{day}.csv", rows)
    return schema(folder)


SECOND_DAY = "ms in 30 rows, first 1795219200000 (2026-11-21) in 1.csv record 1"
BOTH_UNITS = f"s in 70 rows, first 1795132800 (2026-11-20) in 0.csv record 1; {SECOND_DAY}"


def test_days_whose_times_have_several_units_are_named(tmp_path):
    made = two_units(tmp_path, "2026-11-21")
    _, found = opened(made, tmp_path)
    said = f"column day holds times in several units: {BOTH_UNITS}"
    assert [text for text in found.warnings if "units" in text] == [f"warning: {said}"]

    with pytest.raises(DataError) as error:
        opened(made, tmp_path, SplitRule("time"))
    said = f"column day: found times in several units ({BOTH_UNITS}), expected one"
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("times", "units"),
    [
        ([1795132800] * 98 + [1795132800000] * 2, ["s", "ms"]),
        ([1795132800] * 99 + [1795132800000], []),  # one by mistake
        ([20261120] * 50 + [1795132800] * 50, ["YYYYMMDD", "s"]),
        ([1795132800000000] * 50 + [1795132800000] * 50, ["us", "ms"]),
        ([1795132800] * 40 + [1795132800000] * 40 + [7] * 20, []),  # a counter
        (range(0, 10**10, 10**8), []),
        ([20261131] * 50 + [20261130] * 50, []),  # the first is no date
    ],
)
def test_units_of_times(times, units):
    times = np.array(times, float)
    counts = UnitCounts()
    for batch in (times[:10], times[:0], times[10:]):
        counts.add("a.csv", np.arange(len(batch)), batch)
    assert [found.unit for found in counts.mixed()] == units
