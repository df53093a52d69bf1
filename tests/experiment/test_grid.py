"""Candidates of a grid search and the models of a comparison."""

import pytest

from lt4rec_tf.config.parse import fingerprint, parse, parse_with
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.toml import TomlError
from lt4rec_tf.experiment.comparison.grid import (
    CompareFlags,
    ModelSpec,
    candidates,
    check_run_settings,
    read_models,
    single_lines,
)

TASKS = ["ctr", "cvr"]
BASE = 'name = "base"\ngroup = "Single tasks"\nmodel = "base"\n'
SPARSE = 'name = "s_weight"\ngroup = "Table 2"\nmodel = "s_weight"\n'


@pytest.fixture
def models_file(tmp_path):
    def write(*models):
        path = tmp_path / "models.toml"
        path.write_text("".join(f"[[models]]\n{model}\n" for model in models), encoding="utf-8")
        return path

    return write


# The models


def test_base_becomes_a_line_a_task(models_file):
    path = models_file(BASE + 'flags = ["--epochs=2"]\nnote = "alone"\n', SPARSE)
    lines = read_models(path, (), TASKS)
    assert lines == [
        ModelSpec("base_ctr", "Single tasks", "base", "ctr", ("--epochs=2",), (), "alone"),
        ModelSpec("base_cvr", "Single tasks", "base", "cvr", ("--epochs=2",), (), "alone"),
        ModelSpec("s_weight", "Table 2", "s_weight", "", (), None, ""),
    ]
    assert [line.name for line in read_models(path, (), ["cvr"])] == ["base_cvr", "s_weight"]


def test_only_keeps_the_named_models_in_the_order_of_the_file(models_file):
    path = models_file(BASE, SPARSE, SPARSE.replace('"s_weight"', '"other"', 1))
    names = [line.name for line in read_models(path, ("other", "base"), ["ctr"])]
    assert names == ["base_ctr", "other"]


@pytest.mark.parametrize(
    ("models", "key", "found"),
    [
        ([BASE, SPARSE + 'colour = "red"\n'], r"models\[s_weight\].colour", "an unknown key"),
        ([BASE, SPARSE.replace('model = "s_weight"', 'model = "star"')], r"\.model", "'star'"),
        ([BASE, 'group = "a"\nmodel = "base"\n'], r"models\[1\].name", "nothing"),
        ([BASE, 'name = "a"\nmodel = "base"\n'], r"models\[a\].group", "nothing"),
        ([BASE, 'name = "a"\ngroup = "a"\n'], r"models\[a\].model", "nothing"),
        ([BASE, SPARSE + 'flags = "--epochs=2"\n'], r"\.flags", "'--epochs=2'"),
        ([BASE, SPARSE + "weights = [3]\n"], r"\.weights", r"\[3\]"),
        ([BASE, SPARSE + "note = 3\n"], r"\.note", "3"),
        ([BASE, SPARSE.replace('"s_weight"', '"a/b"', 1)], r"models\[a/b\].name", "'a/b'"),
        ([BASE, SPARSE.replace('"s_weight"', '".."', 1)], r"models\[\.\.\].name", r"'\.\.'"),
        ([], "models", "nothing"),
    ],
)
def test_models_that_cannot_be_are_refused_by_name(models_file, models, key, found):
    with pytest.raises(TomlError, match=rf"models\.toml: .*{key}: found {found}, expected"):
        read_models(models_file(*models), (), TASKS)


def test_other_keys_and_absent_files_are_refused(models_file, tmp_path):
    path = models_file(BASE)
    path.write_text('title = "mine"\n' + path.read_text())
    with pytest.raises(TomlError, match="title: found an unknown key, expected one of models"):
        read_models(path, (), TASKS)
    with pytest.raises(TomlError, match=r"absent\.toml: cannot be read"):
        read_models(tmp_path / "absent.toml", (), TASKS)


def earlier(text):
    """A file's text as earlier versions had it, which called models rows."""
    return text.replace("[[models]]", "[[rows]]").replace("\nmodel = ", "\nrow = ")


def test_files_of_earlier_versions_are_read_alike(models_file):
    path = models_file(BASE, SPARSE)
    expected = read_models(path, (), TASKS)
    path.write_text(earlier(path.read_text()))
    assert "rows" in path.read_text()
    assert read_models(path, (), TASKS) == expected


def test_a_name_beside_that_of_earlier_versions_is_refused(models_file):
    path = models_file(BASE, SPARSE)
    both = path.read_text() + earlier(path.read_text())
    path.write_text(both)
    with pytest.raises(TomlError, match="models: found both models and rows, expected models al"):
        read_models(path, (), TASKS)
    path = models_file(BASE, SPARSE + 'row = "s_weight"\n')
    found = r"models\[s_weight\]\.model: found both model and row, expected model alone"
    with pytest.raises(TomlError, match=found):
        read_models(path, (), TASKS)


@pytest.mark.parametrize("name", ["models_file", "rows_file"])
def test_the_file_is_named_by_a_flag_or_by_its_earlier_name(name):
    argv = ["compare", "--schema=s", "--data_dir=d", f"--{name}=mine.toml"]
    assert parse_with(argv, "", CompareFlags)[2].models_file == "mine.toml"


