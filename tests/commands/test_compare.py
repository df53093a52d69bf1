"""The comparison as a whole, on the feed of configs/compare/smoke.cfg."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lt4rec_tf import compare, evaluate, export
from lt4rec_tf.config.parse import from_dict, parse
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.processes import Failure
from lt4rec_tf.experiment import run_folder
from lt4rec_tf.experiment.comparison import jobs, procedure, results
from lt4rec_tf.experiment.comparison.cost import cost_of
from lt4rec_tf.experiment.comparison.grid import (
    CompareFlags,
    Comparison,
    ModelSpec,
    candidates,
    read_models,
)
from lt4rec_tf.experiment.comparison.procedure import _model_name, _search_jobs, tune
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.metrics.gain import mean_relative_gain
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.serving.publish import published_versions
from tests.support.feeds import good_row, line, schema, write_lines
from tests.support.paths import PROJECT
from tests.support.schemas import few_features

MODELS = PROJECT / "configs" / "compare" / "models.toml"
TASKS = ("ctr", "cvr")
FIRST = ["base_ctr", "base_cvr", "hard_sharing", "s_weight"]
# Models that cannot end well: one diverges, the other's searches rewind to a step that never comes.
BROKEN = """
[[models]]
name = "diverges"
group = "Broken"
model = "shared_bottom"
flags = ["--learning_rate=1e30"]

[[models]]
name = "never_rewinds"
group = "Broken"
model = "s_weight"
flags = ["--rewind=step", "--rewind_step=9999"]
"""
# Lines of the file of all kinds: more models, tickets and warm-ups are trained by
# test_joint_training.py, rules of balance by test_balancing.py; test_commands.py reads all lines.
SHARED = ["s_weight_gradientconflict"]  # with the search of s_weight
OWN = ["s_neuron"]
KINDS = [*FIRST[2:], *SHARED, *OWN, "mmoe", "small_dense", "s_weight_auto"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the feed and the comparisons lie."""
    return tmp_path_factory.mktemp("compare")


def run_compare(home, folder, *flags):
    """Compares in home/folder and returns the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)  # flagfiles, models and schemas are named from here
        argv = [
            "compare",
            "--flagfile=configs/compare/smoke.cfg",
            f"--schema={few_features('simulated_feed', home)}",
            f"--data_dir={home}/feed",
            f"--run_dir={home / folder}",
            "--simulate_rows=4000",
            "--hidden_units=16,8",
            "--epochs=1",
            "--auto_trainings=2",
            "--rounds=1",
            *flags,
        ]
        assert exit_on_error(compare.main, argv) == 0
    return report(home / folder)


def report(folder):
    """results.json, which must be strict JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "report" / "results.json").read_text()
    return json.loads(text, parse_constant=refuse)


def by_name(found):
    return {model["row"]: model for model in found["rows"]}


