"""Scenarios: the conditions of tasks, as a schema says them, and what they mean for pairs."""

import pytest

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Filter, SchemaError, chained_tasks, needed_columns
from lt4rec_tf.schema.writer import to_toml
from tests.support.feeds import FUNNEL, scenario_schema

WIFI = '{ column = "network", comparison = "==", value = "wifi" }'
LONG = '{ column = "length", comparison = ">=", value = 60 }'


def more_task(name, label="click", kind="binary", where="", population=""):
    lines = [f'name = "{name}"', f'label = "{label}"', f'kind = "{kind}"']
    lines += [f"where = {where}"] if where else []
    lines += [f'population = "{population}"'] if population else []
    metric = {"binary": ("cross_entropy", "auc"), "continuous": ("mse", "mse")}[kind]
    lines += [f'loss = "{metric[0]}"', f'metric = "{metric[1]}"']
    return "\n[[tasks]]\n" + "\n".join(lines) + "\n"


def test_conditions_are_read_and_written_as_they_are(tmp_path):
    made = scenario_schema(tmp_path, ctr=WIFI, cvr=f"[{WIFI}, {LONG}]")
    wifi, long = Filter("network", "==", ("wifi",)), Filter("length", ">=", (60,))
    assert made.task("ctr").where == (wifi,)
    assert made.task("cvr").where == (wifi, long)
    assert made.task("ctr").conditions == 'network == "wifi"'
    assert made.task("cvr").conditions == 'click is 1 and network == "wifi" and length >= 60'
    assert made.task("cvr").scenario == 'network == "wifi" and length >= 60'
    assert not made.task("ctr").on_all_rows

    (tmp_path / "again.toml").write_text(to_toml(made), encoding="utf-8")
    assert load_schema(tmp_path / "again.toml").tasks == made.tasks
    plain = scenario_schema(tmp_path)
    assert [task.where for task in plain.tasks] == [(), ()]
    assert [task.on_all_rows for task in plain.tasks] == [True, False]
    assert plain.task("ctr").conditions == ""
    assert "where" not in to_toml(plain)


def test_columns_are_needed_by_the_tasks_that_name_them(tmp_path):
    made = scenario_schema(tmp_path, ctr=WIFI)
    assert "network" in needed_columns(made)
    assert "network" in needed_columns(made.with_tasks(["ctr"]))
    assert "network" not in needed_columns(made.with_tasks(["cvr"]))


@pytest.mark.parametrize(
    ("where", "key", "expected"),
    [
        ("[]", "tasks[ctr].where", "found [], expected a table, or a list of tables"),
        ('"network"', "tasks[ctr].where", "found 'network', expected a table, or a list"),
        ("[1]", "tasks[ctr].where", "found [1], expected a table, or a list"),
        (
            '{ column = "tab", comparison = "=", value = 1 }',
            "tasks[ctr].where.comparison",
            "found '=', expected one of ==, !=",
        ),
        (
            '[{ column = "tab", comparison = "<", value = "a" }]',
            "tasks[ctr].where[0].value",
            "found 'a', expected a number",
        ),
        (
            '{ column = "tab", comparison = "in", value = 1 }',
            "tasks[ctr].where.values",
            "found nothing, expected a list",
        ),
        (
            '{ column = "tags", comparison = "==", value = "t0" }',
            "tasks[ctr].where[0].column",
            "feature tags reads a list there",
        ),
        (f"[{WIFI}, {WIFI}]", "tasks[ctr].where", "found 2 times network == \"wifi\", expected"),
    ],
)  # fmt: skip
def test_a_wrong_condition_fails_with_file_key_and_expectation(tmp_path, where, key, expected):
    with pytest.raises(SchemaError) as error:
        scenario_schema(tmp_path, ctr=where)
    for part in ("small.toml: ", key, expected):
        assert part in str(error.value)


def test_a_text_that_stands_for_an_absent_value_is_refused(tmp_path):
    path = scenario_schema(tmp_path, ctr=WIFI).path
    path.write_text('nulls = ["wifi"]\n' + path.read_text())
    with pytest.raises(SchemaError, match=r"tasks\[ctr\]\.where\[0\]\.value: found 'wifi'"):
        load_schema(path)


def test_products_are_of_one_scenario(tmp_path):
    both = more_task("ctr_wifi", where=f"[{WIFI}, {LONG}]")
    both += more_task("cvr_wifi", "watch_ratio", "continuous", f"[{LONG}, {WIFI}]", "click")
    both += more_task("cvr_long", "watch_ratio", "continuous", LONG, "click")
    made = scenario_schema(tmp_path, more=both)
    names = [task.name for task in made.tasks]
    assert chained_tasks(made, names) == [("ctr", "cvr"), ("ctr_wifi", "cvr_wifi")]


def test_a_scenario_does_not_move_where_a_label_is_defined(tmp_path):
    made = scenario_schema(tmp_path, more=FUNNEL, conv=WIFI)
    within = {label.name: label.within for label in made.labels}
    assert within == {"click": (), "watch_ratio": ("click",), "conv": ("click",)} | {
        "refund": ("conv",)
    }
    # A label that one scenario learns on all rows, and another on clicks, is defined in all.
    everywhere = scenario_schema(tmp_path, more=FUNNEL + more_task("conv_long", "conv", where=LONG))
    assert everywhere.label("conv").within == ()


def test_a_task_called_as_a_product_is_refused(tmp_path):
    """Both would be one output of the served model."""
    wifi = more_task("wifi", "watch_ratio", "continuous", population="click")
    with pytest.raises(SchemaError, match=r"tasks: found .* ctr_wifi, .* product of ctr and wifi"):
        scenario_schema(tmp_path, more=wifi + more_task("ctr_wifi", where=WIFI))
    scenario_schema(tmp_path, more=wifi)
