"""A run with a task for each scenario, its version, and a scenario that comes later."""

import math
from pathlib import Path

import pytest
import tensorflow as tf

from lt4rec_tf import export, train
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.serving.publish import published_versions
from tests.support.commands import run_main, run_training
from tests.support.paths import PROJECT
from tests.support.schemas import SMALL_RUN, few_features

pytestmark = pytest.mark.slow(minutes=1)

TASKS = ["ctr_wifi", "cvr_wifi", "ctr_4g", "cvr_4g"]


def flags(folder, run, *more, tasks=TASKS, scenarios=True):
    schema = few_features("simulated_scenarios", folder, *(["network"] if scenarios else []))
    weights = [f"{task}=3" for task in tasks if task.startswith("cvr")]
    return [
        f"--flagfile={PROJECT}/configs/simulated_scenarios.cfg",
        f"--schema={schema}",
        f"--tasks={','.join(tasks)}",
        f"--loss_weights={','.join(weights)}",
        f"--data_dir={folder}/feed",
        f"--run_dir={folder}/{run}",
        "--models=s_joint",
        *SMALL_RUN,
        *more,
    ]


def trained(folder, run, *more, **others):
    run_training(*flags(folder, run, *more, **others))
    return folder / run


def exported(run):
    """The version that a run publishes without further flags."""
    run_main(export.main, f"--run={run}", f"--export_dir={run}/saved_model", "--nowarmup")
    (version,) = published_versions(run / "saved_model")
    return version


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("scenarios")


@pytest.fixture(scope="module")
def run(home):
    return trained(home, "run")


def test_every_scenario_is_measured_on_its_own_rows(run):
    found = artifacts.read_json(run / "evaluation.json")
    assert [task["name"] for task in found["tasks"]] == TASKS
    assert found["tasks"][0]["where"] == 'network == "wifi"'
    (model,) = found["rows"]
    for task in TASKS:
        assert math.isfinite(model["metrics"][task]["mse" if task.startswith("cvr") else "auc"])
    assert {*model["metrics"]} == {*TASKS, "ctr_wifi_cvr_wifi", "ctr_4g_cvr_4g"}

    _, _, _, source = open_run(str(run), "")
    networks = {"ctr_wifi": 2, "ctr_4g": 3}  # ids of the vocabulary
    rows = dict.fromkeys(TASKS, 0)
    for batch in split_batches(source, "test"):
        network = batch["features"]["network"].numpy()
        for task, weights in batch["weights"].items():
            rows[task] += int((weights.numpy() > 0).sum())
            if task in networks:
                assert ((weights.numpy() > 0) == (network == networks[task])).all()
    assert model["rows"] == rows
    assert rows["ctr_wifi"] > rows["ctr_4g"] > rows["cvr_4g"] > 0


def test_the_version_answers_each_scenario_and_ranks_by_the_candidates_own(run):
    version = exported(run)
    signatures = tf.saved_model.load(str(version)).signatures
    assert {*TASKS, "ctr_wifi_cvr_wifi", "ctr_4g_cvr_4g", "rank", "score"} <= {*signatures}
    card = (version / "model_card.md").read_text(encoding="utf-8")
    for text in (
        'probability that `click` is 1, in rows where `network == "wifi"`',
        'given that `click` is 1, in rows where `network == "4g"`',
        "`cvr_4g` whose scenario is the candidate's",
    ):
        assert text in card

    specs = signatures["rank"].structured_input_signature[1]
    sent = {
        name: tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
        if spec.dtype != tf.string
        else tf.fill([1 if size is None else size for size in spec.shape], "")
        for name, spec in specs.items()
    }
    scores = {}
    for network, scenario in (("wifi", "wifi"), ("4g", "4g"), ("5g", "")):
        answers = signatures["rank"](**sent | {"network": tf.constant([network])})
        scores[network] = float(answers["score"][0, 0])
        if scenario:
            chances = [float(answers[f"p{kind}_{scenario}"][0, 0]) for kind in ("ctr", "cvr")]
            assert scores[network] == pytest.approx(math.prod(chances), rel=1e-5)
    assert scores["wifi"] != scores["4g"]
    assert scores["5g"] == 0.0  # of no task's scenario


def test_a_scenario_may_come_later(home, run, capsys):
    added = trained(home, "added", f"--add_to={run}", tasks=[*TASKS, "ctr_5g"])
    found = artifacts.read_json(added / "evaluation.json")["rows"][0]["metrics"]
    before = artifacts.read_json(run / "evaluation.json")["rows"][0]["metrics"]
    assert {task: found[task] for task in TASKS} == {task: before[task] for task in TASKS}
    assert math.isfinite(found["ctr_5g"]["auc"])
    assert 'task ctr_5g: rows where network == "5g"' in capsys.readouterr().out


def test_a_run_goes_on_from_one_of_the_same_scenarios_alone(home, run, capsys):
    made = flags(home, "other", f"--add_to={run}", tasks=[*TASKS, "ctr_5g"])
    (schema,) = [flag.removeprefix("--schema=") for flag in made if flag.startswith("--schema=")]
    other = home / "other.toml"
    text = Path(schema).read_text(encoding="utf-8").replace('value = "4g"', 'value = "5g"')
    other.write_text(text, encoding="utf-8")
    assert exit_on_error(train.main, ["train", *made, f"--schema={other}"]) == 2
    assert "task.ctr_4g.where" in capsys.readouterr().err


def test_without_the_column_as_a_feature_there_is_no_rank(home, capsys):
    run = trained(home, "hidden", "--models=shared_bottom", scenarios=False)
    capsys.readouterr()
    version = exported(run)
    said = capsys.readouterr().out
    assert "published without the signatures rank and score: " in said
    assert "expected a feature on column network, which tells that of a candidate" in said
    assert "rank" not in tf.saved_model.load(str(version)).signatures
