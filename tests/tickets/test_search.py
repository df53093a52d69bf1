"""The search for tickets (Algorithm 1): densities, rewinding, resumption."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment import ticket_search
from lt4rec_tf.experiment.joint_training import train_model
from lt4rec_tf.experiment.paths import SEARCH
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.tickets import search
from lt4rec_tf.tickets.magnitude import prune_by_magnitude
from lt4rec_tf.tickets.masks import density, read_masks
from lt4rec_tf.tickets.search import Level, choose_level
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.trainer import Trainer
from tests.support.networks import build_small, read_variables
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    begin_run,
    quiet_progress,
    small_settings,
    small_trainer,
)

ROUNDS, DENSITY = 3, 0.2


# Algorithm 1 with a real training


class Search:
    """A search of CVR's ticket on a small network, which notes what it sees."""

    def __init__(self, schema, folder):
        self.schema, self.folder, self.plan = schema, folder, Plan(epochs=1)
        self.network = build_small(schema)
        self.trainer = small_trainer(self.network, schema, ["cvr"])
        self.theta_0 = read_variables(self.network)
        self.shapes = self.network.kernel_shapes("cvr")
        self.rewound, self.starts, self.trained = [], [], {}

    def rewind(self, level):
        self.rewound.append(level)
        for name, variable in self.network.variables.items():
            variable.assign(self.theta_0[name])

    def train(self, level, folder):
        self.starts.append((read_variables(self.network), self.network.masks("cvr")))
        self.trainer.fit(folder, f"level_{level}", self.plan)
        self.trained[level] = {
            name: kernel.numpy() for name, kernel in self.network.kernels("cvr").items()
        }

    def wear(self, masks):
        self.network.wear("cvr", masks)

    def scores(self, folder):
        checkpoint.restore(folder / "weights", self.network.variables)
        return {name: kernel.numpy() for name, kernel in self.network.kernels("cvr").items()}

    def value(self, result):
        return result["validation"]["cvr"]["mse"]

    def find(self, train=None):
        training = self if train is None else Replaced(self, train)
        return search.find_tickets(
            training,
            self.folder,
            rounds=ROUNDS,
            final_density=DENSITY,
            prune=prune_by_magnitude,
        )

    def masks(self):
        shapes = {n: tuple(k.shape) for n, k in self.network.kernels("cvr").items()}
        return [
            read_masks(search.level_folder(self.folder, level) / search.MASKS, shapes)
            for level in range(ROUNDS + 1)
        ]


class Replaced:
    """A search whose levels are trained by another function."""

    def __init__(self, cvr_search, train):
        self.train = train
        self.shapes, self.wear, self.rewind = cvr_search.shapes, cvr_search.wear, cvr_search.rewind
        self.scores, self.value = cvr_search.scores, cvr_search.value


@pytest.fixture(scope="module")
def searched(small_schema, tmp_path_factory):
    cvr_search = Search(small_schema, tmp_path_factory.mktemp("search"))
    return cvr_search, cvr_search.find(), cvr_search.masks()


def test_densities_of_the_levels_are_exact(searched):
    cvr_search, levels, masks = searched
    total = sum(
        kernel.shape.num_elements() for kernel in cvr_search.network.kernels("cvr").values()
    )
    expected = [round(total * DENSITY ** (k / ROUNDS)) for k in range(ROUNDS + 1)]
    assert [sum(int(m.sum()) for m in level.values()) for level in masks] == expected
    assert [level.density for level in levels] == [alive / total for alive in expected]
    assert [level.level for level in levels] == [0, 1, 2, 3]


def test_no_weight_revives(searched):
    _, _, masks = searched
    for before, after in itertools.pairwise(masks):
        for name, mask in after.items():
            assert not (mask & ~before[name]).any()


def test_each_level_starts_from_theta_0_with_its_masks(searched):
    cvr_search, _, masks = searched
    assert cvr_search.rewound == [0, 1, 2, 3]
    for (weights, level_masks), expected in zip(cvr_search.starts, masks, strict=True):
        for name, value in weights.items():
            np.testing.assert_array_equal(value, cvr_search.theta_0[name])
        for name, mask in level_masks.items():
            np.testing.assert_array_equal(mask, expected[name])


