"""Every model trained jointly: where it begins, what it wears, how it is read back."""

import dataclasses
import functools

import numpy as np
import pytest

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.initial_weights import keep_start
from lt4rec_tf.experiment.joint_training import train_model
from lt4rec_tf.experiment.paths import SEARCHES, WIDTHS, model_masks
from lt4rec_tf.experiment.run import model_network
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.experiment.ticket_search import (
    find_ticket,
    read_task_masks,
    read_ticket,
    search_seconds,
)
from lt4rec_tf.experiment.trained_models import (
    load_model,
    model_names,
    task_masks,
    training_seconds,
)
from lt4rec_tf.models.lt4rec import shared_name
from lt4rec_tf.models.registry import MODELS, network_of
from lt4rec_tf.tickets.controls import dense_widths, shuffle_layerwise
from lt4rec_tf.tickets.magnitude import prune_by_magnitude
from lt4rec_tf.tickets.masks import density, ones_like, write_masks
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.predictions import make_predictor
from lt4rec_tf.training.trainer import Trainer
from tests.support.networks import read_variables
from tests.support.training import STEPS, Killed, begin_run, small_settings

pytestmark = pytest.mark.slow(minutes=1)

# What a search depends on; models of all kinds use the tickets that it finds.
SEARCH = ("--rounds=2", "--final_density=0.25", "--models=s_weight")
JOINT = (
    "shared_bottom",
    "hard_sharing",
    "esmm",
    "escm2_ips",
    "escm2_dr",
    "dcmt",
    "mmoe",
    "ple",
    "aitm",
    "htlnet",
    "s_weight",
    "pruned_towers",
    "small_dense",
    "htlnet_tickets",
    "htlnet_s_weight",
)


@pytest.fixture(scope="module")
def searched(small_schema, tmp_path_factory):
    """A folder with theta_0 and both tasks' searches."""
    folder = tmp_path_factory.mktemp("searches")
    run, network = begin_run(small_settings(*SEARCH), small_schema, folder)
    for task in run.tasks:
        find_ticket(run, network, task)
    return folder


def begin_model(searched, schema, folder, *flags):
    """A run in a folder of its own over searches that are done, and its tickets."""
    run, network = begin_run(small_settings(*SEARCH, *flags), schema, folder, searches=searched)
    artifacts.write_json(folder / SEARCHES, str(searched))
    return run, [read_ticket(run, network, task) for task in run.tasks]


def logits(network, run):
    return make_predictor(network, network.tasks)(run.feed.validation()).logits


@pytest.fixture(scope="module")
def trained(searched, small_schema, tmp_path_factory):
    """Model -> (run, tickets, weights and masks it began with, answers it ended with, result)."""

    @functools.cache
    def train(model):
        folder = tmp_path_factory.mktemp(model)
        run, tickets = begin_model(
            searched, small_schema, folder, f"--models={model}", "--epochs=2"
        )
        seen = []
        fit = Trainer.fit

        def noted(trainer, stage, name, plan):
            start, masks = read_variables(trainer.network), task_masks(trainer.network)
            result = fit(trainer, stage, name, plan)
            seen.extend([start, masks, logits(trainer.network, run)])
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "fit", noted)
            result = train_model(run, model, tickets)
        return run, tickets, *seen, result

    return train


def starts_of(train, monkeypatch):
    """(stage, weights, worn masks) with which each training of `train` begins."""
    starts = []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        network = trainer.network
        starts.append((name, read_variables(network), task_masks(network)))
        return fit(trainer, folder, name, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        train()
    return starts


def start_of_model(run, model, tickets, monkeypatch):
    """(weights, worn masks) with which a model's training would begin; it takes no step."""
    starts = []

    def noted(trainer, folder, name, plan):
        starts.append((name, read_variables(trainer.network), task_masks(trainer.network)))
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        with pytest.raises(Killed):
            train_model(run, model, tickets)
    ((name, weights, masks),) = starts
    assert name == model
    return weights, masks


def theta_0(run):
    return read_variables(network_of(run.settings, run.schema, "s_weight"))


def equal(first, second):
    return {name for name, value in first.items() if np.array_equal(value, second[name])}


def assert_same_masks(found, expected):
    assert set(found) == set(expected)
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[name])


