"""Boundaries of numbers against numpy's quantiles, and of columns that are mostly one value."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.data.inspect.boundaries import boundaries_of
from lt4rec_tf.schema.reader import BINS, load_schema
from lt4rec_tf.schema.types import IdRule

SHARES = np.arange(1, 16) / 16


def test_values_that_differ_are_cut_at_their_quantiles():
    numbers = np.sort(np.random.default_rng(0).lognormal(size=1000))
    expected = [float(f"{cut:.6g}") for cut in np.quantile(numbers, SHARES)]
    assert boundaries_of(numbers) == tuple(expected)


@pytest.mark.parametrize("common", [0.0, 7.5, 1000.0])
def test_a_value_of_95_rows_in_a_hundred_leaves_the_others_their_quantiles(common):
    others = np.arange(1.0, 51.0)
    numbers = np.sort(np.concatenate([np.full(950, common), others]))
    cuts = boundaries_of(numbers)
    quantiles = {float(f"{cut:.6g}") for cut in np.quantile(others, SHARES)}
    assert quantiles < set(cuts)
    cells = np.searchsorted(np.array(cuts), numbers, side="right")
    common_cells = set(cells[numbers == common])
    assert len(common_cells) == 1  # of its own:
    assert common_cells.isdisjoint(cells[numbers != common])
    assert max(np.unique(cells[numbers != common], return_counts=True)[1]) <= 5


@pytest.mark.parametrize(
    ("numbers", "cuts"),
    [
        ([3.0] * 9, (3.0,)),
        ([0.0] * 9 + [1.0], (0.5, 1.0)),
        ([0.0] * 5 + [1.0] * 5, (0.5,)),
        ([1234567.0] * 90 + [1234568.0], (1234568.0,)),
        # Neighbours in float32, between which there is no third number.
        ([np.float64(np.float32(1.0))] * 9 + [np.nextafter(np.float32(1), np.float32(2))],
         (1.0, float(np.nextafter(np.float32(1), np.float32(2))))),
    ],
)  # fmt: skip
def test_boundaries_by_hand(numbers, cuts):
    assert boundaries_of(np.array(numbers, np.float64)) == cuts


@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=40),
    st.integers(0, 200),
)
@settings(max_examples=200, deadline=None)
def test_boundaries_rise_and_a_common_value_is_alone(numbers, times):
    values = np.sort(np.array([*numbers, *[numbers[0]] * times], np.float64))
    cuts = np.array(boundaries_of(values))
    assert (np.diff(cuts) > 0).all()
    assert np.isfinite(cuts).all()
    if times > len(numbers):  # more than half of the rows
        cells = np.searchsorted(cuts.astype(np.float32), values.astype(np.float32), side="right")
        alone = cells[values == numbers[0]][0]
        assert alone not in cells[values != numbers[0]]


def test_numbers_of_lists_are_cut_by_the_draft_and_single_ones_by_the_audit(tmp_path):
    rows = []
    for n in range(2000):
        row = {"user_id": f"u{n % 9}", "click": n % 2, "spent": n / 8, "prices": [n / 4, n / 2]}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "a.jsonl").write_text("".join(rows))
    flags = [f"--files={tmp_path}/a.jsonl", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    found = load_schema(tmp_path / "s.toml")
    assert found.feature("spent").ids == IdRule("piecewise_linear", bins=BINS)
    prices = np.concatenate([np.arange(2000) / 4, np.arange(2000) / 2])
    cuts = tuple(float(f"{cut:.6g}") for cut in np.quantile(prices, SHARES))
    assert found.feature("prices").ids == IdRule("boundaries", boundaries=cuts)
