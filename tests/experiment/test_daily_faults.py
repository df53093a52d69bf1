"""Days that are empty, half, late or delivered twice, runs that lost a file, dry runs."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lt4rec_tf import train
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.data.audit.row_sums import total
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.daily import inheritance, new_day, procedure
from lt4rec_tf.experiment.daily.lineage import DayError, refuse_known_rows
from lt4rec_tf.experiment.paths import AUDIT
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.serving.publish import published_versions
from lt4rec_tf.training import checkpoint
from tests.data.input.test_negatives_kept import sampled_schema, write_feed
from tests.support.commands import run_main, run_training
from tests.support.daily_feed import COLUMNS, SCHEMA, flags, write_day, write_schema
from tests.support.feeds import opened
from tests.support.training import Killed

pytestmark = pytest.mark.slow(minutes=1)
SMALLER = ["--embedding_density=1", "--models=s_weight", "--reading=stream"]


def of_day(home, day, parent, *more):
    """Flags of a day's run."""
    run_dir = f"--run_dir={home / 'runs' / Path(day).name}"
    wanted = [f"--data_dir={home / day}", f"--warm_start={parent}", "--split=none", run_dir]
    return flags(home, *SMALLER, *wanted, *more)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    write_schema(folder)
    write_day(folder / "first", 0, name="day_0.csv")
    write_day(folder / "first", 1, name="day_1.csv")
    write_day(folder / "first", 2, name="day_2.csv")
    write_day(folder / "day_3", 3)
    return folder


@pytest.fixture(scope="module")
def parent(home):
    """The first day of a chain, on which all tests go on."""
    first = home / "runs" / "first"
    run_training(*flags(home, *SMALLER, f"--data_dir={home}/first", f"--run_dir={first}"))
    run_training(*of_day(home, "day_3", first))
    return home / "runs" / "day_3"


