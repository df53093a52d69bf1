"""Bins of errors are those of each task's population."""

import numpy as np

from lt4rec_tf.metrics.calibration import error_by_label, reliability
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.training.error_analysis import error_bins
from lt4rec_tf.training.evaluation import population
from lt4rec_tf.training.predictions import Predictions


def test_bins_are_of_each_population_with_its_users(small_schema):
    rng = np.random.default_rng(7)
    click = rng.integers(0, 2, 60).astype(np.float32)
    predictions = Predictions(
        logits={task: rng.normal(size=60).astype(np.float32) for task in ("ctr", "cvr")},
        labels={"ctr": click, "cvr": click * rng.random(60).astype(np.float32)},
        weights={"ctr": np.ones(60, np.float32), "cvr": click},
        users=np.where(np.arange(60) < 40, rng.integers(0, 4, 60), NO_USER),
    )
    found = error_bins(predictions, small_schema, ("ctr", "cvr"))
    assert list(found["by_label"]) == ["cvr"]
    assert sum(part["rows"] for part in found["reliability"]["ctr"]) == 60

    labels, scores, weights, users = population(predictions, small_schema.task("cvr"))
    assert weights is None
    assert len(labels) == click.sum()
    apart = np.where(users == NO_USER, -1 - np.arange(len(users)), users)
    np.testing.assert_equal(found["reliability"]["cvr"], reliability(labels, scores, apart))
    assert found["by_label"]["cvr"] == error_by_label(labels, scores)

    nobody = Predictions(
        predictions.logits, predictions.labels, {"cvr": np.zeros(60)}, predictions.users
    )
    assert error_bins(nobody, small_schema, ["cvr"]) == {"reliability": {}, "by_label": {}}