def test_each_level_is_the_last_one_pruned_by_its_trained_weights(searched):
    cvr_search, _, masks = searched
    for level in range(ROUNDS):
        # By hand: of the weights alive, those of the largest magnitude over all kernels.
        trained, alive = cvr_search.trained[level], masks[level]
        keep = sum(int(mask.sum()) for mask in masks[level + 1].values())
        magnitudes = np.concatenate([np.abs(trained[n][alive[n]]) for n in alive])
        threshold = np.sort(magnitudes)[-keep]
        pruned = prune_by_magnitude(trained, alive, keep)
        for name, mask in masks[level + 1].items():
            np.testing.assert_array_equal(mask, alive[name] & (np.abs(trained[name]) >= threshold))
            np.testing.assert_array_equal(mask, pruned[name])


def test_cut_weights_stay_at_theta_0_in_training(searched):
    cvr_search, _, masks = searched
    for level in range(1, ROUNDS + 1):
        for name, mask in masks[level].items():
            initial = cvr_search.theta_0[f"{name}/kernel"]
            assert cvr_search.trained[level][name][~mask].tobytes() == initial[~mask].tobytes()


def test_levels_keep_value_time_and_only_the_dense_weights(searched):
    levels = searched[1]
    for level in levels:
        result = json.loads((level.folder / search.TRAINING / "history.json").read_text())
        assert level.value == result["validation"]["cvr"]["mse"]
        assert level.seconds == result["seconds"] > 0
        assert (level.folder / search.TRAINING / "weights").exists() == (level.level == 0)
        assert artifacts.is_done(level.folder)


@pytest.fixture(scope="module")
def stopped_searches(small_schema):
    """A search for each folder; all train by one trainer, whose steps are compiled once."""
    again = Search(small_schema, Path())

    def in_folder(folder):
        again.folder = folder
        again.rewound.clear()
        again.trainer.progress = quiet_progress()
        return again

    return in_folder


def check_same_search(cvr_search, levels, expected):
    _, expected_levels, expected_masks = expected
    for mine, other in zip(cvr_search.masks(), expected_masks, strict=True):
        for name, mask in mine.items():
            np.testing.assert_array_equal(mask, other[name])
    facts = [(level.level, level.density, level.value) for level in levels]
    assert facts == [(level.level, level.density, level.value) for level in expected_levels]


@pytest.mark.parametrize("level", range(ROUNDS + 1))
@pytest.mark.parametrize("moment", ["before training", "in training", "after training"])
def test_a_search_stopped_in_a_level_ends_as_an_unbroken_one(
    searched, stopped_searches, tmp_path, level, moment
):
    cvr_search = stopped_searches(tmp_path)

    def killed_train(at, folder):
        if at == level and moment == "before training":
            raise Killed
        if at == level and moment == "in training":
            cvr_search.trainer.progress = KilledProgress(3)
        cvr_search.train(at, folder)
        if at == level:
            raise Killed

    with pytest.raises(Killed):
        cvr_search.find(killed_train)
    cvr_search = stopped_searches(tmp_path)
    for variable in cvr_search.network.variables.values():  # another process knows nothing
        variable.assign_add(variable * 0 + 1.0)
    check_same_search(cvr_search, cvr_search.find(), searched)
    assert cvr_search.rewound == list(range(level, ROUNDS + 1))


@pytest.mark.parametrize("after", [False, True])
def test_a_search_stopped_at_a_mark_ends_as_an_unbroken_one(
    searched, stopped_searches, tmp_path, monkeypatch, after
):
    # Level 1: its weights are removed beside the mark; either order of the two must resume.
    cvr_search = stopped_searches(tmp_path)
    real = artifacts.mark_done

    def killed_mark(stage: Path):
        if stage.name != "level_1":
            return real(stage)
        if after:
            real(stage)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "mark_done", killed_mark)
        with pytest.raises(Killed):
            cvr_search.find()
    check_same_search(cvr_search, cvr_search.find(), searched)


