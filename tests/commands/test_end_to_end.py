"""Whole runs from logs to a published model: repeated, killed, on real rows."""

import gzip
import math
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from lt4rec_tf import evaluate, export, train
from lt4rec_tf.core import artifacts
from lt4rec_tf.data.input.pipeline import raw_batches
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.serving.publish import published_versions
from lt4rec_tf.tickets.masks import density, overlap, read_masks
from tests.support.commands import ROWS, run_main, run_training, small
from tests.support.paths import PROJECT, real_data
from tests.support.schemas import few_features
from tests.support.versions import session_answers

pytestmark = pytest.mark.slow(minutes=4)

STEPS = 12  # of an epoch
ALL_MODELS = ["base_ctr", "base_cvr", "hard_sharing", "s_weight"]


def command(module, *flags):
    return [sys.executable, "-m", f"lt4rec_tf.{module}", *map(str, flags)]


def without_seconds(value):
    if isinstance(value, dict):
        return {k: without_seconds(inner) for k, inner in value.items() if k != "seconds"}
    return [without_seconds(inner) for inner in value] if isinstance(value, list) else value


def evaluation(folder):
    return artifacts.read_json(folder / "evaluation.json")


def numbers(folder):
    return without_seconds(evaluation(folder))


def check_evaluation(folder, models):
    """Every model is there with finite metrics and densities in (0, 1]."""
    found = evaluation(folder)
    assert [model["row"] for model in found["rows"]] == models
    for model in found["rows"]:
        tasks = [task["name"] for task in found["tasks"]]
        if model["row"].startswith("base_"):
            tasks = [model["row"].removeprefix("base_")]
        assert set(model["density"]) == set(tasks)
        assert set(tasks) <= set(model["metrics"])
        for task, values in model["metrics"].items():
            assert all(math.isfinite(value) for value in values.values()), (model["row"], task)
        assert set(model["reliability"]) == set(tasks) == set(model["rows"])
        assert set(model["by_label"]) == set(tasks) & {"cvr"}
        assert model["seconds"] > 0
        for task, share in model["density"].items():
            expected = 1.0
            if model["row"] == "s_weight":
                search = found["searches"][task]
                expected = search["densities"][search["chosen"]]
            elif model["row"] == "s_gates":
                expected = pytest.approx(0.2, abs=1e-3)  # the default, of whole weights
            assert share == expected
    return found


