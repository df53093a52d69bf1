"""Tasks trained one after another: what each may change, what it wears, how the model resumes."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment import cascade
from lt4rec_tf.experiment.cascade import MODEL, train_model
from lt4rec_tf.experiment.model_checks import check_models
from lt4rec_tf.experiment.paths import CASCADE, RECOVERY, TRAINING, model_folder
from lt4rec_tf.experiment.shared_tickets import drawn_tickets
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.experiment.trained_models import (
    load_model,
    shared_overlap,
    task_masks,
    training_seconds,
)
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.tickets.cumulative import prune_by_cumulative_magnitude
from lt4rec_tf.tickets.free_weights import free_weights
from lt4rec_tf.tickets.search import WEIGHTS, read_result
from lt4rec_tf.training.predictions import make_predictor
from lt4rec_tf.training.trainer import Trainer
from tests.support.feeds import funnel_schema
from tests.support.networks import read_variables
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    assert_same_logits,
    begin_model,
)

FLAGS = (f"--models={MODEL}", "--epochs=2")
STAGES = [f"{MODEL}/ctr", f"{MODEL}/ctr/{RECOVERY}", f"{MODEL}/cvr"]


begin = partial(begin_model, FLAGS)


@pytest.fixture(scope="module")
def trained(small_schema, tmp_path_factory):
    """The run, and by stage (weights and masks before, weights and answers after)."""
    run = begin(small_schema, tmp_path_factory.mktemp("cascade"))
    seen = {}
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        before, masks = read_variables(trainer.network), task_masks(trainer.network)
        result = fit(trainer, folder, name, plan)
        answers = make_predictor(trainer.network, run.tasks)(run.feed.validation()).logits
        seen[name] = before, masks, read_variables(trainer.network), answers
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", noted)
        train_model(run)
    return run, seen


def changed(before, after):
    """The variables that a stage moved somewhere."""
    return {name for name in before if (before[name] != after[name]).any()}


@pytest.mark.slow
def test_the_first_task_trains_the_whole_network_and_is_pruned_layer_by_layer(trained):
    _, seen = trained
    assert list(seen) == STAGES
    before, masks, after, _ = seen[STAGES[0]]
    assert all(mask.all() for worn in masks.values() for mask in worn.values())
    assert changed(before, after) == {name for name in before if not name.startswith("cvr/")}

    _, masks, _, _ = seen[STAGES[1]]
    kernels = {name: after[f"{name}/kernel"] for name in masks["ctr"]}
    whole = {name: np.ones(kernel.shape, bool) for name, kernel in kernels.items()}
    for name, mask in prune_by_cumulative_magnitude(kernels, whole, 0.5).items():
        np.testing.assert_array_equal(masks["ctr"][name], mask)
        assert 0 < mask.mean() < 0.5


@pytest.mark.slow
def test_recovery_trains_what_is_kept_of_the_tower_and_nothing_below(trained):
    _, seen = trained
    before, masks, after, _ = seen[STAGES[1]]
    moved = changed(before, after)
    assert moved == {n for n in before if n.startswith(("tower_", "ctr/"))}
    for name, mask in masks["ctr"].items():
        kernel = f"{name}/kernel"
        np.testing.assert_array_equal(before[kernel][~mask], after[kernel][~mask])


@pytest.mark.slow
def test_the_next_task_trains_what_was_freed_and_the_first_stays_bit_for_bit(trained):
    run, seen = trained
    _, masks, _, recovered = seen[STAGES[1]]
    before, worn, after, answers = seen[STAGES[2]]
    assert all(mask.all() for mask in worn["cvr"].values())
    free = free_weights([masks["ctr"]])
    for name, value in before.items():
        own = np.array(name.startswith("cvr/"))
        places = np.broadcast_to(free.get(name, own), value.shape)
        assert value[~places].tobytes() == after[name][~places].tobytes(), name
        assert (value[places] != after[name][places]).any() == places.any(), name
    assert any(is_table(name) for name in before)
    assert answers["ctr"].tobytes() == recovered["ctr"].tobytes()

    network = load_model(run.folder, MODEL, run.settings, run.schema)
    loaded = make_predictor(network, run.tasks)(run.feed.validation()).logits
    for task, values in loaded.items():
        assert values.tobytes() == answers[task].tobytes()
    kept = sum(int(mask.sum()) for mask in masks["ctr"].values())
    total = sum(mask.size for mask in masks["ctr"].values())
    assert shared_overlap(network) == pytest.approx(kept / total)
    model, tickets = drawn_tickets(run.folder, run.settings, run.schema)
    assert model == MODEL
    for name, mask in masks["ctr"].items():
        np.testing.assert_array_equal(tickets["ctr"][name], mask)


@pytest.mark.slow
def test_the_model_s_result_is_that_of_all_its_stages(trained):
    run, _ = trained
    folder = model_folder(run.folder, MODEL)
    parts = [f"ctr/{TRAINING}", f"ctr/{RECOVERY}", f"cvr/{TRAINING}"]
    stages = [read_result(folder / CASCADE / part) for part in parts]
    whole = read_result(folder / TRAINING)
    assert whole["validation"]["ctr"] == stages[1]["validation"]["ctr"]
    assert whole["validation"]["cvr"] == stages[2]["validation"]["cvr"]
    losses = whole["validation_loss"]
    assert whole["history"][0]["score"] == pytest.approx(-losses["ctr"] - losses["cvr"])
    seconds = sum(stage["seconds"] for stage in stages)
    assert training_seconds(run.folder, MODEL, run.tasks) == pytest.approx(seconds)
    assert not any((folder / CASCADE / part / WEIGHTS).exists() for part in parts)
    assert steps_to_come(run.settings, run.tasks, run.folder, run.folder, run.feed) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("at", "left"), [(2 * STEPS + 2, 3), (4 * STEPS + 3, 2)])
def test_a_model_killed_in_any_stage_ends_as_an_unbroken_one(
    trained, small_schema, tmp_path, at, left
):
    flags = ["--checkpoint_steps=2"]
    with pytest.raises(Killed):
        train_model(begin(small_schema, tmp_path, *flags, progress=KilledProgress(at)))
    run = begin(small_schema, tmp_path, *flags)
    to_come = steps_to_come(run.settings, run.tasks, run.folder, run.folder, run.feed)
    assert to_come == left * STEPS
    train_model(run)
    assert_same_logits(trained[0], run, MODEL)


@pytest.mark.slow
def test_of_three_tasks_the_second_wears_what_is_kept_of_both_and_stays_too(
    small_schema, tmp_path, monkeypatch
):
    third = dataclasses.replace(small_schema.task("cvr"), name="third")
    schema = dataclasses.replace(small_schema, tasks=(*small_schema.tasks, third))
    run = begin(schema, tmp_path, "--epochs=1")
    answers = []
    fit = Trainer.fit

    def noted(trainer, folder, name, plan):
        result = fit(trainer, folder, name, plan)
        answers.append(make_predictor(trainer.network, run.tasks)(run.feed.validation()).logits)
        return result

    monkeypatch.setattr(Trainer, "fit", noted)
    train_model(run)
    masks = task_masks(load_model(run.folder, MODEL, run.settings, schema))
    for name, first in masks["ctr"].items():
        second = masks["cvr"][name]
        assert (second >= first).all()
        # Of what was free half of the sum goes, so more than half of the weights.
        assert 0 < second[~first].mean() < 0.5
        assert masks["third"][name].all()
    _, ctr, _, cvr, last = answers
    assert ctr["ctr"].tobytes() == cvr["ctr"].tobytes() == last["ctr"].tobytes()
    assert cvr["cvr"].tobytes() == last["cvr"].tobytes()


@pytest.mark.slow
def test_a_weight_that_moved_is_never_kept(small_schema, tmp_path, monkeypatch):
    """As a fault of the trainer would have it: everything may change."""
    run = begin(small_schema, tmp_path, "--epochs=1")
    trainer = cascade.task_trainer
    monkeypatch.setattr(cascade, "task_trainer", lambda *known, changeable=None: trainer(*known))
    with pytest.raises(artifacts.RunError, match=r"found other weights than in .*, expected the"):
        train_model(run)
    assert not artifacts.is_done(model_folder(run.folder, MODEL) / TRAINING)


def test_the_cascade_follows_populations(small_schema, tmp_path):
    assert cascade.cascade(small_schema) == ["ctr", "cvr"]
    assert cascade.cascade(small_schema.with_tasks(["cvr"])) == ["cvr"]
    backwards = funnel_schema(tmp_path).with_tasks(["refund", "conv", "ctr"])
    assert cascade.cascade(backwards) == ["ctr", "conv", "refund"]


def test_workers_are_refused(small_schema):
    flags = ["--schema=s.toml", "--data_dir=d", f"--models={MODEL}", "--distribution=mirrored"]
    settings, _ = parse(["train", *flags], "")
    with pytest.raises(ConfigError, match=r"--distribution: found 'mirrored', expected none with"):
        check_models(settings, small_schema)
