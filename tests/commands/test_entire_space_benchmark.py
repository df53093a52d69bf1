"""What benchmarks/entire_space.py measures, on impressions made up by hand."""

import gzip
import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.training.predictions import Predictions
from tests.support.paths import PROJECT


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return importlib.import_module("entire_space")


def rows_of_three_users(benchmark):
    """Six impressions, half clicked; the truth is lower where nobody clicked."""
    clicked = np.array([True, True, True, False, False, False])
    return benchmark.Rows(
        clicked=clicked,
        ratios=np.array([0.8, 0.6, 1.0, 0.0, 0.0, 0.0]),
        truth=np.array([0.7, 0.7, 0.9, 0.4, 0.5, 0.6]),
        chances=np.array([0.8, 0.5, 0.4, 0.2, 0.1, 0.3]),
        users=np.array([1, 1, 2, 2, 3, 3]),
    )


def test_errors_and_bias_are_of_their_populations(benchmark):
    rows = rows_of_three_users(benchmark)
    scores = {"hard_sharing": np.full((2, 6), 0.8), "dcmt": np.full((2, 6), 0.6)}
    errors, differences, _, bias, order = benchmark.tables(scores, rows, "hard_sharing", 20)
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in errors.splitlines()[2:]
    }
    assert cells["hard_sharing"] == ["0.02667", "0.01000", "0.05333", "0.09667"]
    assert cells["the truth"] == ["0.01000", "0.00000", "0.00000", "0.00000"]
    assert cells["the mean of clicks"] == cells["hard_sharing"]  # .8
    assert "-82.76 %" in differences  # .08 of .09667 where nobody clicked
    assert "dcmt" in differences
    assert "hard_sharing" not in differences.splitlines()[2]
    assert [line.split("|")[5].split()[0].strip("*") for line in bias.splitlines()[2:]] == [
        "+0.3000",
        "+0.1000",
    ]
    assert len(order.splitlines()) == 4


def test_clicks_weighed_by_true_chances_tell_of_all_impressions(benchmark):
    rows = rows_of_three_users(benchmark)
    of_tasks = {"ctr": np.full((2, 6), 0.5), "cvr": np.full((2, 6), 0.8)}
    scores = {"hard_sharing": of_tasks, "base_cvr": {"cvr": of_tasks["cvr"]}}
    (line,) = benchmark.estimates(scores, rows).splitlines()[2:]
    weighed = (0.2 / 0.5 - 0.2 / 0.4) / (1 / 0.8 + 1 / 0.5 + 1 / 0.4)
    expected = ["hard_sharing", "+0.0000", "+0.0000", f"{weighed:+.4f}", f"{1 / 6:+.4f}"]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == expected


def test_the_truth_is_read_in_the_order_of_the_log_and_refused_in_another(
    benchmark, tmp_path, monkeypatch
):
    log = tmp_path / "impressions" / "day_06_part_000.csv.gz"
    truth = tmp_path / "truth" / log.name
    for file, text in (
        (log, "click\n1\n0\n"),
        (truth, "click_probability,expected_watch_ratio\n0.5,0.9\n0.25,0.4\n"),
    ):
        file.parent.mkdir()
        file.write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(benchmark, "files_of", lambda source, split: (log,))
    source = SimpleNamespace(data_dir=tmp_path)

    def predictions_of(click):
        labels = {"cvr": np.array([0.7, 0.0], np.float32)}
        return Predictions({}, labels, {"cvr": np.array(click, np.float32)}, np.array([3, 4]))

    rows = benchmark.rows_of(predictions_of([1, 0]), source)
    assert rows.truth.tolist() == [0.9, 0.4]
    assert rows.chances.tolist() == [0.5, 0.25]
    assert rows.clicked.tolist() == [True, False]
    with pytest.raises(InputError, match="expected the same rows in one order"):
        benchmark.rows_of(predictions_of([0, 1]), source)
    truth.unlink()
    with pytest.raises(InputError, match=r"day_06_part_000.csv.gz: found none, expected the truth"):
        benchmark.rows_of(predictions_of([1, 0]), source)