def test_a_finished_search_trains_nothing(searched):
    cvr_search, levels, _ = searched

    def never(level, folder):
        raise AssertionError

    assert cvr_search.find(never) == levels


# The choice


def levels_of(*values):
    densities = [1.0, 0.7, 0.45, 0.3, 0.2]
    return [
        Level(i, densities[i], value, 1.0, Path(f"level_{i}")) for i, value in enumerate(values)
    ]


NAN = math.nan


@pytest.mark.parametrize(
    ("values", "direction", "rule", "chosen"),
    [
        ((0.9, 0.5, 0.7, 0.6), "max", "best", 2),
        ((0.9, 0.5, 0.7, 0.6), "max", "best_or_dense", 0),
        ((0.1, 0.5, 0.7, 0.6), "min", "best", 1),
        ((0.6, 0.5, 0.7, 0.6), "min", "best_or_dense", 1),
        ((0.9, 0.7, 0.7, 0.6), "max", "best", 1),  # ties: the denser
        ((0.7, 0.7, 0.6, 0.6), "max", "best_or_dense", 0),
        ((0.9, NAN, 0.7, NAN), "max", "best", 2),
        ((NAN, NAN, 0.7, 0.9), "min", "best_or_dense", 2),
        ((NAN, 0.7, math.inf, 0.9), "max", "best", 3),
        ((9.0, 1.0, 0.75, 0.5), "max", "sparsest", 2),  # tolerance 0.25
        ((0.0, 1.0, 1.25, 1.5), "min", "sparsest", 2),
        ((0.0, -1.0, -1.25, -1.5), "max", "sparsest", 2),
        ((9.0, 1.0, 0.5, 0.8), "max", "sparsest", 3),
        ((9.0, 1.0, 0.9, NAN), "max", "sparsest", 2),
        ((9.0, 0.0, 0.0, -0.1), "max", "sparsest", 2),
    ],
)
def test_choices(values, direction, rule, chosen):
    assert choose_level(levels_of(*values), direction, rule, 0.25).level == chosen


@pytest.mark.parametrize("rule", ["best", "best_or_dense", "sparsest"])
def test_a_search_without_a_finite_value_is_refused(rule):
    with pytest.raises(ValueError, match="no level of the search has a finite"):
        choose_level(levels_of(NAN, NAN, math.inf), "max", rule, 0.1)


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="'first', expected best, best_or_dense or sparsest"):
        choose_level(levels_of(1.0, 1.0), "max", "first", 0.1)


@given(
    st.lists(st.floats(-10, 10), min_size=2, max_size=5),
    st.sampled_from(["max", "min"]),
    st.floats(0, 1),
)
def test_the_sparsest_choice_is_near_the_best_and_no_sparser_one_is(values, direction, tolerance):
    levels = levels_of(*values)
    best = choose_level(levels, direction, "best", tolerance)
    chosen = choose_level(levels, direction, "sparsest", tolerance)
    assert best.value == (max if direction == "max" else min)(values[1:])
    slack = tolerance * abs(best.value)
    near = [level for level in levels[1:] if abs(level.value - best.value) <= slack]
    assert chosen.level == max(level.level for level in near)
    assert choose_level(levels, direction, "sparsest", 0.0).value == best.value


# A run's search, by its flags


def small_run(schema, folder, *flags, progress=None):
    settings = small_settings("--rounds=2", "--final_density=0.25", *flags)
    return begin_run(settings, schema, folder, progress)


def starts_of(run, network, task, monkeypatch):
    """The weights that each level of a run's search starts from, and the ticket."""
    starts = []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        starts.append(read_variables(trainer.network))
        return fit(trainer, folder, name, plan)

    monkeypatch.setattr(Trainer, "fit", noted)
    return starts, ticket_search.find_ticket(run, network, task)


def equal(first, second):
    return {name for name, value in first.items() if np.array_equal(value, second[name])}


