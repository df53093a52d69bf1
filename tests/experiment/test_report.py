"""What a run says at its end beside its tables."""

from types import SimpleNamespace

from lt4rec_tf.experiment import report
from lt4rec_tf.experiment.paths import JOINT, model_folder
from tests.support.training import small_settings


def test_passes_of_a_search_over_levels_are_no_reason_for_advice(tmp_path, monkeypatch):
    audit = SimpleNamespace(splits={"train": SimpleNamespace(rows=80)})
    monkeypatch.setattr(report, "read_audit", lambda folder: audit)
    result = {"history": [{}, {}], "best_epoch": 0}
    results = dict.fromkeys(("base_ctr", "shared_bottom", "s_joint"), result)
    settings = small_settings("--epochs=2")

    (line,) = report.advice_on_passes(settings, tmp_path, results)
    assert line.startswith("shared_bottom, s_joint: the first pass was the best")
    joint = model_folder(tmp_path, "s_joint")
    joint.mkdir(parents=True)
    (joint / JOINT).touch()
    (line,) = report.advice_on_passes(settings, tmp_path, results)
    assert line.startswith("shared_bottom: the first pass was the best")
