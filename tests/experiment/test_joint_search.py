"""Tickets found while all tasks train together: what a level begins with, what is kept."""

import importlib
from functools import partial

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment.joint_search import read_joint_search, train_model
from lt4rec_tf.experiment.model_checks import check_models
from lt4rec_tf.experiment.paths import model_folder
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.experiment.trained_models import load_model, task_masks, training_seconds
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.layers.cross import input_groups
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.training.trainer import Trainer
from tests.support.networks import read_variables
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    assert_same_logits,
    begin_model,
)

pytestmark = pytest.mark.slow(minutes=1)

FLAGS = ("--models=s_joint", "--rounds=2", "--final_density=0.25")


begin = partial(begin_model, FLAGS)


@pytest.fixture(scope="module")
def trained(small_schema, tmp_path_factory):
    """The run, and (stage, weights, masks) at each level's beginning and end."""
    run = begin(small_schema, tmp_path_factory.mktemp("joint"))
    begun, ended = [], []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        network = trainer.network
        begun.append((name, read_variables(network), task_masks(network)))
        result = fit(trainer, folder, name, plan)
        ended.append((name, read_variables(network), result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        train_model(run)
    return run, begun, ended


def test_tables_go_back_and_all_other_weights_go_on(trained):
    _, begun, ended = trained
    assert [name for name, _, _ in begun] == [f"s_joint/level_{level}" for level in range(3)]
    first = begun[0][1]
    for (_, start, _), (_, before, _) in zip(begun[1:], ended, strict=False):
        for name, value in start.items():
            expected = first[name] if is_table(name) else before[name]
            assert value.tobytes() == expected.tobytes(), name


def test_each_level_keeps_whole_pieces_of_the_level_below_and_as_many_as_asked(trained):
    run, begun, _ = trained
    fields = [feature.name for feature in run.schema.features]
    groups = input_groups("gram", fields, 4)
    for task in run.tasks:
        tickets = [masks[task] for _, _, masks in begun]
        total = sum(mask.size for mask in tickets[0].values())
        assert all(mask.all() for mask in tickets[0].values())
        for level, masks in enumerate(tickets[1:], 1):
            kept = sum(int(mask.sum()) for mask in masks.values())
            asked = alive_at_level(total, 0.25, 2, level)
            assert 0.5 * asked < kept <= asked
            inputs = masks["tower_0"].any(axis=1)
            for places in groups.values():
                assert inputs[places].all() or not inputs[places].any()
            for name, mask in masks.items():
                assert np.array_equal(mask, np.outer(mask.any(axis=1), mask.any(axis=0)))
                assert not (mask & ~tickets[level - 1][name]).any()
    assert any((begun[2][2]["ctr"][name] != begun[2][2]["cvr"][name]).any() for name in masks)


def test_the_model_is_the_best_pruned_level_and_is_read_back_as_it_was_trained(trained):
    run, begun, ended = trained
    folder = model_folder(run.folder, "s_joint")
    found = read_joint_search(folder, run.tasks)
    scores = [result["history"][0]["score"] for _, _, result in ended]
    assert [level["score"] for level in found["levels"]] == scores
    best = found["chosen"]
    assert best == 1 + int(np.argmax(scores[1:]))

    network = load_model(run.folder, "s_joint", run.settings, run.schema)
    for name, value in read_variables(network).items():
        assert value.tobytes() == ended[best][1][name].tobytes(), name
    for task, masks in task_masks(network).items():
        for name, mask in masks.items():
            assert np.array_equal(mask, begun[best][2][task][name])
    assert training_seconds(run.folder, "s_joint", run.tasks) == pytest.approx(
        sum(result["seconds"] for _, _, result in ended)
    )
    assert not [*folder.glob("levels/*/training/weights")]
    assert steps_to_come(run.settings, run.tasks, run.folder, run.folder, run.feed) == 0


@pytest.mark.parametrize("at", [2, STEPS + 1, 2 * STEPS + 3])
def test_a_search_killed_at_any_level_ends_as_an_unbroken_one(trained, small_schema, tmp_path, at):
    flags = ["--checkpoint_steps=2"]
    with pytest.raises(Killed):
        train_model(begin(small_schema, tmp_path, *flags, progress=KilledProgress(at)))
    run = begin(small_schema, tmp_path, *flags)
    left = steps_to_come(run.settings, run.tasks, run.folder, run.folder, run.feed)
    assert left == (3 - (at - 1) // STEPS) * STEPS
    train_model(run)
    assert_same_logits(trained[0], run, "s_joint")


MOMENTS = {  # where the process ends: a function, a part of the path that it is given
    "masks of one task alone": (
        "lt4rec_tf.experiment.level_search.write_masks",
        "level_1/masks/cvr",
    ),
    "no list of levels": ("lt4rec_tf.core.artifacts.write_json", "joint_search.json"),
    "no copy of the chosen": ("lt4rec_tf.core.artifacts.copy_folder", "training"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_search_killed_between_levels_ends_as_an_unbroken_one(
    trained, small_schema, tmp_path, monkeypatch, moment
):
    name, path = MOMENTS[moment]
    module, _, function = name.rpartition(".")
    real = getattr(importlib.import_module(module), function)

    def killed(*arguments):
        if any(path in str(argument) for argument in arguments[:2]):
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(name, killed)
        with pytest.raises(Killed):
            train_model(begin(small_schema, tmp_path))
    run = begin(small_schema, tmp_path)
    train_model(run)
    assert_same_logits(trained[0], run, "s_joint")


def test_workers_are_refused(small_schema):
    flags = ["--schema=s.toml", "--data_dir=d", "--models=s_joint", "--distribution=mirrored"]
    settings, _ = parse(["train", *flags], "")
    with pytest.raises(ConfigError, match=r"--distribution: found 'mirrored', expected none with"):
        check_models(settings, small_schema)
