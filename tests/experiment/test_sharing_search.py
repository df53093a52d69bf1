"""The search for how much to share: which ways, in which order, and what is kept."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment import sharing_search
from lt4rec_tf.experiment.paths import CHOICE, SEARCHES, model_masks
from lt4rec_tf.experiment.sharing_search import Way, train_auto
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.experiment.ticket_search import (
    Ticket,
    find_ticket,
    level_masks,
    read_ticket,
    search_seconds,
)
from lt4rec_tf.experiment.trained_models import (
    load_model,
    measure_models,
    task_masks,
    training_seconds,
)
from lt4rec_tf.metrics.gain import mean_relative_gain
from lt4rec_tf.models.lt4rec import shared_name
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.tickets.masks import density, read_masks
from lt4rec_tf.tickets.search import Level
from lt4rec_tf.training.predictions import make_predictor
from lt4rec_tf.training.trainer import Trainer
from tests.support.networks import read_variables
from tests.support.training import STEPS, Killed, KilledProgress, begin_run, small_settings

pytestmark = pytest.mark.slow(minutes=1)

DIRECTIONS = {"ctr": "max", "cvr": "min"}


# The gain that ways are judged by


def test_gain_is_the_mean_of_relative_gains_signed_by_what_is_better():
    base = {"ctr": 0.8, "cvr": 0.5}
    assert mean_relative_gain(base, base, DIRECTIONS) == 0.0
    found = mean_relative_gain({"ctr": 0.84, "cvr": 0.4}, base, DIRECTIONS)
    assert found == pytest.approx((0.05 + 0.2) / 2)
    found = mean_relative_gain({"ctr": 0.76, "cvr": 0.55}, base, DIRECTIONS)
    assert found == pytest.approx((-0.05 - 0.1) / 2)
    # The size of a metric below 0 does not turn its sign.
    assert mean_relative_gain({"ctr": -1.0}, {"ctr": -2.0}, {"ctr": "max"}) == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_worse_than_any(value):
    good = {"ctr": 0.8, "cvr": 0.5}
    bad = good | {"cvr": value}
    assert mean_relative_gain(bad, good, DIRECTIONS) == -math.inf
    assert mean_relative_gain(good, bad, DIRECTIONS) == -math.inf


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0.1, 9), min_size=1),
    st.floats(0.1, 9),
)
def test_the_gain_does_not_depend_on_the_unit_of_a_metric(values, unit):
    base = dict.fromkeys(values, 2.0)
    directions = dict.fromkeys(values, "min")
    scaled = ({t: v * unit for t, v in found.items()} for found in (values, base))
    expected = mean_relative_gain(values, base, directions)
    assert mean_relative_gain(*scaled, directions) == pytest.approx(expected, abs=1e-9)


# Which ways are tried, in which order


def tickets_of(*chosen, levels=4):
    found = []
    for place, level in enumerate(chosen):
        searched = [Level(i, 1.0 / (i + 1), 0.5, 1.0, Path(f"level_{i}")) for i in range(levels)]
        found.append(Ticket(f"task_{place}", searched, searched[level], {}))
    return found


def tried_in_order(tickets, budget, gain):
    """The ways that a search tries where `gain` says what each is worth."""
    tried, ways = {}, []
    for way in sharing_search._ways(tickets, tried, budget):
        assert way.name not in tried
        ways.append(way)
        # As it comes from JSON.
        kept = {"name": way.name, "separate": way.separate, "levels": list(way.levels)}
        tried[way.name] = kept | {"gain": gain(way)}
    return ways


def flat(way):
    return 0.0


def shared(*levels):
    return Way(False, levels)


def separate(*levels):
    return Way(True, levels)


def starts(*chosen):
    dense = (0,) * len(chosen)
    return [shared(*dense), separate(*dense), shared(*chosen), separate(*chosen)]


def test_first_come_full_sharing_hard_sharing_and_both_with_the_tickets():
    assert tried_in_order(tickets_of(2, 1), 4, flat) == starts(2, 1)
    for budget in (1, 2, 3):
        assert tried_in_order(tickets_of(2, 1), budget, flat) == starts(2, 1)[:budget]


@pytest.mark.parametrize("kind", [shared, separate])
def test_then_the_neighbours_of_the_best_one_task_at_a_time_then_all(kind):
    def peak(way):
        return 1.0 if way == kind(2, 1) else 0.0

    tried = tried_in_order(tickets_of(2, 1), 10, peak)
    neighbours = [(3, 1), (1, 1), (2, 2), (2, 0), (3, 2), (1, 0)]
    assert tried == [*starts(2, 1), *(kind(*levels) for levels in neighbours)]


def test_a_better_neighbour_is_where_the_search_goes_on():
    def sparser_for_the_second(way):
        return -1.0 if way.separate else way.levels[1] - abs(way.levels[0] - 1)

    tried = tried_in_order(tickets_of(1, 1), 9, sparser_for_the_second)
    expected = [(2, 1), (0, 1), (1, 2), (2, 2), (0, 2)]
    assert tried == [*starts(1, 1), *(shared(*levels) for levels in expected)]


def test_it_ends_where_no_neighbour_is_left():
    assert tried_in_order(tickets_of(1, levels=2), 9, flat) == starts(1)


def test_dense_tickets_are_full_and_hard_sharing_and_not_trained_twice():
    tried = tried_in_order(tickets_of(0, 0), 4, flat)
    assert tried == [shared(0, 0), separate(0, 0), shared(1, 0), shared(0, 1)]


def test_ways_without_a_finite_gain_do_not_stop_it():
    tried = tried_in_order(tickets_of(1, 1), 6, lambda way: -math.inf)
    assert tried == [*starts(1, 1), shared(1, 0), shared(0, 1)]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_no_way_is_tried_twice_and_the_budget_is_kept(chosen, budget, random):
    tried = tried_in_order(tickets_of(*chosen), budget, lambda way: random.random())
    assert len(set(tried)) == len(tried) <= budget
    # It stops early only where every neighbour of the best was tried, and three starts differ.
    assert len(tried) == budget or len(tried) >= 3
    assert all(0 <= level <= 3 for way in tried for level in way.levels)


# With real trainings

BUDGET = 5
FLAGS = ("--rounds=2", "--final_density=0.25", f"--auto_trainings={BUDGET}")


@pytest.fixture(scope="module")
def searched(small_schema, tmp_path_factory):
    """Both tasks' searches, which all runs of this file share."""
    folder = tmp_path_factory.mktemp("searches")
    run, network = begin_run(auto_settings(), small_schema, folder)
    for task in run.tasks:
        find_ticket(run, network, task)
    return folder


