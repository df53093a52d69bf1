"""A run on a log with adverts, weights and sampled negatives: what it learns and what it serves."""

import json
import re

import numpy as np
import pytest

from lt4rec_tf import train
from lt4rec_tf.experiment import calibration
from lt4rec_tf.experiment.calibration_maps import ModelCalibration, content_of
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.serving.publish import published_versions
from lt4rec_tf.training.calibration import fit
from lt4rec_tf.training.predictions import predictor_of
from tests.support.commands import run_main
from tests.support.training import Killed
from tests.support.versions import session_answers

pytestmark = pytest.mark.slow(minutes=1)

SCHEMA = """
name = "sampled"
format = "csv"
files = ["log.csv"]
user = "user"
weight = "weight"
time = { column = "day" }

[[filters]]
column = "kind"
comparison = "!="
value = "advert"

[[features]]
name = "user"
dtype = "string"
side = "user"
ids = { kind = "hash", buckets = 500 }

[[features]]
name = "video"
dtype = "string"
side = "item"
ids = { kind = "hash", buckets = 500 }

[[labels]]
name = "click"
kind = "binary"
column = "click"

[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"
negatives_kept = "kept"
"""
ROWS = 60_000


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The folder of a log; and of all rows before it was sampled the click rate by weight."""
    folder = tmp_path_factory.mktemp("sampled")
    rng = np.random.default_rng(0)
    user, video = rng.integers(0, 90, ROWS), rng.integers(0, 60, ROWS)
    chance = 1 / (1 + np.exp(2.2 - 1.5 * (user % 5 - 2) / 2 - (video % 3 - 1)))
    click = rng.random(ROWS) < chance
    share = rng.choice([0.1, 0.3], ROWS)
    # Whoever is hardly ever clicked weighs more: weights move the rate.
    weight = np.where(user % 5 < 2, rng.choice([0.0, 4.0], ROWS), 1.0)
    advert = rng.random(ROWS) < 0.2
    is_kept = click | (rng.random(ROWS) < share)

    lines = ["user,video,kind,day,click,kept,weight"]
    for n in np.flatnonzero(is_kept):
        kind, label = ("advert", "") if advert[n] else ("film", int(click[n]))
        lines.append(
            f"u{user[n]},v{video[n]},{kind},{10 * n // ROWS},{label},{share[n]},{weight[n]}"
        )
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    (folder / "schema.toml").write_text(SCHEMA)
    return folder, np.average(click[~advert], weights=weight[~advert])


def killed(*arguments):
    raise Killed


def test_a_run_predicts_the_rates_of_the_log_before(logs, tmp_path, capsys, monkeypatch):
    """The process ends as its model is to be calibrated, and the same command goes on."""
    folder, rate = logs
    flags = (
        f"--schema={folder}/schema.toml",
        f"--data_dir={folder}",
        f"--run_dir={tmp_path}/run",
        "--models=hard_sharing",
        "--hidden_units=8",
        "--epochs=1",
        "--embedding_dim=4",
        "--epochs=3",
        "--batch_size=256",
        "--learning_rate=0.01",
        "--calibration=isotonic",
        "--reading=memory",
    )
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "write_maps", killed)
        with pytest.raises(Killed):
            run_main(train.main, *flags)
    assert not (tmp_path / "run" / "evaluation.json").exists()
    run_main(train.main, *flags)
    printed = capsys.readouterr().out
    for part in ('kind != "advert"', "0 without use", "of weight", "of the negatives kept"):
        assert part in printed

    (model,) = json.loads((tmp_path / "run" / "evaluation.json").read_text())["rows"]
    metrics = model["metrics"]["ctr"]
    assert metrics["pcoc"] == pytest.approx(1, abs=0.1)
    assert metrics["auc"] > 0.65
    after = model["calibrated"]["metrics"]["ctr"]
    assert after["auc"] == pytest.approx(metrics["auc"], abs=1e-5)
    assert after["log_loss"] != metrics["log_loss"]
    words = model["calibrated"]["maps"]["ctr"]
    assert f"calibration of hard_sharing on validation: ctr: {words}" in printed
    for cells in (f"none {metrics['log_loss']:.5f}", f"{words} {after['log_loss']:.5f}"):
        assert re.search(cells.replace(" 0.", r" +\|[^|]+\| +- \| +0."), printed)
    kept = json.loads((tmp_path / "run" / "calibration" / "hard_sharing.json").read_text())
    assert kept == expected_maps(tmp_path / "run")

    # Every user with every video, as often as the log before had them, by the weights of users.
    pairs = [(f"u{user}", f"v{video}") for user in range(90) for video in range(60)]
    users, videos = (np.array(column, object) for column in zip(*pairs, strict=True))
    version = published_versions(tmp_path / "run" / "saved_model")[-1]
    answers = session_answers(version, "ctr", {"user": users, "video": videos})
    weights = [2.0 if int(user[1:]) % 5 < 2 else 1.0 for user in users]
    assert np.average(answers["pctr"], weights=weights) == pytest.approx(rate, rel=0.1)
    assert json.loads((version / "calibration.json").read_text()) == kept
    card = (version / "model_card.md").read_text()
    assert f"Fitted on validation; all answers are made with them.\n\n- `ctr`: {words}" in card


def expected_maps(run):
    """Fitted to the weighted rows of validation, each kept negative for all that it stands for."""
    folder, settings, schema, source = open_run(str(run), "")
    network = load_model(folder, "hard_sharing", settings, schema)
    found = predictor_of(network, schema)(split_batches(source, "validation"))
    maps = {"ctr": fit("isotonic", found, schema.task("ctr"))}
    expected = ModelCalibration({"ctr": "isotonic"}, "validation", maps, {})
    return json.loads(json.dumps(content_of(expected)))
