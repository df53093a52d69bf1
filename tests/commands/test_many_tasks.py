"""A run of eight tasks: clicks, the watch ratio and six reactions, most of them rare."""

from __future__ import annotations

import csv
import gzip
import math

import numpy as np
import pytest

from lt4rec_tf.core import artifacts
from lt4rec_tf.data.simulator.reactions import REACTIONS
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from tests.support.commands import run_training
from tests.support.paths import PROJECT
from tests.support.schemas import SMALL_RUN, few_features

pytestmark = pytest.mark.slow(minutes=1)

TASKS = ["ctr", "cvr", *REACTIONS]


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """A run of a shared tower and of s_joint on a small feed with reactions."""
    folder = tmp_path_factory.mktemp("eight")
    run_training(
        f"--flagfile={PROJECT}/configs/simulated_reactions.cfg",
        f"--schema={few_features('simulated_reactions', folder)}",
        f"--data_dir={folder}/feed",
        f"--run_dir={folder}/run",
        "--models=shared_bottom,s_joint",
        *SMALL_RUN,
    )
    return folder / "run"


def test_every_task_is_measured_and_wears_a_ticket_of_its_own(eight):
    found = artifacts.read_json(eight / "evaluation.json")
    assert [task["name"] for task in found["tasks"]] == TASKS
    shared, joint = found["rows"]
    for model in (shared, joint):
        for task in TASKS:
            value = model["metrics"][task]["mse" if task == "cvr" else "auc"]
            assert math.isfinite(value), (model["row"], task)
    assert set(shared["density"].values()) == {1.0}
    assert set(joint["density"]) == set(TASKS)
    assert all(0.1 < density <= 0.2 for density in joint["density"].values())
    assert 0 < joint["overlap"] < 1


def test_reactions_are_learned_and_measured_on_clicks_alone(eight):
    _, _, _, source = open_run(str(eight), "")
    batches = list(split_batches(source, "test"))
    weights = {
        task: np.concatenate([batch["weights"][task] for batch in batches]) for task in TASKS
    }
    labels = {task: np.concatenate([batch["labels"][task] for batch in batches]) for task in TASKS}
    for task in ("cvr", *REACTIONS):
        np.testing.assert_array_equal(weights[task] > 0, labels["ctr"] == 1)
        assert not labels[task][labels["ctr"] == 0].any()

    log = []
    for path in sorted((eight.parent / "feed" / "impressions").glob("day_06_*")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            log += csv.DictReader(file)
    for reaction in REACTIONS:
        assert labels[reaction].sum() == sum(row[reaction] == "1" for row in log)


def test_no_column_of_a_reaction_is_a_feature(eight):
    _, _, schema, _ = open_run(str(eight), "")
    columns = {feature.column for feature in schema.features}
    assert not columns & {"click", "play_time_s", *REACTIONS}
