"""JSON that commands read back, changed in every place: refused by its name, or of no effect."""

import dataclasses
import json
import re

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse, to_dict
from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit import marginals
from lt4rec_tf.data.audit.drift import drift
from lt4rec_tf.data.audit.marginals import Marginals
from lt4rec_tf.data.audit.task_counts import TaskCounts
from lt4rec_tf.data.public import published
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError
from lt4rec_tf.data.simulator.writer import MODEL_VERSION, Manifest, _read_manifest
from lt4rec_tf.experiment import joint_search, paths
from lt4rec_tf.experiment.comparison import results
from lt4rec_tf.experiment.comparison.jobs import read_arrays
from lt4rec_tf.experiment.comparison.results import _mean_cost, _OnTest
from lt4rec_tf.experiment.comparison.tested import _check_columns
from lt4rec_tf.experiment.daily import lineage
from lt4rec_tf.experiment.lightgcn.search import not_reached
from lt4rec_tf.experiment.logs import _with_standards
from lt4rec_tf.experiment.run import _read_widths
from lt4rec_tf.experiment.ticket_search import read_searches, search_seconds
from lt4rec_tf.reports.daily import DayEvaluation, days_table
from lt4rec_tf.reports.further_metrics import done_runs
from lt4rec_tf.reports.search_tables import (
    inputs_by_task,
    joint_levels,
    sharing_table,
    table_levels,
    ticket_table,
)
from lt4rec_tf.reports.text_tables import evaluation_table
from tests.support.tampering import tampered

TASK = {"kind": "binary", "metric": "auc", "direction": "max", "population": None}
TASKS = [TASK | {"name": "ctr"}]
METRICS = {"ctr": {"auc": 0.5, "gauc": None}}
MEASURED = {"row": "base_ctr", "metrics": METRICS, "density": {}, "overlap": None, "seconds": 1.5}
MOVED = {
    "rows": {"before": None, "after": 3},
    "tasks": {"ctr": {"before": None, "after": {"label_mean": 0.5}}},
    "features": [{"feature": "user", "index": 0.1, "missing": 0.0, "unknown": None}],
}
DAY = {
    "name": "monday",
    "run": "runs/a",
    "files": {
        "a.csv": {"bytes": 3, "sha256": "ab", "rows": "00000000000000ff"},
        "b.csv": {"bytes": 3, "sha256": None},
    },
    "rows": 3,
    "first_time": None,
    "last_time": 4.0,
    "drift": MOVED,
    "measured": [MEASURED],
    "frozen": [],
}
EVALUATION = {
    "tasks": TASKS,
    "rows": [MEASURED],
    "searches": {},
    "tables": None,
    "frozen": [MEASURED],
}
SEARCH = {"metric": "auc", "direction": "max", "densities": [1, 0.5], "values": [0.5, None]}
LEVEL = {"numbers": 9, "density": 0.5, "kept": {"user": 3}, "validation": METRICS}
JOINT_LEVEL = {
    "density": {"ctr": 0.5}, "score": -0.5, "validation": {"ctr": None}, "seconds": 1.5
}  # fmt: skip
JOINT = {
    "levels": [JOINT_LEVEL, JOINT_LEVEL], "chosen": 1, "inputs": 3, "reads": {"ctr": ["user"]}
}  # fmt: skip
WAY = {"name": "shared_0_1", "separate": False, "levels": [0, 1], "gain": None, "seconds": 3.0}
COST = {"trained_parameters": 9, "table_bytes": 9, "multiply_adds": 9}
ON_TEST = {"metrics": METRICS, "density": {"ctr": 0.5}, "overlap": None, "seconds": 1.5}
PASS = {"epoch": 1, "loss": 0.5, "density": 0.5, "learning_rate": 0.1, "validation": {}}
TRAINED = {"best_epoch": 1, "cooldown": 0, "epochs": 1, "validation": {}, "seconds": 1.5}
COUNTS = {task: TaskCounts(3, 0.5, 0.5) for task in ("ctr", "cvr")}
SETTINGS = parse(["train", "--schema=a.toml", "--data_dir=a", "--hidden_units=4,2"], "")[0]
FEED = Manifest(MODEL_VERSION, FeedSettings(), 3, 1, 0.3, 0.5, 0.5, ())
REPORT = {
    "rows": [
        {
            "row": "base_ctr",
            "settings": to_dict(SETTINGS),
            "runs": [{"seed": 1, "status": "done"}, {"seed": 2, "status": "failed"}],
        }
    ]
}


def read_days(folder, schema):
    days = lineage.read_days(folder)
    lineage.refuse_known_files({"c.csv": {"bytes": 1, "sha256": "ef"}}, days)
    lineage.refuse_known_rows({"c.csv": "00000000000000fe"}, days)
    lineage.refuse_earlier_day(1e300, days)
    days_table(TASKS, days)


def read_evaluation(folder, schema):
    content = read_typed(folder / "evaluation.json", DayEvaluation)
    evaluation_table(content)


def read_table_search(folder, schema):
    table_levels(paths.table_search(folder), TASKS)


def read_search(folder, schema):
    for task, search in read_searches(folder, schema).items():
        ticket_table(task, search)


def read_choice(folder, schema):
    choice = paths.read_choice(folder)
    paths.is_separate(choice)
    sharing_table(["ctr", "cvr"], choice)


def read_joint(folder, schema):
    search = joint_search.read_joint_search(folder, ["ctr"])
    joint_levels(search, TASKS)
    inputs_by_task(search)


def read_on_test(folder, schema):
    result = read_typed(folder / "base.json", _OnTest)
    _mean_cost([result["cost"]] * 2)
    done_runs({"runs": [{"status": "done", **result}]})