def check_served(folder, task_names):
    """The run's SavedModel answers every signature for rows of the test split."""
    settings, schema = run_folder.read_run(folder)
    source = logs.read_audited(logs.open_logs(settings.data, schema), folder)
    raw = {name: rows.numpy() for name, rows in next(iter(raw_batches(source, "test", 9))).items()}
    (version,) = artifacts.folders(folder / "saved_model")
    for signature in [*task_names, "serving_default"]:
        for answer in session_answers(version, signature, raw).values():
            assert answer.shape == (9,)
            assert np.all((answer > 0) & (answer < 1))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the runs on the simulated feed lie."""
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="module")
def unbroken(home):
    """(run folder, what it printed) of a run from the command line that nothing disturbed."""
    folder = home / "unbroken"
    ended = subprocess.run(
        command("train", *small(folder, "--checkpoint_steps=5")),
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not [
        line for line in ended.stderr.splitlines() if re.match(r"WARNING|[IWEF]\d{4} ", line)
    ]
    return folder, ended.stdout


def test_a_run_ends_with_finite_metrics_of_every_model(unbroken):
    folder, _ = unbroken
    found = check_evaluation(folder, ALL_MODELS)
    assert found["split"] == "test"
    shares, rest = found["searches"], ["ctcvr"]
    for model in found["rows"][2:]:
        assert sorted(model["metrics"]) == sorted(["ctr", "cvr", *rest])
    for task in ("ctr", "cvr"):
        # rate = 1 - 0.2 ** (1 / 2) of 16 * (inputs + 8) weights, cut to whole weights
        np.testing.assert_allclose(shares[task]["densities"], [1, 0.2**0.5, 0.2], atol=1e-3)
        assert shares[task]["chosen"] in (1, 2)


def test_a_run_keeps_the_masks_that_it_reports(unbroken):
    folder, _ = unbroken
    found = evaluation(folder)
    worn = {}
    for task in ("ctr", "cvr"):
        levels = folder / "tickets" / task
        chosen = levels / f"level_{found['searches'][task]['chosen']}" / "masks.npz"
        kept = folder / "rows" / "s_weight" / "masks" / f"{task}.npz"
        assert kept.read_bytes() == chosen.read_bytes()
        with np.load(kept, allow_pickle=False) as file:
            shapes = {
                name: (len(file[name]), int(file[f"{name}.units"]))
                for name in ("tower_0", "tower_1")
            }
        worn[task] = read_masks(kept, shapes)
    model = found["rows"][-1]
    assert model["density"] == {task: density(masks) for task, masks in worn.items()}
    assert model["overlap"] == overlap(list(worn.values()))


def test_a_run_prints_its_tables_and_where_everything_lies(unbroken):
    folder, printed = unbroken
    assert f"run: {folder}\n" in printed
    assert f"\n{ROWS} records, 0 without use\n" in printed  # a slow machine says more between
    lines = printed.splitlines()
    header = next(line for line in lines if line.startswith("| model "))
    for column in ("CVR MSE on clicks", "CTR AUC", "CTR GAUC", "density", "overlap", "seconds"):
        assert column in header
    table = lines[lines.index(header) + 2 :][:4]
    assert [line.split()[1] for line in table] == ALL_MODELS
    for model, line in zip(evaluation(folder)["rows"], table, strict=True):
        for task, metric in (("ctr", "auc"), ("cvr", "mse")):
            if task in model["metrics"]:
                assert f"{model['metrics'][task][metric]:.5f}" in line
    for task in ("ctr", "cvr"):
        assert f"ticket search of {task}, on validation" in printed
    assert f"SavedModel (s_weight): {folder}/saved_model/1\n" in printed
    assert f"tensorboard --logdir {folder}/tensorboard" in printed
    assert "\ninputs of s_weight\n\nctr reads " in printed
    pictures = ("ticket_search.png", "overlap.png", "fields.png", "reliability.png")
    for name in (*pictures, "evaluation.json"):
        assert str(folder / name) in printed
        assert (folder / name).stat().st_size > 0


def test_a_run_serves_its_sparse_model(unbroken):
    folder, _ = unbroken
    check_served(folder, ["ctr", "cvr"])


def scalar_tags(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def test_tensorboard_shows_every_stage(unbroken):
    events = unbroken[0] / "tensorboard"
    tasks = ("ctr", "cvr")
    stages = ["hard_sharing", "s_weight", *(f"tickets/level_{level}" for level in range(3))]
    for stage in stages:
        tags = scalar_tags(events / stage)
        for task in tasks:
            assert tags[f"training_loss/{task}"] == list(range(1, STEPS + 1))
            assert tags[f"validation_loss/{task}"] == [STEPS]
        assert tags["by_stage/ctr/auc"] == tags["by_stage/cvr/mse"] == [STEPS]
        assert tags["other_metrics/ctr/ece"] == [STEPS]
    for task in tasks:
        tags = scalar_tags(events / "tickets" / task)
        metric = {"ctr": "auc", "cvr": "mse"}[task]
        of_weights = ("density/all", "density/tower_0", "neurons_dead/tower_1")
        for tag in (f"by_density/{task}/{metric}", *(f"weights/{name}" for name in of_weights)):
            assert tags[tag] == [0, 1, 2]
    summary = scalar_tags(events / "summary")
    pictures = {"by_density/all_tasks", "tickets/overlap", "tickets/fields", "reliability"}
    assert pictures | {"tickets/inputs", "settings"} <= set(summary)


def test_tensorboard_opens_with_the_metrics_and_ends_with_dead_neurons(unbroken):
    events = unbroken[0] / "tensorboard"
    folders = {path.parent for path in events.rglob("*.tfevents.*")}
    written = {tag for folder in folders for tag in scalar_tags(folder)}
    tags = sorted(tag for tag in written if not tag.startswith("_hparams_"))
    # TensorBoard opens the first two groups.
    groups = list(dict.fromkeys(tag.split("/")[0] for tag in tags if "/" in tag))
    assert groups[:3] == ["by_density", "by_stage", "other_metrics"]
    assert groups[-3:] == ["training_loss", "validation_loss", "weights"]
    assert tags[0] == "by_density/all_tasks"
    assert tags[-1].startswith("weights/neurons_dead/")
    # Of a run's name a narrow window shows 20 characters.
    names = {str(folder.relative_to(events))[:20] for folder in folders}
    assert len(names) == len(folders)


def test_hparams_show_what_matters_of_a_single_run(unbroken):
    events = EventAccumulator(str(unbroken[0] / "tensorboard" / "summary"))
    events.Reload()
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    hparams = data.session_start_info.hparams
    # It shows five settings and five metrics, by the alphabet.
    first = ["epochs", "exported_model", "final_density", "hidden_units", "learning_rate"]
    assert sorted(hparams)[:5] == first
    assert hparams["exported_model"].string_value == "s_weight"
    tested = {}
    for tag in sorted(tag for tag in events.Tags()["tensors"] if tag.startswith("test")):
        tested[tag] = tensor_util.make_ndarray(events.Tensors(tag)[0].tensor_proto).item()
    assert list(tested)[:2] == ["test/ctr/auc", "test/cvr/mse"]
    for tag in ("ctr/auc", "cvr/mse"):
        assert tested[f"test/{tag}"] == tested[f"test_of_models/{tag.replace('/', '_')}/s_weight"]


def test_searches_side_by_side_find_the_same(home, unbroken, capsys):
    folder = home / "side_by_side"
    flags = ["--checkpoint_steps=5", "--search_processes=2", "--models=s_weight"]
    run_training(*small(folder, *flags))
    said = capsys.readouterr()
    assert "2 ticket searches side by side" in said.err
    # What the processes trained is not to come.
    last = [line for line in said.err.splitlines() if line.startswith("s_weight | epoch 1/1")][-1]
    assert last.endswith("| 0 s left")
    found, expected = evaluation(folder), evaluation(unbroken[0])
    for task in ("ctr", "cvr"):
        mine, theirs = found["searches"][task], expected["searches"][task]
        assert mine["chosen"] == theirs["chosen"]
        # Fewer threads may add in another order.
        np.testing.assert_allclose(mine["values"], theirs["values"], rtol=1e-4)
        for level in range(3):
            tags = scalar_tags(folder / "tensorboard" / "tickets" / f"level_{level}")
            assert tags[f"training_loss/{task}"] == list(range(1, STEPS + 1))
        assert "level_2" in (folder / "logs" / f"{task}.log").read_text()


def test_measuring_again_gives_the_same_file(unbroken, capsys):
    folder, _ = unbroken
    before = (folder / "evaluation.json").read_bytes()
    run_main(evaluate.main, f"--run={folder}", "--importance")
    assert (folder / "evaluation.json").read_bytes() == before
    out = capsys.readouterr().out
    assert "| s_weight" in out
    assert "CVR of s_weight, by label" in out
    assert f"calibration of s_weight: {folder}/reliability.png" in out
    importance = artifacts.read_json(folder / "importance.json")
    joint = evaluation(folder)["rows"][-1]["metrics"]
    for task, metric in (("ctr", "auc"), ("cvr", "mse")):
        entry = importance["tasks"][task]
        assert (entry["row"], entry["value"]) == ("s_weight", joint[task][metric])
        for feature in entry["features"]:
            assert f"| {feature['feature']} " in out


def test_models_are_published_as_one_version_after_another(unbroken, tmp_path, capsys):
    folder, _ = unbroken
    (tmp_path / "models" / "6").mkdir(parents=True)
    shutil.copytree(folder / "saved_model" / "1", tmp_path / "models" / "7")
    run_main(export.main, f"--run={folder}", f"--export_dir={tmp_path}/models", "--model=base_cvr")
    assert "published base_cvr as" in capsys.readouterr().out
    versions = published_versions(tmp_path / "models")
    assert [version.name for version in versions] == ["6", "7", "8"]
    settings, schema = run_folder.read_run(folder)
    source = logs.read_audited(logs.open_logs(settings.data, schema), folder)
    raw = next(iter(raw_batches(source, "validation", 5)))
    raw = {name: rows.numpy() for name, rows in raw.items()}
    answers = session_answers(tmp_path / "models" / "8", "serving_default", raw)
    assert list(answers) == ["pcvr"]
    both = session_answers(tmp_path / "models" / "7", "serving_default", raw)
    np.testing.assert_allclose(both["pctcvr"], both["pctr"] * both["pcvr"], atol=1e-6)


def test_a_finished_run_is_not_trained_again(unbroken):
    folder, _ = unbroken
    kept = [path for path in folder.rglob("*") if path.name in ("done", "masks.npz", "weights")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    before = (folder / "evaluation.json").read_bytes()
    run_main(train.main, *small(folder, "--checkpoint_steps=5"))
    assert (folder / "evaluation.json").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert [path.name for path in artifacts.folders(folder / "saved_model")] == ["1"]


def test_a_stage_that_is_not_marked_is_done_again_with_the_same_numbers(unbroken):
    """A kill between a stage's last file and its mark."""
    folder, _ = unbroken
    before = evaluation(folder)
    marks = [
        folder / "initial" / "done",
        folder / "rows" / "hard_sharing" / "training" / "done",
        folder / "tickets" / "ctr" / "level_0" / "done",
        folder / "tickets" / "cvr" / "search.json",
        folder / "evaluation.json",
    ]
    for mark in marks:
        mark.unlink()
    run_main(train.main, *small(folder, "--checkpoint_steps=5"))
    assert without_seconds(evaluation(folder)) == without_seconds(before)