@pytest.mark.parametrize(
    ("models", "only", "expected"),
    [
        (
            [BASE, SPARSE],
            ("base", "mine"),
            r"--only: found \['mine'\], expected models of .*s_weight",
        ),
        ([BASE, SPARSE], ("s_weight",), "found none of model 'base'"),
        ([SPARSE], (), "found none of model 'base'"),
        # Lines of one name would share a folder, and the later one hide the other.
        ([BASE, SPARSE, SPARSE], (), r"found \['s_weight'\] more than once"),
        ([BASE, SPARSE.replace('"s_weight"', '"base_ctr"', 1)], (), r"found \['base_ctr'\] more"),
    ],
)
def test_names_that_cannot_be_compared_are_refused(models_file, models, only, expected):
    with pytest.raises(ConfigError, match=expected):
        read_models(models_file(*models), only, TASKS)


def test_differences_are_to_the_first_model_of_single_tasks(models_file):
    other = BASE.replace('"base"', '"alone"', 1)
    specs = read_models(models_file(SPARSE, other, BASE), (), TASKS)
    assert [spec.name for spec in specs if spec.task] == [
        *(f"alone_{task}" for task in TASKS),
        *(f"base_{task}" for task in TASKS),
    ]
    assert single_lines(specs) == {task: f"alone_{task}" for task in TASKS}


def test_a_comparison_stays_on_one_machine():
    settings, _ = parse(["compare", "--schema=s", "--data_dir=d", "--distribution=mirrored"], "")
    with pytest.raises(ConfigError, match="--distribution: found mirrored, expected none"):
        check_run_settings(settings)


def test_a_comparison_measures_what_networks_predict():
    settings, _ = parse(["compare", "--schema=s", "--data_dir=d", "--calibration=platt"], "")
    with pytest.raises(ConfigError, match="--calibration: found platt, expected none in a comp"):
        check_run_settings(settings)


# The candidates


def parser_of(*command):
    def parsed(more):
        argv = ["compare", "--schema=s.toml", "--data_dir=logs", *command, *more]
        return parse_with(argv, "", CompareFlags)[0]

    return parsed


def spec(model="s_weight", task="", flags=(), weights=None):
    return ModelSpec("mine", "group", model, task, tuple(flags), weights, "")


def shown(found):
    return [candidate.chosen for candidate in found]


def test_candidates_are_every_pair_of_rate_and_weight():
    flags = CompareFlags(learning_rates=("0.001", "0.01"), cvr_weights=("1", "3"))
    found = candidates(spec(), flags, parser_of())
    assert shown(found) == [
        {"learning_rate": "0.001", "loss_weights": "cvr=1"},
        {"learning_rate": "0.001", "loss_weights": "cvr=3"},
        {"learning_rate": "0.01", "loss_weights": "cvr=1"},
        {"learning_rate": "0.01", "loss_weights": "cvr=3"},
    ]
    for candidate in found:
        training = candidate.settings.training
        assert f"{training.learning_rate:g}" == candidate.chosen["learning_rate"]
        assert ",".join(training.loss_weights) == candidate.chosen["loss_weights"]
        assert candidate.settings.models == ("s_weight",)


def test_without_a_grid_the_commands_flags_are_the_one_candidate():
    command = parser_of("--learning_rate=0.02", "--loss_weights=cvr=2,ctr=4")
    (found,) = candidates(spec(), CompareFlags(), command)
    assert found.chosen == {"learning_rate": "0.02", "loss_weights": "cvr=2,ctr=4"}
    (found,) = candidates(spec(), CompareFlags(), parser_of())
    assert found.chosen == {"learning_rate": "0.001", "loss_weights": "1"}
    assert found.settings.training.loss_weights == ()


def test_a_models_flags_come_after_the_commands_and_the_grids_after_both():
    model = spec(flags=["--epochs=7", "--learning_rate=0.5"])
    flags = CompareFlags(learning_rates=("0.25",))
    (found,) = candidates(model, flags, parser_of("--epochs=2", "--hidden_units=8,4"))
    assert found.settings.training.epochs == 7
    assert found.settings.training.learning_rate == 0.25
    assert found.settings.model.hidden_units == (8, 4)


def test_a_models_weights_take_the_grids_place():
    flags = CompareFlags(cvr_weights=("1", "3"))
    found = candidates(spec(weights=("5", "9")), flags, parser_of())
    assert [candidate.chosen["loss_weights"] for candidate in found] == ["cvr=5", "cvr=9"]
    (found,) = candidates(spec(weights=()), flags, parser_of())
    assert found.chosen["loss_weights"] == "1"


def test_the_weighted_task_can_be_another():
    flags = CompareFlags(cvr_weights=("3",), weighted_task="finish")
    (found,) = candidates(spec(), flags, parser_of())
    assert found.settings.training.loss_weights == ("finish=3",)


def test_a_single_task_has_no_weight_to_tune():
    flags = CompareFlags(learning_rates=("0.1", "0.2"), cvr_weights=("1", "3"))
    found = candidates(spec("base", "ctr", weights=()), flags, parser_of())
    assert shown(found) == [{"learning_rate": "0.1"}, {"learning_rate": "0.2"}]


def test_a_models_wrong_flag_is_refused_by_name():
    with pytest.raises(ConfigError, match="epoch_s"):
        candidates(spec(flags=["--epoch_s=3"]), CompareFlags(), parser_of())


def test_a_candidate_takes_any_seed():
    (found,) = candidates(spec(), CompareFlags(), parser_of("--seed=3"))
    assert found.with_seed(9).seed == 9
    assert fingerprint(found.with_seed(9), "") == fingerprint(found.settings, "")