def test_rewind_initial_starts_every_level_from_theta_0(small_schema, tmp_path, monkeypatch):
    run, network = small_run(small_schema, tmp_path)
    theta_0 = read_variables(network)
    starts, ticket = starts_of(run, network, "ctr", monkeypatch)
    assert len(starts) == 3
    for start in starts:
        assert equal(start, theta_0) == set(theta_0)
    assert [round(level.density, 2) for level in ticket.levels] == [1.0, 0.5, 0.25]
    assert ticket.chosen.level in (1, 2)
    assert density(ticket.masks) == ticket.chosen.density
    saved_search = artifacts.read_json(tmp_path / "tickets" / "ctr" / SEARCH)
    assert saved_search["chosen"] == ticket.chosen.level
    assert saved_search["values"] == [level.value for level in ticket.levels]


def test_rewind_step_starts_pruned_levels_from_that_step(small_schema, tmp_path, monkeypatch):
    run, network = small_run(small_schema, tmp_path, "--rewind=step", "--rewind_step=3")
    theta_0 = read_variables(network)
    starts, _ = starts_of(run, network, "ctr", monkeypatch)
    snapshot = tmp_path / "tickets" / "ctr" / "level_0" / search.TRAINING / "rewind"
    checkpoint.restore(snapshot, network.variables)
    step_3 = read_variables(network)
    assert equal(starts[0], theta_0) == set(theta_0)
    for start in starts[1:]:
        assert equal(start, step_3) == set(step_3)
    assert "tower_0/kernel" not in equal(step_3, theta_0)


def test_reinitialize_starts_each_pruned_level_from_a_fresh_draw(
    small_schema, tmp_path, monkeypatch
):
    run, network = small_run(small_schema, tmp_path, "--rewind=reinitialize")
    theta_0 = read_variables(network)
    starts, _ = starts_of(run, network, "ctr", monkeypatch)
    assert equal(starts[0], theta_0) == set(theta_0)
    for first, second in ((starts[0], starts[1]), (starts[1], starts[2]), (starts[0], starts[2])):
        assert not {name for name in equal(first, second) if not name.endswith("bias")}
    again, network = small_run(small_schema, tmp_path / "again", "--rewind=reinitialize")
    for start, other in zip(starts, starts_of(again, network, "ctr", monkeypatch)[0], strict=False):
        assert equal(start, other) == set(start)  # drawn from the run's seed


def test_a_rewind_step_after_the_dense_training_is_refused(small_schema, tmp_path):
    run, network = small_run(small_schema, tmp_path, "--rewind=step", f"--rewind_step={STEPS + 1}")
    with pytest.raises(ConfigError, match=rf"--rewind_step: found {STEPS + 1}"):
        ticket_search.find_ticket(run, network, "ctr")


def test_a_step_to_rewind_to_is_kept_where_tickets_are_searched_later(small_schema, tmp_path):
    flags = ("--rewind=step", "--rewind_step=3")
    run, network = small_run(small_schema, tmp_path, *flags, "--models=base")
    assert len(ticket_search.find_ticket(run, network, "ctr").levels) == 1
    run, network = small_run(small_schema, tmp_path, *flags, "--models=base,s_weight")
    assert len(ticket_search.find_ticket(run, network, "ctr").levels) == 3


def test_a_run_without_tickets_searches_none(small_schema, tmp_path):
    run, network = small_run(small_schema, tmp_path, "--models=base,mmoe")
    ticket = ticket_search.find_ticket(run, network, "cvr")
    assert ticket.chosen == ticket.levels[0]
    assert all(mask.all() for mask in ticket.masks.values())
    assert ticket_search.read_searches(tmp_path, small_schema) == {}
    assert ticket_search.search_seconds(tmp_path, "cvr") == ticket.seconds