def auto_settings(*flags):
    return small_settings("--models=s_weight_auto", *FLAGS, *flags)


def auto_run(searched, schema, folder, *flags, progress=None):
    settings = auto_settings(*flags)
    run, network = begin_run(settings, schema, folder, progress, searches=searched)
    artifacts.write_json(folder / SEARCHES, str(searched))
    return run, [read_ticket(run, network, task) for task in run.tasks]


@pytest.fixture(scope="module")
def found(searched, small_schema, tmp_path_factory):
    """(run, its tickets, starts of its trainings, choice) of an unbroken search."""
    folder = tmp_path_factory.mktemp("auto")
    run, tickets = auto_run(searched, small_schema, folder)
    starts = {}
    fit = Trainer.fit

    def noted(trainer, stage, name, plan):
        starts[name] = (read_variables(trainer.network), task_masks(trainer.network))
        return fit(trainer, stage, name, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        choice = train_auto(run, tickets)
    return run, tickets, starts, choice


def model_folder(run):
    return run.folder / "rows" / "s_weight_auto"


def test_the_budget_is_spent_on_the_ways_in_their_order(found):
    _, tickets, starts, choice = found
    gains = {way["name"]: way["gain"] for way in choice["tried"]}
    names = [way.name for way in tried_in_order(tickets, BUDGET, lambda way: gains[way.name])]
    assert [way["name"] for way in choice["tried"]] == names
    assert list(starts) == [f"auto/{name}" for name in names]
    assert len(names) == BUDGET
    assert names[:2] == ["shared_0_0", "separate_0_0"]


def test_every_way_begins_at_theta_0_in_its_levels_masks(found):
    run, tickets, starts, choice = found
    theta_0 = read_variables(network_of(run.settings, run.schema, "s_weight"))
    for way in choice["tried"]:
        weights, masks = starts[f"auto/{way['name']}"]
        for name, value in weights.items():
            np.testing.assert_array_equal(value, theta_0[shared_name(name, run.tasks)])
        assert any(name.startswith("cvr/tower") for name in weights) == way["separate"]
        for ticket, level in zip(tickets, way["levels"], strict=True):
            for name, mask in level_masks(ticket)[level].items():
                np.testing.assert_array_equal(masks[ticket.task][name], mask)


def test_gains_are_measured_on_validation_against_the_single_tasks(found):
    run, tickets, _, choice = found
    alone = {ticket.task: ticket.levels[0].value for ticket in tickets}
    for way in choice["tried"]:
        stage = model_folder(run) / way["name"] / "training"
        history = artifacts.read_json(stage / "history.json")
        values = history["validation"]
        by_hand = (
            (values["ctr"]["auc"] - alone["ctr"]) / alone["ctr"]
            - (values["cvr"]["mse"] - alone["cvr"]) / alone["cvr"]
        ) / 2
        assert way["gain"] == pytest.approx(by_hand)
        assert way["seconds"] == history["seconds"]


def test_the_best_is_chosen_and_alone_keeps_its_weights(found):
    run, _, _, choice = found
    best = max(choice["tried"], key=lambda way: way["gain"])
    assert choice["chosen"] == best["name"]
    assert artifacts.read_json(model_folder(run) / CHOICE) == choice
    for way in choice["tried"]:
        weights = model_folder(run) / way["name"] / "training" / "weights"
        assert weights.exists() == (way["name"] == best["name"])


def test_the_chosen_way_is_read_back_with_its_answers(found):
    run, tickets, _, choice = found
    loaded = load_model(run.folder, "s_weight_auto", run.settings, run.schema)
    (way,) = [way for way in choice["tried"] if way["name"] == choice["chosen"]]
    separate = any(name.startswith("cvr/tower") for name in loaded.variables)
    assert separate == way["separate"]
    for ticket, level in zip(tickets, way["levels"], strict=True):
        for name, mask in level_masks(ticket)[level].items():
            np.testing.assert_array_equal(loaded.masks(ticket.task)[name], mask)
    (model,) = measure_models(run.folder, run.settings, run.schema, run.feed.validation)
    stage = model_folder(run) / way["name"] / "training"
    kept = artifacts.read_json(stage / "history.json")["validation"]
    for task in run.tasks:
        assert model["metrics"][task] == pytest.approx(kept[task], rel=1e-6)


@pytest.mark.parametrize(("name", "place"), [("separate_0_0", 2), ("shared_2_1", 3)])
def test_whichever_way_is_chosen_is_read_back(
    searched, small_schema, tmp_path, name, place, monkeypatch
):
    """The choice is given to one way; its answers are those that its training ended with."""
    run, tickets = auto_run(searched, small_schema, tmp_path, f"--auto_trainings={place}")
    tickets = [
        dataclasses.replace(ticket, chosen=ticket.levels[level])
        for ticket, level in zip(tickets, (2, 1), strict=True)
    ]
    answers = {}
    fit = Trainer.fit

    def noted(trainer, folder, stage, plan):
        result = fit(trainer, folder, stage, plan)
        answers[stage] = answers_of(trainer.network, run)
        return result

    def gain(schema, tickets, result):
        return 1.0 if len(answers) and list(answers)[-1] == f"auto/{name}" else 0.0

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        patch.setattr(sharing_search, "gain_over_single_tasks", gain)
        assert train_auto(run, tickets)["chosen"] == name
    loaded = load_model(tmp_path, "s_weight_auto", run.settings, run.schema)
    for task, answer in answers_of(loaded, run).items():
        np.testing.assert_array_equal(answer, answers[f"auto/{name}"][task])


def answers_of(network, run):
    return make_predictor(network, network.tasks)(run.feed.validation()).logits


def test_it_takes_the_time_of_all_ways_and_all_searches(found, searched):
    run, _, _, choice = found
    seconds = sum(way["seconds"] for way in choice["tried"])
    seconds += sum(search_seconds(searched, task) for task in run.tasks)
    assert training_seconds(run.folder, "s_weight_auto", run.tasks) == pytest.approx(seconds)


def test_a_finished_choice_trains_nothing(found, monkeypatch):
    run, tickets, _, choice = found

    def never(*arguments):
        raise AssertionError

    monkeypatch.setattr(Trainer, "fit", never)
    assert train_auto(run, tickets) == choice


def test_no_step_is_to_come_once_it_is_chosen(found, searched):
    run = found[0]
    assert steps_to_come(run.settings, run.tasks, run.folder, searched, run.feed) == 0


def without_seconds(choice):
    tried = [{**way, "seconds": 0} for way in choice["tried"]]
    return {**choice, "tried": tried}


def test_one_that_is_killed_in_a_way_and_after_one_ends_as_an_unbroken_one(
    found, searched, small_schema, tmp_path, monkeypatch
):
    in_the_second = KilledProgress(STEPS + 2)
    killed, tickets = auto_run(searched, small_schema, tmp_path, progress=in_the_second)
    with pytest.raises(Killed):
        train_auto(killed, tickets)
    killed, tickets = auto_run(searched, small_schema, tmp_path)
    forget = sharing_search._forget_all_but_best

    def stop(folder, tried):
        forget(folder, tried)
        if len(tried) == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sharing_search, "_forget_all_but_best", stop)
        with pytest.raises(Killed):
            train_auto(killed, tickets)
    assert not (model_folder(killed) / CHOICE).exists()
    again, tickets = auto_run(searched, small_schema, tmp_path)
    trained = []
    epoch = Trainer._epoch

    def noted(trainer, folder, name, plan, state):
        trained.append(name)
        epoch(trainer, folder, name, plan, state)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", noted)
        choice = train_auto(again, tickets)
    expected = found[3]
    assert without_seconds(choice) == without_seconds(expected)
    assert trained == [f"auto/{way['name']}" for way in expected["tried"][4:]]
    check_same_model(again, found[0])


