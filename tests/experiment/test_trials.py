"""Trials of `compare --tune_trials`: what is drawn, and what is trained for longer."""

import dataclasses
import math
import sys

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse_with
from lt4rec_tf.config.settings import ModelSettings, TicketSettings, TrainingSettings
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.core.processes import Failure
from lt4rec_tf.core.toml import TomlError
from lt4rec_tf.experiment.comparison import space as spaces
from lt4rec_tf.experiment.comparison import tpe
from lt4rec_tf.experiment.comparison.grid import (
    Candidate,
    CompareFlags,
    Comparison,
    ModelSpec,
    check_flags,
)
from lt4rec_tf.experiment.comparison.space import Rule, drawn, read_space
from lt4rec_tf.experiment.comparison.trials import Scored, first_trials, halved, passes_of

JOINT = ["learning_rate", "embedding_learning_rate", "field_dropout"]


def parser_of(*command):
    def parsed(more):
        argv = ["compare", "--schema=s.toml", "--data_dir=logs", *command, *more]
        return parse_with(argv, "", CompareFlags)[0]

    return parsed


def spec(model="s_weight", task="", flags=(), weights=None, name="mine"):
    return ModelSpec(name, "group", model, task, tuple(flags), () if task else weights, "")


def tuned(model, *command, **flags):
    """The names of what is tuned of a model."""
    compare = CompareFlags(tune_trials=9, **flags)
    (first, *_) = first_trials(model, compare, parser_of(*command))
    return list(first.values)


# The space


def test_a_rule_covers_its_range_evenly():
    places = np.linspace(0, 1, 10_001)[:-1]
    values = np.array([float(Rule(0.001, 0.1, log=True).at(place)) for place in places])
    assert values.min() == 0.001
    assert values.max() == 0.1
    assert np.median(values) == 0.01
    whole = [Rule(2, 5, whole=True).at(place) for place in places]
    assert [whole.count(text) for text in "2345"] == [2500] * 4
    listed = [Rule(choices=("a", "b")).at(place) for place in places]
    assert listed.count("a") == listed.count("b") == 5000


def test_models_draw_alike_what_they_share():
    space = {"learning_rate": Rule(0.001, 0.1, log=True), "rounds": Rule(1, 9, whole=True)}
    draws = [drawn(space, 1, trial) for trial in range(20)]
    alone = [drawn({"learning_rate": space["learning_rate"]}, 1, trial) for trial in range(20)]
    assert [draw["learning_rate"] for draw in draws] == [draw["learning_rate"] for draw in alone]
    assert len({draw["learning_rate"] for draw in draws}) == 20
    assert draws != [drawn(space, 2, trial) for trial in range(20)]


def test_a_model_is_tuned_by_what_it_uses():
    assert set(tuned(spec())) == {*JOINT, "loss_weights=cvr", "final_density"}
    assert set(tuned(spec("mmoe"))) == {*JOINT, "loss_weights=cvr"}
    assert set(tuned(spec("base", "ctr"))) == set(JOINT)
    assert set(tuned(spec("small_dense"))) >= {"final_density"}


def test_a_models_own_flags_are_not_tuned():
    fixed = spec(flags=["--final_density=0.04", "--rounds=8", "--learning_rate=.01"])
    assert set(tuned(fixed)) == {*JOINT[1:], "loss_weights=cvr"}
    found = first_trials(fixed, CompareFlags(tune_trials=5), parser_of())
    assert {one.settings.tickets.final_density for one in found} == {0.04}
    assert {one.settings.training.learning_rate for one in found} == {0.01}
    assert {one.chosen["learning_rate"] for one in found} == {"0.01"}


def test_weights_and_rates_that_are_listed_take_the_ranges_place():
    flags = CompareFlags(tune_trials=30, learning_rates=("0.1", "0.2"), cvr_weights=("1", "3"))
    found = first_trials(spec(), flags, parser_of())
    assert {one.chosen["learning_rate"] for one in found} == {"0.1", "0.2"}
    assert {one.chosen["loss_weights"] for one in found} == {"cvr=1", "cvr=3"}
    found = first_trials(spec(weights=("5", "9")), flags, parser_of())
    assert {one.chosen["loss_weights"] for one in found} == {"cvr=5", "cvr=9"}


def test_the_first_trial_is_the_commands_own():
    command = parser_of("--learning_rate=.002", "--loss_weights=cvr=3", "--field_dropout=.25")
    first, *others = first_trials(spec(), CompareFlags(tune_trials=40), command)
    assert first.trial == 0
    training = first.settings.training
    assert (training.learning_rate, training.loss_weights) == (0.002, ("cvr=3",))
    assert first.settings.model.field_dropout == 0.25
    assert first.settings.tickets.final_density == TicketSettings().final_density
    assert [one.trial for one in others] == list(range(1, 40))
    rates = np.array([one.settings.training.learning_rate for one in others])
    assert rates.min() >= 0.0005
    assert rates.max() <= 0.008
    assert 0.001 < np.median(rates) < 0.004
    densities = [one.settings.tickets.final_density for one in others]
    assert 0.1 <= min(densities) < max(densities) <= 0.8


