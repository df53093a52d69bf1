"""Trainings that learned nothing of a task: how it is known, what it comes from, what is said."""

import dataclasses
import io
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.experiment.report import nothing_learned_lines
from lt4rec_tf.metrics.binary import auc
from lt4rec_tf.metrics.continuous import xauc
from lt4rec_tf.tickets.search import read_result
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.nothing_learned import nothing_learned, with_causes
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.predictions import Predictions
from lt4rec_tf.training.stage import TrainingError
from tests.support.networks import build_small
from tests.support.training import rows_of_tasks, small_feed, small_trainer

RNG = np.random.default_rng(5)
CLICKS = (RNG.random(400) < 0.3).astype(np.float32)
RATIOS = RNG.random(400).astype(np.float32)


def found_in(schema, clicks, ctr, ratios=RATIOS, cvr=None, weights=None):
    """What is found of logits for both tasks; ratios are known of all rows."""
    weights = np.ones(len(clicks), np.float32) if weights is None else weights
    cvr = np.log(ratios / (1 - ratios)) if cvr is None else cvr
    predictions = Predictions(
        {"ctr": np.float32(ctr), "cvr": np.float32(cvr)},
        {"ctr": np.float32(clicks), "cvr": np.float32(ratios)},
        {"ctr": weights, "cvr": weights},
        np.arange(len(clicks)),
    )
    tasks = ["ctr", "cvr"]
    return nothing_learned(predictions, schema, measure(predictions, schema, tasks), tasks)


def test_predictions_that_follow_the_labels_are_not_named(small_schema):
    assert found_in(small_schema, CLICKS, 2 * CLICKS - 2) == {}


def test_one_prediction_for_all_rows_is_named(small_schema):
    found = found_in(small_schema, CLICKS, np.zeros(400), cvr=np.full(400, -40.0))
    assert found == {
        "ctr": {"what": "all 400 predictions are 0.5", "overshot": True},
        "cvr": {"what": "all 400 predictions are 4.248e-18", "overshot": True},
    }


def test_ranks_of_chance_are_named_and_whether_weights_went_far(small_schema):
    near, far = 0.01 * RNG.normal(size=400) - 0.85, 10 * RNG.normal(size=400)
    found = found_in(small_schema, CLICKS, near, cvr=0.01 * near)
    assert found["ctr"]["what"].startswith("AUC 0.")
    assert found["cvr"]["what"].startswith("XAUC 0.")
    assert not found["ctr"]["overshot"]
    assert not found["cvr"]["overshot"]
    assert found_in(small_schema, CLICKS, far)["ctr"]["overshot"]


def test_ranks_that_are_right_do_not_hide_large_errors(small_schema):
    found = found_in(small_schema, CLICKS, CLICKS + 5, cvr=RATIOS + 5)
    times = float(np.mean((1 / (1 + np.exp(-RATIOS - 5)) - RATIOS) ** 2) / RATIOS.var())
    assert f"errors are {times:.1f} times those" in found["cvr"]["what"]
    assert "times those of predicting the labels' mean" in found["ctr"]["what"]


def test_labels_that_are_all_equal_say_nothing(small_schema):
    assert found_in(small_schema, np.zeros(400), np.zeros(400), ratios=np.full(400, 0.5)) == {}


def test_luck_is_two_standard_errors_over_all_orders(small_schema):
    clicks, ratios = np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    orders = [np.array(order) for order in itertools.permutations(range(5))]
    lucks = [2 * np.std([auc(clicks, order) for order in orders])]
    lucks += [2 * np.std([xauc(ratios, order) for order in orders])]

    wrong = np.arange(5)[::-1]
    found = found_in(small_schema, clicks, 0.01 * wrong, ratios, 0.01 * wrong)
    assert f"({0.5 + lucks[0]:.4f})" in found["ctr"]["what"]
    assert f"({0.5 + lucks[1]:.4f})" in found["cvr"]["what"]


def test_rows_count_by_their_weight(small_schema):
    """Equal rows of weight 1/2 are half as many as they seem."""
    chance = 0.01 * RNG.normal(size=400)
    whole = found_in(small_schema, CLICKS, chance)["ctr"]["what"]
    weights = np.where(np.arange(400) < 200, 1.0, 1e-6).astype(np.float32)
    half = found_in(small_schema, CLICKS, chance, weights=weights)["ctr"]["what"]

    def luck(what):
        return float(what.rsplit("(")[1][:-1]) - 0.5

    assert luck(half) / luck(whole) == pytest.approx(math.sqrt(2), rel=0.05)


# What it comes from


def feed_with(schema, age):
    """A feed whose batches all have this number."""
    feed, rows = small_feed(schema), rows_of_tasks(schema, 30, 1)
    rows["features"]["age"] = tf.fill([30], age)
    split = tf.data.Dataset.from_tensor_slices(rows).batch(8)
    return dataclasses.replace(feed, train=lambda epoch, skip: split, validation=lambda: split)


