"""Lines and table of the inputs that tickets keep."""

import numpy as np

from lt4rec_tf.reports.inputs import MOST_LINES, InputShares, input_lines, inputs_table

JOINT = InputShares(
    "s_joint",
    ["user", "video"],
    {
        "ctr": {"user": 0.5, "video": 0.5, "user x video": 0.0, "video x video": 0.0},
        "cvr": {"user": 0.25, "video": 0.0, "user x video": 0.25, "video x video": 0.0},
    },
)


def rows_of(table):
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_lines_name_what_a_task_reads_alone():
    assert input_lines(JOINT).splitlines() == [
        "ctr reads 2 of 4 fields and products of two, 1 of them alone: video",
        "cvr reads 2 of 4 fields and products of two, 1 of them alone: user x video",
    ]


def test_lines_of_single_weights_name_where_shares_differ_beyond_the_densities():
    # Of means .3 and .6: user differs by .0, video by .3 - .1, their product by .2 - .0.
    shares = {
        "ctr": {"user": 0.3, "video": 0.5, "user x video": 0.1},
        "cvr": {"user": 0.6, "video": 0.5, "user x video": 0.7},
    }
    inputs = InputShares("s_weight", ["user", "video"], shares)
    np.testing.assert_allclose(inputs.differences("video"), [0.2, -0.1])
    np.testing.assert_allclose([inputs.spread(group) for group in inputs.groups], [0, 0.3, 0.3])
    last = input_lines(inputs).splitlines()[-1]
    assert last.startswith("shares kept, .30 / .60 (ctr / cvr) on average, differ most at ")
    named = last.partition("differ most at ")[2].split(", ")
    assert set(named[:2]) == {"video .50 / .50", "user x video .10 / .70"}
    assert named[2] == "user .30 / .60"


def test_lines_of_equal_tickets_name_no_difference():
    whole = {"user": 1.0, "video": 1.0}
    inputs = InputShares("s_weight_auto", ["user", "video"], {"ctr": whole, "cvr": whole})
    assert [line[:5] for line in input_lines(inputs).splitlines()] == ["ctr r", "cvr r"]


def test_table_begins_with_what_one_task_alone_reads():
    assert rows_of(inputs_table(JOINT)) == [
        ["video", "ctr alone", "0.500", "0.000"],
        ["user x video", "cvr alone", "0.000", "0.250"],
        ["user", "all", "0.500", "0.250"],
        ["video x video", "none", "0.000", "0.000"],
    ]


def test_table_names_the_readers_of_more_than_two_tasks():
    shares = {task: {"user": float(task != "like")} for task in ("ctr", "cvr", "like")}
    table = inputs_table(InputShares("s_joint", ["user"], shares))
    assert rows_of(table) == [["user", "ctr, cvr", "1.000", "1.000", "0.000"]]


def test_long_table_has_lines_of_every_task_and_counts_the_rest():
    names = [f"f{index}" for index in range(100)]
    ctr = {name: float(index < 60) for index, name in enumerate(names)}
    cvr = {name: float(index >= 60) for index, name in enumerate(names)}
    table = inputs_table(InputShares("s_joint", names, {"ctr": ctr, "cvr": cvr}))
    readers = [row[1] for row in rows_of(table)]
    assert readers == ["ctr alone"] * (MOST_LINES // 2) + ["cvr alone"] * (MOST_LINES // 2)
    assert table.endswith(f"\n\nand {100 - MOST_LINES} more")
