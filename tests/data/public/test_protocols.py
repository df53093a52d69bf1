"""Protocols of public data sets, each run on rows made up in its archive's layout."""

import csv
import json

import numpy as np
import pytest

from lt4rec_tf import compare
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.processes import JobPool
from lt4rec_tf.core.toml import TomlError
from lt4rec_tf.reports.published_numbers import NOT_RUN, published_table, read_published
from tests.support import archives
from tests.support.paths import PROJECT
from tests.support.schemas import few_features

PROTOCOLS = sorted((PROJECT / "configs" / "protocols").glob("*.cfg"))
TINY = ("--embedding_dim=2", "--hidden_units=4,3", "--epochs=1", "--seeds=1", "--replicates=20",
        "--batch_size=64", "--checkpoint_steps=0", "--max_duplicate_fraction=0.99")  # fmt: skip
METRICS = {"ctr": ("auc", "log_loss"), "ctcvr": ("xauc",)}
NUMBERS = """
title = "A feed"
source = "a paper"
[[metrics]]
title = "CTR AUC"
task = "ctr"
metric = "auc"
[[models]]
name = "MMOE"
model = "mmoe"
values = [0.7]
[[models]]
name = "alone"
model = "base"
values = [0.5]
[[models]]
name = "theirs"
values = [0.6]
source = "second-hand"
"""


class Here(JobPool):
    """Runs jobs in this process, where TensorFlow is loaded already."""

    def __init__(self, *arguments):
        pass

    def run(self, what, jobs):
        for job in jobs:
            job.work(*job.arguments)
        return {}

    def close(self):
        pass


