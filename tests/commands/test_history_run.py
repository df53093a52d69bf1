"""Logs with a history, from training to a served model, as a user would: every command, once."""

import contextlib
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lt4rec_tf import evaluate, export, train
from lt4rec_tf.core.artifacts import RunError
from tests.support.schemas import SMALL_SCHEMA, WATCHED

pytestmark = pytest.mark.slow(minutes=1)

VIDEOS, USERS, ROWS = 8, 300, 4000


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A user clicks a video where the last one was even as it is, or odd as it is."""
    folder = tmp_path_factory.mktemp("history")
    rng = np.random.default_rng(0)
    videos = rng.integers(0, VIDEOS, ROWS)
    lines = ["user,video,tags,source,age,click,watch_ratio,watched,ago"]
    for row in range(ROWS):
        watched = rng.integers(0, VIDEOS, rng.integers(1, 5))
        alike = watched[0] % 2 == videos[row] % 2
        click = int(rng.random() < (0.8 if alike else 0.2))
        ago = np.arange(1, len(watched) + 1) * 50
        ratio = rng.random() if click else ""
        lists = ["|".join(map(str, values)) for values in (watched, ago)]
        user = f"u{rng.integers(USERS)}"
        lines.append(
            ",".join([user, str(videos[row]), "a", "v1", "30", str(click), str(ratio), *lists])
        )
    (folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "schema.toml").write_text(SMALL_SCHEMA + WATCHED, encoding="utf-8")
    return folder


MASKED = ("--models=s_weight,s_gates", "--mask_attention", "--epochs=2", "--gate_epochs=2")


def flags(logs, folder):
    return [
        f"--schema={logs}/schema.toml",
        f"--data_dir={logs}",
        f"--run_dir={folder}",
        "--split=random",
        "--models=base,s_weight",
        "--hidden_units=16,8",
        "--embedding_dim=8",
        "--epochs=6",
        "--rounds=1",
        "--batch_size=64",
        "--learning_rate=0.01",
        "--embedding_stddev=0.1",
        "--reading=memory",
    ]


@pytest.fixture(scope="module")
def run(logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    train.main(["train", *flags(logs, folder)])
    return folder


@pytest.fixture(scope="module")
def masked(logs, tmp_path_factory):
    """A run whose tickets cover the attention, and what it printed."""
    folder = tmp_path_factory.mktemp("masked") / "run"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        train.main(["train", *flags(logs, folder), *MASKED])
    return folder, out.getvalue()


def ctr_auc(folder, model):
    models = json.loads((folder / "evaluation.json").read_text())["rows"]
    return next(found["metrics"]["ctr"]["auc"] for found in models if found["row"] == model)


def test_a_candidate_is_weighed_by_the_last_event(run, logs, tmp_path):
    """Neither the user nor the mean of a history tells more than that some are alike."""
    other = tmp_path / "none"
    train.main(["train", *flags(logs, other), "--history=none"])
    assert ctr_auc(run, "base_ctr") > 0.7
    assert ctr_auc(other, "base_ctr") < 0.6


def test_a_run_is_evaluated_and_exported_again(run):
    evaluate.main(["evaluate", f"--run={run}", "--importance"])
    folder = run.parent / "exported"
    export.main(["export", f"--run={run}", "--model=s_weight", f"--export_dir={folder}"])
    assert (folder / "1").is_dir()


def test_a_loaded_version_ranks_by_the_history(run):
    model = tf.saved_model.load(str(run / "saved_model" / "1"))
    asked = {
        "user": [["u1"]][0],
        "source": ["v1"],
        "age": [30.0],
        "watched": [["2", "4"]],
        "ago": [[50.0, 100.0]],
        "video": [["4", "5", "6", "7"]],
        "tags": [[["a"]] * 4],
    }
    sent = {
        name: tf.constant(values, tf.float32 if name in ("age", "ago") else tf.string)
        for name, values in asked.items()
    }
    chances = model.signatures["rank"](**sent)["pctr"].numpy()[0]
    assert chances[[0, 2]].min() > chances[[1, 3]].max()  # even as what was watched last


def test_a_run_says_what_each_ticket_keeps_of_the_attention(masked):
    folder, printed = masked
    for model in ("s_weight", "s_gates"):
        assert f"what each task's ticket of {model} keeps of the attention to watched" in printed
    for line in ("event's watched", "event's ago", "candidate's video", "watched x video"):
        assert printed.count(f"| {line} ") == 2
    for found in json.loads((folder / "evaluation.json").read_text())["rows"]:
        assert 0 < found["overlap"] < 1
        assert found["density"] == pytest.approx({"ctr": 0.2, "cvr": 0.2}, abs=0.01)


def test_tensorboard_shows_them_too(masked):
    events = masked[0] / "tensorboard"
    tags = {}
    for part in ("summary", "tickets/ctr"):
        accumulator = EventAccumulator(str(events / part), size_guidance={"tensors": 0})
        accumulator.Reload()
        tags[part] = accumulator.Tags()["tensors"]
    assert "tickets/attention/watched" in tags["summary"]
    assert "weights/density/attention.watched/event_kernel" in tags["tickets/ctr"]
    assert "weights/neurons_dead/tower_0" in tags["tickets/ctr"]


@pytest.mark.parametrize("model", ["s_weight", "s_gates"])
def test_a_version_of_such_a_run_ranks_as_it_answers_rows(masked, model, capsys):
    folder, _ = masked
    evaluate.main(["evaluate", f"--run={folder}"])
    assert model in capsys.readouterr().out
    exported = folder.parent / model
    export.main(["export", f"--run={folder}", f"--model={model}", f"--export_dir={exported}"])
    signatures = tf.saved_model.load(str(exported / "1")).signatures

    asking = {"user": "u1", "source": "v1", "age": 30.0, "watched": ["2", "4"], "ago": [50.0, 99.0]}
    ranked = {"video": ["4", "5", "6"], "tags": [["a"]] * 3}
    ranking = {name: [value] for name, value in (asking | ranked).items()}
    rows = {name: [value] * 3 for name, value in asking.items()} | ranked
    answers = {}
    for signature, sent in (("rank", ranking), ("serving_default", rows)):
        floats = ("age", "ago")
        tensors = {
            name: tf.constant(values, tf.float32 if name in floats else tf.string)
            for name, values in sent.items()
        }
        answers[signature] = signatures[signature](**tensors)
    for task in ("pctr", "pcvr"):
        found, expected = (answers[s][task].numpy() for s in ("rank", "serving_default"))
        np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_the_next_day_goes_on_with_the_same_masks(masked, logs, tmp_path):
    folder, _ = masked
    day = tmp_path / "day"
    goes_on = [*flags(logs, day), *MASKED, f"--warm_start={folder}", "--split=none"]
    goes_on.append("--retrain_day")
    train.main(["train", *goes_on])
    for model in ("s_weight", "s_gates"):
        for task in ("ctr", "cvr"):
            mask = f"rows/{model}/masks/{task}.npz"
            assert (day / mask).read_bytes() == (folder / mask).read_bytes()

    goes_on.remove("--mask_attention")
    goes_on[goes_on.index(f"--run_dir={day}")] = f"--run_dir={tmp_path / 'other'}"
    with pytest.raises(RunError, match=r"tickets.mask_attention"):
        train.main(["train", *goes_on])
