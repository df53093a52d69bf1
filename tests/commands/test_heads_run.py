"""A run whose watch ratio has another head: trained, measured beside the duration, exported."""

from __future__ import annotations

import json

import pytest

from lt4rec_tf import evaluate, export
from lt4rec_tf.experiment import logs
from lt4rec_tf.experiment.run_folder import read_run
from lt4rec_tf.schema.heads import usual_head
from lt4rec_tf.schema.label_quantiles import read_label_quantiles
from tests.support.commands import run_main, run_training, small

pytestmark = pytest.mark.slow(minutes=1)


def test_a_head_goes_from_the_logs_to_a_version(tmp_path, capsys):
    folder = tmp_path / "run"
    run_training(*small(folder, "--models=hard_sharing", "--head=d2q", "--reading=memory"))
    settings, schema = read_run(folder)
    assert settings.model.head == "d2q"
    assert schema.task("cvr").head == usual_head("d2q")
    quantiles = read_label_quantiles(folder / "label_quantiles.json")["cvr"]
    assert quantiles.by_duration
    assert schema.task("cvr").quantiles == quantiles
    assert logs.learned_schema(schema, folder).task("cvr").quantiles == quantiles

    capsys.readouterr()
    run_main(evaluate.main, f"--run={folder}")
    printed = capsys.readouterr().out
    assert "cvr, in seconds; the last line knows the duration of the video alone" in printed
    assert "| duration alone |" in printed
    assert "cvr, by duration: hard_sharing" in printed
    (model,) = json.loads((folder / "evaluation.json").read_text())["rows"]
    found = model["watch_time"]["cvr"]
    assert found["rows"] == model["rows"]["cvr"]
    assert sum(group["rows"] for group in found["groups"]) == found["rows"]

    # Its answers to rows of the logs are compared with the network's before it is published.
    run_main(export.main, f"--run={folder}", f"--export_dir={tmp_path / 'feed'}")
    assert (tmp_path / "feed" / "1" / "saved_model.pb").exists()


def test_a_version_answers_the_quantiles_that_are_asked_for(tmp_path):
    folder, models = tmp_path / "run", tmp_path / "feed"
    run_training(*small(folder, "--models=base", "--tasks=cvr", "--head=cqe", "--reading=memory"))
    # Its answers are compared with the network's before it is published.
    flags = [f"--run={folder}", f"--export_dir={models}", "--quantiles=cvr=0.5,cvr=0.9"]
    run_main(export.main, *flags, "--nowarmup")
    card = (models / "1" / "model_card.md").read_text()
    assert "- `pcvr_q90`: What the label of `cvr` is below in 0.9 of the rows like this." in card
    assert '"pcvr_q50"' in card
