"""The table of metrics before and after calibration."""

from lt4rec_tf.reports.calibration import calibration_table
from tests.support.evaluations import CTR, CVR

BEFORE = {"ctr": {"auc": 0.75, "pcoc": 1.5}, "cvr": {"mse": 0.25}, "ctcvr": {"mse": 0.5}}
AFTER = {"ctr": {"auc": 0.75, "pcoc": 1.0}, "cvr": {"mse": 0.25}, "ctcvr": {"mse": 0.125}}
MODELS = [
    {"row": "base_cvr", "metrics": BEFORE, "calibrated": {"maps": {}, "metrics": AFTER}},
    {"row": "mmoe", "metrics": BEFORE},
    {
        "row": "s_weight",
        "metrics": BEFORE,
        "calibrated": {"maps": {"ctr": "platt"}, "metrics": AFTER},
    },
]


def test_a_task_with_a_map_has_a_line_before_and_a_line_after():
    table = calibration_table({"tasks": [CTR, CVR], "rows": MODELS})
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    ]
    assert header == [
        "model",
        "task",
        "calibration",
        "AUC",
        "XAUC",
        "log loss",
        "NE",
        "MSE",
        "PCOC",
        "ECE",
    ]
    assert [[*line[:4], *line[7:9]] for line in lines] == [
        ["s_weight", "ctr", "none", "0.75000", "-", "1.50000"],
        ["s_weight", "ctr", "platt", "0.75000", "-", "1.00000"],
        ["s_weight", "ctcvr", "none", "-", "0.50000", "-"],
        ["s_weight", "ctcvr", "of its tasks", "-", "0.12500", "-"],
    ]
    assert calibration_table({"tasks": [CTR, CVR], "rows": MODELS[:2]}) == ""
