"""Scores of masks: what a step adds, against losses whose masks are moved by hand."""

import numpy as np
import pytest

from lt4rec_tf.models.heads.of_task import loss_of
from lt4rec_tf.tickets.scores import density_after
from lt4rec_tf.training.mask_scores import CUTS, cut_along, scores_of, wear_as_numbers, with_scores
from tests.support.networks import build_small
from tests.support.training import random_masks, small_feed, small_trainer

MOVE = 1e-2


def first_batch(schema):
    return next(iter(small_feed(schema).train(0, 0)))


def loss(network, schema, task, batch):
    logits = network.task_models[task](batch["features"], training=False)
    return float(loss_of(schema.task(task))(logits, batch["labels"][task], batch["weights"][task]))


def slope(network, schema, task, batch, depth, place):
    """dL/dM of one number of a mask, by central differences."""
    mask = network.towers[task][depth].mask
    whole = mask.numpy()
    losses = []
    for move in (MOVE, -MOVE):
        moved = whole.copy()
        moved[place] += move
        mask.assign(moved)
        losses.append(loss(network, schema, task, batch))
    mask.assign(whole)
    return (losses[0] - losses[1]) / (2 * MOVE)


@pytest.fixture
def network(small_schema):
    """Of large weights, so that a mask's number matters, with some of them cut."""
    built = build_small(small_schema, seed=3)
    for name, variable in built.variables.items():
        if "kernel" in name or "embedding" in name:
            variable.assign(variable * 2.0)
        elif "bias" in name:  # no unit at 0, where its slope depends on the side
            variable.assign(variable + 0.1)
    scored = with_scores(built)
    for seed, task in enumerate(scored.tasks):
        wear_as_numbers(scored, task, random_masks(scored, task, seed))
    return scored


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0)])
def test_a_step_subtracts_the_slope_of_the_loss_along_each_mask(small_schema, network, weights):
    batch, rng = first_batch(small_schema), np.random.default_rng(0)
    by_task = dict(zip(network.tasks, weights, strict=True))
    places, expected, is_cut = [], [], []
    for task, weight in by_task.items():
        for depth, layer in enumerate(network.towers[task]):
            shape = tuple(layer.mask.shape)
            for index in rng.choice(np.prod(shape), 30, replace=False):
                place = np.unravel_index(index, shape)
                places.append((task, f"tower_{depth}", place))
                along = slope(network, small_schema, task, batch, depth, place)
                expected.append(-weight * along)
                is_cut.append(layer.mask.numpy()[place] == 0)

    trainer = small_trainer(network, small_schema, schedule="both", loss_weights=by_task)
    (step,) = trainer.steps
    step(batch)
    found = np.array([scores_of(network, task)[name][place] for task, name, place in places])
    # Of a unit that the move takes over its kink, the slope is another.
    assert np.isclose(found, expected, rtol=0.05, atol=2e-4).mean() > 0.95
    # What is cut has a score, by which it may come back.
    assert np.abs(found[is_cut]).max() > 1e-3


def test_a_step_of_one_task_leaves_the_scores_of_others(small_schema, network):
    trainer = small_trainer(network, small_schema, schedule="alternate")
    trainer.steps[0](first_batch(small_schema))
    changed = {t: any(s.any() for s in scores_of(network, t).values()) for t in network.tasks}
    assert changed == {"ctr": True, "cvr": False}


def test_a_network_without_scores_trains_the_same_weights(small_schema):
    plain, scored = (build_small(small_schema, seed=3) for _ in range(2))
    for network in (plain, with_scores(scored)):
        small_trainer(network, small_schema, schedule="both").steps[0](first_batch(small_schema))
    for name, variable in plain.variables.items():
        assert variable.numpy().tobytes() == scored.variables[name].numpy().tobytes(), name


def test_masks_are_cut_along_the_schedule_and_not_between_its_moments(small_schema):
    network = with_scores(build_small(small_schema, seed=3))
    densities = []

    def prune(scores, density):
        densities.append(density)
        return {name: np.zeros(score.shape, bool) for name, score in scores.items()}

    steps = 3 * CUTS
    before_step = cut_along(network, prune, 0.2, steps)
    before_step(30)  # nothing is cut yet
    assert all(layer.mask.numpy().all() for layer in network.towers["ctr"])
    for step in range(steps):
        before_step(step)
    expected = [density_after(step / steps, 0.2) for step in range(33, steps, 3)]
    assert densities[:: len(network.tasks)] == pytest.approx(expected)
    assert not any(layer.mask.numpy().any() for layer in network.towers["cvr"])
