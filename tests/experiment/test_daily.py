"""Chains of runs: masks found once, each day measured, trained on and exported."""

import contextlib
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lt4rec_tf import evaluate, train
from lt4rec_tf.config import checks
from lt4rec_tf.config.parse import from_dict, parse, to_dict
from lt4rec_tf.config.settings import DailySettings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.audit.times import Times
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.calibration_maps import maps_of_model
from lt4rec_tf.experiment.daily import inheritance, new_day, procedure
from lt4rec_tf.experiment.daily.lineage import (
    DayError,
    identify,
    refuse_earlier_day,
    refuse_known_files,
)
from lt4rec_tf.experiment.daily.parent import open_parent
from lt4rec_tf.experiment.run import table_ticket
from lt4rec_tf.experiment.trained_models import load_model, measure_model
from lt4rec_tf.models.calibration import calibrated_logits
from lt4rec_tf.models.layers.table_layout import layout_of, with_copied_rows
from lt4rec_tf.schema.fitted import with_vocabularies
from lt4rec_tf.schema.label_quantiles import label_quantiles_of
from lt4rec_tf.schema.numbers import numbers_of
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.vocabularies import grow
from lt4rec_tf.tickets.embedding_tables import TableTicket, grown
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.calibration import fit
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.predictions import predictor_of
from tests.support.commands import run_main, run_training
from tests.support.daily_feed import FIRST, ROWS, flags, write_day, write_schema
from tests.support.networks import read_variables
from tests.support.training import Killed, small_feed, small_trainer
from tests.support.versions import session_answers

pytestmark = pytest.mark.slow(minutes=1)
NEW = ["watch"] * 30 + ["car"] * 5
FAR_ROW = 74  # of day 3, whose date cannot be


def run_train(home, name, *more):
    """Trains in this process and publishes nothing; returns the run's folder."""
    run_training(*flags(home, f"--run_dir={home / name}", *more))
    return home / name


def day_flags(home, day, parent, *more):
    models = "--models=s_weight"
    return [f"--data_dir={home}/{day}", f"--warm_start={parent}", "--split=none", models, *more]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("daily")
    write_schema(folder)
    for day in range(3):
        write_day(folder / "first_days", day, name=f"day_{day}.csv")
    write_day(folder / "day_3", 3, NEW, dates={FAR_ROW: 99991231})
    write_day(folder / "day_4", 4, ["watch"] * 20)
    return folder


@pytest.fixture(scope="module")
def first(home):
    models = "--models=s_weight,s_weight_auto"
    return run_train(home, "first", f"--data_dir={home}/first_days", models)


