"""Tables of a run as text."""

import copy

import pytest

from lt4rec_tf.reports.search_tables import (
    inputs_by_task,
    joint_levels,
    sharing_table,
    ticket_table,
)
from lt4rec_tf.reports.text_tables import evaluation_table, full_table, markdown_table
from tests.support.evaluations import CTR, CVR

EVALUATION = {
    "tasks": [CTR, CVR],
    "rows": [
        {
            "row": "base_ctr",
            "metrics": {"ctr": {"auc": 0.7, "gauc": 0.6, "log_loss": 0.55, "pcoc": 1.02}},
            "density": {"ctr": 1.0},
            "overlap": None,
            "seconds": 12.34,
        },
        {
            "row": "s_weight",
            "metrics": {
                "ctr": {"auc": 0.712346, "gauc": float("nan"), "log_loss": 0.54, "pcoc": 0.99},
                "cvr": {"mse": 0.06, "mae": 0.2, "xauc": 0.61},
                "ctcvr": {"mse": 0.05},
            },
            "density": {"ctr": 0.2, "cvr": 0.2991},
            "overlap": 0.41,
            "seconds": 20.1,
        },
    ],
}
SEARCH = {
    "metric": "mse",
    "direction": "min",
    "densities": [1.0, 0.5, 0.25],
    "values": [0.07, 0.0612345, float("nan")],
    "chosen": 1,
}


def parse(table):
    """The table's cells, line by line; the rule is checked and left out."""
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(set(cell) <= {":", "-"} and len(cell) >= 4 for cell in cells[1])
    return [cells[0], *cells[2:]]


def test_evaluation_table_has_the_columns_and_values_of_the_run():
    table, measured = evaluation_table(EVALUATION).split("\n\n")
    assert measured == "measured: CVR over impressions with click = 1, CTR over all impressions"
    assert parse(table) == [
        [
            "model",
            "CVR MSE on clicks",
            "CTR AUC",
            "CTR GAUC",
            "density (ctr / cvr)",
            "mask overlap",
            "seconds",
        ],
        ["base_ctr", "-", "0.70000", "0.60000", "1.000 / -", "-", "12.3"],
        ["s_weight", "0.06000", "0.71235", "nan", "0.200 / 0.299", "0.410", "20.1"],
    ]


def test_what_gauc_leaves_out_stands_below_the_table():
    some = copy.deepcopy(EVALUATION)
    some["rows"][0]["without_user"] = {"ctr": {"rows": 4000, "without_user": 1500}}
    some["rows"][1]["without_user"] = {"ctr": {"rows": 4000, "without_user": 1500}}
    some["rows"][1]["metrics"]["ctr"]["gauc"] = None
    some["rows"][1]["rows"] = {"ctr": 4000, "cvr": 812}
    table, measured, text = evaluation_table(some).split("\n\n")
    assert measured == (
        "measured: CVR over impressions with click = 1 (812 with a known label), "
        "CTR over all impressions (4,000 with a known label)"
    )
    assert parse(table)[2][3] == "-"
    assert text == "CTR GAUC leaves out 1,500 of 4,000 rows: they have no user"
    for model in some["rows"]:
        model["without_user"]["ctr"]["without_user"] = 0
    assert "leaves out" not in evaluation_table(some)


def test_evaluation_table_of_three_tasks():
    follow = {**CTR, "name": "follow", "metric": "log_loss", "direction": "min"}
    like = {**CTR, "name": "like", "metric": "gauc", "population": "click"}
    metrics = {"follow": {"log_loss": 0.5, "gauc": 0.6}, "like": {"gauc": 0.6}}
    model = {"row": "base", "metrics": metrics, "density": {}, "overlap": None, "seconds": 1.0}
    evaluation = {"tasks": [follow, CVR, like], "rows": [model]}
    assert parse(evaluation_table(evaluation).split("\n\n")[0])[0] == [
        "model",
        "CVR MSE on clicks",
        "FOLLOW log loss",
        "FOLLOW GAUC",
        "LIKE GAUC on clicks",
        "density (follow / cvr / like)",
        "mask overlap",
        "seconds",
    ]


def test_tables_have_no_gauc_without_a_column_of_users():
    metrics = {"ctr": {"auc": 0.7, "log_loss": 0.55}}
    anonymous = {**EVALUATION, "rows": [{**EVALUATION["rows"][0], "metrics": metrics}]}
    for text in (evaluation_table(anonymous), full_table(anonymous)):
        assert "AUC" in text
        assert "GAUC" not in text
        assert "user" not in text


