"""Weights of clicked rows that are hardly watched."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.schema.types import Filter
from lt4rec_tf.training.conflict import Conflict, emphasis, hardly_watched, pairs_in_conflict
from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_small
from tests.support.training import small_feed, small_trainer

UNKNOWN = math.nan


@pytest.mark.parametrize(
    ("ratio", "duration", "expected"),
    [
        (0.0, 100.0, False),  # nothing watched cannot be told from no click
        (0.05, 100.0, True),
        (0.1, 100.0, False),
        (0.15, 100.0, False),
        (0.15, 60.0, True),  # 60 s are not long yet
        (0.15, 60.5, False),
        (0.2, 10.0, False),
        (0.0, 10.0, False),
        (0.05, UNKNOWN, True),
        (0.15, UNKNOWN, False),
        (1.0, 10.0, False),
    ],
)
def test_which_rows_are_hardly_watched(ratio, duration, expected):
    in_conflict = hardly_watched(Conflict(), tf.constant([ratio]), tf.constant([duration]))
    assert in_conflict.numpy().tolist() == [expected]


def test_limits_can_be_set():
    limits = Conflict(long_video=10.0, long_ratio=0.5, short_ratio=0.9)
    ratio, duration = tf.constant([0.6, 0.6, 0.4]), tf.constant([11.0, 10.0, 11.0])
    assert hardly_watched(limits, ratio, duration).numpy().tolist() == [False, True, True]


def batch_of(**labels):
    return {
        "labels": {task: tf.constant(values) for task, values in labels.items()},
        "duration": tf.fill(len(next(iter(labels.values()))), 30.0),
    }


def test_both_tasks_of_a_pair_are_weighed_on_its_rows():
    factors = emphasis(
        Conflict(cvr_weight=4.0, ctr_weight=0.5),
        [("ctr", "cvr")],
        batch_of(ctr=[1.0, 1.0, 0.0], cvr=[0.1, 0.7, 0.0]),
    )
    assert {task: rows.numpy().tolist() for task, rows in factors.items()} == {
        "ctr": [0.5, 1.0, 1.0],
        "cvr": [4.0, 1.0, 1.0],
    }


def test_a_click_in_conflict_with_two_tasks_is_reduced_once():
    factors = emphasis(
        Conflict(cvr_weight=4.0, ctr_weight=0.5),
        [("ctr", "cvr"), ("ctr", "other")],
        batch_of(ctr=[1.0, 1.0, 1.0], cvr=[0.1, 0.1, 0.9], other=[0.1, 0.9, 0.9]),
    )
    assert factors["ctr"].numpy().tolist() == [0.5, 0.5, 1.0]
    assert factors["cvr"].numpy().tolist() == [4.0, 4.0, 1.0]
    assert factors["other"].numpy().tolist() == [4.0, 1.0, 1.0]


def test_pairs_are_a_binary_task_and_a_continuous_one_on_its_positives(small_schema):
    ctr, cvr = small_schema.tasks
    like = dataclasses.replace(ctr, name="like", population="click")  # binary on clicks
    whole = dataclasses.replace(cvr, name="whole", population=None)
    schema = dataclasses.replace(small_schema, tasks=(ctr, like, whole, cvr))
    for tasks in (["ctr", "like", "whole", "cvr"], ["ctr"], ["cvr", "like"]):
        assert pairs_in_conflict(schema, tasks) == [("ctr", "cvr")]
    with pytest.raises(ValueError, match="found tasks like of ctr, like, whole, cvr, expected"):
        pairs_in_conflict(schema, ["like"])
    with pytest.raises(ValueError, match="found tasks cvr of cvr"):
        pairs_in_conflict(small_schema.with_tasks(["cvr"]), ["cvr"])


def test_pairs_are_of_one_scenario(small_schema):
    wifi, other = (Filter("network", "==", (name,)) for name in ("wifi", "4g"))
    ctr, cvr = small_schema.tasks
    in_wifi = [
        dataclasses.replace(task, name=f"{task.name}_w", where=(wifi,)) for task in (ctr, cvr)
    ]
    tasks = (*in_wifi, dataclasses.replace(ctr, where=(other,)), cvr)
    schema = dataclasses.replace(small_schema, tasks=tasks)
    names = [task.name for task in tasks]
    assert pairs_in_conflict(schema, names) == [("ctr_w", "cvr_w")]


def expected_losses(network, feed, conflict):
    """Mean over the batches of sum(e w l) / sum(w), row by row in NumPy."""
    losses = {"ctr": [], "cvr": []}
    conflicts = 0
    for batch in feed.train(0, 0):
        click, ratio = (batch["labels"][task].numpy() for task in ("ctr", "cvr"))
        limit = np.where(batch["duration"].numpy() <= conflict.long_video, 0.2, 0.1)
        hardly = (ratio > 0) & (ratio < limit)
        conflicts += hardly.sum()
        assert (click[hardly] == 1).all()

        p = {
            task: 1 / (1 + np.exp(-network.task_models[task](batch["features"]).numpy()))
            for task in losses
        }

        entropy = -click * np.log(p["ctr"]) - (1 - click) * np.log(1 - p["ctr"])
        losses["ctr"].append(np.mean(np.where(hardly, conflict.ctr_weight, 1) * entropy))
        squared = click * (p["cvr"] - ratio) ** 2
        weighed = np.where(hardly, conflict.cvr_weight, 1) * squared
        losses["cvr"].append(weighed.sum() / click.sum())
    assert conflicts > 0
    return {task: np.mean(values) for task, values in losses.items()}


@pytest.mark.parametrize("tasks", [["ctr", "cvr"], ["ctr"], ["cvr"]])
def test_training_weighs_rows_in_conflict_and_validation_does_not(small_schema, tmp_path, tasks):
    network, conflict = build_small(small_schema), Conflict(cvr_weight=5.0, ctr_weight=0.2)
    records = {}
    for name, weighed in (("plain", None), ("conflict", conflict)):
        trainer = small_trainer(
            network, small_schema, tasks, schedule="both", learning_rate=1e-30, conflict=weighed
        )
        (records[name],) = trainer.fit(tmp_path / name, name, Plan(epochs=1))["history"]
    expected = expected_losses(network, small_feed(small_schema), conflict)
    for task in tasks:
        train_loss = records["conflict"]["train_loss"][task]
        assert train_loss == pytest.approx(expected[task], rel=1e-5)
        assert train_loss != pytest.approx(records["plain"]["train_loss"][task], rel=1e-3)
    for part in ("validation", "validation_loss", "score"):
        assert records["conflict"][part] == records["plain"][part]


def test_weights_of_1_change_nothing(small_schema, tmp_path):
    ends = []
    for conflict in (None, Conflict(cvr_weight=1.0, ctr_weight=1.0)):
        network = build_small(small_schema)
        trainer = small_trainer(network, small_schema, schedule="both", conflict=conflict)
        ends.append(trainer.fit(tmp_path / str(conflict), "joint", Plan(epochs=2))["history"])
    assert ends[0] == ends[1]


def test_losses_of_a_networks_own_cannot_be_weighed(small_schema):
    network = dataclasses.replace(build_small(small_schema), own_losses=lambda logits, batch: {})
    with pytest.raises(ValueError, match="conflict: found a network with losses of its own"):
        small_trainer(network, small_schema, conflict=Conflict())