@pytest.fixture(scope="module")
def second(home, first):
    """The first day of the chain, killed as its training began and in the middle of it."""
    wanted = [*day_flags(home, "day_3", first), f"--masks={first}", f"--frozen={first}"]
    wanted += ["--grow_vocabularies=10", "--checkpoint_steps=3"]
    with pytest.MonkeyPatch.context() as patch, (home / "said").open("w") as said:
        patch.setattr(inheritance, "take_weights", killed)
        with pytest.raises(Killed), contextlib.redirect_stdout(said):
            run_train(home, "day_3_run", *wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(procedure, "Progress", KilledProgress)
        with pytest.raises(Killed):
            run_train(home, "day_3_run", *wanted)
    check_started_from(home / "day_3_run", first)
    return run_train(home, "day_3_run", *wanted)


@pytest.fixture(scope="module")
def third(home, first, second):
    """The next day, whose parent is gone by now."""
    parent = home / "parent"
    shutil.copytree(second, parent)
    wanted = [*day_flags(home, "day_4", parent), f"--frozen={first}", "--reading=stream"]
    wanted += ["--calibration=isotonic"]
    run_main(train.main, *flags(home, f"--run_dir={home}/day_4_run", *wanted))
    shutil.rmtree(parent)
    return home / "day_4_run"


def killed(*arguments, **named):
    raise Killed


class KilledProgress(Progress):
    """Ends the process between two checkpoints."""

    left = 8

    def step(self, losses, examples=None):
        KilledProgress.left -= 1
        if KilledProgress.left == 0:
            raise Killed


def weights(folder):
    network = load_model(folder, "s_weight", *run_folder.read_run(folder))
    return {name: variable.numpy() for name, variable in network.variables.items()}


def check_started_from(folder, parent):
    """Every variable begins as the parent's ended, new rows as the row of unknown values."""
    schema = run_folder.read_run(folder)[1]
    assert schema.feature("device").ids.vocabulary == ("phone", "tv", "watch")
    start = checkpoint.read_all(folder / "initial" / "s_weight" / "weights")
    network = load_model(parent, "s_weight", *run_folder.read_run(parent))
    assert set(start) == set(network.variables)
    for name, variable in network.variables.items():
        if not name.startswith("embedding/"):
            np.testing.assert_array_equal(start[name], variable.numpy(), err_msg=name)
    before = whole_tables(parent)
    after = spread(folder, start["embedding/table"])
    rows_before = run_folder.read_run(parent)[1].table_rows
    users, users_after = rows_before["user"], schema.table_rows["user"]
    assert users == 2 + 30 < users_after <= users + 6  # users 0 to 29, then 6 to 35
    np.testing.assert_array_equal(after[:users], before[:users])
    new = np.broadcast_to(before[1], (users_after - users, before.shape[1]))
    np.testing.assert_array_equal(after[users:users_after], new)  # a new user is what unknown was
    after, before = after[users_after:], before[users:]
    np.testing.assert_array_equal(after[:4], before[:4])
    np.testing.assert_array_equal(after[4], before[1])  # and so is a watch
    np.testing.assert_array_equal(after[5:], before[4:])


def spread(folder, table):
    settings, schema = run_folder.read_run(folder)
    ticket = table_ticket(folder, settings, schema)
    return layout_of(schema, settings.model.embedding_dim, ticket).spread({"table": table})


def whole_tables(folder):
    return spread(folder, weights(folder)["embedding/table"])


def test_a_day_is_measured_by_the_network_of_the_day_before(second):
    (day,) = [
        run_folder
        for run_folder in artifacts.read_json(second / "days.json")
        if "measured" in run_folder
    ]
    measured = {model["row"]: model["metrics"] for model in day["measured"]}
    frozen = {model["row"]: model["metrics"] for model in day["frozen"]}
    # The first day's network is the first run's; its new rows are copies of the unknown row.
    for model, metrics in frozen.items():
        for task, values in metrics.items():
            assert measured[model][task] == pytest.approx(values, rel=1e-6)


def test_the_next_day_is_measured_by_what_the_last_one_trained(second, third):
    settings, schema = run_folder.read_run(third)
    source = logs.read_audited(logs.open_logs(settings.data, schema), third)
    network = load_model(second, "s_weight", *run_folder.read_run(second))
    # The network of the day before knows the values of its own day.
    schema = with_vocabularies(source.schema, logs.read_audit(second).vocabularies)
    assert schema.table_rows["user"] < source.schema.table_rows["user"]
    source = dataclasses.replace(source, schema=schema)
    found = measure_model("s_weight", network, source.schema, batches(source, "train", 100))
    measured = artifacts.read_json(third / "evaluation.json")["rows"][0]
    for task in ("ctr", "watch"):
        assert measured["metrics"][task] == pytest.approx(found["metrics"][task], rel=1e-5)
    frozen = artifacts.read_json(third / "days.json")[-1]["frozen"][0]
    assert frozen["metrics"]["ctr"] != measured["metrics"]["ctr"]

    # And so are its predictions calibrated; the other task predicts an amount.
    predictions = predictor_of(network, source.schema)(batches(source, "train", 100))
    kept = artifacts.read_json(third / "calibration" / "s_weight.json")
    assert kept["fitted_on"] == "the day, before training on it"
    (curve,) = fit("isotonic", predictions, source.schema.task("ctr")).curves
    np.testing.assert_allclose(kept["maps"]["ctr"]["curves"][0]["logits"], curve.logits, rtol=1e-4)
    assert kept["methods"] == {"ctr": "isotonic"}


def test_days_are_kept_over_the_chain(first, second, third):
    days = artifacts.read_json(third / "days.json")
    assert [day["name"] for day in days] == ["first_days", "day_3", "day_4"]
    assert [day["rows"] for day in days] == [3 * ROWS, ROWS, ROWS]
    times = [(day["first_time"] - FIRST, day["last_time"] - FIRST) for day in days]
    assert times == [(0, 2), (3, 3), (4, 4)]
    assert sorted(days[0]["files"]) == ["day_0.csv", "day_1.csv", "day_2.csv"]
    assert days[1]["grown"] == {"device": ["watch"]}
    assert days[2]["grown"] == {}


def test_a_far_time_is_named_and_the_chain_goes_on(home, second, third):
    said = (home / "said").read_text()
    assert "1 rows; the first is 99991231 (9999-12-31) in log.csv record 75\n" in said
    assert run_folder.read_run(third)[0].daily.warm_start == str(
        home / "parent"
    )  # a copy of second
    counted = artifacts.read_json(second / "data.json")["splits"]["train"]["rows"]
    assert counted == ROWS  # the row is kept: days are not split by time


def test_killed_twice_is_as_if_never_killed(home, first, second):
    unbroken = [*day_flags(home, "day_3", first), "--grow_vocabularies=10"]
    unbroken += [f"--masks={first}"]
    folder = run_train(home, "unbroken", *unbroken)
    found, expected = weights(second), weights(folder)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    days = [artifacts.read_json(run / "days.json")[-1] for run in (folder, second)]
    for day in days:
        del day["run"], day["frozen"]
    assert days[0] == days[1]
    assert (folder / "marginals.json").read_bytes() == (second / "marginals.json").read_bytes()


def test_masks_stay_and_what_is_cut_for_all_stays_as_it_was(first, second):
    before, after = [
        load_model(run, "s_weight", *run_folder.read_run(run)) for run in (first, second)
    ]
    moved = 0
    for task in before.tasks:
        for name, mask in before.masks(task).items():
            np.testing.assert_array_equal(after.masks(task)[name], mask)
    for name, kernel in before.kernels("ctr").items():
        worn = before.masks("ctr")[name] | before.masks("watch")[name]
        assert not worn.all()
        change = after.kernels("ctr")[name].numpy() - kernel.numpy()
        assert np.all(change[~worn] == 0)
        moved += np.count_nonzero(change[worn])
    assert moved > 0


def test_rows_of_new_values_are_kept_rows_of_a_ticket(first, second):
    before, after = [table_ticket(run, *run_folder.read_run(run)) for run in (first, second)]
    assert before.masks["device"].shape == (4,)
    np.testing.assert_array_equal(after.masks["device"], [*before.masks["device"], True])
    users = len(before.masks["user"])
    np.testing.assert_array_equal(after.masks["user"][:users], before.masks["user"])
    assert len(after.masks["user"]) > users
    assert after.masks["user"][users:].all()


def test_amounts_stay_in_the_units_that_the_network_has_learned(first, second, third):
    def units(run):
        found = logs.learned_schema(run_folder.read_run(run)[1], run).task("watch")
        return found.mean, found.scale

    assert units(first) == units(second) == units(third)
    of_day = artifacts.read_json(third / "data.json")["splits"]["train"]["tasks"]["watch"]
    assert units(third)[0] != of_day["label_mean"]


def test_quantiles_of_labels_stay_those_of_the_first_run(first, second, third):
    runs = (run_folder.read_run(run)[1] for run in (first, second, third))
    mine, *others = map(label_quantiles_of, runs)
    assert set(mine) >= {"watch"}
    kept = {task: dataclasses.replace(found, earlier=True) for task, found in mine.items()}
    assert others == [kept, kept]


def test_a_run_that_lost_its_quantiles_is_no_parent(home, first, tmp_path, capsys):
    copy = tmp_path / "first"
    shutil.copytree(first, copy)
    (copy / "label_quantiles.json").unlink()
    assert "label_quantiles.json: found nothing" in refused(
        home, capsys, *day_flags(home, "day_3", copy)
    )


def test_bins_and_scales_stay_those_of_the_first_run(first, second, third):
    mine, *others = (numbers_of(run_folder.read_run(run)[1]) for run in (first, second, third))
    assert set(mine) == {"length", "length_bin", "length_place"}
    assert len(mine["length_place"].edges) == 5
    kept = {table: dataclasses.replace(found, earlier=True) for table, found in mine.items()}
    assert others == [kept, kept]

    drift = artifacts.read_json(third / "days.json")[-1]["drift"]["features"]
    cells = {comparison["feature"]: comparison["cells"] for comparison in drift}
    assert (cells["length_bin"], cells["length_place"]) == (5, 5)  # four bins and "missing"


def test_a_finished_run_needs_no_other(third, capsys):
    parent = run_folder.read_run(third)[0].daily.warm_start
    assert not Path(parent).exists()
    run = f"--run={third}"
    before = (third / "evaluation.json").read_bytes()
    assert exit_on_error(evaluate.main, ["evaluate", run]) == 0
    assert (third / "evaluation.json").read_bytes() == before  # it holds the day before training
    assert artifacts.read_json(third / "evaluation_train.json")["split"] == "train"
    assert "s_weight" in capsys.readouterr().out


def test_the_version_of_a_day_answers_as_its_network_does(third):
    settings, schema = run_folder.read_run(third)
    source = logs.read_audited(logs.open_logs(settings.data, schema), third)
    raw = next(iter(raw_batches(source, "train", 9)))
    raw = {name: values.numpy() for name, values in raw.items()}
    raw["device"][:3] = b"watch"
    network = load_model(third, "s_weight", settings, schema)
    ids = features_to_ids(schema, {name: tf.constant(values) for name, values in raw.items()})
    assert ids["device"].numpy()[0] == 4
    calibration = maps_of_model(third, "s_weight", settings, schema).maps["ctr"]
    logits = network.model(ids, training=False)["ctr"]
    expected = tf.sigmoid(calibrated_logits(calibration, logits)).numpy()
    assert np.abs(expected - tf.sigmoid(logits)).max() > 0.01
    answers = session_answers(third / "saved_model" / "1", "ctr", raw)
    np.testing.assert_allclose(answers["pctr"], expected, rtol=1e-5)
    card = next((third / "saved_model" / "1").rglob("*.md")).read_text()
    assert "Quality on the rows it was trained on" in card


def test_tensorboard_shows_every_day(third):
    events = EventAccumulator(str(third / "tensorboard" / "days" / "s_weight"))
    events.Reload()
    assert [event.step for event in events.Tensors("day/ctr/auc")] == [1, 2]
    events = EventAccumulator(str(third / "tensorboard" / "days" / "logs"))
    events.Reload()
    assert [event.step for event in events.Tensors("psi/device")] == [1, 2]


def refused(home, capsys, *more):
    argv = ["train", *flags(home, f"--run_dir={home}/refused", *more)]
    assert exit_on_error(train.main, argv) == 2
    shutil.rmtree(home / "refused")
    return capsys.readouterr().err


def test_a_day_is_not_trained_on_twice_whatever_it_is_called(home, second, capsys):
    shutil.copytree(home / "day_3", home / "again", dirs_exist_ok=True)
    (home / "again" / "log.csv").rename(home / "again" / "other.csv")
    message = refused(home, capsys, *day_flags(home, "again", second))
    assert "other.csv is log.csv of day 'day_3'" in message
    shutil.copytree(home / "first_days", home / "old", dirs_exist_ok=True)
    message = refused(home, capsys, *day_flags(home, "old", second))
    assert "day_1.csv is day_1.csv of day 'first_days'" in message


def test_an_earlier_day_is_refused(home, second, capsys):
    write_day(home / "late", 1, ["tv"])
    message = refused(home, capsys, *day_flags(home, "late", second))
    assert (
        "found logs that end at 20261102 (2026-11-02), expected some that end at 20261104"
        in message
    )


def test_a_day_is_trained_on_again_when_that_is_asked_for(home, second, monkeypatch):
    monkeypatch.setattr(new_day, "take_start", killed)  # by then nothing is refused any more
    with pytest.raises(Killed):
        run_train(home, "forced", *day_flags(home, "day_3", second), "--retrain_day")
    assert artifacts.read_json(home / "forced" / "history.json")[-1]["name"] == "day_3"


def test_a_run_of_other_shape_is_refused_with_each_difference(home, second, capsys):
    wanted = day_flags(home, "day_4", second, "--hidden_units=8,8", "--embedding_dim=2")
    message = refused(home, capsys, *wanted, "--tasks=ctr")
    assert "does not fit this run" in message
    for part in ("model.hidden_units: was (8, 4), is (8, 8)", "model.embedding_dim: was 4, is 2"):
        assert part in message
    assert "tasks: was ['ctr', 'watch'], is ['ctr']" in message
    message = refused(home, capsys, *day_flags(home, "day_4", second), "--models=hard_sharing")
    assert "--models: found 'hard_sharing', expected models of --warm_start=" in message
    message = refused(home, capsys, *day_flags(home, "day_4", home / "nowhere"))
    assert "--warm_start: found no run in" in message


def test_a_run_with_ids_of_another_kind_is_refused_with_what_to_do(tmp_path):
    fitted = write_schema(tmp_path)
    settings = parse(["train", *flags(tmp_path, f"--data_dir={tmp_path}")], "")[0]
    text = fitted.path.read_text()
    hashed = text.replace('{ kind = "fitted" }', '{ kind = "hash", buckets = 30 }')
    run_folder.claim_folder(tmp_path / "run", settings, {}, hashed)
    later = dataclasses.replace(settings, daily=DailySettings(warm_start=str(tmp_path / "run")))
    with pytest.raises(artifacts.RunError) as refused:
        open_parent("warm_start", later, fitted)
    assert str(refused.value).splitlines() == [
        f"--warm_start: {tmp_path}/run does not fit this run:",
        "  feature.user.ids: was '{ kind = \"hash\", buckets = 30 }', is '{ kind = \"fitted\" }'",
        "By another kind of ids values have other embedding rows: expected the ids of before in "
        f"--schema={fitted.path}, or a training anew, without --warm_start.",
    ]


def test_masks_alone_train_from_the_theta_0_they_were_found_with(home, first):
    wanted = [f"--data_dir={home}/first_days", f"--masks={first}", "--seed=9"]
    wanted.append("--calibration=ctr=platt")
    folder = run_train(home, "masks_alone", *wanted, "--models=s_weight_auto")
    found = numbers_of(run_folder.read_run(folder)[1])
    assert all(of_table.earlier for of_table in found.values())  # the bins, too, are the first's
    theirs, mine = (checkpoint.read_all(run / "initial") for run in (first, folder))
    for name, values in theirs.items():
        np.testing.assert_array_equal(mine[name], values, err_msg=name)
    assert not (folder / "tickets").exists()
    found = artifacts.read_json(folder / "evaluation.json")
    expected = artifacts.read_json(first / "evaluation.json")
    assert found["split"] == "test"
    (model,), theirs = found["rows"], expected["rows"][1]
    assert (model["density"], model["overlap"]) == (theirs["density"], theirs["overlap"])
    assert model["seconds"] > 0
    assert model["calibrated"]["maps"].keys() | model["calibrated"]["left"].keys() == {"ctr"}
    choices = [
        artifacts.read_json(run / "rows/s_weight_auto/choice.json") for run in (first, folder)
    ]
    assert choices[0]["chosen"] == choices[1]["chosen"]


# Parts.


@pytest.mark.parametrize("unit", [None, "number", "row", "dimension"])
def test_grown_tables_by_value(home, unit):
    before = load_schema(home / "daily.toml")
    after = grow(before, {"device": ("a", "b")})
    rows, dimension = before.table_rows, 4
    rng = np.random.default_rng(5)
    ticket = None
    if unit:
        shapes = {"number": lambda n: (n, 4), "row": lambda n: (n,), "dimension": lambda n: (4,)}
        masks = {table: rng.random(shapes[unit](n)) < 0.7 for table, n in rows.items()}
        if unit == "dimension":
            masks = {table: np.arange(4) < k for k, table in enumerate(rows, 1)}
        ticket = TableTicket(unit, masks)
    later = ticket and grown(ticket, {"device": 2})
    layouts = layout_of(before, dimension, ticket), layout_of(after, dimension, later)
    whole = rng.normal(size=(sum(rows.values()), dimension)).astype(np.float32)
    values = layouts[0].taken(whole)
    seen = layouts[0].spread(values)  # what each id has
    found = with_copied_rows(values, (layouts[0], rows), (layouts[1], after.table_rows), 1)
    spread_after = layouts[1].spread(found)
    device = rows["user"]
    expected = np.concatenate([seen[: device + 4], seen[[device + 1] * 2], seen[device + 4 :]])
    np.testing.assert_array_equal(spread_after, expected)
    for part in layouts[1].parts:
        assert found[part.name].shape == (part.rows, part.width)

    one_a_row = {name: numbers.max(axis=1, keepdims=True) ** 2 for name, numbers in values.items()}
    grown_rows = with_copied_rows(one_a_row, (layouts[0], rows), (layouts[1], after.table_rows), 1)
    for name, numbers in found.items():
        np.testing.assert_array_equal(
            grown_rows[name], numbers.max(axis=1, keepdims=True) ** 2, err_msg=name
        )


@pytest.mark.parametrize(("optimizer", "of_tables"), [("adam", "same"), ("adagrad", "adam")])
def test_stages_with_the_state_between_are_one(
    small_schema, small_network, optimizer, of_tables, tmp_path
):
    whole = small_feed(small_schema)
    same_order = type(whole)(
        train=lambda epoch, skip: whole.train(0, skip),
        validation=None,
        steps_per_epoch=whole.steps_per_epoch,
    )
    trainer = small_trainer(
        small_network,
        small_schema,
        feed=same_order,
        optimizer=optimizer,
        embedding_optimizer=of_tables,
        schedule="both",
    )
    start = read_variables(small_network)

    def begin():
        for name, variable in small_network.variables.items():
            variable.assign(start[name])

    trainer.fit(tmp_path / "whole", "whole", Plan(2, keep_last=True))
    expected = read_variables(small_network)
    begin()
    trainer.fit(tmp_path / "one", "one", Plan(1, keep_last=True, keep_state=True))
    state = tmp_path / "one" / "state"
    trainer.fit(tmp_path / "two", "two", Plan(1, keep_last=True, state=state))
    found = read_variables(small_network)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    begin()
    trainer.fit(tmp_path / "x", "x", Plan(1, keep_last=True))
    trainer.fit(tmp_path / "y", "y", Plan(1, keep_last=True))
    other = read_variables(small_network)
    assert any(np.any(other[name] != values) for name, values in expected.items())


def test_files_are_known_by_content_or_where_that_is_gone_by_name_and_size(tmp_path):
    (tmp_path / "a").write_text("rows")
    files = identify({"a": tmp_path / "a"})
    assert files["a"]["bytes"] == 4
    known = {"b": {"bytes": 4, "sha256": files["a"]["sha256"]}}
    with pytest.raises(DayError, match="a is b of day 'o'"):
        refuse_known_files(files, [{"name": "o", "files": known}])
    gone = {"name": "old", "files": {"a": {"bytes": 4, "sha256": None}}}
    with pytest.raises(DayError, match="a is a of day 'old'"):
        refuse_known_files(files, [gone])
    gone["files"]["a"]["bytes"] = 5
    refuse_known_files(files, [gone])
    refuse_known_files(files, [{"name": "o", "files": {"a": {"bytes": 4, "sha256": "0"}}}])


def test_the_same_time_may_come_in_two_deliveries():
    days = [{"name": "a", "last_time": 5.0}, {"name": "b", "last_time": None}]
    refuse_earlier_day(5.0, days)
    refuse_earlier_day(None, days)
    refuse_earlier_day(1.0, days[1:])
    with pytest.raises(DayError, match="found logs that end at 4"):
        refuse_earlier_day(4.0, days)

    # A chain that an earlier version trained may end at a time that cannot be.
    days.append({"name": "c", "last_time": 99991231.0})
    times = Times("YYYYMMDD", 20161101, 20361110, 20261109, 20261110)
    refuse_earlier_day(20261110.0, days, times)
    days.append({"name": "d", "last_time": 20261111.0})
    with pytest.raises(DayError, match=r"end at 20261110 \(2026-11-10\), expected some"):
        refuse_earlier_day(20261110.0, days, times)


WARM = ["--warm_start=R", "--split=none", "--models=s_weight"]


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        (["--split=none"], "split"),
        (["--warm_start=R", "--models=s_weight"], "split"),
        (["--warm_start=R", "--split=none"], "models"),
        (["--masks=R"], "models"),
        (["--frozen=R"], "frozen"),
        (["--retrain_day"], "retrain_day"),
        (["--grow_vocabularies=3"], "grow_vocabularies"),
        ([*WARM, "--grow_vocabularies=-3"], "grow_vocabularies"),
        ([*WARM, "--simulate_rows=9"], "simulate_rows"),
        ([*WARM, "--warmup_epochs=1"], "warmup_epochs"),
        ([*WARM, "--ticket_control=shuffle"], "ticket_control"),
        ([*WARM, "--distribution=multi_worker"], "distribution"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(given, flag):
    with pytest.raises(ConfigError, match=f"--{flag}: found"):
        parse(["train", "--schema=s.toml", "--data_dir=d", *given], "")


def test_runs_that_take_nothing_over_keep_their_settings_as_they_were():
    plain = parse(["train", "--schema=s.toml", "--data_dir=d"], "")[0]
    assert "daily" not in to_dict(plain)
    warm = parse(["train", "--schema=s.toml", "--data_dir=d", *WARM], "")[0]
    for settings in (plain, warm):
        checks.check(settings)
        assert from_dict(to_dict(settings)) == settings
