"""Tasks that come later: what they may change, what they must not, which runs they fit."""

import contextlib
import json
import shutil

import numpy as np
import pytest

from lt4rec_tf import evaluate, export, train
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.daily import added_tasks
from lt4rec_tf.experiment.trained_models import load_model, task_masks
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.training import trainer
from tests.support.commands import run_main, run_training
from tests.support.daily_feed import FIRST, SCHEMA, flags, write_day, write_schema
from tests.support.networks import read_variables
from tests.support.training import Killed
from tests.support.versions import session_answers

pytestmark = pytest.mark.slow(minutes=1)

MORE_TASKS = """
[[tasks]]
name = "again"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"

[[tasks]]
name = "seconds_again"
label = "seconds"
kind = "amount"
population = "click"
loss = "mse"
metric = "nrmse"
"""
SPLIT = [f"--validation_from={FIRST + 1}", f"--test_from={FIRST + 2}"]


def of_run(home, name, *more):
    return flags(home, f"--run_dir={home / name}", f"--data_dir={home}/days", *SPLIT, *more)


def adding(home, name, parent, *more, tasks="ctr,watch,again"):
    schema = f"--schema={home}/more.toml"
    return of_run(home, name, f"--add_to={parent}", f"--tasks={tasks}", schema, *more)


def add(home, name, parent, *more, **tasks):
    run_training(*adding(home, name, parent, *more, **tasks))
    return home / name


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("added")
    write_schema(folder)
    (folder / "more.toml").write_text(SCHEMA + MORE_TASKS)
    for day in range(3):
        write_day(folder / "days", day, name=f"day_{day}.csv")
    return folder


MODELS = ("s_weight", "s_joint")


@pytest.fixture(scope="module")
def first(home):
    run_training(*of_run(home, "first", f"--models={','.join(MODELS)},hard_sharing"))
    return home / "first"


@pytest.fixture(scope="module")
def added(home, first):
    """The run of each model with the task "again", by model."""
    return {model: add(home, f"added_{model}", first, f"--models={model}") for model in MODELS}


def network_of(folder, model):
    settings, schema = run_folder.read_run(folder)
    return load_model(folder, model, settings, schema)


def measured(folder):
    models = json.loads((folder / "evaluation.json").read_text())["rows"]
    return {model["row"]: model["metrics"] for model in models}


@pytest.mark.parametrize("model", MODELS)
def test_what_others_wear_stays_bit_for_bit_and_the_new_task_learns(added, first, model):
    before, after = network_of(first, model), network_of(added[model], model)
    assert after.tasks == ("ctr", "watch", "again")
    for task in before.tasks:
        for name, mask in before.masks(task).items():
            assert np.array_equal(mask, after.masks(task)[name])

    old, new = read_variables(before), read_variables(after)
    worn = {name: np.zeros(mask.shape, bool) for name, mask in before.masks("ctr").items()}
    for masks in task_masks(before).values():
        worn = {name: worn[name] | mask for name, mask in masks.items()}
    moved = 0
    for name, value in old.items():
        if is_table(name) or name.startswith(("ctr/", "watch/")):
            assert value.tobytes() == new[name].tobytes(), name
        elif name.endswith("/kernel"):
            kept = worn[name.removesuffix("/kernel")]
            assert value[kept].tobytes() == new[name][kept].tobytes(), name
            moved += np.count_nonzero(value[~kept] != new[name][~kept])
    assert moved > 0
    for task in ("ctr", "watch"):
        assert measured(added[model])[model][task] == measured(first)[model][task]


def test_a_new_ticket_is_of_neurons_and_inputs_and_as_small_as_asked(added):
    network = network_of(added["s_weight"], "s_weight")
    masks = network.masks("again")
    for mask in masks.values():
        assert np.array_equal(mask, np.outer(mask.any(axis=1), mask.any(axis=0)))
    kept, total = (sum(count(m) for m in masks.values()) for count in (np.count_nonzero, np.size))
    assert 0.3 * total < kept <= 0.5 * total