NOTHING = {"ctr": {"what": "all 30 predictions are 0", "overshot": True}}
NOWHERE = {"ctr": {"what": "AUC 0.5 is no more than luck gives (0.6)", "overshot": False}}


def causes(network, schema, feed, found=NOTHING):
    return with_causes(found, network, schema, feed)["ctr"]["causes"]


@pytest.mark.parametrize(("age", "named"), [(99.0, False), (-101.0, True), (np.inf, False)])
def test_numbers_that_drown_all_others_are_named(small_schema, age, named):
    lines = causes(build_small(small_schema), small_schema, feed_with(small_schema, age))
    assert any("feature age" in line and "101" in line for line in lines) == named


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.nan, "vectors of feature video are not finite in 16 of 16 rows: "),
        (1e6, "vectors of feature video hold numbers up to 1e+06, those of all others up to "),
    ],
)
def test_vectors_that_went_too_far_are_named(small_schema, value, text):
    schema = dataclasses.replace(small_schema, features=small_schema.features[:3])
    network, feed = build_small(schema), small_feed(small_schema)
    table = network.variables["embedding/table"].numpy()
    first = 21  # behind the rows of users
    table[first : first + 31] = value
    network.variables["embedding/table"].assign(table)
    (line,) = causes(network, schema, feed)
    assert line.startswith(text)


@pytest.mark.parametrize("separate_towers", [False, True])
def test_a_layer_of_dead_units_is_named(small_schema, separate_towers):
    network = build_small(small_schema, separate_towers=separate_towers)
    for name, variable in network.variables.items():
        if "tower_0/bias" in name and not name.startswith("cvr/"):
            variable.assign(tf.fill(variable.shape, -1e9))
    (line,) = causes(network, small_schema, small_feed(small_schema))
    assert line.startswith("8 of 8 units of layer ")
    assert "masked_0" in line
    assert "--learning_rate" in line


def test_units_that_a_ticket_cuts_are_not_dead(small_schema):
    network = build_small(small_schema, hidden_units=(32, 4))
    masks, feed = network.masks("ctr"), small_feed(small_schema)
    masks["tower_0"][:, 2:] = False
    network.wear("ctr", masks)
    # A unit without weights is 0, as biases are at the start.
    assert not any("units" in line for line in causes(network, small_schema, feed))


def test_without_a_sign_the_step_size_is_blamed(small_schema):
    network, feed = build_small(small_schema), small_feed(small_schema)
    assert causes(network, small_schema, feed) == ["a smaller --learning_rate usually helps"]
    (line,) = causes(network, small_schema, feed, NOWHERE)
    assert "larger --learning_rate" in line


# What is said


def test_a_stage_says_what_it_did_not_learn(small_schema, tmp_path):
    out = io.StringIO()
    progress = Progress(10, 8, out)
    trainer = small_trainer(
        build_small(small_schema), small_schema, learning_rate=1000.0, progress=progress
    )
    result = trainer.fit(tmp_path, "joint", Plan(epochs=2))
    assert set(result["nothing_learned"]) == {"ctr", "cvr"}
    assert read_result(tmp_path)["nothing_learned"] == result["nothing_learned"]
    said = out.getvalue()
    assert "warning: joint learned nothing of ctr: on validation " in said
    assert "--learning_rate" in said


def test_a_run_names_each_likely_cause_once():
    why = {"what": "all 3 predictions are 0", "causes": ["too large steps"]}
    results = {
        "base_ctr": {"nothing_learned": {"ctr": why}},
        "of_an_earlier_version": {},
        "joint": {"nothing_learned": {"ctr": why, "cvr": why}},
    }
    lines = nothing_learned_lines(results)
    assert lines == [
        "warning: base_ctr learned nothing of ctr: on validation all 3 predictions are 0",
        "warning: joint learned nothing of ctr: on validation all 3 predictions are 0",
        "warning: joint learned nothing of cvr: on validation all 3 predictions are 0",
        "  likely cause: too large steps",
    ]


def test_a_loss_that_is_not_finite_names_the_feature_and_ends_before_the_epoch(
    small_schema, tmp_path
):
    few = feed_with(small_schema, 1e20)
    feed = dataclasses.replace(
        few, steps_per_epoch=100, train=lambda epoch, skip: few.validation().repeat(25)
    )
    steps = []
    trainer = small_trainer(
        build_small(small_schema), small_schema, feed=feed, before_step=steps.append
    )
    with pytest.raises(TrainingError, match="feature age gives the network numbers up to 1e\\+20"):
        trainer.fit(tmp_path, "joint", Plan(epochs=1))
    assert len(steps) < 100
    assert not artifacts.is_done(tmp_path)