def times(folder, *below):
    """When each file below some folders was written."""
    return {
        path: path.stat().st_mtime_ns
        for name in below
        for path in (folder / name).rglob("*")
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(scope="module")
def first(home):
    """(folder, report, times of all files) of a comparison that nothing disturbed."""
    flags = ("--only=base,hard_sharing,s_weight", "--jobs=2")
    found = run_compare(home, "first", *flags)
    return home / "first", found, times(home / "first", ".")


def settings_of(model, seed):
    values = model["settings"] | {"seed": seed}
    return from_dict(values)


def folder_of(folder, model, seed):
    return jobs.model_folder(folder, model["row"], settings_of(model, seed))


@pytest.mark.slow(minutes=2)
def test_the_report_holds_every_model_run_and_setting(first):
    folder, found, _ = first
    assert [model["row"] for model in found["rows"]] == FIRST
    assert found["seeds"] == [1, 2]
    assert [task["name"] for task in found["tasks"]] == list(TASKS)
    for model in found["rows"]:
        assert [(run["seed"], run["status"]) for run in model["runs"]] == [(1, "done"), (2, "done")]
        tasks = [model["row"].removeprefix("base_")] if "base" in model["row"] else list(TASKS)
        for run in model["runs"]:
            assert set(tasks) <= set(run["metrics"])
            assert run["seconds"] > 0
            assert artifacts.is_done(folder_of(folder, model, run["seed"]) / "rows")
        trained = "base" if "base" in model["row"] else model["row"]
        assert settings_of(model, 1).models == (trained,)
        assert list(model["cost"]["alive_parameters"]) == tasks
    for name in ("table2.md", "figure4.png", "overlap.png"):
        assert (folder / "report" / name).stat().st_size > 0
    table = (folder / "report" / "table2.md").read_text()
    for model in found["rows"]:
        assert f"| {model['row']}" in table
    assert "Failed runs" not in table


@pytest.mark.slow
def test_validation_chooses_among_the_candidates(first):
    folder, found, _ = first
    models = by_name(found)
    base = {}
    for task, metric in zip(TASKS, ("auc", "mse"), strict=True):
        model = models[f"base_{task}"]
        assert model["chosen"] == {"learning_rate": "0.001"}
        (stage,) = (folder / "searches").glob(f"*/seed_1/tickets/{task}/level_0/training")
        base[task] = artifacts.read_json(stage / "history.json")["validation"][task][metric]
        expected = base[task] if task == "ctr" else -base[task]
        assert [tried["score"] for tried in model["candidates"]] == [expected]
    for name in ("hard_sharing", "s_weight"):
        model = models[name]
        assert [tried["loss_weights"] for tried in model["candidates"]] == ["cvr=1", "cvr=3"]
        for tried in model["candidates"]:
            weighted = dict(model["settings"]["training"], loss_weights=[tried["loss_weights"]])
            settings = from_dict(model["settings"] | {"training": weighted, "seed": 1})
            stage = jobs.model_folder(folder, name, settings) / "rows" / name / "training"
            values = artifacts.read_json(stage / "history.json")["validation"]
            gain = mean_relative_gain(
                {"ctr": values["ctr"]["auc"], "cvr": values["cvr"]["mse"]},
                base,
                {"ctr": "max", "cvr": "min"},
            )
            assert tried["score"] == pytest.approx(gain)
        best = max(model["candidates"], key=lambda tried: tried["score"])
        assert model["chosen"] == {name: best[name] for name in model["chosen"]}
        # The seed that tunes trains every candidate, the other one what was chosen.
        trained = sorted(path.name for path in (folder / "rows" / name).glob("*/seed_*"))
        assert trained == ["seed_1", "seed_1", "seed_2"]


@pytest.mark.slow
def test_the_best_trials_are_trained_for_longer(home):
    folder = home / "trials"
    flags = ("--only=base,hard_sharing", "--seeds=1", "--tune_trials=2", "--jobs=1")
    flags += ("--cvr_weights=", "--epochs=2", "--search_epochs=1")
    found = run_compare(home, "trials", *flags)
    models = by_name(found)
    for name, model in models.items():
        # A single task takes --search_epochs passes, one.
        ended = [(tried["trial"], tried["passes"]) for tried in model["candidates"]]
        short = [] if "base" in name else [1, 2]
        assert ended[: len(short)] == [(trial, 1) for trial in short]
        longest = model["candidates"][len(short) :]
        assert all(tried["passes"] is None for tried in longest)
        assert len(longest) == (1 if short else 2)
        best = max(longest, key=lambda tried: tried["score"])
        assert model["chosen"] == {name: best[name] for name in model["chosen"]}
        settings = settings_of(model, 1)
        assert settings.training.epochs == 2
        assert f"{settings.training.learning_rate:g}" == model["chosen"]["learning_rate"]
        assert f"{settings.model.field_dropout:g}" == model["chosen"]["field_dropout"]
    short = models["hard_sharing"]["candidates"][:2]
    best = max(short, key=lambda tried: tried["score"])
    assert models["hard_sharing"]["candidates"][2]["trial"] == best["trial"]
    table = (folder / "report" / "table2.md").read_text()
    assert "### Trials, on validation" in table

    before = times(folder, "rows", "searches")
    assert run_compare(home, "trials", *flags) == found
    assert times(folder, "rows", "searches") == before


@pytest.mark.slow
def test_models_that_agree_share_their_searches(first):
    folder, found, _ = first
    assert len(list((folder / "searches").glob("*/seed_1"))) == 1
    assert len(list((folder / "searches").glob("*/seed_2"))) == 1
    assert [(search["row"], search["seed"]) for search in found["searches"]] == [
        ("s_weight", 1),
        ("s_weight", 2),
    ]
    for search in found["searches"]:
        for task, metric in zip(TASKS, ("auc", "mse"), strict=True):
            assert search["searches"][task]["metric"] == metric
            assert search["searches"][task]["densities"][0] == 1
            assert len(search["searches"][task]["values"]) == 2


@pytest.mark.slow
def test_differences_are_of_the_metrics_of_paired_runs(first):
    folder, found, _ = first
    models = by_name(found)
    labels = jobs.read_arrays(folder / "test_labels.npz")
    clicked = labels["1/cvr"] > 0
    assert not models["base_ctr"]["differences"]
    for name in ("hard_sharing", "s_weight"):
        for task, metric in zip(TASKS, ("auc", "mse"), strict=True):
            values = {}
            for model in (models[name], models[f"base_{task}"]):
                stem = model["row"] if model["row"] == name else f"base_{task}"
                values[stem] = [
                    measured(folder_of(folder, model, seed), stem, task, labels, clicked)
                    for seed in (1, 2)
                ]
                of_runs = [run["metrics"][task][metric] for run in model["runs"]]
                # A run's metrics are of float32 probabilities, which tie some of these rows.
                np.testing.assert_allclose(values[stem], of_runs, rtol=1e-4)
            difference = models[name]["differences"][task]
            mean, alone = np.mean(values[name]), np.mean(values[f"base_{task}"])
            assert difference["metric"] == metric
            assert difference["seeds"] == 2
            assert difference["value"] == pytest.approx(mean, rel=1e-5)
            assert difference["base"] == pytest.approx(alone, rel=1e-5)
            assert difference["difference"] == pytest.approx(mean - alone, abs=1e-6)
            assert difference["low"] < difference["difference"] < difference["high"]


def measured(folder, model, task, labels, clicked):
    """A run's metric on test, from its logits."""
    logits = jobs.read_arrays(folder / "test" / f"{model}.npz")[f"0/{task}"]
    truth = labels[f"0/{task}"]
    assert logits.shape == truth.shape == labels["users"].shape
    if task == "ctr":
        return roc_auc_score(truth, logits)
    ratios = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return np.mean((ratios - truth)[clicked] ** 2)


@pytest.mark.slow
def test_costs_are_means_over_the_runs(first):
    folder, found, _ = first
    model = by_name(found)["s_weight"]
    costs = []
    for seed in (1, 2):
        settings, made = run_folder.read_run(folder_of(folder, model, seed))
        network = load_model(folder_of(folder, model, seed), "s_weight", settings, made)
        costs.append(cost_of(network))
        density = {task: np.mean([np.mean(m) for m in [flat(network, task)]]) for task in TASKS}
        assert model["runs"][seed - 1]["density"] == pytest.approx(density)
    assert model["cost"]["multiply_adds"] == round(np.mean([c["multiply_adds"] for c in costs]))
    for task in TASKS:
        alive = round(np.mean([cost["alive_parameters"][task] for cost in costs]))
        assert model["cost"]["alive_parameters"][task] == alive


def flat(network, task):
    return np.concatenate([mask.ravel() for mask in network.masks(task).values()])


@pytest.mark.slow
def test_test_is_measured_after_all_training(first):
    _, _, written = first
    # Lists: two processes may write in one tick of the file system's clock.
    of_test = [t for path, t in written.items() if path.parent.name == "test"]
    labels = [t for path, t in written.items() if path.name == "test_labels.npz"]
    training = [t for path, t in written.items() if "training" in path.parts]
    done = [t for path, t in written.items() if path.name in ("done", "masks.npz", "search.json")]
    assert len(of_test) == 2 * 2 * len(FIRST)
    assert min(of_test + labels) > max(training + done)


@pytest.mark.slow
def test_a_finished_comparison_is_only_reported_again(first, home, capsys):
    folder, found, _ = first
    before = times(folder, "rows", "searches", "logs")
    again = run_compare(home, "first", "--only=base,hard_sharing,s_weight", "--jobs=2")
    assert times(folder, "rows", "searches", "logs") == before
    assert again == found
    out = capsys.readouterr().out
    assert (folder / "report" / "table2.md").read_text() in out
    assert f"report: {folder}/report" in out


@pytest.mark.slow
def test_one_process_gives_the_numbers_of_two(first, home):
    models = by_name(first[1])
    weight = models["hard_sharing"]["chosen"]["loss_weights"].removeprefix("cvr=")
    flags = ("--only=base,hard_sharing", "--seeds=1", f"--cvr_weights={weight}", "--jobs=1")
    found = by_name(run_compare(home, "alone", *flags))
    assert list(found) == FIRST[:3]
    for name, model in found.items():
        assert model["chosen"] == models[name]["chosen"]
        assert model["candidates"][0] in models[name]["candidates"]
        alone, beside = (dict(r["runs"][0], seconds=0) for r in (model, models[name]))
        assert alone == beside


@pytest.mark.slow
def test_a_lines_run_is_one_for_evaluate_and_export(first, home, capsys):
    folder, found, _ = first
    model = by_name(found)["base_cvr"]
    run = folder_of(folder, model, 2)
    assert exit_on_error(evaluate.main, ["evaluate", f"--run={run}"]) == 0
    assert "| base_cvr" in capsys.readouterr().out
    measured = {r["row"]: r for r in artifacts.read_json(run / "evaluation.json")["rows"]}
    for task, metrics in model["runs"][1]["metrics"].items():
        assert measured["base_cvr"]["metrics"][task] == pytest.approx(metrics, rel=1e-5)
    assert measured["base_cvr"]["seconds"] == model["runs"][1]["seconds"]
    models = home / "models"
    argv = ["export", f"--run={folder_of(folder, by_name(found)['s_weight'], 1)}"]
    assert exit_on_error(export.main, [*argv, f"--export_dir={models}"]) == 0
    assert len(published_versions(models)) == 1


@pytest.fixture(scope="module")
def everything(first, home):
    """(report, folder, times before and after) of more models, two broken, added to `first`.

    With one seed and one candidate of b, which `first` has already.
    """
    folder = home / "first"
    models = home / "models.toml"
    models.write_text(MODELS.read_text() + BROKEN)
    before = times(folder, "rows", "searches")
    only = ",".join(["base", *KINDS, "diverges", "never_rewinds"])
    flags = (
        f"--models_file={models}",
        f"--only={only}",
        "--seeds=1",
        "--cvr_weights=1",
        "--jobs=2",
    )
    found = run_compare(home, "first", *flags)
    return found, folder, before, times(folder, "rows", "searches")


@pytest.mark.slow
def test_models_that_are_added_train_only_themselves(everything):
    _, _, before, after = everything
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)


