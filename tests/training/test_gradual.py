"""Gradual pruning: density by step, resumption, blocks."""

import numpy as np
import pytest

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment import ticket_search
from lt4rec_tf.tickets import search
from lt4rec_tf.tickets.masks import density
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.gradual import build_gradual
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.predictions import make_predictor
from tests.support.networks import build_small, small_batch
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    begin_run,
    small_feed,
    small_settings,
    small_trainer,
)

DENSITY = 0.2
EPOCHS = 4


def gradual_run(schema, folder, *flags, progress=None):
    settings = small_settings(
        "--ticket_finder=gradual",
        f"--final_density={DENSITY}",
        f"--search_epochs={EPOCHS}",
        "--checkpoint_steps=2",
        *flags,
    )
    return begin_run(settings, schema, folder, progress)


@pytest.fixture(scope="module")
def ticket(small_schema, tmp_path_factory):
    run, network = gradual_run(small_schema, tmp_path_factory.mktemp("gradual"))
    return ticket_search.find_ticket(run, network, "ctr")


def test_each_kernel_has_the_final_density(ticket):
    # TensorFlow Model Optimization keeps round(size * density) weights of a kernel.
    assert list(ticket.masks) == ["tower_0", "tower_1"]
    for mask in ticket.masks.values():
        assert np.count_nonzero(mask) == round(mask.size * DENSITY)


def test_the_levels_are_the_dense_and_the_gradual_training(ticket):
    assert [level.level for level in ticket.levels] == [0, 1]
    assert ticket.levels[0].density == 1.0
    assert ticket.chosen == ticket.levels[1]
    assert ticket.chosen.density == density(ticket.masks)
    for level in ticket.levels:
        history = artifacts.read_json(level.folder / search.TRAINING / "history.json")
        assert level.value == history["validation"]["ctr"]["auc"]
    assert history["best_epoch"] == EPOCHS - 1  # the schedule runs to its end


@pytest.mark.slow
@pytest.mark.parametrize("at", [EPOCHS * STEPS + 12, 2 * EPOCHS * STEPS])
def test_a_killed_gradual_training_ends_with_the_same_ticket(ticket, small_schema, tmp_path, at):
    run, network = gradual_run(small_schema, tmp_path, progress=KilledProgress(at))
    with pytest.raises(Killed):
        ticket_search.find_ticket(run, network, "ctr")
    assert not artifacts.is_done(tmp_path / "tickets" / "ctr" / "level_1")
    run, network = gradual_run(small_schema, tmp_path)
    again = ticket_search.find_ticket(run, network, "ctr")
    for name, mask in again.masks.items():
        np.testing.assert_array_equal(mask, ticket.masks[name])
    values = [(level.density, level.value) for level in again.levels]
    assert values == [(level.density, level.value) for level in ticket.levels]


def test_a_found_gradual_ticket_is_read_back(ticket, small_schema):
    folder = ticket.levels[0].folder.parents[2]
    run, network = gradual_run(small_schema, folder, progress=KilledProgress(1))
    again = ticket_search.find_ticket(run, network, "ctr")
    assert again.levels == ticket.levels
    for name, mask in again.masks.items():
        np.testing.assert_array_equal(mask, ticket.masks[name])


def test_blocks_are_cut_whole(small_schema, tmp_path):
    blocks = ("--block_width=4", "--hidden_units=16,8", "--search_epochs=2")
    run, network = gradual_run(small_schema, tmp_path, *blocks)
    masks = ticket_search.find_ticket(run, network, "cvr").masks
    for mask in masks.values():
        blocks = mask.reshape(mask.shape[0], -1, 4)
        assert (blocks.all(axis=2) | ~blocks.any(axis=2)).all()
        whole_blocks = np.count_nonzero(blocks.all(axis=2))
        assert whole_blocks == round(blocks.shape[0] * blocks.shape[1] * DENSITY)


def test_before_pruning_it_is_the_dense_network(small_schema):
    alone = small_schema.with_tasks(["ctr"])
    dense = build_small(alone)
    gradual = build_gradual(dense, DENSITY, steps=100, block_width=1)
    features = small_batch()["features"]
    np.testing.assert_allclose(
        gradual.network.model(features)["ctr"], dense.model(features)["ctr"], rtol=1e-6
    )
    assert set(gradual.network.variables) > set(dense.variables)
    for name, variable in dense.variables.items():
        assert gradual.network.variables[name] is variable
    assert all(mask.all() for mask in gradual.masks().values())


@pytest.fixture(scope="module", params=["adam", "adagrad"])
def trained(request, small_schema, tmp_path_factory):
    """A gradual network after its training, the densities before each step, and the result."""
    dense = build_small(small_schema.with_tasks(["ctr"]))
    gradual = build_gradual(dense, DENSITY, EPOCHS * STEPS, 1)
    densities = []

    def before_step(step):
        densities.append(density(gradual.masks()))
        gradual.before_step(step)

    trainer = small_trainer(
        gradual.network,
        small_schema,
        ["ctr"],
        optimizer=request.param,
        before_step=before_step,
    )
    result = trainer.fit(
        tmp_path_factory.mktemp("trained"), "gradual", Plan(EPOCHS, keep_last=True)
    )
    return dense, gradual, densities, result


def test_density_falls_along_the_cubic_schedule(trained, small_schema):
    _, gradual, densities, _ = trained
    begin, end = 2, 15  # 0.1 and 0.75 of 20 steps
    sizes = [mask.size for mask in gradual.masks().values()]
    for step, measured in enumerate(densities[1:], start=1):  # the wrappers count from 1
        done = min(max((step - begin) / (end - begin), 0.0), 1.0)
        expected = DENSITY + (1 - DENSITY) * (1 - done) ** 3
        rounding = len(sizes) * 0.5 / sum(sizes) + 1e-6
        assert measured == pytest.approx(expected, abs=rounding), step


def test_validation_measures_the_pruned_network(trained, small_schema):
    # The last step's gradient moves cut weights too; what is measured and kept must not have them.
    dense, gradual, _, result = trained
    masks = gradual.masks()
    for name, kernel in dense.kernels("ctr").items():
        assert not kernel.numpy()[~masks[name]].any()
    dense.wear("ctr", masks)
    predictions = make_predictor(dense, ["ctr"])(small_feed(small_schema).validation())
    expected = measure(predictions, small_schema, ["ctr"])["ctr"]
    assert result["validation"]["ctr"] == pytest.approx(expected, rel=1e-5)