def test_a_seed_decides_the_numbers(unbroken, home):
    """Also where other stages ran before in the process, and checkpoints lie elsewhere."""
    expected = numbers(unbroken[0])["rows"][2]
    for seed in ("1", "2"):
        flags = [f"--seed={seed}", "--checkpoint_steps=0", "--models=hard_sharing"]
        run_training(*small(home / f"seed_{seed}", *flags))
        (found,) = numbers(home / f"seed_{seed}")["rows"]
        assert found["row"] == expected["row"]
        assert (found["metrics"] == expected["metrics"]) == (seed == "1")


def mask_files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.npz")
    }


# One process a line: it is killed as soon as something fits one of the patterns. What a stage
# removes when it ends is joined by what it leaves, lest a fast machine is waited for in vain.
# In the training of a model, a run is killed in test_daily.py.
KILLS = [
    ["tickets/ctr/level_1/training/progress/0*", "tickets/ctr/level_1/done"],
    ["saved_model/.tmp-*", "saved_model/1"],
]


def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(unbroken, home, tmp_path):
    folder = home / "killed"
    flags = small(folder, "--checkpoint_steps=5", "--models=s_weight")
    with (tmp_path / "log").open("w") as log:
        for patterns in KILLS:
            process = subprocess.Popen(
                command("train", *flags), stdout=log, stderr=log, cwd=PROJECT
            )
            assert killed_when(process, folder, patterns), (tmp_path / "log").read_text()
        subprocess.run(command("train", *flags), stdout=log, stderr=log, cwd=PROJECT, check=True)
    expected = numbers(unbroken[0])
    assert numbers(folder) == expected | {"rows": expected["rows"][-1:]}
    assert mask_files(folder) == mask_files(unbroken[0])
    names = [path.name for path in folder.rglob("*")]
    assert [name for name in names if name.startswith(".") or name.endswith(".tmp")] == []
    assert [path.name for path in artifacts.folders(folder / "saved_model")] == ["1"]
    check_served(folder, ["ctr", "cvr"])