@pytest.mark.slow
def test_models_of_every_kind_end_with_numbers(everything):
    found, folder, _, _ = everything
    models = by_name(found)
    assert {*models} == {*FIRST, *KINDS, "diverges", "never_rewinds"}
    failed = {name: model["runs"][0].get("error") for name, model in models.items()}
    assert {name for name, error in failed.items() if error} == {"diverges", "never_rewinds"}
    for name, model in models.items():
        (run,) = model["runs"]
        if run["status"] == "failed":
            continue
        for metrics in run["metrics"].values():
            assert all(math.isfinite(value) for value in metrics.values()), name
        if "base" not in name:
            assert set(model["differences"]) == set(TASKS)
        assert model["cost"]["trained_parameters"] > 0
    table = (folder / "report" / "table2.md").read_text()
    for name in models:
        assert f"| {name}" in table or f"`{name}`" in table


@pytest.mark.slow
def test_failed_models_are_reported_with_their_logs(everything):
    found, folder, _, _ = everything
    table = (folder / "report" / "table2.md").read_text()
    failed = {
        "diverges": ("TrainingError", "in epoch 1"),
        "never_rewinds": ("ConfigError", "--rewind_step"),
    }
    for name, (error, said) in failed.items():
        model = by_name(found)[name]
        (run,) = model["runs"]
        assert run["status"] == "failed"
        assert run["error"].startswith(f"{error}: ")
        assert said in run["error"]
        with open(run["log"], encoding="utf-8") as log:  # noqa: PTH123
            assert run["error"] in log.read()
        assert model["settings"] is None
        assert model["cost"] is None
        assert not model["differences"]
        assert model["candidates"][0]["error"] == run["error"]
        assert run["log"] in table
        assert run["error"] in table
    assert "### Failed runs" in table


