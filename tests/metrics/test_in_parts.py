"""Metrics over many rows, read in parts: the numbers of the whole columns, bit for bit."""

import numpy as np
import pytest

from lt4rec_tf.metrics import amounts, binary, calibration, continuous, in_parts

ROWS = 5_003
METRICS = {
    "auc": (binary.auc, "click", "chance"),
    "gauc": (binary.gauc, "click", "chance", "user"),
    "log_loss": (binary.log_loss, "click", "chance"),
    "ne": (binary.ne, "click", "chance"),
    "mse": (continuous.mse, "ratio", "chance"),
    "mae": (continuous.mae, "ratio", "chance"),
    "xauc": (continuous.xauc, "ratio", "chance"),
    "pcoc": (continuous.pcoc, "ratio", "chance"),
    "rmse": (amounts.rmse, "amount", "chance"),
    "nrmse": (amounts.nrmse, "amount", "chance"),
    "nmae": (amounts.nmae, "amount", "chance"),
    "spearman": (amounts.spearman, "amount", "chance"),
    "gini": (amounts.gini, "amount", "chance"),
    "ece": (calibration.ece, "ratio", "chance"),
    "reliability": (calibration.reliability, "click", "chance", "user"),
    "reliability of ratios": (calibration.reliability, "ratio", "chance", "user"),
    "error_by_label": (calibration.error_by_label, "ratio", "chance"),
}


@pytest.fixture(params=["distinct", "tied"])
def columns(request):
    rng = np.random.default_rng(7)
    chance, ratio = rng.random((2, ROWS))
    if request.param == "tied":
        chance, ratio = chance.round(1), ratio.round(1)
    click = rng.random(ROWS) < 0.3
    found = {"click": click, "chance": chance, "ratio": ratio * click, "amount": 300 * ratio}
    narrow = {name: column.astype(np.float32) for name, column in found.items()}
    return narrow | {"user": rng.integers(0, 2**62, 400)[rng.integers(0, 400, ROWS)]}


@pytest.fixture
def in_small_parts(monkeypatch):
    def apply():
        monkeypatch.setattr(in_parts, "ROWS", 256)
        monkeypatch.setattr(binary, "_ROWS_OF_USERS", 700)
        monkeypatch.setattr(continuous, "_ROWS_MERGED", 64)

    return apply


@pytest.mark.parametrize("metric", METRICS)
def test_parts_of_the_rows_give_the_numbers_of_all_at_once(columns, in_small_parts, metric):
    compute, *names = METRICS[metric]
    of_wide = [np.asarray(columns[name], np.float64 if name != "user" else None) for name in names]
    expected = compute(*of_wide)
    in_small_parts()
    assert compute(*(columns[name] for name in names)) == expected


def test_a_sum_is_numpys(monkeypatch):
    monkeypatch.setattr(in_parts, "ROWS", 256)
    numbers = np.random.default_rng(2).normal(size=ROWS).astype(np.float32)
    expected = np.exp(numbers.astype(np.float64))
    assert in_parts.mean_over(np.exp, None, numbers) == expected.mean()
    plain = sum(expected.tolist())
    assert in_parts.mean_over(np.exp, None, numbers) != plain / ROWS  # in that order alone


def test_pairs_are_counted_across_parts(monkeypatch):
    monkeypatch.setattr(in_parts, "ROWS", 8)
    monkeypatch.setattr(continuous, "_ROWS_MERGED", 4)
    rng = np.random.default_rng(3)
    for most in (1, 3, 60):
        values = rng.integers(0, most, 45).astype(np.uint32)
        first, second = np.triu_indices(45, 1)
        expected = np.sum(values[first] > values[second])
        assert continuous._tied_pairs(np.sort(values)) == np.sum(values[first] == values[second])
        assert continuous._inversions(values) == expected


def test_keys_have_the_order_of_float32():
    numbers = np.array([-np.inf, -2.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, 3e38], np.float32)
    keys = in_parts.order_keys(numbers).astype(np.int64)
    assert np.array_equal(np.sign(np.diff(keys)), np.sign(np.diff(numbers)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_number_beyond_the_first_part_is_named(monkeypatch, wrong):
    monkeypatch.setattr(in_parts, "ROWS", 8)
    scores = np.zeros(40, np.float32)
    scores[[21, 35]] = wrong
    with pytest.raises(ValueError, match=rf"scores: found {wrong} in row 21 \(and 1 more"):
        binary.auc(np.arange(40) % 2, scores)