def outcome(capsys, *argv):
    """Exit code, standard output and standard error of train in this process."""
    capsys.readouterr()
    code = exit_on_error(train.main, ["train", *argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def goes_on(monkeypatch, *argv):
    """Tells if the command comes to where it copies what a day starts from."""

    def stop(*arguments, **named):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(new_day, "take_start", stop)
        with pytest.raises(Killed):
            train.main(["train", *argv])
    return True


def values_of(run):
    network = load_model(run, "s_weight", *run_folder.read_run(run))
    return network, {name: variable.numpy() for name, variable in network.variables.items()}


def edited(path, change):
    """Rewrites a log; `change` takes and returns its rows, lists of texts."""
    header, *lines = path.read_bytes().decode().splitlines()
    rows = change([line.split(",") for line in lines])
    path.write_bytes("\n".join([header, *(",".join(row) for row in rows), ""]).encode())


def without_click(rows):
    return [[*row[:-2], "0", "0"] for row in rows]


# A day without a row of one task's population.


def test_a_day_without_a_click_trains_the_clicks_alone(home, parent, capsys):
    write_day(home / "no_click", 4)
    edited(home / "no_click" / "log.csv", without_click)
    run_main(train.main, *of_day(home, "no_click", parent, "--weight_decay=0.1"))
    said = capsys.readouterr().out
    assert "warning: task watch: no row of the day is in its population" in said
    assert "warning: train: all 300 rows of task ctr have label 0" in said

    run = home / "runs" / "no_click"
    network, after = values_of(run)
    _, before = values_of(parent)
    for name in ("watch/head/kernel", "watch/head/bias"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert np.any(after["ctr/head/kernel"] != before["ctr/head/kernel"])
    of_watch_alone = moved = 0
    for name, mask in network.masks("ctr").items():
        change = after[f"{name}/kernel"] - before[f"{name}/kernel"]
        assert np.all(change[~mask] == 0)
        of_watch_alone += np.count_nonzero(network.masks("watch")[name] & ~mask)
        moved += np.count_nonzero(change)
    assert of_watch_alone > 0
    assert moved > 0

    states = [checkpoint.read_all(r / "rows/s_weight/training/state") for r in (parent, run)]
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        if "watch/" in name:
            np.testing.assert_array_equal(states[1][name], states[0][name], err_msg=name)

    (model,) = artifacts.read_json(run / "evaluation.json")["rows"]
    assert set(model["metrics"]["watch"].values()) == {None}
    assert model["metrics"]["ctr"]["log_loss"] > 0
    history = artifacts.read_json(run / "rows/s_weight/training/history.json")
    assert set(history["history"][0]["train_loss"]) == {"ctr"}
    assert len(published_versions(run / "saved_model")) == 1

    write_day(home / "day_after", 5)
    run_training(*of_day(home, "day_after", run))
    _, later = values_of(home / "runs" / "day_after")
    assert np.any(later["watch/head/kernel"] != after["watch/head/kernel"])
    drift = artifacts.read_json(home / "runs/day_after/day.json")["drift"]["tasks"]["watch"]
    assert drift["before"] == {"rows": 0, "label_mean": None}


def test_a_share_of_negatives_that_a_day_cannot_say_is_that_of_before(tmp_path):
    # Odd rows are clicks, which need no share.
    write_feed(tmp_path, ["0.5"] * 8)
    made = sampled_schema(tmp_path, '"share"')
    artifacts.write_json(tmp_path / AUDIT, opened(made, tmp_path)[1].to_json())
    first = logs.learned_schema(made, tmp_path)
    assert first.task("ctr").negatives_kept == 0.5
    logs.keep_standards(tmp_path, first)

    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([header, *rows[1::2]]))
    audit = opened(made, tmp_path)[1]
    assert audit.splits["train"].tasks["ctr"].negatives_kept is None
    artifacts.write_json(tmp_path / AUDIT, audit.to_json())
    assert logs.learned_schema(made, tmp_path).task("ctr").negatives_kept == 0.5

    write_feed(tmp_path, ["0.25"] * 8)
    artifacts.write_json(tmp_path / AUDIT, opened(made, tmp_path)[1].to_json())
    assert logs.learned_schema(made, tmp_path).task("ctr").negatives_kept == 0.25


# Days that are empty or broken: refused, and mended the same command goes on.


def no_files(log):
    log.unlink()


def headers_alone(log):
    edited(log, lambda rows: [])


def bad_rows(log):
    edited(log, lambda rows: [[*row[:-2], "x", row[-1]] for row in rows])


def cut_gzip(log):
    packed = gzip.compress(log.read_bytes())
    log.write_bytes(packed[: len(packed) // 2])


def test_empty_and_broken_days_are_refused_until_logs_arrive(home, parent, capsys, monkeypatch):
    argv = of_day(home, "empty", parent)
    for spoil, reason in (
        (no_files, "no file matches '*.csv'; expected one or more"),
        (headers_alone, "the logs: found no row, expected some"),
        (bad_rows, "found 300 unusable rows of 300 (bad_label 300 (click: column click))"),
        (cut_gzip, "log.csv: cannot be read (Compressed file ended before"),
    ):
        spoil(write_day(home / "empty", 4))
        code, _, said = outcome(capsys, *argv)
        assert (code, reason in said, "Traceback" in said) == (2, True, False), said
    write_day(home / "empty", 4)
    assert goes_on(monkeypatch, *argv)


# Days that are delivered twice, or in parts.


def packed(log):
    log.write_bytes(gzip.compress(log.read_bytes()))


def sorted_otherwise(log):
    edited(log, lambda rows: rows[::-1])


def in_two_files(log):
    shutil.copy(log, log.with_name("other.csv"))
    edited(log, lambda rows: rows[::2])
    edited(log.with_name("other.csv"), lambda rows: rows[1::2])


def other_format(log):
    lines = [line.split(",") for line in log.read_text().splitlines()[1:]]
    records = [json.dumps(dict(zip(COLUMNS, line, strict=True))) for line in lines]
    log.with_suffix(".jsonl").write_text("\n".join(records))
    text = SCHEMA.replace('"csv"', '"jsonl"').replace("*.csv", "*.jsonl")
    (log.parent / "lines.toml").write_text(text)


@pytest.mark.parametrize(
    ("again", "found"),
    [
        (packed, "log.csv holds the rows of log.csv of day 'day_3'"),
        (sorted_otherwise, "log.csv holds the rows of log.csv of day 'day_3'"),
        (in_two_files, "all files together hold the rows of day 'day_3'"),
        (other_format, "log.jsonl holds the rows of log.csv of day 'day_3'"),
    ],
)
def test_the_rows_of_a_day_are_known_in_other_files(home, parent, capsys, again, found):
    day = again.__name__
    again(write_day(home / day, 3))
    schemas = [f"--schema={path}" for path in (home / day).glob("*.toml")]
    code, _, said = outcome(capsys, *of_day(home, day, parent, *schemas))
    assert code == 2
    assert "found rows that this chain was trained on, in other files" in said
    assert found in said


def test_a_part_of_a_known_file_is_not_noticed_but_where_it_was_cut(
    home, parent, capsys, monkeypatch
):
    log = write_day(home / "cut_row", 3)
    content = log.read_bytes()
    log.write_bytes(content[: content.rindex(b",", 0, len(content) * 2 // 3)])
    assert goes_on(monkeypatch, *of_day(home, "cut_row", parent))
    said = capsys.readouterr().out
    assert "warning: the last record is no whole row in log.csv: was it cut off" in said


def test_files_are_told_by_their_rows_and_days_by_all_of_them():
    files = {"a": {"rows": "0" * 15 + "7"}, "b": {"rows": "f" * 16}, "c": {"rows": None}}
    days = [{"name": "old", "files": {name: files[name] for name in "ab"}}]
    days.append({"name": "gone", "files": {"c": files["c"]}})
    with pytest.raises(DayError, match=r"x holds the rows of b of day 'old'$"):
        refuse_known_rows({"x": "f" * 16, "y": "1" * 16}, days)
    with pytest.raises(DayError, match=r"all files together hold the rows of day 'old'$"):
        refuse_known_rows({"x": total(["0" * 15 + "8", "f" * 15 + "e"])}, days)
    refuse_known_rows({"x": "1" * 16}, days)


def test_files_that_come_late_are_a_part_of_their_own(home, parent, capsys, monkeypatch):
    write_day(home / "half", 4, name="a.csv")
    argv = of_day(home, "half", parent)

    def stop(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(procedure, "train_models", stop)  # the day has begun
        with pytest.raises(Killed):
            train.main(["train", *argv])
    write_day(home / "half", 5, name="b.csv")
    code, _, said = outcome(capsys, *argv)
    assert code == 2
    assert "b.csv: was None, is " in said
    assert "Logs that come later are a part of their own" in said
    assert goes_on(monkeypatch, *of_day(home, "half", parent, f"--run_dir={home}/runs/whole"))

    code, _, said = outcome(capsys, *of_day(home, "day_6", home / "runs" / "half"))
    assert (code, "runs/half is not finished; run its command again" in said) == (2, True), said

    shutil.copy(home / "day_3" / "log.csv", home / "half" / "a.csv")
    code, _, said = outcome(capsys, *of_day(home, "half", parent, f"--run_dir={home}/runs/two"))
    assert code == 2
    assert "a.csv is log.csv of day 'day_3'\n1 of 2 files are new: of a day that comes in" in said


# Runs of the day before that lost a file.


@pytest.mark.parametrize(
    "lost",
    [
        "config.json",
        "schema.toml",
        "data.json",
        "days.json",
        "marginals.json",
        "standards.json",
        "numbers.json",
        "vocabularies",
        "rows/s_weight/training/done",
    ],
)
def test_a_run_that_lost_a_file_is_refused(home, parent, capsys, lost):
    broken = home / "runs" / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(parent, broken, ignore=shutil.ignore_patterns("saved_model", "tensorboard"))
    path = broken / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, _, said = outcome(capsys, *of_day(home, "day_3", broken, f"--run_dir={home}/runs/after"))
    assert (code, "Traceback" in said) == (2, False), said
    assert str(broken) in said


@pytest.mark.parametrize("lost", ["weights", "state", "../masks/ctr.npz"])
def test_a_run_without_weights_state_or_masks_is_refused(home, parent, lost):
    broken = home / "runs" / "broken_model"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(parent, broken)
    path = broken / "rows/s_weight/training" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    settings, schema = run_folder.read_run(broken)
    opened = new_day.Parent(broken, settings, schema)

    def read():
        load_model(broken, "s_weight", settings, schema)
        return [*inheritance.read_start(opened, "s_weight", settings)]

    with pytest.raises(artifacts.InputError) as refused:
        read()
    assert path.name in str(refused.value)


# What a run would do.


def everything_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_says_what_a_day_would_do_and_leaves_nothing(home, parent, capsys):
    write_day(home / "tomorrow", 4, ["watch"] * 30)
    argv = of_day(home, "tomorrow", parent, "--grow_vocabularies=10", "--epochs=2", "--dry_run")
    before = everything_below(home)
    code, said, err = outcome(capsys, *argv)
    assert (code, err) == (0, "")
    assert everything_below(home) == before

    for line in (
        f"starts from: {parent}, whose last day is 'day_3'; the chain has 2 days so far",
        "| log.csv | no         | ",
        "300 records, 0 without use",
        "vocabulary user: 38 values with a row of their own, 2 of them new; 30 occur in train",
        "rows: 300 before, 300 now",
        "label mean of watch: ",
        "| feature      |",
        "vocabulary device: 1 new values: watch",
        "times: 20261105 (2026-11-05) to 20261105 (2026-11-05); the chain ends at 20261104 (2026",
        "steps to train: 20 (models to train: 1; passes over the logs: 2; steps of a pass: 10)",
        f"SavedModel (s_weight): to be {home}/runs/tomorrow/saved_model/1",
    ):
        assert line in said, line
    assert f"model s_weight: density of its masks, of {parent}: ctr 0." in said


def test_a_dry_run_refuses_what_the_run_refuses_with_the_same_message(home, parent, capsys):
    argv = of_day(home, "day_3", parent, f"--run_dir={home}/runs/again")
    code, said, foretold = outcome(capsys, *argv, "--dry_run")
    assert code == 2
    assert "| log.csv | log.csv of day 'day_3' |" in said
    assert outcome(capsys, *argv)[::2] == (2, foretold)

    bad_rows(write_day(home / "spoilt", 4))
    argv = of_day(home, "spoilt", parent)
    code, _, foretold = outcome(capsys, *argv, "--dry_run")
    _, _, told = outcome(capsys, *argv)
    listed = f" All are listed in {home}/runs/spoilt/quarantine.tsv."
    assert (code, told.replace(listed, "")) == (2, foretold)


def test_a_dry_run_of_a_begun_run_says_what_is_left(home, parent, capsys):
    before = everything_below(home)
    first = home / "runs" / "first"
    code, said, err = outcome(capsys, *of_day(home, "day_3", first), "--dry_run")
    assert (code, err) == (0, "")
    assert "its day was read, and the same command goes on with it\nsteps to train: 0 (" in said
    assert everything_below(home) == before


def test_a_dry_run_of_an_ordinary_run_says_its_steps(home, parent, capsys):
    first = flags(home, *SMALLER, f"--data_dir={home}/first", "--dry_run")
    before = everything_below(home)
    code, said, _ = outcome(capsys, *first, f"--run_dir={home}/runs/first")
    assert (code, "steps to train: 0, 10 in a pass over train" in said) == (0, True), said
    code, said, _ = outcome(capsys, *first, f"--run_dir={home}/runs/other")
    # Two tasks at two levels, and the joint training.
    assert (code, "steps to train: 50, 10 in a pass over train" in said) == (0, True), said
    code, said, _ = outcome(
        capsys, *first, f"--masks={home}/runs/first", f"--run_dir={home}/runs/other"
    )
    assert (code, "steps to train: 10 (models to train: 1;" in said) == (0, True), said
    code, _, said = outcome(capsys, *first, f"--run_dir={home}/runs/first", "--epochs=3")
    assert (code, "settings.training.epochs: was 1, is 3" in said) == (2, True), said
    code, _, said = outcome(capsys, *first, "--distribution=mirrored")
    assert (code, "--dry_run: found True, expected nothing with" in said) == (2, True), said
    assert everything_below(home) == before