def check_same_model(run, other):
    mine, others = (
        load_model(r.folder, "s_weight_auto", r.settings, r.schema) for r in (run, other)
    )
    values = read_variables(others)
    for name, value in read_variables(mine).items():
        np.testing.assert_array_equal(value, values[name])
    for task in mine.tasks:
        for name, mask in mine.masks(task).items():
            np.testing.assert_array_equal(mask, others.masks(task)[name])


def test_ways_that_the_run_has_trained_as_models_are_not_trained_again(
    found, searched, small_schema, tmp_path, monkeypatch
):
    models = "--models=hard_sharing,s_weight,s_weight_auto"
    run, tickets = auto_run(searched, small_schema, tmp_path, models)
    trained = []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        trained.append(name)
        return fit(trainer, folder, name, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        sharing_search.train_models(run, tickets)
    choice = artifacts.read_json(model_folder(run) / CHOICE)
    assert without_seconds(choice) == without_seconds(found[3])
    chosen = Way(False, tuple(ticket.chosen.level for ticket in tickets))
    known = {separate(0, 0).name, chosen.name}
    ways = [f"auto/{way['name']}" for way in choice["tried"] if way["name"] not in known]
    assert trained == ["hard_sharing", "s_weight", *ways]
    check_same_model(run, found[0])
    assert (tmp_path / "rows" / "hard_sharing" / "training" / "weights").exists()


def test_a_model_in_other_masks_than_its_tickets_is_no_way_of_sharing(
    searched, small_schema, tmp_path
):
    flags = ("--models=s_weight,s_weight_auto", "--ticket_control=shuffle")
    run, tickets = auto_run(searched, small_schema, tmp_path, *flags)
    artifacts.mark_done(tmp_path / "rows" / "s_weight" / "training")
    chosen = Way(False, tuple(ticket.chosen.level for ticket in tickets))
    assert sharing_search._model_trained_alike(run, tickets, chosen) is None


def test_a_way_keeps_its_masks_beside_its_training(found):
    run, tickets, _, choice = found
    for way in choice["tried"]:
        folder = model_folder(run) / way["name"]
        for ticket, level in zip(tickets, way["levels"], strict=True):
            shapes = {name: mask.shape for name, mask in ticket.masks.items()}
            kept = read_masks(model_masks(folder, ticket.task), shapes)
            assert density(kept) == ticket.levels[level].density


def test_a_choice_without_a_finite_gain_is_still_json(
    searched, small_schema, tmp_path, monkeypatch
):
    monkeypatch.setattr(sharing_search, "gain_over_single_tasks", lambda *arguments: -math.inf)
    run, tickets = auto_run(searched, small_schema, tmp_path, "--auto_trainings=1")
    train_auto(run, tickets)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((model_folder(run) / CHOICE).read_text(), parse_constant=refuse)
