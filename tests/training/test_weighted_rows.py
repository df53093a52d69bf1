"""Rows of a weight: a step and an evaluation take a row of weight w for w rows."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.experiment.comparison.tested import ModelsOnTest
from lt4rec_tf.experiment.version_files import _calibration
from lt4rec_tf.training.evaluation import measure, split_losses, without_user
from lt4rec_tf.training.predictions import Predictions
from tests.support.networks import (
    BUILDERS,
    batch_of_tasks,
    build_model,
    build_small,
    read_variables,
    with_more_tasks,
)
from tests.training.test_steps import step_of

ENTIRE_SPACE = ("esmm", "dcmt")
WEIGHTS = np.random.default_rng(8).integers(0, 4, 32)


def weighted(batch, weights):
    return batch | {"weights": {task: rows * weights for task, rows in batch["weights"].items()}}


def repeated(batch, weights):
    return tf.nest.map_structure(lambda values: tf.repeat(values, weights, axis=0), batch)


@pytest.mark.parametrize("name", ["lt4rec", "lt4rec of ctr", *ENTIRE_SPACE, "aitm"])
def test_a_step_takes_a_row_of_weight_w_for_w_rows(name, small_schema):
    schema = small_schema if name in ENTIRE_SPACE else with_more_tasks(small_schema)
    tasks = ["ctr"] if name == "lt4rec of ctr" else [task.name for task in schema.tasks]
    batch = batch_of_tasks(schema)
    stepped = []
    for taught in (weighted(batch, WEIGHTS.astype(np.float32)), repeated(batch, WEIGHTS)):
        network = build_model(name, schema) if name in BUILDERS else build_small(schema)
        losses = step_of(network, schema, tasks)(taught)
        stepped.append(({task: float(loss) for task, loss in losses.items()}, network))

    (losses, network), (expected, other) = stepped
    assert losses == pytest.approx(expected, rel=1e-5)
    assert max(losses.values()) > 0.1
    # Adam's first step has the sign of the gradient, which rounding may turn where it is nearly 0.
    before = read_variables(build_model(name, schema) if name in BUILDERS else build_small(schema))
    after = read_variables(other)
    for variable, values in read_variables(network).items():
        is_alike = np.isclose(values, after[variable], atol=1e-4)
        assert is_alike.mean() > 0.99, variable
    assert any((after[variable] != before[variable]).any() for variable in after)


def predictions_of(rows=40):
    rng = np.random.default_rng(4)
    click = rng.integers(0, 2, rows).astype(np.float32)
    known = click * (np.arange(rows) % 7 > 0)
    return Predictions(
        logits={task: rng.normal(size=rows).astype(np.float32) for task in ("ctr", "cvr")},
        labels={"ctr": click, "cvr": (rng.random(rows) * known).astype(np.float32)},
        weights={"ctr": np.ones(rows, np.float32), "cvr": known.astype(np.float32)},
        users=rng.integers(-1, 8, rows),
    )


def changed(predictions, change):
    fields = {}
    for field in dataclasses.fields(predictions):
        value = getattr(predictions, field.name)
        fields[field.name] = (
            {task: change(rows) for task, rows in value.items()}
            if isinstance(value, dict)
            else value
            if value is None
            else change(value)
        )
    return Predictions(**fields)


def both(predictions, weights):
    """The predictions with these weights, and with rows repeated by them."""
    of_rows = {task: rows * np.float32(weights) for task, rows in predictions.weights.items()}
    return (
        dataclasses.replace(predictions, weights=of_rows),
        changed(predictions, lambda column: np.repeat(column, weights)),
    )


def test_metrics_losses_and_calibration_of_weighted_rows(small_schema):
    weights = np.random.default_rng(1).integers(0, 4, 40)
    taken, expected = both(predictions_of(), weights)
    metrics, others = (measure(each, small_schema, ("ctr", "cvr")) for each in (taken, expected))
    assert list(metrics) == ["ctr", "cvr", "ctcvr"]
    for task, values in metrics.items():
        assert values == pytest.approx(others[task], rel=1e-6)
    losses, others = (
        split_losses(each, small_schema, ("ctr", "cvr")) for each in (taken, expected)
    )
    assert losses == pytest.approx(others, rel=1e-5)

    # Parts hold as many rows each, whatever they weigh; their means are by weight.
    bins = _calibration(taken, small_schema)["ctr"]
    assert sum(part.rows for part in bins) == np.count_nonzero(weights)
    assert sum(part.weight for part in bins) == weights.sum()
    labels = sum(part.observed * part.weight for part in bins)
    assert labels == pytest.approx((weights * taken.labels["ctr"]).sum())


def test_rows_are_counted_as_rows_and_those_of_weight_0_not_at_all(small_schema):
    predictions = predictions_of()
    weights = np.where(np.arange(40) < 10, 0, 2)
    taken, _ = both(predictions, weights)
    counts = without_user(taken, small_schema, ("ctr",))["ctr"]
    assert counts["rows"] == 30
    assert counts["without_user"] == (predictions.users[10:] == -1).sum()


def test_intervals_of_a_comparison_are_by_weight(small_schema):
    rng = np.random.default_rng(2)
    weights = np.where(np.arange(60) < 15, 0, rng.integers(1, 4, 60))
    click, users = rng.integers(0, 2, 60).astype(np.float32), np.arange(60) // 5
    model, base = (rng.normal(size=60).astype(np.float32) for _ in range(2))

    def difference(labels, of_rows, users, model, base):
        tested = object.__new__(ModelsOnTest)
        tested._replicates = 50
        tested._labels = {"0/ctr": labels, "1/ctr": of_rows.astype(np.float32), "users": users}
        logits = {"model": model, "base": base}
        tested._outputs = {
            line: {seed: {"0/ctr": seed * of_line} for seed in (1, 2)}
            for line, of_line in logits.items()
        }
        tested._measured = {}
        return tested._difference(small_schema.task("ctr"), "log_loss", "base", "model", (1, 2))

    found = difference(click, weights, users, model, base)
    columns = [np.repeat(column, weights) for column in (click, users, model, base)]
    expected = difference(columns[0], np.ones(weights.sum()), *columns[1:])
    for name in ("low", "high", "difference", "value"):
        assert found[name] == pytest.approx(expected[name], rel=1e-10)
