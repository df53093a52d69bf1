"""Logs with a history, from training to a served model, as a user would: every command, once."""

import json

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf import evaluate, export, train
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


def flags(logs, folder):
    return [
        f"--schema={logs}/schema.toml",
        f"--data_dir={logs}",
        f"--run_dir={folder}",
        "--split=random",
        "--rows=base,s_weight",
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


def ctr_auc(folder, row):
    rows = json.loads((folder / "evaluation.json").read_text())["rows"]
    return next(found["metrics"]["ctr"]["auc"] for found in rows if found["row"] == row)


def test_a_candidate_is_weighed_by_the_last_event(run, logs, tmp_path):
    """Neither the user nor the mean of a history tells more than that some are alike."""
    other = tmp_path / "none"
    train.main(["train", *flags(logs, other), "--history=none"])
    assert ctr_auc(run, "base_ctr") > 0.7
    assert ctr_auc(other, "base_ctr") < 0.6


def test_a_run_is_evaluated_and_exported_again(run):
    evaluate.main(["evaluate", f"--run={run}", "--importance"])
    folder = run.parent / "exported"
    export.main(["export", f"--run={run}", "--row=s_weight", f"--export_dir={folder}"])
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
