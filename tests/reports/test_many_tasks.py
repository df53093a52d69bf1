"""The tables and the picture of benchmarks/many_tasks.py."""

import numpy as np
import pytest

from benchmarks.many_tasks_results import cost_table, measured, picture, task_table
from tests.support.evaluations import CTR, CVR


def model(name, values, alive, products=100, seconds=10.0):
    """A model of a comparison whose seeds have these metrics, a dictionary of tasks each."""
    runs = []
    for seed, metrics in enumerate(values):
        by_task = {
            task: {"auc" if task == "ctr" else "mse": value} for task, value in metrics.items()
        }
        runs.append({"seed": seed, "metrics": by_task, "seconds": seconds + seed})
    cost = {"trained_parameters": 1000, "multiply_adds": products, "table_bytes": 400}
    return {"row": name, "runs": runs, "cost": cost | {"alive_parameters": alive}}


REPORT = {
    "tasks": [CTR, CVR],
    "rows": [
        model("base_ctr", [{"ctr": 0.70}, {"ctr": 0.80}], {"ctr": 50}),
        model("base_cvr", [{"cvr": 0.05}, {"cvr": 0.04}], {"cvr": 70}),
        model("s_joint", [{"ctr": 0.77, "cvr": 0.04}, {"ctr": 0.80, "cvr": 0.06}],
            {"ctr": 10, "cvr": 20}, products=60),
    ],
}  # fmt: skip
ONE = {"tasks": [CTR], "rows": REPORT["rows"][:1]}
TIMES = {1: {"base": 0.001}, 2: {"base": 0.002, "s_joint": 0.0015}}


@pytest.fixture
def by_count():
    return {1: measured(ONE), 2: measured(REPORT)}


def test_single_tasks_are_one_model_whose_costs_are_sums(by_count):
    base = by_count[2]["base"]
    assert list(by_count[2]) == ["base", "s_joint"]
    assert base.cost == {
        "trained_parameters": 2000,
        "multiply_adds": 200,
        "table_bytes": 800,
        "alive": 60,
    }
    assert base.seconds == 2 * 10.5
    assert base.values["cvr"].tolist() == [0.05, 0.04]
    np.testing.assert_array_equal(base.gains, 0)


def test_gains_are_over_the_single_tasks_of_the_same_seed(by_count):
    # Seed 0: +10 % of AUC, 20 % less error; seed 1: as much AUC, 50 % more error.
    np.testing.assert_allclose(by_count[2]["s_joint"].gains, [0.15, -0.25])


def cells(table):
    lines = table.splitlines()
    header, _, *body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(header, line, strict=True)) for line in body]


def test_a_line_for_each_number_of_tasks_and_model(by_count):
    one, two, joint = cells(cost_table(by_count, TIMES))
    assert (one["tasks"], one["model"], one["mean gain, %"]) == ("1", "single tasks", "-")
    assert (two["multiply-adds"], two["rank, ms"]) == ("200", "2.00")
    assert joint == {
        "tasks": "2",
        "model": "s_joint",
        "seeds": "2",
        "mean gain, %": "-5.00 ± 28.28",
        "AUC, binary tasks": "+0.0350 ± 0.0495",
        "CVR MSE, %": "+15.00 ± 49.50",
        "trained": "1,000",
        "alive a task": "15",
        "multiply-adds": "60",
        "tables, bytes": "400",
        "training, s": "10",
        "rank, ms": "1.50",
    }


def test_a_line_for_each_task_with_the_spread_over_seeds(by_count):
    assert cells(task_table(by_count[2])) == [
        {"task": "ctr AUC", "single tasks": "0.7500 ± 0.0707", "s_joint": "0.7850 ± 0.0212"},
        {"task": "cvr MSE", "single tasks": "0.0450 ± 0.0071", "s_joint": "0.0500 ± 0.0141"},
    ]


def test_quality_and_cost_are_drawn_against_the_number_of_tasks(by_count):
    gain, products, request = picture(by_count, TIMES).axes
    (joint,) = gain.containers
    assert list(joint.lines[0].get_ydata()) == pytest.approx([-5.0])
    single, pruned = products.lines
    assert (single.get_xdata().tolist(), single.get_ydata().tolist()) == ([1, 2], [1e-4, 2e-4])
    assert pruned.get_ydata().tolist() == [6e-5]
    assert request.lines[0].get_ydata().tolist() == [1.0, 2.0]
    assert [tick.get_text() for tick in products.get_xticklabels()] == ["1", "2"]
