"""Tickets learned in a joint training: what they keep, what wears them, how they resume."""

from functools import partial

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment import gate_search
from lt4rec_tf.experiment.gate_search import MODEL, train_model
from lt4rec_tf.experiment.level_search import groups_of_inputs
from lt4rec_tf.experiment.model_checks import check_models
from lt4rec_tf.experiment.paths import GATES, TRAINING, model_folder
from lt4rec_tf.experiment.run import load_start, network_in
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.experiment.trained_models import (
    default_model,
    load_model,
    task_masks,
    training_seconds,
)
from lt4rec_tf.tickets.masks import density
from lt4rec_tf.tickets.search import WEIGHTS, read_result
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

FLAGS = (f"--models={MODEL}", "--final_density=0.25", "--gate_epochs=2")


begin = partial(begin_model, FLAGS)


@pytest.fixture(scope="module")
def trained(small_schema, tmp_path_factory):
    """The run, and (stage, weights, masks) at the beginning of both trainings."""
    run = begin(small_schema, tmp_path_factory.mktemp("gates"))
    begun = []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        network = trainer.network
        begun.append((name, read_variables(network), task_masks(network)))
        return fit(trainer, folder, name, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        train_model(run)
    return run, begun


def test_both_trainings_begin_at_theta_0(trained):
    run, begun = trained
    assert [name for name, _, _ in begun] == [f"{MODEL}/gates", MODEL]
    network = network_in(run, MODEL)
    load_start(run, network)
    for _, weights, _ in begun:
        for name, value in read_variables(network).items():
            assert weights[name].tobytes() == value.tobytes(), name


def test_a_ticket_keeps_as_many_weights_as_asked_and_differs_between_tasks(trained):
    run, begun = trained
    (_, _, first), (_, _, worn) = begun
    assert all(mask.all() for masks in first.values() for mask in masks.values())
    for masks in worn.values():
        total = sum(mask.size for mask in masks.values())
        assert sum(int(mask.sum()) for mask in masks.values()) == round(0.25 * total)
    assert any((worn["ctr"][name] != worn["cvr"][name]).any() for name in worn["ctr"])

    network = load_model(run.folder, MODEL, run.settings, run.schema)
    for task, masks in task_masks(network).items():
        for name, mask in masks.items():
            assert np.array_equal(mask, worn[task][name])
    assert default_model(run.settings, run.schema, run.folder) == MODEL


def test_a_model_s_seconds_are_those_of_both_trainings_and_nothing_is_left_to_do(trained):
    run, _ = trained
    folder = model_folder(run.folder, MODEL)
    stages = (folder / GATES / TRAINING, folder / TRAINING)
    both = [read_result(stage)["seconds"] for stage in stages]
    assert training_seconds(run.folder, MODEL, run.tasks) == pytest.approx(sum(both))
    assert min(both) > 0
    assert not (folder / GATES / TRAINING / WEIGHTS).exists()
    assert steps_to_come(run.settings, run.tasks, run.folder, run.folder, run.feed) == 0


def test_by_neurons_whole_pieces_are_kept(small_schema, tmp_path):
    run = begin(small_schema, tmp_path, "--pruned_unit=neuron")
    train_model(run)
    network = load_model(run.folder, MODEL, run.settings, run.schema)
    for masks in task_masks(network).values():
        assert 0.1 < density(masks) <= 0.25
        for mask in masks.values():
            assert np.array_equal(mask, np.outer(mask.any(axis=1), mask.any(axis=0)))
        read = masks["tower_0"].any(axis=1)
        for places in groups_of_inputs(run.settings, run.schema).values():
            assert read[places].all() or not read[places].any()


@pytest.mark.parametrize("at", [3, STEPS + 4, 2 * STEPS + 3])
def test_a_training_killed_at_any_step_ends_as_an_unbroken_one(trained, small_schema, tmp_path, at):
    flags = ["--checkpoint_steps=2"]
    with pytest.raises(Killed):
        train_model(begin(small_schema, tmp_path, *flags, progress=KilledProgress(at)))
    run = begin(small_schema, tmp_path, *flags)
    left = steps_to_come(run.settings, run.tasks, run.folder, run.folder, run.feed)
    assert left == (1 if at > 2 * STEPS else 3) * STEPS
    train_model(run)
    assert_same_logits(trained[0], run, MODEL)


@pytest.mark.parametrize("task", ["ctr", "cvr"])
def test_a_model_killed_while_its_tickets_are_written_ends_as_an_unbroken_one(
    trained, small_schema, tmp_path, monkeypatch, task
):
    write = gate_search.write_masks

    def killed(path, masks):
        if path.stem == task:
            raise Killed
        write(path, masks)

    with monkeypatch.context() as patch:
        patch.setattr(gate_search, "write_masks", killed)
        with pytest.raises(Killed):
            train_model(begin(small_schema, tmp_path))
    run = begin(small_schema, tmp_path)
    train_model(run)
    assert_same_logits(trained[0], run, MODEL)
    assert not (model_folder(run.folder, MODEL) / GATES / TRAINING / WEIGHTS).exists()


def test_workers_are_refused(small_schema):
    flags = ["--schema=s.toml", "--data_dir=d", f"--models={MODEL}", "--distribution=mirrored"]
    settings, _ = parse(["train", *flags], "")
    with pytest.raises(ConfigError, match=r"--distribution: found 'mirrored', expected none with"):
        check_models(settings, small_schema)