def watch_of(folder):
    return logs.learned_schema(run_folder.read_run(folder)[1], folder).task("watch")


def test_later_logs_have_the_ids_and_the_units_of_the_network(home, first):
    for day in range(1, 4):
        write_day(home / "later", day, name=f"day_{day}.csv")
    later = [
        f"--data_dir={home}/later",
        f"--validation_from={FIRST + 2}",
        f"--test_from={FIRST + 3}",
    ]
    folder = add(
        home, "later_run", first, "--models=s_joint", *later, tasks="seconds_again,watch,ctr"
    )

    standards = json.loads((folder / "standards.json").read_text())
    units = {"mean": watch_of(first).mean, "scale": watch_of(first).scale}
    assert set(standards) == {"ctr", "watch", "seconds_again"}
    assert standards["watch"] == units
    assert standards["seconds_again"] != units  # of the new run's logs

    before, after = (read_variables(network_of(run, "s_joint")) for run in (first, folder))
    tables = [name for name in before if is_table(name)]
    assert any(len(after[name]) > len(before[name]) for name in tables)  # new users
    rows = {name: {row.tobytes() for row in before[name]} for name in tables}
    assert all(row.tobytes() in rows[name] for name in tables for row in after[name])


def test_a_task_is_added_to_a_run_with_an_added_task(home, added):
    parent = added["s_joint"]
    folder = add(home, "fourth", parent, tasks="ctr,watch,again,seconds_again")
    assert run_folder.read_run(folder)[0].models == ("s_joint",)  # the exported one
    for task in ("ctr", "watch", "again"):
        assert measured(folder)["s_joint"][task] == measured(parent)["s_joint"][task]


def test_tasks_are_added_together_one_with_an_embedding_of_its_own(home, first, capsys):
    own = ("--own_embedding=again=3", "--calibration=again=isotonic")
    tasks = "ctr,watch,again,seconds_again"
    folder = add(home, "both", first, "--models=s_joint", *own, tasks=tasks)
    found = json.loads((folder / "rows/s_joint/added_tasks.json").read_text())
    assert set(found["levels"][0]["density"]) == {"again", "seconds_again"}
    assert set(found["reads"]) == {"ctr", "watch", "again", "seconds_again"}
    variables = read_variables(network_of(folder, "s_joint"))
    assert any(name.startswith("again/embedding") for name in variables)
    for task in ("ctr", "watch"):
        assert measured(folder)["s_joint"][task] == measured(first)["s_joint"][task]
    kept = json.loads((folder / "calibration/s_joint.json").read_text())
    assert (kept["fitted_on"], list(kept["maps"])) == ("validation", ["again"])
    assert "\nbefore and after calibration, on test\n\n| model " in capsys.readouterr().out


class KilledProgress(Progress):
    left = 0

    def step(self, *arguments) -> None:
        super().step(*arguments)
        KilledProgress.left -= 1
        if KilledProgress.left == 0:
            raise Killed


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(home, first, added, monkeypatch):
    name = "killed"
    with monkeypatch.context() as patch:
        patch.setattr(added_tasks, "Progress", KilledProgress)
        KilledProgress.left = 14  # in the second of two levels of 10 steps
        with pytest.raises(Killed):
            add(home, name, first, "--models=s_joint")
    folder = add(home, name, first, "--models=s_joint")
    expected = read_variables(network_of(added["s_joint"], "s_joint"))
    for variable, value in read_variables(network_of(folder, "s_joint")).items():
        assert value.tobytes() == expected[variable].tobytes(), variable


