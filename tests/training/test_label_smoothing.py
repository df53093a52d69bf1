"""Label smoothing: what training compares with, and that measurements know nothing of it."""

import numpy as np
import pytest

from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_model, build_small
from tests.support.training import rows_of_tasks, small_feed, small_trainer

SHARE = 0.3


def loss(task, logits, labels, weights):
    """Cross entropy of CTR, squared error of CVR, over the population."""
    losses = np.logaddexp(0, logits) - labels * logits
    if task == "cvr":
        losses = (1 / (1 + np.exp(-logits)) - labels) ** 2
    return (losses * weights).sum() / weights.sum() if weights.sum() else 0.0


def expected_losses(network, schema, smoothed):
    """Mean over the batches of the first pass of the tasks' losses, with weights that stay."""
    losses = {task: [] for task in network.tasks}
    for batch in small_feed(schema).train(0, 0):
        logits = network.model(batch["features"])
        for task in network.tasks:
            labels = batch["labels"][task].numpy()
            if task in smoothed:
                labels = (1 - SHARE) * labels + SHARE / 2
            weights = batch["weights"][task].numpy()
            losses[task].append(loss(task, logits[task].numpy(), labels, weights))
    return {task: np.mean(values) for task, values in losses.items()}


@pytest.mark.parametrize("model", ["lt4rec", "aitm", "esmm"])
def test_training_takes_smoothed_labels_and_validation_the_true_ones(small_schema, tmp_path, model):
    network = build_small(small_schema) if model == "lt4rec" else build_model(model, small_schema)
    trainer = small_trainer(
        network,
        small_schema,
        schedule="both",
        label_smoothing=SHARE,
        learning_rate=1e-12,
    )
    result = trainer.fit(tmp_path, "stage", Plan(1))
    found = result["history"][0]["train_loss"]
    expected = expected_losses(network, small_schema, {"ctr"})
    assert found["ctr"] == pytest.approx(expected["ctr"], rel=1e-5)
    if model != "esmm":  # whose CVR is learned through the product
        assert found["cvr"] == pytest.approx(expected["cvr"], rel=1e-5)

    rows = rows_of_tasks(small_schema, 30, 1)
    logits = network.model(rows["features"])
    for task in network.tasks:
        columns = (logits[task], rows["labels"][task], rows["weights"][task])
        true = loss(task, *(column.numpy() for column in columns))
        assert result["validation_loss"][task] == pytest.approx(true, rel=1e-5)


def test_esmm_s_product_keeps_its_labels(small_schema, tmp_path):
    found = []
    for share in (0.0, SHARE):
        network = build_model("esmm", small_schema)
        trainer = small_trainer(
            network, small_schema, schedule="both", label_smoothing=share, learning_rate=1e-12
        )
        result = trainer.fit(tmp_path / str(share), "stage", Plan(1))
        found.append(result["history"][0]["train_loss"])
    assert found[0]["cvr"] == pytest.approx(found[1]["cvr"], rel=1e-6)
    assert abs(found[0]["ctr"] - found[1]["ctr"]) > 1e-4