# Where a model begins


@pytest.mark.parametrize("model", ["s_weight", "pruned_towers"])
def test_models_with_tickets_begin_at_theta_0_in_them(trained, searched, model):
    run, tickets, start, masks, _, _ = trained(model)
    for name, value in start.items():
        expected = theta_0(run)[shared_name(name, run.tasks)]
        np.testing.assert_array_equal(value, expected, err_msg=name)
    assert any(name.startswith("cvr/tower") for name in start) == (model == "pruned_towers")
    assert [ticket.task for ticket in tickets] == list(run.tasks)
    for ticket in tickets:
        assert_same_masks(masks[ticket.task], ticket.masks)
        assert density(ticket.masks) == ticket.chosen.density < 1
        path = model_masks(run.folder / "rows" / model, ticket.task)
        chosen = searched / "tickets" / ticket.task / f"level_{ticket.chosen.level}"
        assert path.read_bytes() == (chosen / "masks.npz").read_bytes()


def test_models_of_the_same_layers_begin_at_theta_0_with_nothing_cut(trained):
    for model in ("shared_bottom", "hard_sharing"):
        run, _, start, masks, _, _ = trained(model)
        for name, value in start.items():
            expected = theta_0(run)[shared_name(name, run.tasks)]
            np.testing.assert_array_equal(value, expected, err_msg=name)
        assert all(mask.all() for worn in masks.values() for mask in worn.values())
        assert any(name.startswith("cvr/tower") for name in start) == (model == "hard_sharing")


@pytest.mark.parametrize("model", ["esmm", "mmoe", "ple", "aitm", "small_dense"])
def test_other_models_begin_at_a_draw_from_the_runs_seed(trained, small_schema, model):
    run, _, start, _, _, _ = trained(model)
    folder = run.folder / "rows" / model
    again = model_network(folder, model, run.settings, small_schema, None)
    assert equal(start, read_variables(again)) == set(start)
    # Field vectors are drawn by name: whatever lies above, all models begin with the same ones.
    np.testing.assert_array_equal(start["embedding/table"], theta_0(run)["embedding/table"])
    other = dataclasses.replace(run.settings, seed=2)
    drawn = read_variables(model_network(folder, model, other, small_schema, None))
    assert not {name for name in equal(start, drawn) if not name.endswith("bias")}


def test_after_a_warm_up_searches_and_joint_models_begin_at_its_weights(
    small_schema, tmp_path, monkeypatch
):
    flags = ("--rounds=1", "--warmup_epochs=2", "--models=s_weight")
    begun = []

    def everything():
        run, network = begin_run(small_settings(*flags), small_schema, tmp_path)
        tickets = [find_ticket(run, network, task) for task in run.tasks]
        train_model(run, "s_weight", tickets)
        train_model(run, "hard_sharing", tickets)
        begun.append(run)

    starts = starts_of(everything, monkeypatch)
    (run,) = begun
    levels = [f"tickets/{task}/level_{level}" for task in run.tasks for level in (0, 1)]
    assert [name for name, *_ in starts] == ["warmup", *levels, "s_weight", "hard_sharing"]
    network = network_of(run.settings, small_schema, "s_weight")
    checkpoint.restore(tmp_path / "warmup" / "training" / "weights", network.variables)
    warm = read_variables(network)
    assert equal(starts[0][1], theta_0(run)) == set(warm)
    assert "tower_0/kernel" not in equal(warm, theta_0(run))
    for name, weights, _ in starts[1:]:
        for variable, value in weights.items():
            expected = warm[shared_name(variable, run.tasks)]
            np.testing.assert_array_equal(value, expected, err_msg=f"{name} {variable}")
    warmed = artifacts.read_json(tmp_path / "warmup" / "training" / "history.json")
    assert warmed["best_epoch"] == 1  # the last: its weights are a start, not a result
    searching = sum(search_seconds(tmp_path, task) for task in run.tasks)
    own = artifacts.read_json(tmp_path / "rows" / "s_weight" / "training" / "history.json")[
        "seconds"
    ]
    seconds = training_seconds(tmp_path, "s_weight", run.tasks)
    assert seconds == pytest.approx(own + searching + warmed["seconds"])
    again = starts_of(lambda: keep_start(run), monkeypatch)
    assert again == []  # a finished warm-up is not trained again


