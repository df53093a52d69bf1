"""Embedding tables that go back to where the stage began, while all other weights go on."""

import dataclasses

import pytest

from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_small, load_variables, read_variables
from tests.support.training import (
    STEPS,
    Killed,
    KilledProgress,
    quiet_progress,
    small_feed,
    small_trainer,
)

pytestmark = pytest.mark.slow(minutes=1)

PLAN = Plan(epochs=4, checkpoint_steps=2, keep_last=True, rewind_tables=2)
OPTIMIZER = {"embedding_optimizer": "adagrad", "weight_average": 0.9, "schedule": "both"}


def trainer_of(schema, **changes):
    return small_trainer(build_small(schema, seed=1), schema, **OPTIMIZER | changes)


def fit(trainer, folder, plan=PLAN):
    load_variables(trainer.network, read_variables(build_small(trainer.schema, seed=1)))
    return trainer.fit(folder, "joint", plan)


def same(values, expected):
    assert set(values) == set(expected)
    for name in values:
        assert values[name].tobytes() == expected[name].tobytes(), name


class Watched:
    """Weights before each step, once its trainer has a network to read."""

    def __init__(self):
        self.network, self.weights = None, []

    def __call__(self, step):
        self.weights.append(read_variables(self.network))


def test_tables_alone_go_back_and_nothing_else_does(small_schema, tmp_path):
    watched = Watched()
    trainer = trainer_of(small_schema, before_step=watched)
    watched.network = trainer.network
    fit(trainer, tmp_path)

    start, before, after = (watched.weights[step] for step in (0, 2 * STEPS - 1, 2 * STEPS))
    for name in start:
        went_back = after[name].tobytes() == start[name].tobytes()
        assert went_back == is_table(name), name
        assert before[name].tobytes() != start[name].tobytes(), name
    assert not (tmp_path / "start_tables").exists()


def test_a_span_is_a_stage_that_begins_with_the_weights_of_the_one_before(small_schema, tmp_path):
    # An average of weights counts a stage's steps, which two stages count anew.
    trainer = trainer_of(small_schema, weight_average=0.0)
    fit(trainer, tmp_path / "rewound")
    rewound = read_variables(trainer.network)

    feed = small_feed(small_schema)
    later = dataclasses.replace(feed, train=lambda epoch, skip: feed.train(epoch + 2, skip))
    first = trainer_of(small_schema, weight_average=0.0)
    second = trainer_of(small_schema, weight_average=0.0, feed=later)
    span = dataclasses.replace(PLAN, epochs=2, rewind_tables=0)
    fit(first, tmp_path / "first", span)
    at_end = read_variables(first.network)
    tables = read_variables(build_small(small_schema, seed=1))
    load_variables(
        second.network, {n: tables[n] if is_table(n) else value for n, value in at_end.items()}
    )
    second.fit(tmp_path / "second", "joint", span)
    same(read_variables(second.network), rewound)


@pytest.fixture(scope="module")
def unbroken(small_schema, tmp_path_factory):
    """A trainer, and the result and the weights of an unbroken stage."""
    trainer = trainer_of(small_schema)
    result = fit(trainer, tmp_path_factory.mktemp("unbroken"))
    return trainer, result, read_variables(trainer.network)


@pytest.mark.parametrize("at", [1, 2 * STEPS, 2 * STEPS + 1, 2 * STEPS + 3, 3 * STEPS + 1])
def test_a_stage_killed_around_a_rewinding_ends_as_an_unbroken_one(unbroken, tmp_path, at):
    trainer, expected, weights = unbroken
    trainer.progress = KilledProgress(at)
    with pytest.raises(Killed):
        fit(trainer, tmp_path)
    trainer.progress = quiet_progress()
    result = fit(trainer, tmp_path)
    assert result | {"seconds": 0} == expected | {"seconds": 0}
    same(read_variables(trainer.network), weights)


@pytest.mark.parametrize(
    ("scores", "passes"),
    [
        ([1, 3, 2, 2], 4),  # the second span brings nothing
        ([1, 3, 2, 4, 3, 3], 6),  # an epoch after a rewinding may be worse than the one before
        ([3, 1], 2),
    ],
)
def test_patience_counts_spans(unbroken, tmp_path, monkeypatch, scores, passes):
    trainer, _, _ = unbroken
    scored = iter(scores)
    monkeypatch.setattr(trainer, "_score", lambda metrics, losses: next(scored))
    plan = Plan(epochs=len(scores), patience=1, rewind_tables=2)
    result = fit(trainer, tmp_path, plan)
    assert len(result["history"]) == passes
    assert result["best_epoch"] == scores.index(max(scores))
