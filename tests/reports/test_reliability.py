"""The picture of calibration and the tables of errors by label."""

import numpy as np
import pytest

from lt4rec_tf.reports.reliability import label_tables, reliability_figure, shown_models
from tests.support.evaluations import CTR, CVR


def part(rows, prediction, label, half=None):
    low, high = (None, None) if half is None else (label - half, label + half)
    return {"rows": rows, "prediction": prediction, "label": label, "low": low, "high": high}


def by_label(low, high, rows):
    means = {"label": 0.5, "prediction": 0.25, "mse": 0.0625, "mae": 0.25}
    return {"low": low, "high": high, "rows": rows, **means}


CTR_BINS = [part(10, 0.1, 0.2, 0.05), part(11, 0.3, 0.25, 0.125), part(10, 0.6, 0.5)]
ALONE = {
    "row": "base_ctr",
    "metrics": {"ctr": {"ece": 0.5}},
    "reliability": {"ctr": CTR_BINS[:1]},
    "by_label": {},
}
JOINT = {
    "row": "s_weight",
    "metrics": {"ctr": {"ece": 0.0625}, "cvr": {}},
    "reliability": {"ctr": CTR_BINS, "cvr": [part(7, 0.5, 0.75, 0.1)]},
    "by_label": {"cvr": [by_label(0.0, 0.0, 1200), by_label(0.25, 1.0, 31)]},
}
LATER = {**ALONE, "row": "mmoe", "reliability": {"ctr": CTR_BINS[1:]}}
EVALUATION = {"tasks": [CTR, CVR], "rows": [ALONE, JOINT, LATER]}


def names(evaluation, preferred):
    return {task: model["row"] for task, model in shown_models(evaluation, preferred).items()}


def test_the_exported_model_is_shown_where_it_has_the_task():
    assert names(EVALUATION, "s_weight") == {"ctr": "s_weight", "cvr": "s_weight"}
    assert names(EVALUATION, "base_ctr") == {"ctr": "base_ctr", "cvr": "s_weight"}
    assert names(EVALUATION, "base_cvr") == {"ctr": "mmoe", "cvr": "s_weight"}
    older = {"row": "s_weight", "metrics": {}}
    assert names({**EVALUATION, "rows": [older]}, "s_weight") == {}


def test_a_panel_shows_means_intervals_counts_and_the_error():
    figure = reliability_figure(EVALUATION, "s_weight")
    ctr, cvr = figure.axes
    assert ctr.get_title() == "CTR over all impressions, ECE 0.0625"
    assert cvr.get_title() == "CVR over impressions with click = 1"
    assert ctr.get_xlabel() == "mean prediction (3 bins of 10 to 11 rows)"
    assert cvr.get_xlabel() == "mean prediction (1 bin of 7 rows)"
    lines = {line.get_label(): line for line in ctr.lines}
    np.testing.assert_array_equal(lines["s_weight"].get_xdata(), [0.1, 0.3, 0.6])
    np.testing.assert_array_equal(lines["s_weight"].get_ydata(), [0.2, 0.25, 0.5])
    np.testing.assert_array_equal(lines["calibrated"].get_xdata(), lines["calibrated"].get_ydata())
    (bars,) = ctr.containers
    (spans,) = bars.lines[2]
    ends = [segment[:, 1].tolist() for segment in spans.get_segments()]
    np.testing.assert_allclose(ends, [[0.15, 0.25], [0.125, 0.375]])  # the third has none


def test_where_a_map_changes_predictions_their_bins_are_drawn_too():
    after = {
        "maps": {"ctr": "platt"},
        "metrics": {"ctr": {"ece": 0.03125}, "cvr": {}},
        "reliability": {"ctr": [part(31, 0.25, 0.375)], "cvr": JOINT["reliability"]["cvr"]},
    }
    models = [ALONE, {**JOINT, "calibrated": after}]
    ctr, cvr = reliability_figure({**EVALUATION, "rows": models}, "s_weight").axes
    assert ctr.get_title() == "CTR over all impressions, ECE 0.0625 to 0.0312"
    lines = {line.get_label(): line for line in ctr.lines}
    np.testing.assert_array_equal(lines["with its map"].get_xydata(), [[0.25, 0.375]])
    assert "with its map" not in [line.get_label() for line in cvr.lines]


def test_no_bins_no_picture():
    with pytest.raises(ValueError, match="found no task with bins"):
        reliability_figure({**EVALUATION, "rows": []}, "s_weight")


def test_errors_by_label_are_a_line_a_bin():
    (text,) = label_tables(EVALUATION, "s_weight")
    title, table = text.split("\n\n")
    assert title == "CVR of s_weight, by label"
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    assert cells[0] == ["cvr label", "rows", "mean label", "mean prediction", "MSE", "MAE"]
    assert cells[2] == ["0", "1,200", "0.50000", "0.25000", "0.06250", "0.25000"]
    assert cells[3][:2] == ["0.25 to 1", "31"]