# Controls


def test_shuffled_tickets_keep_each_layers_count_and_nothing_else(
    searched, small_schema, tmp_path, monkeypatch
):
    run, tickets = begin_model(searched, small_schema, tmp_path, "--ticket_control=shuffle")
    weights, masks = start_of_model(run, "s_weight", tickets, monkeypatch)
    assert equal(weights, theta_0(run)) == set(weights)
    for ticket in tickets:
        worn = masks[ticket.task]
        assert {n: m.sum() for n, m in worn.items()} == {
            n: m.sum() for n, m in ticket.masks.items()
        }
        assert all(not np.array_equal(worn[name], ticket.masks[name]) for name in worn)
    same_seed = shuffle_layerwise(tickets[0].masks, seed=run.settings.seed)
    assert not np.array_equal(same_seed["tower_0"], masks["ctr"]["tower_0"])


def test_shuffles_depend_on_seed_and_task(searched, small_schema, tmp_path, monkeypatch):
    def places(folder, *flags):
        flags = ("--ticket_control=shuffle", *flags)
        run, tickets = begin_model(searched, small_schema, tmp_path / folder, *flags)
        # One ticket for both tasks: what differs is the shuffle.
        tickets = [dataclasses.replace(ticket, masks=tickets[0].masks) for ticket in tickets]
        start_of_model(run, "s_weight", tickets, monkeypatch)
        network = network_of(run.settings, small_schema, "s_weight")
        folder = run.folder / "rows" / "s_weight"
        return [read_task_masks(network, task, model_masks(folder, task)) for task in run.tasks]

    ctr, cvr = places("first")
    assert not np.array_equal(ctr["tower_0"], cvr["tower_0"])
    assert_same_masks(places("again")[0], ctr)


def test_tickets_cut_at_once_are_the_dense_weights_cut_to_the_tickets_density(
    searched, small_schema, tmp_path, monkeypatch
):
    run, tickets = begin_model(searched, small_schema, tmp_path, "--ticket_control=one_shot")
    weights, masks = start_of_model(run, "s_weight", tickets, monkeypatch)
    assert equal(weights, theta_0(run)) == set(weights)  # the dense weights only choose
    network = network_of(run.settings, small_schema, "s_weight")
    for ticket in tickets:
        dense = searched / "tickets" / ticket.task / "level_0" / "training" / "weights"
        checkpoint.restore(dense, network.variables)
        trained = {name: kernel.numpy() for name, kernel in network.kernels(ticket.task).items()}
        alive = sum(int(mask.sum()) for mask in ticket.masks.values())
        expected = prune_by_magnitude(trained, ones_like(trained), alive)
        assert_same_masks(masks[ticket.task], expected)
        assert density(masks[ticket.task]) == density(ticket.masks)
        # By hand: every kept weight is at least as large as every cut one.
        sizes = np.concatenate([np.abs(w).ravel() for w in trained.values()])
        kept = np.concatenate([expected[name].ravel() for name in trained])
        assert sizes[kept].min() >= sizes[~kept].max()