def test_more_trials_keep_the_first_ones():
    nine, four = (first_trials(spec(), CompareFlags(tune_trials=n), parser_of()) for n in (9, 4))
    assert nine[:4] == four


def test_trials_that_are_equal_are_one():
    model = spec("base", "ctr", flags=["--learning_rate=1", "--embedding_learning_rate=1"])
    found = first_trials(model, CompareFlags(tune_trials=20), parser_of())
    assert sorted(one.chosen["field_dropout"] for one in found) == ["0", "0.1", "0.2", "0.3"]


# A space of one's own

MINE = """
[embedding_dim]
low = 4
high = 6

[learning_rate]
low = 0.001
high = 0.1
log = true

["loss_weights=ctr"]
choices = [1, 2]

["loss_weights=cvr"]
low = 0.5
high = 5

[gradient_conflict]
choices = [true, false]

[rounds]
choices = [1, 2]
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(MINE)
    return path


def test_a_space_of_ones_own_is_read(mine):
    assert read_space(mine) == {
        "embedding_dim": Rule(4, 6, whole=True),
        "learning_rate": Rule(0.001, 0.1, log=True),
        "loss_weights=ctr": Rule(choices=("1", "2")),
        "loss_weights=cvr": Rule(0.5, 5),
        "gradient_conflict": Rule(choices=("true", "false")),
        "rounds": Rule(choices=("1", "2")),
    }


def test_its_values_become_flags(mine):
    compare = CompareFlags(tune_trials=30, tune_space=str(mine))
    found = first_trials(spec("mmoe"), compare, parser_of())
    assert {one.settings.model.embedding_dim for one in found} == {4, 5, 6}
    assert {one.settings.training.gradient_conflict for one in found} == {True, False}
    assert {one.settings.tickets.rounds for one in found} == {TicketSettings().rounds}
    for one in found:
        ctr, cvr = one.settings.training.loss_weights
        assert ctr in ("ctr=1", "ctr=2")
        assert 0.5 <= float(cvr.removeprefix("cvr=")) <= 5
        assert one.chosen["loss_weights"] == f"{ctr},{cvr}"
    # A model whose weights the file of models lists has these alone.
    found = first_trials(spec("mmoe", weights=("7",)), compare, parser_of())
    assert {one.settings.training.loss_weights for one in found} == {("cvr=7",)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found 'nothing', expected a table for each flag"),
        ("[epochs]\nlow = 1\nhigh = 3\n", "epochs: found 'epochs', expected a flag of the model"),
        ("[split_seed]\nchoices = [1]\n", "split_seed: found 'split_seed', expected a flag of"),
        ("[rounds]\nlow = 3\nhigh = 3\n", "rounds.high: found 3.0, expected a number above low, 3"),
        ("[rounds]\nlow = 3\n", "rounds.high: found nothing, expected a number"),
        ("[rounds]\nlow = 1\nhigh = 3\nlog = true\n", "rounds.log: found True, expected false"),
        ("[rounds]\nchoices = [1, 1]\n", r"rounds.choices: found \[1, 1\], expected a list of"),
        ("[rounds]\nchoices = [1]\nlow = 1\n", "rounds.low: found an unknown key"),
        ("rounds = 3\n", "rounds: found 3, expected a table"),
    ],
)
def test_spaces_that_cannot_be_are_refused(tmp_path, text, expected):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(TomlError, match=expected):
        read_space(path)


def test_what_halving_decides_on_is_a_flag():
    fields = dataclasses.fields(TrainingSettings) + dataclasses.fields(ModelSettings)
    assert set(spaces._NOT_TUNED) <= {field.name for field in fields}


@pytest.mark.parametrize("flags", [{"tune_space": "space.toml"}, {"tune_sampler": "tpe"}])
def test_flags_of_trials_need_trials(flags):
    with pytest.raises(ConfigError, match=rf"--{next(iter(flags))}: .*expected --tune_trials"):
        check_flags(CompareFlags(**flags), ["ctr", "cvr"])


# Halving


def test_a_short_training_has_fewer_passes_of_models_and_searches():
    settings = parser_of("--epochs=5", "--search_epochs=3")([])
    training = Candidate(settings, {}, passes=4).with_seed(7).training
    assert (training.epochs, training.search_epochs) == (4, 3)
    training = Candidate(settings, {}, passes=1).with_seed(7).training
    assert (training.epochs, training.search_epochs) == (1, 1)
    assert Candidate(settings, {}).with_seed(7) == dataclasses.replace(settings, seed=7)
    assert passes_of(spec("base", "ctr"), settings) == 3
    assert passes_of(spec("mmoe"), settings) == 5
    longer = parser_of("--epochs=2", "--search_epochs=3")([])
    assert passes_of(spec("s_weight"), longer) == 3
    assert passes_of(spec("mmoe"), longer) == 2


def halving(epochs, trials, score, **flags):
    """(What was trained, by round: line -> [(trial, passes)]; what `halved` returns)."""
    parse = parser_of(f"--epochs={epochs}", "--search_epochs=1")
    compare = CompareFlags(tune_trials=trials, seeds=(1,), **flags)
    lines = [spec("base", "ctr", name="base_ctr"), spec("mmoe", name="mmoe")]
    grid = {line.name: first_trials(line, compare, parse) for line in lines}
    comparison = Comparison(None, None, compare, lines, grid)
    trained = []

    def attempt(wanted, what):
        trained.append(
            {line: [(one.trial, one.passes) for one in of] for line, of in wanted.items()}
        )
        return {
            line: [
                Scored(one, Failure("died", "log") if found is None else None, {}, found or 0.0)
                for one in of
                for found in [score(line, one)]
            ]
            for line, of in wanted.items()
        }

    return trained, halved(comparison, parse, attempt)


def test_the_best_third_goes_on():
    scores = [0.3, 0.9, 0.1, 0.8, 0.2, 0.85, 0.0, 0.4, 0.95]
    trained, rounds = halving(9, 9, lambda line, one: scores[one.trial] * (1 + one.passes))
    assert [of["mmoe"] for of in trained] == [
        [(trial, 1) for trial in range(9)],
        [(8, 3), (1, 3), (5, 3)],
        [(8, 0)],
    ]
    # A single task takes one pass, as its flags say: its first round is its last.
    assert [of.get("base_ctr") for of in trained] == [
        [(trial, 0) for trial in range(9)],
        None,
        None,
    ]
    assert [len(tried["mmoe"]) for tried in rounds] == [9, 3, 1]


def test_what_failed_does_not_go_on():
    trained, _ = halving(3, 6, lambda line, one: None if one.trial != 2 else -1.0)
    assert trained[1] == {"mmoe": [(2, 0)]}
    trained, rounds = halving(3, 6, lambda line, one: None)
    assert trained[1] == {"mmoe": [(0, 0)]}
    assert rounds[-1]["mmoe"][0].failure is not None


def test_a_trials_entry_says_what_it_was():
    _, rounds = halving(3, 4, lambda line, one: math.nan if one.trial == 1 else 0.5)
    entries = [scored.entry() for scored in rounds[0]["mmoe"]]
    assert [entry["trial"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["passes"] for entry in entries] == [1] * 4
    assert entries[1]["score"] is None
    assert set(entries[0]) == {*JOINT, "loss_weights", "score", "trial", "passes"}
    assert [scored.entry()["passes"] for scored in rounds[1]["mmoe"]] == [None, None]


# Optuna


def test_optuna_learns_from_what_was_scored():
    space = {"learning_rate": Rule(0.001, 1.0, log=True), "rounds": Rule(choices=("1", "2"))}

    def score(values):
        gap = abs(math.log10(float(values["learning_rate"])) + 2)
        return -gap - (values["rounds"] == "1")

    told = [(values, score(values)) for values in (drawn(space, 1, n) for n in range(12))]
    found = [tpe.proposed(space, told, 1, trial) for trial in range(12, 24)]
    assert found == [tpe.proposed(space, told, 1, trial) for trial in range(12, 24)]
    assert np.mean([score(values) for values in found]) > np.mean([s for _, s in told]) + 0.3


def test_optunas_trials_come_in_waves():
    def score(line, one):
        return -float(one.settings.training.learning_rate)

    trained, rounds = halving(3, 9, score, tune_sampler="tpe")
    assert trained == halving(3, 9, score, tune_sampler="tpe")[0]
    waves = [[trial for trial, _ in of["mmoe"]] for of in trained]
    assert waves[:3] == [list(range(3)), list(range(6)), list(range(9))]
    assert len(waves) == 4
    assert len(waves[3]) == 3
    assert len(rounds) == 2


def test_its_absence_is_said_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    flags = CompareFlags(tune_trials=9, tune_sampler="tpe")
    with pytest.raises(ConfigError, match="--tune_sampler: found tpe without the package optuna"):
        first_trials(spec(), flags, parser_of())