def test_tables_leave_their_input_alone():
    before = copy.deepcopy(EVALUATION["tasks"])
    evaluation_table(EVALUATION)
    full_table(EVALUATION)
    assert EVALUATION["tasks"] == before


def test_full_table_has_a_line_per_model_and_task_and_every_metric():
    assert parse(full_table(EVALUATION)) == [
        ["model", "task", "AUC", "GAUC", "log loss", "PCOC", "MSE", "MAE", "XAUC"],
        ["base_ctr", "ctr", "0.70000", "0.60000", "0.55000", "1.02000", "-", "-", "-"],
        ["s_weight", "ctr", "0.71235", "nan", "0.54000", "0.99000", "-", "-", "-"],
        ["s_weight", "cvr", "-", "-", "-", "-", "0.06000", "0.20000", "0.61000"],
        ["s_weight", "ctcvr", "-", "-", "-", "-", "0.05000", "-", "-"],
    ]


def test_ticket_table_marks_the_chosen_level():
    assert parse(ticket_table("cvr", SEARCH)) == [
        ["level", "density", "CVR MSE (lower is better)", "chosen"],
        ["0", "1.000", "0.07000", ""],
        ["1", "0.500", "0.06123", "*"],
        ["2", "0.250", "nan", ""],
    ]


def test_sharing_table_shows_the_ways_best_first_and_marks_the_chosen():
    tried = [
        {"name": "shared_0_0", "separate": False, "levels": [0, 0], "gain": -0.00126},
        {"name": "separate_0_0", "separate": True, "levels": [0, 0], "gain": None},
        {"name": "shared_2_1", "separate": False, "levels": [2, 1], "gain": 0.0125},
    ]
    assert parse(sharing_table(["ctr", "cvr"], {"chosen": "shared_2_1", "tried": tried})) == [
        ["towers", "level (ctr / cvr)", "mean gain over single tasks", "chosen"],
        ["shared", "2 / 1", "+1.25 %", "*"],
        ["shared", "0 / 0", "-0.13 %", ""],
        ["one a task", "0 / 0", "-", ""],
    ]


def test_joint_levels_show_every_task_and_mark_the_chosen():
    tasks = [
        {"name": "ctr", "metric": "auc", "kind": "binary", "direction": "max", "population": None},
        {"name": "cvr", "metric": "mse", "kind": "continuous", "direction": "min",
         "population": "click"},
    ]  # fmt: skip
    levels = [
        {"density": {"ctr": 1.0, "cvr": 1.0}, "validation": {"ctr": 0.7, "cvr": 0.0612345}},
        {"density": {"ctr": 0.2, "cvr": 0.1999}, "validation": {"ctr": None, "cvr": 0.06}},
    ]
    table = parse(joint_levels({"levels": levels, "chosen": 1}, tasks))
    assert table == [
        ["level", "density (ctr / cvr)", "CTR AUC", "CVR MSE on clicks", "chosen"],
        ["0", "1.000 / 1.000", "0.70000", "0.06123", ""],
        ["1", "0.200 / 0.200", "-", "0.06000", "*"],
    ]


def test_many_inputs_of_one_task_are_counted_and_the_first_are_named():
    reads = {"ctr": [f"f{i}" for i in range(12)], "cvr": ["f0", "f12"], "like": []}
    assert inputs_by_task({"inputs": 20, "reads": reads}).splitlines() == [
        "ctr reads 12 of 20 fields and products of two, 11 of them alone: "
        "f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, ...",
        "cvr reads 2 of 20 fields and products of two, 1 of them alone: f12",
        "like reads 0 of 20 fields and products of two, none of them alone",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [0.1]}, "'cvr': found 1 values, expected one for each of the 3 densities"),
        ({"chosen": 3}, "'cvr': found chosen level 3, expected 0..2"),
        ({"chosen": -1}, "'cvr': found chosen level -1, expected 0..2"),
    ],
)
def test_ticket_table_refuses_a_search_that_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        ticket_table("cvr", {**SEARCH, **change})


def test_pipes_in_cells_are_escaped_and_ragged_rows_refused():
    assert markdown_table(["a|b"], [["1|2"]]).splitlines()[2] == r"| 1\|2 |"
    with pytest.raises(ValueError, match="found 1 cells, expected 2"):
        markdown_table(["a", "b"], [["1"]])
