"""The table and the picture of benchmarks/heads.py."""

import importlib

import numpy as np
import pytest

from lt4rec_tf.core.artifacts import write_json
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.reports.figures import to_rgba
from tests.support.paths import PROJECT

TASKS = [
    {"name": "ctr", "kind": "binary", "metric": "auc", "direction": "max", "population": None},
    {"name": "cvr", "kind": "continuous", "metric": "mse", "direction": "min", "population": "ctr"},
]


@pytest.fixture
def heads(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return importlib.import_module("heads")


def run(mse, mae_s, auc=None, status="done"):
    metrics = {"cvr": {"mse": mse, "mae": 0.2, "xauc": 0.7, "ece": 0.02, "pcoc": 1.0}}
    if auc is not None:
        metrics |= {"ctr": {"auc": auc}, "ctcvr": {"mse": 0.1}}
    alone = {"mae_s": 13.0, "rmse_s": 27.0, "xauc": 0.8, "ndcg": 0.9}
    timed = {"metrics": alone | {"mae_s": mae_s}, "duration_alone": alone}
    return {"status": status, "metrics": metrics, "watch_time": {"cvr": timed}}


def model(name, head, runs, difference=None, group="Single tasks"):
    found = {"row": name, "group": group, "flags": [f"--head={head}"], "runs": runs}
    return found | {"differences": {"cvr": difference} if difference else {}}


def difference(value, half):
    numbers = {"metric": "mse", "seeds": 2, "base": 0.1, "value": 0.1 + value}
    return numbers | {"difference": value, "low": value - half, "high": value + half}


@pytest.fixture
def results():
    models = [
        model("base_cvr", "plain", [run(0.08, 12.0), run(0.12, 14.0)]),
        model("base_d2q_cvr", "d2q", [run(0.12, 10.0)] * 2, difference(0.02, 0.005)),
        model(
            "s_gates",
            "plain",
            [run(0.10, 12.0, 0.75), run(0.10, 12.0, 0.77)],
            difference(-0.001, 0.002),
            "Learned tickets",
        ),
        model("s_gates_cqe", "cqe", [run(0.5, 50.0, status="failed")], group="Learned tickets"),
    ]
    without_head = model("mmoe", "", [run(0.1, 12.0)])
    return {"tasks": TASKS, "rows": [*models, without_head | {"flags": ["--experts=3"]}]}


def test_lines_are_means_over_the_seeds_that_ended(heads, results):
    plain, d2q, tickets = heads.lines_of(results, "cvr")
    assert (plain.group, plain.head, plain.difference) == ("Single tasks", "plain", None)
    assert plain.metrics["mse"] == pytest.approx(0.10)
    assert (plain.seconds["mae_s"], plain.alone["mae_s"]) == (13.0, 13.0)
    assert plain.others == {}
    assert d2q.seconds["mae_s"] == 10.0
    assert tickets.others == {"ctr": pytest.approx(0.76)}


def test_the_table_has_differences_and_names_a_group_once(heads, results):
    lines = heads.lines_of(results, "cvr")
    tasks = {task["name"]: task for task in TASKS}
    _, _, *shown = heads.table(lines, "mse", tasks).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown]
    assert [line[0] for line in cells] == [
        "Single tasks: `plain`",
        "`d2q`",
        "Learned tickets: `plain`",
    ]
    assert [line[2] for line in cells] == [
        "-",
        "**+20.00 %** [+15.00, +25.00]",
        "-1.00 % [-3.00, +1.00]",
    ]
    assert [line[-1] for line in cells] == ["-", "-", "0.7600"]


def test_the_picture_has_a_line_for_each_head(heads, results):
    figure = heads.figure(heads.lines_of(results, "cvr"), "mse")
    panels = figure.axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["plain", "d2q"]
    assert [text.get_text() for text in panels[0].texts] == ["+20 %"]  # beyond the edge
    assert np.ptp(to_rgba(figure)) > 0


def test_what_has_no_heads_is_refused(heads, tmp_path):
    (tmp_path / "report").mkdir()
    write_json(tmp_path / "report" / "results.json", {"tasks": TASKS, "rows": []})
    argv = ["heads", f"--comparison={tmp_path}", "--name=x"]
    with pytest.raises(InputError, match="--task: found like, expected one of ctr, cvr"):
        heads.main([*argv, "--task=like"])
    with pytest.raises(InputError, match="found no model with a head of cvr that ended"):
        heads.main(argv)
