"""The front, the table and the picture of benchmarks/frontier.py."""

import importlib
import itertools

import numpy as np
import pytest

from lt4rec_tf.reports.figures import to_rgba
from tests.support.paths import PROJECT

CTR = {"name": "ctr", "kind": "binary", "metric": "auc", "direction": "max", "population": None}
CVR = {
    "name": "cvr",
    "kind": "continuous",
    "metric": "mse",
    "direction": "min",
    "population": "click",
}


@pytest.fixture
def frontier(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return importlib.import_module("frontier")


@pytest.fixture
def picture(frontier):
    return importlib.import_module("frontier_picture")


def point(picture, rank, auc, mse, step=0.05, half=(0.002, 0.0004)):
    quality = {}
    for task, value, of_task in (("ctr", auc, half[0]), ("cvr", mse, half[1])):
        interval = (value - of_task, value + of_task) if of_task else None
        quality[task] = picture.Quality(value, interval, f"{value:.5f}", "+")
    return picture.Point("Tickets", quality, rank, step, 2_000_000)


def points_of(picture):
    return {
        "single-task models": point(picture, 0.008, 0.71, 0.057, half=(0, 0)),
        "shared_bottom": point(picture, 0.004, 0.70, 0.058, step=0.04),
        "s_joint": point(picture, 0.002, 0.71, 0.056, step=0.01),
    }


def test_quality_is_the_mean_and_the_interval_of_the_difference_on_the_single_tasks_mean(frontier):
    difference = {"metric": "auc", "seeds": 2, "base": 0.7, "value": 0.71}
    difference |= {"difference": 0.01, "low": -0.01, "high": 0.03}
    runs = [{"status": "done", "metrics": {"ctr": {"auc": auc}}} for auc in (0.70, 0.72)]
    line = {"row": "s_joint", "runs": runs, "differences": {"ctr": difference}}
    found = frontier.quality_of(line, CTR)
    assert (found.value, found.cell) == (0.71, "0.71000")
    np.testing.assert_allclose(found.interval, (0.69, 0.73))
    assert found.difference_cell == "+0.0100 [-0.0100, +0.0300]"

    alone = frontier.quality_of(line | {"differences": {}}, CTR)
    assert (alone.value, alone.interval, alone.difference_cell) == (0.71, None, "-")


def test_one_seed_has_no_interval(frontier):
    difference = {"metric": "auc", "seeds": 1, "base": 0.7, "value": 0.71}
    difference |= {"difference": 0.01, "low": None, "high": None}
    runs = [{"status": "done", "metrics": {"ctr": {"auc": 0.71}}}]
    line = {"row": "s_joint", "runs": runs, "differences": {"ctr": difference}}
    found = frontier.quality_of(line, CTR)
    assert (found.interval, found.difference_cell) == (None, "+0.0100")


def test_table_has_ratios_to_single_task_models_and_to_the_dense_model(frontier, picture):
    table = frontier.frontier_table([CTR, CVR], points_of(picture), "shared_bottom")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert lines[0] == [
        *["model", "CTR AUC", "to single tasks", "CVR MSE on clicks", "to single tasks"],
        *["rank, ms", "of single-task models", "step, ms", "of shared_bottom", "version, MB"],
    ]
    assert lines[2][5:] == ["8.000", "1.00", "50.0", "1.25", "2.00"]
    assert lines[4] == [
        *["s_joint", "0.71000", "+", "0.05600", "+", "2.000", "0.25", "10.0", "0.25", "2.00"]
    ]


def test_picture_has_each_points_time_metric_and_interval_better_up(picture):
    figure = picture.frontier_figure([CTR, CVR], points_of(picture))
    ctr, cvr = figure.axes
    for axes, values, half in (
        (ctr, (0.71, 0.70, 0.71), 0.002),
        (cvr, (0.057, 0.058, 0.056), 4e-4),
    ):
        drawn = [container.lines for container in axes.containers]
        places = [line.get_xydata()[0].tolist() for line, _, _ in drawn]
        assert places == [[x, y] for x, y in zip((1, 0.5, 0.25), values, strict=True)]
        ends = drawn[2][2][0].get_segments()[0][:, 1]
        np.testing.assert_allclose(sorted(ends), [values[2] - half, values[2] + half])
    assert not ctr.yaxis_inverted()
    assert cvr.yaxis_inverted()
    assert {label.get_text() for label in ctr.texts} == set(points_of(picture))
    (third,) = (line for line in ctr.lines if line.get_label() == "a third of the time")
    assert third.get_xdata()[0] == pytest.approx(1 / 3)
    (front,) = (line for line in ctr.lines if line.get_label() == "Pareto front")
    assert front.get_xydata().tolist() == [[0.25, 0.71]]  # as good as single tasks, and faster


def test_names_cover_neither_each_other_nor_points_where_there_is_room(picture):
    rng = np.random.default_rng(3)
    points = points_of(picture)
    for index in range(9):
        rank, auc, mse = 0.008 * rng.random() + 0.001, *rng.normal([0.71, 0.057], [0.004, 0.0006])
        points[f"s_weight_{index}"] = point(picture, rank, auc, mse)
    points["s_joint_twin"] = points["s_joint"]
    figure = picture.frontier_figure([CTR, CVR], points)
    to_rgba(figure)
    for axes in figure.axes:
        boxes = [picture._text_box(label) for label in axes.texts]
        assert len(boxes) == len(points)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        for container in axes.containers:
            x, y = axes.transData.transform(container.lines[0].get_xydata()[0])
            assert not any(box.contains(x, y) for box in boxes)


def test_a_comparison_without_the_dense_model_is_refused(frontier, tmp_path, monkeypatch):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "results.json").write_text('{"rows": [], "tasks": []}')
    monkeypatch.setattr(frontier, "models_of", lambda *arguments: {"single-task models": None})
    with pytest.raises(frontier.InputError, match="--dense: found shared_bottom, expected one of"):
        frontier.main(["frontier.py", f"--comparison={tmp_path}", "--name=none"])