def run(name, folder, monkeypatch, *flags):
    """Runs a protocol on few rows and returns (results.json, data.json, its table)."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(compare, "JobPool", Here)
    argv = ["compare", f"--flagfile=configs/protocols/{name}.cfg", *TINY]
    argv += [f"--run_dir={folder / 'run'}", *flags]
    assert exit_on_error(compare.main, argv) == 0
    report = folder / "run" / "report"
    results = json.loads((report / "results.json").read_text())
    data = json.loads((folder / "run" / "data.json").read_text())
    return results, data, (report / "table2.md").read_text()


def rows_of(data):
    return {split: counts["rows"] for split, counts in data["splits"].items()}


def test_ali_express(tmp_path, monkeypatch):
    archives.ali_express(tmp_path / "manual")
    places = (f"--data_dir={tmp_path / 'data'}", f"--manual_dir={tmp_path / 'manual'}")
    schema = few_features("ali_express", tmp_path, "categorical_1", "numerical_1")
    flags = (*places, "--only=base,mmoe", f"--schema={schema}")
    results, data, table = run("ali_express_nl", tmp_path, monkeypatch, *flags)
    assert rows_of(data)["test"] == 100
    assert rows_of(data)["train"] + rows_of(data)["validation"] == 400
    metrics = {model["row"]: model["runs"][0]["metrics"] for model in results["rows"]}
    cells = [f"{metrics['mmoe'][task][name]:.4f} (1 seed)" for task, name in
             (("ctr", "auc"), ("cvr", "auc"), ("ctcvr", "xauc"))]  # fmt: skip
    (line,) = [line for line in table.splitlines() if line.startswith("| MMOE ")]
    assert [cell.strip() for cell in line.split("|")[3:-1]] == [
        "0.7195", cells[0], "0.7870", cells[1], "0.8574", cells[2]
    ]  # fmt: skip


def test_kuairec_by_dadf(tmp_path, monkeypatch):
    archives.kuairec(tmp_path / "manual")
    places = (f"--data_dir={tmp_path / 'data'}", f"--manual_dir={tmp_path / 'manual'}")
    only = "--only=base,cread"
    results, data, table = run("kuairec_dadf", tmp_path, monkeypatch, *places, only)
    with (tmp_path / "manual" / "data" / "big_matrix.csv").open() as file:
        ratios = [float(row["watch_ratio"]) for row in csv.DictReader(file)]
    with (tmp_path / "manual" / "data" / "item_daily_features.csv").open() as file:
        adverts = {row["video_id"] for row in csv.DictReader(file) if row["video_type"] == "AD"}
    kept = [ratio for number, ratio in enumerate(ratios)
            if 0 < ratio < 10 and str(1 + number % 3) not in adverts]  # fmt: skip
    rows = rows_of(data)
    assert sum(rows.values()) == len(kept)
    assert all(rows.values())
    assert len(results["rows"]) == 2
    for found in results["rows"]:
        mae = found["runs"][0]["metrics"]["watch_time"]["mae"]
        assert f"{mae:.3f} (1 seed)" in table
    assert "WATCH_TIME in seconds" in table


def test_kuairand_by_cwm(tmp_path, monkeypatch):
    archives.kuairand(tmp_path / "manual")
    places = (f"--data_dir={tmp_path / 'data'}", f"--manual_dir={tmp_path / 'manual'}")
    _, data, table = run("kuairand_cwm", tmp_path, monkeypatch, *places, "--only=base")
    # Nine of ten views a day are of videos of 5 to 400 s: 14, 7 and 10 days.
    assert rows_of(data) == {"train": 126, "validation": 63, "test": 90}
    log = tmp_path / "manual" / "KuaiRand-Pure" / "data" / "log_standard_4_08_to_4_21_pure.csv"
    with log.open() as file:
        views = [(int(row["play_time_ms"]), int(row["duration_ms"]))
                 for row in csv.DictReader(file)]  # fmt: skip
    seconds = [min(played, length) / 1000 for played, length in views if length > 4_500]
    train = data["splits"]["train"]["tasks"]["watch_time"]
    assert train["label_mean"] == pytest.approx(np.mean(seconds), rel=1e-6)
    assert "second-hand" in table


@pytest.mark.parametrize(("name", "folder"), [("criteo_x1", "Criteo_x1"), ("avazu_x1", "Avazu_x1")])
def test_click_benchmarks(name, folder, tmp_path, monkeypatch):
    archives.as_they_are(name, folder, tmp_path / "logs")
    flags = (f"--data_dir={tmp_path / 'logs'}", "--only=dcn_v2", "--against=dcn_v2_ctr")
    _, data, table = run(name, tmp_path, monkeypatch, *flags)
    assert rows_of(data) == {"train": 60, "validation": 20, "test": 20}
    (line,) = [line for line in table.splitlines() if line.startswith("| DCN-V2 ")]
    assert line.count("(1 seed)") == 2


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_the_page_shows_what_the_command_prints(path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    argv = ["compare", f"--flagfile={path}", "--data_dir=absent", "--published_only"]
    assert exit_on_error(compare.main, argv) == 0
    printed = capsys.readouterr().out.strip()
    assert printed in (PROJECT / "docs" / "public_tables.md").read_text()


def numbers(tmp_path, text=NUMBERS):
    path = tmp_path / "numbers.toml"
    path.write_text(text)
    return read_published(path, METRICS)


def test_measured_numbers_stand_beside_published_ones(tmp_path):
    def done(value):
        return {"status": "done", "metrics": {"ctr": {"auc": value}}}

    models = [
        {"row": "base_ctr", "runs": [done(0.4), done(0.6), {"status": "failed"}]},
        {"row": "s_weight", "runs": [done(0.75)]},
    ]
    table = published_table(numbers(tmp_path), models).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "|" in line]
    assert cells[2:] == [
        ["MMOE", "mmoe", "as below", "0.7000", NOT_RUN],
        ["alone", "base", "as below", "0.5000", "0.5000 (2 seeds)"],
        ["theirs", "-", "second-hand", "0.6000", "-"],
        ["-", "s_weight", "-", "-", "0.7500 (1 seed)"],
    ]


def test_numbers_of_earlier_versions_are_read_alike(tmp_path):
    earlier = NUMBERS.replace("\nmodel = ", "\nrow = ")
    assert earlier != NUMBERS
    assert numbers(tmp_path, earlier) == numbers(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('task = "ctr"', 'task = "cvr"', "task: found 'cvr', expected one of ctr, ctcvr"),
        ('metric = "auc"', 'metric = "mae"', "metric: found 'mae', expected one of auc, log_loss"),
        ("[0.7]", "[0.7, 0.8]", r"models\[MMOE\].values: found .* expected 1 numbers"),
        ("[0.7]", '["0.7"]', r"models\[MMOE\].values: found .* expected 1 numbers"),
        ("source =", "sauce =", "source: found nothing"),
        (
            'model = "mmoe"',
            'model = "mmoe"\nrow = "mmoe"',
            r"models\[MMOE\].model: found both model and row, expected model alone",
        ),
    ],
)
def test_numbers_that_cannot_be_shown_are_refused(old, new, message, tmp_path):
    with pytest.raises(TomlError, match=message):
        numbers(tmp_path, NUMBERS.replace(old, new, 1))
