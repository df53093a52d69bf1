"""Differences between the models of a comparison."""

import numpy as np

from lt4rec_tf.experiment.comparison.tested import ModelsOnTest, _predicted
from lt4rec_tf.metrics.bootstrap import paired_interval
from lt4rec_tf.metrics.groups import NO_USER


def test_rows_without_a_user_are_resampled_one_by_one(small_schema):
    rng = np.random.default_rng(2)
    click = rng.integers(0, 2, 60).astype(np.float32)
    users = np.where(np.arange(60) < 40, NO_USER, np.arange(60) // 5)
    tested = object.__new__(ModelsOnTest)
    tested._replicates = 50
    tested._labels = {"0/ctr": click, "1/ctr": np.ones(60, np.float32), "users": users}
    model, base = (
        {seed: {"0/ctr": rng.normal(size=60).astype(np.float32)} for seed in (1, 2)}
        for _ in range(2)
    )

    tested._outputs, tested._measured = {"joint": model, "base": base}, {}
    found = tested._difference(small_schema.task("ctr"), "auc", "base", "joint", (1, 2))
    apart = np.where(users == NO_USER, -1 - np.arange(60), users)
    logits = [np.stack([of[seed]["0/ctr"] for seed in (1, 2)]) for of in (model, base)]
    scores = [1.0 / (1.0 + np.exp(-both.astype(float))) for both in logits]
    expected = paired_interval("auc", click, *scores, apart, replicates=50, seed=0)
    assert (found["low"], found["high"]) == (expected.low, expected.high)


def test_one_seed_has_a_difference_and_no_interval(small_schema):
    tested = object.__new__(ModelsOnTest)
    tested._replicates = 50
    click = np.array([0, 0, 1, 1], np.float32)
    tested._labels = {"0/ctr": click, "1/ctr": np.ones(4, np.float32), "users": np.arange(4)}
    model, base = (
        {7: {"0/ctr": np.array(logits, np.float32)}} for logits in ([1, 2, 3, 4], [3, 2, 3, 4])
    )
    tested._outputs, tested._measured = {"joint": model, "base": base}, {}
    found = tested._difference(small_schema.task("ctr"), "auc", "base", "joint", (7,))
    assert (found["seeds"], found["value"], found["base"]) == (1, 1.0, 0.875)
    assert found["difference"] == 0.125
    assert np.isnan([found["low"], found["high"]]).all()
    assert found["undefined"] == 0


def test_predictions_of_other_heads_are_taken_as_they_were_kept(small_schema):
    task, logits = small_schema.task("cvr"), np.array([0.0, 2.0], np.float32)
    kept = {"0/ctr": logits, "1/cvr": np.array([0.25, 0.75], np.float32)}
    assert _predicted(task, kept).tolist() == [0.25, 0.75]
    np.testing.assert_allclose(_predicted(small_schema.task("ctr"), kept), [0.5, 0.880797], 1e-6)