def killed_when(process, folder, patterns, patience=120):
    """Kills the process when a pattern fits something in the folder; False if it ends before."""
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        if any(next(folder.glob(pattern), None) for pattern in patterns):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    process.kill()
    return process.wait() == -signal.SIGKILL


# Real rows, in the files as they were published.

QUICK = [
    "--hidden_units=16,8",
    "--embedding_dim=4",
    "--rounds=1",
    "--search_epochs=1",
    "--epochs=1",
    "--final_density=0.3",
]


def real_flags(monkeypatch, tmp_path, name, data):
    monkeypatch.chdir(PROJECT)  # flagfiles name their schemas from here
    places = [f"--data_dir={data}", f"--run_dir={tmp_path}/run"]
    return [f"--flagfile=configs/{name}.cfg", *places, *QUICK, "--reading=memory"]


def test_the_authors_sample(monkeypatch, tmp_path):
    data = real_data("tencent_video_sample")
    flags = real_flags(monkeypatch, tmp_path, "tencent_video", data)
    run_training(*flags, "--models=hard_sharing")  # tickets of real rows: the test below
    folder = tmp_path / "run"
    check_evaluation(folder, ["hard_sharing"])
    data = artifacts.read_json(folder / "data.json")
    assert (data["rows"], data["unusable"]) == (4322, {})
    splits = [split["tasks"] for split in data["splits"].values()]
    for task, rows, mean in (("ctr", 4322, 0.388), ("cvr", 1677, 0.818)):
        counts = [split[task]["rows"] for split in splits]
        assert sum(counts) == rows
        assert all(counts)
        means = [split[task]["label_mean"] for split in splits]
        assert np.average(means, weights=counts) == pytest.approx(mean, abs=5e-4)


def tenth_of_kuairand(data, folder):
    """Every tenth row of the log, with the same side tables."""
    folder.mkdir()
    for path in data.glob("*.csv.gz"):
        (folder / path.name).symlink_to(path)
    header, *rows = gzip.decompress((data / "log.tsv.gz").read_bytes()).splitlines(keepends=True)
    (folder / "log.tsv.gz").write_bytes(gzip.compress(header + b"".join(rows[::10])))
    return folder