def test_drawn_tickets_are_the_largest_weights_of_theta_0(
    searched, small_schema, tmp_path, monkeypatch
):
    run, tickets = begin_model(searched, small_schema, tmp_path, "--ticket_control=draw")
    weights, masks = start_of_model(run, "s_weight", tickets, monkeypatch)
    assert equal(weights, theta_0(run)) == set(weights)
    for ticket in tickets:
        drawn = {name: weights[f"{name}/kernel"] for name in ticket.masks}
        alive = sum(int(mask.sum()) for mask in ticket.masks.values())
        expected = prune_by_magnitude(drawn, ones_like(drawn), alive)
        assert_same_masks(masks[ticket.task], expected)


def test_reinitialized_tickets_are_worn_from_a_fresh_draw(
    searched, small_schema, tmp_path, monkeypatch
):
    flags = ("--ticket_control=reinitialize",)
    run, tickets = begin_model(searched, small_schema, tmp_path, *flags)
    weights, masks = start_of_model(run, "s_weight", tickets, monkeypatch)
    assert not {name for name in equal(weights, theta_0(run)) if not name.endswith("bias")}
    for ticket in tickets:
        assert_same_masks(masks[ticket.task], ticket.masks)
    again, tickets = begin_model(searched, small_schema, tmp_path / "again", *flags)
    repeated, _ = start_of_model(again, "s_weight", tickets, monkeypatch)
    assert equal(weights, repeated) == set(weights)


def test_worn_masks_outlive_a_kill(searched, small_schema, tmp_path, monkeypatch):
    """What a model wears is decided once: it is read back, not made again."""
    run, tickets = begin_model(searched, small_schema, tmp_path, "--ticket_control=shuffle")
    path = model_masks(tmp_path / "rows" / "s_weight", "ctr")
    odd = shuffle_layerwise(tickets[0].masks, seed=99)
    write_masks(path, odd)
    _, masks = start_of_model(run, "s_weight", tickets, monkeypatch)
    assert_same_masks(masks["ctr"], odd)


def test_small_dense_towers_have_the_tickets_number_of_weights(
    searched, small_schema, tmp_path, monkeypatch
):
    run, tickets = begin_model(searched, small_schema, tmp_path, "--hidden_units=8,4")
    weights, _ = start_of_model(run, "small_dense", tickets, monkeypatch)
    alive = [sum(int(m.sum()) for m in ticket.masks.values()) for ticket in tickets]
    inputs = tickets[0].masks["tower_0"].shape[0]
    first, second = dense_widths((8, 4), inputs, round(sum(alive) / 2))
    assert artifacts.read_json(tmp_path / "rows" / "small_dense" / WIDTHS) == [first, second]
    for task in run.tasks:
        assert weights[f"{task}/tower_0/kernel"].shape == (inputs, first)
        assert weights[f"{task}/tower_1/kernel"].shape == (first, second)
    # One neuron a layer more or less is the nearest that a dense tower comes.
    found = inputs * first + first * second
    assert abs(found - sum(alive) / 2) <= inputs + first + second


def test_a_view_of_its_own_is_searched_and_trained_with_its_task(
    small_schema, tmp_path, monkeypatch
):
    flags = ("--own_embedding=cvr=3", "--rounds=1", "--models=base,s_weight,hard_sharing")
    run, network = begin_run(small_settings(*flags), small_schema, tmp_path)
    tickets = [find_ticket(run, network, task) for task in run.tasks]
    for model in ("s_weight", "hard_sharing"):
        ((_, weights, _),) = starts_of(
            lambda model=model: train_model(run, model, tickets), monkeypatch
        )
        own = {name for name in weights if "own" in name or name == "cvr/embedding/table"}
        assert own == {"cvr/own/kernel", "cvr/embedding/table"}
        assert weights["cvr/own/kernel"].shape == (len(small_schema.features) * 3, 8)
        for name in own:
            np.testing.assert_array_equal(weights[name], theta_0(run)[name])
        trained = load_model(tmp_path, model, run.settings, small_schema)
        assert not own & equal(read_variables(trained), weights)
    alone = load_model(tmp_path, "base_cvr", run.settings, small_schema)
    assert own <= set(alone.variables)
    assert not own & set(load_model(tmp_path, "base_ctr", run.settings, small_schema).variables)