@pytest.mark.parametrize("finder", ["iterative", "gradual"])
def test_a_finished_search_is_read_without_training(small_schema, tmp_path, finder):
    flags = (f"--ticket_finder={finder}", "--models=s_weight")
    run, network = small_run(small_schema, tmp_path, *flags)
    ticket = ticket_search.find_ticket(run, network, "cvr")
    other, _ = small_run(small_schema, tmp_path, *flags, progress=KilledProgress(1))
    again = ticket_search.read_ticket(other, network, "cvr")
    assert (again.task, again.levels, again.chosen) == ("cvr", ticket.levels, ticket.chosen)
    assert len(again.levels) == ticket_search.searched_levels(run.settings)
    for name, mask in again.masks.items():
        np.testing.assert_array_equal(mask, ticket.masks[name])
    for masks, level in zip(ticket_search.level_masks(again), again.levels, strict=True):
        assert density(masks) == level.density


def test_another_choice_is_made_from_the_same_search(small_schema, tmp_path):
    run, network = small_run(small_schema, tmp_path, "--models=s_weight")
    ticket_search.find_ticket(run, network, "ctr")
    sparsest = ("--ticket_choice=sparsest", "--choice_tolerance=9")
    other, _ = small_run(small_schema, tmp_path, "--models=s_weight", *sparsest)
    assert ticket_search.read_ticket(other, network, "ctr").chosen.level == 2


def test_tickets_of_neurons_are_whole_neurons(small_schema, tmp_path):
    run, network = small_run(small_schema, tmp_path, "--pruned_unit=neuron", "--models=s_weight")
    ticket = ticket_search.find_ticket(run, network, "ctr")
    assert [level.level for level in ticket.levels] == [0, 1, 2]
    for masks, most in zip(ticket_search.level_masks(ticket), (1.0, 0.5, 0.25), strict=True):
        assert 0 < density(masks) <= most
        first, second = masks.values()
        alive = first.any(axis=0), second.any(axis=0)
        np.testing.assert_array_equal(first, np.broadcast_to(alive[0], first.shape))
        np.testing.assert_array_equal(second, np.outer(*alive))


def test_movement_cuts_what_training_moved_least(small_schema, tmp_path, monkeypatch):
    flags = ("--ticket_score=movement", "--models=s_weight")
    run, network = small_run(small_schema, tmp_path, *flags)
    theta_0 = read_variables(network)
    trained = []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        result = fit(trainer, folder, name, plan)
        trained.append(read_variables(trainer.network))
        return result

    monkeypatch.setattr(Trainer, "fit", noted)
    levels = ticket_search.level_masks(ticket_search.find_ticket(run, network, "ctr"))
    for weights, alive, next_masks in zip(trained, levels, levels[1:], strict=False):
        moved = {
            name: np.abs(weights[f"{name}/kernel"] - theta_0[f"{name}/kernel"])
            for name in next_masks
        }
        least = min(moved[name][mask].min() for name, mask in next_masks.items() if mask.any())
        cut = [moved[name][alive[name] & ~mask] for name, mask in next_masks.items()]
        assert np.concatenate(cut).max() <= least
        sizes = {name: np.abs(weights[f"{name}/kernel"]) for name in next_masks}
        smallest = min(sizes[name][mask].min() for name, mask in next_masks.items() if mask.any())
        largest_cut = max(
            sizes[name][alive[name] & ~mask].max() for name, mask in next_masks.items()
        )
        assert largest_cut > smallest  # magnitude would have cut others


def test_steps_to_come_count_down_to_nothing(small_schema, tmp_path):
    flags = ("--models=base,hard_sharing,s_weight", "--search_epochs=2", "--epochs=3")
    run, network = small_run(small_schema, tmp_path, *flags)

    def to_come():
        return steps_to_come(run.settings, run.tasks, tmp_path, tmp_path, run.feed)

    assert to_come() == STEPS * (2 * 3 * 2 + 2 * 3)
    tickets = []
    for left, task in ((1, "ctr"), (0, "cvr")):
        tickets.append(ticket_search.find_ticket(run, network, task))
        assert to_come() == STEPS * (left * 3 * 2 + 2 * 3)
    train_model(run, "s_weight", tickets)
    assert to_come() == STEPS * 3
