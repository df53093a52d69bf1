"""docs/own_model.md: its model is trained, evaluated and exported, and compared."""

import importlib.util
import json
import re

import pytest

from lt4rec_tf import export, train
from lt4rec_tf.experiment.comparison.grid import read_models
from lt4rec_tf.models import registry
from tests.support.commands import run_main, run_training, small
from tests.support.paths import PROJECT

PAGE = (PROJECT / "docs" / "own_model.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def forked(tmp_path, monkeypatch):
    """The model of the page, with the line that the page adds to the registry."""
    code, line = blocks("python")
    path = tmp_path / "forked.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("forked", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    name, description = re.fullmatch(
        r'"(\w+)": Model\(build_forked, "(.*)"\),', line.strip()
    ).groups()
    model = registry.Model(module.build_forked, description)
    monkeypatch.setitem(registry.MODELS, name, model)
    return name


def test_the_model_has_about_20_lines():
    code, _ = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_help_and_a_comparison_know_the_model(forked, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["train", "--help"])
    assert "forked (a shared stack" in " ".join(capsys.readouterr().out.split())

    models = tmp_path / "models.toml"
    base = '[[models]]\nname = "base"\ngroup = "Single tasks"\nmodel = "base"\n\n'
    models.write_text(base + blocks("toml")[0], encoding="utf-8")
    specs = read_models(models, [], ["ctr", "cvr"])
    assert [spec.model for spec in specs] == ["base", "base", "forked"]


@pytest.mark.slow
def test_the_model_is_trained_evaluated_and_exported(forked, tmp_path):
    folder = tmp_path / "run"
    run_training(*small(folder, "--models=base,forked", "--reading=memory"))
    evaluation = json.loads((folder / "evaluation.json").read_text())
    results = {model["row"]: model for model in evaluation["rows"]}
    assert set(results) == {"base_ctr", "base_cvr", "forked"}
    assert results["forked"]["metrics"]["ctr"]["auc"] > 0.5

    # The export compares the version with the network before it appears.
    versions = tmp_path / "models"
    run_main(export.main, f"--run={folder}", "--model=forked", f"--export_dir={versions}")
    assert (versions / "1" / "saved_model.pb").exists()
