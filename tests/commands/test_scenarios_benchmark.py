"""How benchmarks/scenarios.py makes scenarios, weighs them and measures models over all rows."""

import importlib
import json

import numpy as np
import pytest

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Filter
from tests.support.feeds import good_row, line, opened, schema, write_lines
from tests.support.paths import PROJECT


@pytest.fixture
def scenarios(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return importlib.import_module("scenarios")


def test_the_kuairand_scenarios_are_all_rows_once(scenarios):
    made = scenarios.with_scenarios(load_schema(PROJECT / scenarios.KUAIRAND), scenarios.ACTIVE)
    names = [f"{task}_{name}" for name in ("full", "high", "less") for task in ("ctr", "cvr")]
    assert [task.name for task in made.tasks] == ["ctr", "cvr", *names]
    named = {value for name in ("full", "high") for value in scenarios.ACTIVE[name].values}
    assert scenarios.ACTIVE["less"].comparison == "not_in"
    assert set(scenarios.ACTIVE["less"].values) == named


def test_batches_of_a_scenario_come_under_the_tasks_names(scenarios, tmp_path):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(40)])
    early = Filter("number", "<", (10,))
    late = Filter("number", ">=", (10,))
    made = scenarios.with_scenarios(schema(tmp_path), {"early": early, "late": late})
    source, _ = opened(made, tmp_path)
    inside = {"early": np.arange(40) < 10, "late": np.arange(40) >= 10}
    for name, expected in inside.items():
        (batch,) = scenarios.renamed(source, ["ctr", "cvr"], name, "train")
        assert {*batch["weights"]} == {*batch["labels"]} == {"ctr", "cvr"}
        np.testing.assert_array_equal(batch["weights"]["ctr"].numpy() > 0, expected)
        clicked = expected & (np.arange(40) % 2 == 1)
        np.testing.assert_array_equal(batch["weights"]["cvr"].numpy() > 0, clicked)


def test_losses_are_weighed_as_scenarios_have_rows(scenarios, tmp_path):
    rows = {"ctr_a": 30, "cvr_a": 3, "ctr_b": 10, "cvr_b": 9}
    counts = {task: {"rows": number} for task, number in rows.items()}
    (tmp_path / "data.json").write_text(json.dumps({"splits": {"train": {"tasks": counts}}}))
    found = scenarios.weights_by_rows(tmp_path)
    assert found == {"ctr_a": 1.5, "cvr_a": 1.5, "ctr_b": 0.5, "cvr_b": 0.5}