def read_marginals(folder, schema):
    found = marginals.read(folder / "marginals.json", schema)
    drift(schema, marginals.recounted(found, schema), counted(schema))


def counted(schema):
    counts = {f.name: np.ones(marginals.id_count(f), np.int64) for f in schema.features}
    unseen = {feature.name: {"new": 2} for feature in marginals._vocabularies(schema)}
    return Marginals(3, None, 1.0, {"ctr": {"rows": 3, "label_mean": 0.5}}, counts, unseen, {})


def kept_marginals(path, schema):
    """What is kept of a period of which few ids occur."""
    few = counted(schema)
    for counts in few.counts.values():
        counts[2:] = 0
    marginals.write(path, few)
    return json.loads(path.read_text())


def read_feed(folder, schema):
    _read_manifest(folder / "manifest.json")


def read_published(folder, schema):
    counts = read_typed(folder / "statistics.json", dict[str, int | float | None])
    published.comparison(counts, None)


READERS = {
    "days.json": ([DAY, DAY], read_days),
    "evaluation.json": (EVALUATION, read_evaluation),
    "marginals.json": (None, read_marginals),
    "tables/search.json": ({"unit": "row", "levels": [LEVEL]}, read_table_search),
    "tickets/ctr/search.json": (SEARCH | {"chosen": 1}, read_search),
    "joint_search.json": (JOINT, read_joint),
    "choice.json": ({"chosen": "shared_0_1", "tried": [WAY]}, read_choice),
    "searches.json": ("../searches/1", lambda folder, _: paths.searches_of(folder)),
    "standards.json": (
        {
            "ctr": {"mean": 0.0, "scale": 1.0, "negatives_kept": 0.1},
            "cvr": {"mean": 0.5, "scale": 2.0},
        },
        lambda folder, schema: _with_standards(schema, COUNTS, folder),
    ),
    "hidden_units.json": (
        [3, 2],
        lambda folder, _: _read_widths(folder / "hidden_units.json", SETTINGS),
    ),
    "base.json": (ON_TEST | {"cost": COST | {"alive_parameters": {"ctr": 3}}}, read_on_test),
    "report/results.json": (REPORT, lambda folder, _: results.tested_runs(folder)),
    "pep/threshold/history.json": (
        TRAINED | {"history": [PASS]},
        lambda folder, _: not_reached(folder, 1),
    ),
    "manifest.json": (dataclasses.asdict(FEED), read_feed),
    "statistics.json": (
        {"rows": 3, "users": None, "items": 2, "click_share": 0.5, "watch_ratio": None},
        read_published,
    ),
}
REFUSED = (RunError, SimulatorError)


@pytest.mark.parametrize("name", READERS)
def test_no_change_ends_in_a_stack_trace(tmp_path, small_schema, name):
    content, read = READERS[name]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        content = kept_marginals(path, small_schema)
    path.write_text(json.dumps(content))
    read(tmp_path, small_schema)

    refused = []
    trees = tampered(content)
    for mutant in trees[:: 1 + len(trees) // 700]:
        path.write_text(json.dumps(mutant))
        try:
            read(tmp_path, small_schema)
        except REFUSED as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert all(str(path) in message for message in refused)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [b"", b"[" * 5000, b"\xff", b'{"a": 1', None])
def test_what_is_no_json_is_refused_by_its_name(tmp_path, small_schema, name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(REFUSED, match=re.escape(str(path))):
        READERS[name][1](tmp_path, small_schema)


@pytest.mark.parametrize("place", ["a\0", "a" * 300, "\ud800"])
def test_a_place_that_cannot_be_is_refused_by_its_file(tmp_path, place):
    (tmp_path / "searches.json").write_text(json.dumps(place))
    with pytest.raises(RunError, match=r"searches\.json: found .* expected a path"):
        paths.searches_of(tmp_path)
    (tmp_path / "choice.json").write_text(json.dumps({"chosen": place, "tried": []}))
    with pytest.raises(RunError, match=r"choice\.json: chosen: found .* expected a way"):
        paths.chosen_folder(tmp_path)


def test_arrays_of_a_comparison_are_checked(tmp_path):
    path = tmp_path / "base.npz"
    for content in [b"", b"PK", b"\x80\x04N."]:
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"base\.npz: found"):
            read_arrays(path)
    np.savez(path, **{"0/ctr": np.array(["a"])})
    with pytest.raises(RunError, match=r"base\.npz: 0/ctr: found <U1, expected numbers"):
        read_arrays(path)

    np.savez(path, **{"0/ctr": np.zeros(3), "1/ctr": np.zeros(2), "users": np.zeros((3, 1))})
    _check_columns(path, read_arrays(path), ["0/ctr"])
    for names in [["0/ctr", "1/ctr"], ["0/ctr", "users"], ["0/ctr", "2/ctr"]]:
        with pytest.raises(RunError, match=rf"base\.npz: {names[1]}: found .* expected 3 rows"):
            _check_columns(path, read_arrays(path), names)


def test_a_search_that_is_gone_is_not_taken_for_none(tmp_path, small_schema):
    assert read_searches(tmp_path, small_schema) == {}
    assert paths.table_search(tmp_path) is None
    for searched in ("tables", "tickets/cvr"):
        (tmp_path / searched / "level_1").mkdir(parents=True)
    with pytest.raises(RunError, match=r"tickets/cvr/search\.json: no such file"):
        read_searches(tmp_path, small_schema)
    with pytest.raises(RunError, match=r"tables/search\.json: no such file"):
        paths.table_search(tmp_path)


def test_seconds_of_a_level_that_is_gone_are_asked_for(tmp_path):
    (tmp_path / "tickets/ctr/level_0/training").mkdir(parents=True)
    with pytest.raises(RunError, match=r"level_0/training/history\.json: no such file"):
        search_seconds(tmp_path, "ctr")