def test_a_version_serves_old_tasks_as_before_and_the_new_one(home, first, added, capsys):
    parts = {}
    for name, folder in (("old", first), ("new", added["s_joint"])):
        out = home / f"models_{name}"
        run_main(export.main, f"--run={folder}", "--model=s_joint", f"--export_dir={out}")
        request = {"user": ["u3", "u9"], "device": ["phone", "tv"], "video": ["v1", "v19"]}
        inputs = {key: np.array(value, object) for key, value in request.items()}
        for feature in ("length", "length_bin", "length_place"):
            inputs[feature] = np.array([20.0, 90.0], np.float32)
        parts[name] = session_answers(out / "1", "serving_default", inputs)
    assert set(parts["new"]) - set(parts["old"]) == {"pagain", "pagain_watch"}
    for name, values in parts["old"].items():
        np.testing.assert_allclose(parts["new"][name], values, rtol=0, atol=1e-6)


def test_a_finished_run_needs_no_other(home, first, added):
    moved = home / "moved"
    with contextlib.ExitStack() as back:
        shutil.move(first, moved)
        back.callback(shutil.move, moved, first)
        run_main(evaluate.main, f"--run={added['s_weight']}")


def test_daily_training_goes_on_from_a_run_with_an_added_task(home, added):
    write_day(home / "day_3", 3)
    folder, parent = home / "next_day", added["s_joint"]
    run_training(
        *flags(home, f"--run_dir={folder}", f"--data_dir={home}/day_3", "--models=s_joint"),
        *(f"--warm_start={parent}", "--split=none", f"--schema={home}/more.toml"),
        "--tasks=ctr,watch,again",
    )
    before, after = network_of(parent, "s_joint"), network_of(folder, "s_joint")
    for task in after.tasks:
        for name, mask in before.masks(task).items():
            assert np.array_equal(mask, after.masks(task)[name])
    heads = [read_variables(network)["again/head/kernel"] for network in (before, after)]
    assert (heads[0] != heads[1]).any()


def test_a_dry_run_says_what_is_to_come_and_leaves_nothing(home, first, capsys):
    said = dry(home, capsys, first, "--models=s_joint")
    assert "new tasks: again; model: s_joint" in said
    assert f"steps to train: at most {2 * 10}" in said
    assert not (home / "dry").exists()


def dry(home, capsys, parent, *more, tasks="ctr,watch,again", code=0):
    argv = adding(home, "dry", parent, "--dry_run", *more, tasks=tasks)
    assert exit_on_error(train.main, ["train", *argv]) == code
    out, err = capsys.readouterr()
    return err if code else out


REFUSED = {
    "no new task": ({"tasks": "ctr,watch"}, [], "expected all of ctr, watch"),
    "a task is left out": ({"tasks": "ctr,again"}, [], "expected all of ctr, watch"),
    "towers of their own": ({}, ["--models=hard_sharing"], "tickets of one tower"),
    "a model that is not there": ({}, ["--models=mmoe"], "found 'mmoe', expected models of"),
    "two models": ({}, ["--models=s_weight,s_joint"], "expected one model of --add_to"),
    "another shape": ({}, ["--hidden_units=8,5"], "hidden_units"),
    "an embedding of an old task": ({}, ["--own_embedding=ctr=2"], "own_embedding"),
    "daily training": ({}, ["--warm_start=x", "--split=none"], "nothing with --warm_start"),
    "masks of another run": ({}, ["--masks=x"], "found 'x', expected nothing with --add_to"),
    "balance": ({}, ["--balance=pcgrad"], "expected none with --add_to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(home, first, capsys, case):
    changes, more, message = REFUSED[case]
    assert message in dry(home, capsys, first, *more, **changes, code=2)


def test_a_run_that_is_not_there_is_refused(home, capsys):
    assert "no such file" in dry(home, capsys, home / "nowhere", code=2).lower()


def test_weights_that_moved_are_never_served(home, first, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "_changeable_in_places", lambda network, changeable: {})
    argv = adding(home, "moved", first, "--models=s_joint")
    assert exit_on_error(train.main, ["train", *argv]) == 2
    assert "expected the same, bit for bit" in capsys.readouterr().err
    assert not (home / "moved/saved_model").exists()