# Models read back


@pytest.mark.parametrize("model", JOINT)
def test_a_trained_model_is_read_back_with_its_answers(
    trained, searched, small_schema, monkeypatch, model
):
    run, tickets, _, _, answers, result = trained(model)
    assert len(result["history"]) == 2
    loaded = load_model(run.folder, model, run.settings, small_schema)
    assert loaded.tasks == run.tasks
    for task, answer in logits(loaded, run).items():
        np.testing.assert_array_equal(answer, answers[task])
    assert starts_nothing(run, model, tickets, monkeypatch) == result
    seconds = result["seconds"]
    if MODELS[model].needs_tickets:
        seconds += sum(search_seconds(searched, task) for task in run.tasks)
    assert training_seconds(run.folder, model, run.tasks) == pytest.approx(seconds)


def starts_nothing(run, model, tickets, monkeypatch):
    """A finished model's result, asked for again."""

    def never(*arguments):
        raise AssertionError("a step is trained")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", never)
        return train_model(run, model, tickets)


def test_all_models_have_a_test_here():
    in_files_of_their_own = {"base", "s_weight_auto", "s_joint", "s_gates", "csmf", "mssm"}
    assert {*JOINT, *in_files_of_their_own} == set(MODELS)


def test_single_tasks_are_read_from_searches_that_lie_elsewhere(searched, small_schema, tmp_path):
    run, tickets = begin_model(searched, small_schema, tmp_path, "--models=base")
    assert model_names(run.settings, small_schema) == ["base_ctr", "base_cvr"]
    for ticket in tickets:
        loaded = load_model(tmp_path, f"base_{ticket.task}", run.settings, small_schema)
        assert loaded.tasks == (ticket.task,)
        dense = network_of(run.settings, small_schema, "s_weight")
        level_0 = searched / "tickets" / ticket.task / "level_0" / "training" / "weights"
        checkpoint.restore(level_0, dense.variables)
        expected = make_predictor(dense, [ticket.task])(run.feed.validation()).logits
        np.testing.assert_allclose(
            logits(loaded, run)[ticket.task], expected[ticket.task], rtol=1e-6
        )


def test_a_model_that_is_not_trained_is_refused(searched, small_schema, tmp_path):
    run, _ = begin_model(searched, small_schema, tmp_path, "--models=mmoe,s_weight_auto")
    for model in ("mmoe", "s_weight_auto"):
        with pytest.raises(artifacts.RunError, match=f"model {model} is not trained"):
            load_model(tmp_path, model, run.settings, small_schema)
    with pytest.raises(
        artifacts.RunError, match="no model 'ple', expected one of mmoe, s_weight_auto"
    ):
        load_model(tmp_path, "ple", run.settings, small_schema)


# The time left


def test_steps_to_come_count_every_model_and_the_warm_up(searched, small_schema, tmp_path):
    models = "--models=base,hard_sharing,mmoe,s_weight_auto"
    flags = (models, "--rounds=2", "--search_epochs=3", "--epochs=2", "--auto_trainings=4")

    def to_come(folder, searches, *more):
        run_settings = small_settings(*flags, *more)
        feed = begin_model(searched, small_schema, tmp_path / "feed")[0].feed
        return steps_to_come(run_settings, ("ctr", "cvr"), folder, searches, feed)

    joint = (1 + 1 + 4) * 2 * STEPS
    assert to_come(tmp_path, tmp_path) == 2 * 3 * 3 * STEPS + joint
    assert to_come(tmp_path, searched) == joint
    assert to_come(tmp_path, searched, "--warmup_epochs=5") == joint + 5 * STEPS
    assert to_come(tmp_path, tmp_path, "--models=mmoe") == 2 * STEPS
    assert to_come(tmp_path, tmp_path, "--models=base") == 2 * 3 * STEPS