@pytest.mark.slow
def test_models_that_differ_in_their_search_have_one_of_their_own(everything):
    found, folder, _, _ = everything
    searched = [search["row"] for search in found["searches"]]
    assert not {*SHARED} & {*searched}
    assert {"s_weight", *OWN} <= {*searched}
    assert len(set(searched)) == len(searched)
    # And one for each model whose search failed.
    assert len(list((folder / "searches").glob("*/seed_1"))) == len(searched) + 2


# What a comparison is not begun with


@pytest.fixture
def tiny(tmp_path):
    """Flags of a comparison that is refused before it opens logs."""
    (tmp_path / "logs").mkdir()
    write_lines(tmp_path / "logs" / "a.csv", [line(good_row(n)) for n in range(60)])
    schema(tmp_path)
    return [
        f"--schema={tmp_path}/small.toml",
        f"--data_dir={tmp_path}/logs",
        f"--run_dir={tmp_path}/run",
        f"--models_file={MODELS}",
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--only=base,star"], "--only: found ['star']"),
        (["--only=s_weight"], "expected one"),
        (["--models_file=absent.toml"], "absent.toml: cannot be read"),
        (["--cvr_weights=much"], "--loss_weights: found 'cvr=much'"),
        (["--weighted_task=like", "--cvr_weights=3"], "--loss_weights: found 'like'"),
        (["--weighted_task=like", "--tune_trials=3"], "--weighted_task: found 'like'"),
        (["--tune_trials=3", "--tune_space=absent.toml"], "absent.toml: cannot be read"),
        (["--tune_trials=-1"], "--tune_trials: found -1"),
        (["--learning_rates=fast"], "fast"),
        (["--learning_rates=0"], "--learning_rate: found 0"),
        (["--own_embedding=like=3"], "--own_embedding: found 'like'"),
        (["--seeds="], "--seeds: found ()"),
        (["--seeds=1,-2"], "--seeds: found (1, -2), expected a whole number from 0 to 2^63 - 1"),
        (["--seeds=1,1"], "--seeds: found (1, 1)"),
        (["--seeds=one"], "one"),
        (["--seeds=1,2", "--tuning_seeds=3"], "--tuning_seeds: found 3, expected at most the 2"),
        (["--jobs=-1"], "--jobs: found -1"),
        (["--threads=-1"], "--threads: found -1"),
        (["--replicates=0"], "--replicates: found 0"),
        (["--hidden_unit=3"], "hidden_unit"),
    ],
)
def test_what_cannot_be_compared_is_named_in_one_line(tiny, capsys, monkeypatch, flags, expected):
    monkeypatch.setattr(compare, "JobPool", None)  # lest one that is not refused trains for long
    assert exit_on_error(compare.main, ["compare", *tiny, *flags]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


def test_a_metric_without_intervals_is_refused(tiny, capsys):
    path = tiny[0].removeprefix("--schema=")
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        text = file.read().replace('metric = "auc"', 'metric = "gauc"')
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    assert exit_on_error(compare.main, ["compare", *tiny]) == 2
    assert "task ctr: found metric 'gauc', expected one of auc" in capsys.readouterr().err


def test_help_lists_what_a_comparison_is_and_what_a_run_is(capsys):
    with pytest.raises(SystemExit) as stop:
        compare.main(["compare", "--helpfull"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--models_file=", "--seeds=", "--replicates=", "--hidden_units=", "--run_dir="):
        assert flag in shown


def test_models_share_a_search_where_nothing_that_it_depends_on_differs(tmp_path):
    def folder(*flags):
        argv = ["train", "--schema=s.toml", "--data_dir=logs", "--epochs=1", "--search_epochs=1"]
        return jobs.search_folder(tmp_path, parse([*argv, *flags], "")[0])

    same = folder("--models=s_weight")
    for flags in (
        ["--models=base"],
        ["--models=mmoe", "--experts=5"],
        ["--models=ple", "--expert_levels=1"],
        ["--loss_weights=cvr=3"],
        ["--balance=pcgrad"],
        ["--gradient_conflict"],
        ["--gradient_conflict", "--conflict_cvr_weight=2"],
        ["--epochs=5"],
        ["--ticket_choice=sparsest"],
        ["--ticket_control=shuffle"],
        ["--models=s_weight_auto", "--auto_trainings=3"],
        ["--name=other"],
    ):
        assert folder(*flags) == same, flags
    others = [
        folder("--learning_rate=0.1"),
        folder("--search_epochs=2"),
        folder("--rounds=2"),
        folder("--pruned_unit=neuron"),
        folder("--own_embedding=cvr=8"),
        folder("--table_dims=user_id=2"),
        folder("--hidden_units=8"),
        folder("--rewind=step", "--rewind_step=20"),
        folder("--ticket_finder=gradual"),
        folder("--warmup_epochs=1"),
        folder("--warmup_epochs=1", "--loss_weights=cvr=3"),
        folder("--warmup_epochs=1", "--balance=pcgrad"),
        folder("--warmup_epochs=1", "--gradient_conflict"),
        folder("--seed=2"),
        folder("--tasks=ctr"),
        folder("--split=user"),
    ]
    assert len({same, *others}) == 1 + len(others)
    assert folder("--seed=2").parent == same.parent


def score_of(made, values, base):
    spec = ModelSpec("mine", "group", "mmoe", "", (), None, "")
    metrics = {"ctr": {"auc": values[0]}, "cvr": {"mse": values[1]}}
    return results.score(made, spec, metrics, base)


def test_joint_models_are_scored_against_single_tasks(tmp_path):
    made = load_schema(schema(tmp_path).path)
    base = {"ctr": 0.8, "cvr": 0.5}
    assert score_of(made, (0.84, 0.4), base) == pytest.approx((0.05 + 0.2) / 2)
    assert score_of(made, (math.nan, 0.4), base) == -math.inf
    assert score_of(made, (0.84, 0.4), {"ctr": 0.8}) == 0.0  # a single task failed


def tuned(tmp_path, monkeypatch, outcomes, single=(0.06,)):
    """What tuning makes of hard_sharing's candidates.

    Each ends as `outcomes` says, a number or one for each tuning seed; CVR's single task as
    `single` says.
    """
    made = load_schema(schema(tmp_path).path)
    argv = ["compare", "--schema=s.toml", "--data_dir=logs"]
    seeds = tuple(range(1, len(single) + 2))
    flags = CompareFlags(cvr_weights=tuple(outcomes), seeds=seeds, tuning_seeds=len(single))
    models = read_models(MODELS, ("base", "hard_sharing"), TASKS)
    grid = {
        spec.name: candidates(spec, flags, lambda more: parse([*argv, *more], "")[0])
        for spec in models
    }
    comparison = Comparison(tmp_path, made, flags, models, grid)

    def outcome(spec, settings):
        ended = outcomes[settings.training.loss_weights[0].partition("=")[2]]
        ended = ended[settings.seed - 1] if isinstance(ended, tuple) else ended
        return {"ctr": {"auc": 0.7}, "cvr": {"mse": ended}}

    def train(comparison, pool, what, wanted):
        return {
            _model_name(comparison, spec, settings): Failure("died", tmp_path / "log")
            for spec, settings in wanted
            if not spec.task and outcome(spec, settings)["cvr"]["mse"] is None
        }

    def measured(folder, spec, settings):
        if spec.task:
            return {"ctr": {"auc": 0.7}, "cvr": {"mse": single[settings.seed - 1]}}
        return outcome(spec, settings)

    monkeypatch.setattr(procedure, "_train", train)
    monkeypatch.setattr(results, "validation_metrics", measured)
    tune(comparison, pool=None, parse=None)
    return comparison


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({"1": 0.06, "3": 0.05}, "cvr=3"),
        ({"1": 0.05, "3": 0.06}, "cvr=1"),
        ({"1": 0.05, "3": math.nan}, "cvr=1"),
        ({"1": math.nan, "3": 0.07}, "cvr=3"),
        ({"1": None, "3": 0.07}, "cvr=3"),
        # What ended has a result, though no good one; what failed has none.
        ({"1": None, "3": math.nan}, "cvr=3"),
        ({"1": math.nan, "3": None}, "cvr=1"),
    ],
)
def test_validation_chooses_the_best_of_what_ended(tmp_path, monkeypatch, outcomes, expected):
    comparison = tuned(tmp_path, monkeypatch, outcomes)
    assert comparison.chosen["hard_sharing"].chosen["loss_weights"] == expected
    assert comparison.failures["hard_sharing"] == {}
    errors = [scored.get("error") for scored in comparison.scores["hard_sharing"]]
    assert errors == ["died" if ended is None else None for ended in outcomes.values()]


def test_the_mean_over_the_tuning_seeds_chooses(tmp_path, monkeypatch):
    # The first seed alone would choose 1. Each seed is scored against its own single task.
    outcomes = {"1": (0.05, 0.08), "3": (0.055, 0.04), "5": (0.01, None)}
    comparison = tuned(tmp_path, monkeypatch, outcomes, single=(0.1, 0.08))
    assert comparison.chosen["hard_sharing"].chosen["loss_weights"] == "cvr=3"
    first, second, third = comparison.scores["hard_sharing"]
    assert first["score"] == pytest.approx((0.5 + 0.0) / 2 / 2)  # CTR is level: half of CVR's gain
    assert second["score"] == pytest.approx((0.45 + 0.5) / 2 / 2)
    assert third["error"] == "died"


def test_a_model_of_which_every_candidate_failed_has_none(tmp_path, monkeypatch):
    comparison = tuned(tmp_path, monkeypatch, {"1": None, "3": None})
    assert comparison.chosen["hard_sharing"] is None
    assert comparison.failures["hard_sharing"][1].error == "died"
    assert comparison.chosen["base_ctr"] is not None


def test_a_search_goes_as_far_as_its_most_demanding_model_needs(tmp_path):
    made = load_schema(schema(tmp_path).path)
    argv = ["train", "--schema=s.toml", "--data_dir=logs", "--rounds=4"]

    def depths(*names):
        models = [spec for spec in read_models(MODELS, (), TASKS) if spec.name in names]
        comparison = Comparison(tmp_path, made, CompareFlags(), models, {})
        wanted = [
            (spec, parse([*argv, f"--models={spec.model}", *spec.flags], "")[0]) for spec in models
        ]
        return [(job.arguments[2], job.passes) for job in _search_jobs(comparison, wanted)]

    assert depths("hard_sharing", "mmoe", "pcgrad") == [("start", 0)]
    assert depths("hard_sharing_warmup") == [("start", 1)]
    assert depths("base_ctr", "hard_sharing") == [("dense", 2)]
    assert depths("base_ctr", "hard_sharing", "small_dense") == [("tickets", 10)]
    assert depths("pruned_towers", "s_neuron") == [("tickets", 10), ("tickets", 10)]