def test_three_tasks_of_the_kuairand_sample_in_turn(monkeypatch, tmp_path, capsys):
    data = tenth_of_kuairand(real_data("kuairand_feedback_sample"), tmp_path / "data")
    flags = real_flags(monkeypatch, tmp_path, "kuairand_three_tasks", data)
    flags += ["--task_schedule=alternate", "--loss_weights=cvr=2,long_view=0.5"]
    flags += ["--models=s_weight", f"--schema={few_features('kuairand_feedback', tmp_path)}"]
    run_main(train.main, *flags)
    folder = tmp_path / "run"
    tasks = ["ctr", "cvr", "long_view"]
    found = check_evaluation(folder, ["s_weight"])
    assert [*found["searches"]] == tasks
    for search in found["searches"].values():
        np.testing.assert_allclose(search["densities"], [1, 0.3], atol=1e-3)
    printed = capsys.readouterr().out
    assert "LONG_VIEW AUC" in printed
    assert "density (ctr / cvr / long_view)" in printed
    check_served(folder, tasks)


# Options, several at a time.


def test_gradual_tickets_in_blocks(home):
    flags = ["--ticket_finder=gradual", "--block_width=4", "--final_density=0.3", "--rounds=4"]
    flags += ["--models=s_weight", "--reading=memory"]
    folder = home / "gradual"
    run_training(*small(folder, *flags))
    found = check_evaluation(folder, ["s_weight"])
    network = load_model(folder, "s_weight", *run_folder.read_run(folder))
    for task, search in found["searches"].items():
        assert search["chosen"] == 1
        assert search["densities"] == pytest.approx([1, 0.3], abs=0.02)
        for mask in network.masks(task).values():
            blocks = mask.reshape(len(mask), -1, 4)
            assert np.all(blocks.all(axis=2) == blocks.any(axis=2))
    before = numbers(folder)
    for name in ("done", "masks.npz"):  # as a kill at that moment leaves it
        (folder / "tickets" / "cvr" / "level_1" / name).unlink()
    run_training(*small(folder, *flags))
    assert numbers(folder) == before


def test_adagrad_users_apart_and_rewinding_to_a_step(home):
    flags = ["--optimizer=adagrad", "--split=user", "--rewind=step", "--rewind_step=3"]
    flags += ["--cross=triangle", "--checkpoint_steps=2", "--ticket_choice=best_or_dense"]
    flags += ["--models=s_weight", "--rounds=1", "--tasks=ctr", "--reading=memory"]
    folder = home / "adagrad"
    run_training(*small(folder, *flags))
    check_evaluation(folder, ["s_weight"])
    splits = artifacts.read_json(folder / "data.json")["splits"]
    assert sum(split["rows"] for split in splits.values()) == ROWS


def test_files_apart_fresh_draws_and_the_sparsest_ticket(unbroken, home):
    flags = ["--split=files", "--validation_files=impressions/day_05_*", "--cross=dcn_v2"]
    flags += ["--test_files=impressions/day_06_*", "--rewind=reinitialize", "--patience=1"]
    flags += ["--ticket_choice=sparsest", "--choice_tolerance=9", "--search_epochs=2"]
    flags += ["--rounds=1", "--reading=memory"]
    folder = home / "files"
    run_training(*small(folder, *flags, "--models=s_weight"))
    found = check_evaluation(folder, ["s_weight"])
    assert {search["chosen"] for search in found["searches"].values()} == {1}
    # Days 5 and 6, as the split by time has them.
    by_time = artifacts.read_json(unbroken[0] / "data.json")["splits"]
    assert artifacts.read_json(folder / "data.json")["splits"] == by_time


def test_one_task_trains_no_network_twice(home, capsys):
    small(home / "distinct")  # which writes the flags: here without --models
    text = (home / "small.cfg").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("--models")]
    (home / "no_models.cfg").write_text("\n".join(lines) + "\n")
    flags = [f"--flagfile={home}/no_models.cfg", "--tasks=ctr", f"--run_dir={home}/distinct"]
    flags += ["--reading=memory", "--rounds=1"]
    run_training(*flags)
    assert "one task: hard_sharing would be what base is" in capsys.readouterr().out
    check_evaluation(home / "distinct", ["base_ctr", "s_weight", "s_gates"])


def test_one_task_in_models_that_are_named(home, capsys):
    """Named, they are trained: hard sharing of one task is that task alone."""
    folder = home / "twice"
    flags = ["--tasks=cvr", "--models=base,hard_sharing", "--reading=memory"]
    run_training(*small(folder, *flags))
    assert "one task" not in capsys.readouterr().out
    found = check_evaluation(folder, ["base_cvr", "hard_sharing"])
    base, shared = (row["metrics"]["cvr"] for row in found["rows"])
    assert base == pytest.approx(shared)
    assert found["searches"] == {}
