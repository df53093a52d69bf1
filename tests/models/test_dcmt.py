"""DCMT's loss against NumPy, and what its counterfactual prior does to a ratio."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.experiment.model_checks import check_models
from lt4rec_tf.models.dcmt import PRIOR_WEIGHT, twin_loss
from lt4rec_tf.models.esmm import product_loss
from tests.experiment.test_model_checks import NEEDED
from tests.models.test_amount_tasks import standardised
from tests.models.test_escm2 import (
    CHANCES,
    CLICK,
    COUNTED,
    IMPUTATION,
    IMPUTED,
    RATIO,
    by_hand,
    tensors,
)
from tests.support.networks import build_model

TWIN = expit(IMPUTATION)  # the output beside a task's logit is that of r* here


def test_the_loss_by_hand(small_schema):
    logits, batch = by_hand()
    task = small_schema.task("cvr")
    found = twin_loss(task, "ctr", logits, batch)
    r, p = CHANCES["cvr"], np.clip(CHANCES["ctr"], 0.01, 0.99)

    clicks, others = COUNTED * CLICK / p, COUNTED * (1 - CLICK) / (1 - p)
    expected = (clicks * (r - RATIO) ** 2).sum() / clicks.sum()
    expected += (others * (TWIN - 1) ** 2).sum() / others.sum()
    expected += PRIOR_WEIGHT * (COUNTED * np.abs(1 - r - TWIN)).sum() / COUNTED.sum()
    expected += float(product_loss(task, "ctr", logits, batch))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def gradients(task, logits, batch):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = twin_loss(task, "ctr", logits, batch)
        loss -= product_loss(task, "ctr", logits, batch)
    return tape.gradient(loss, logits)


def test_propensities_have_no_gradient(small_schema):
    found = gradients(small_schema.task("cvr"), *by_hand())
    np.testing.assert_allclose(found["ctr"], 0.0, atol=1e-8)
    assert np.any(found["cvr"])
    assert np.any(found[IMPUTED])


def test_without_clicks_the_prior_alone_teaches_and_draws_a_ratio_to_what_the_twin_leaves(
    small_schema,
):
    logits = tensors({"ctr": [0.0, 0.0], "cvr": [1.0, -3.0], IMPUTED: [1.0, 1.0]})
    batch = {
        "labels": tensors({"ctr": [0.0, 0.0], "cvr": [0.0, 0.0]}),
        "weights": tensors({"ctr": [1.0, 1.0], "cvr": [0.0, 0.0]}),
    }
    found = gradients(small_schema.task("cvr"), logits, batch)
    r = expit(np.array([1.0, -3.0]))  # with r* = .73, r is above 1 - r* and below it
    expected = PRIOR_WEIGHT * np.array([1, -1]) * r * (1 - r) / 2
    np.testing.assert_allclose(found["cvr"], expected, rtol=1e-4)
    assert (found[IMPUTED].numpy() < 0).all()  # to 1: whoever did not click had watched nothing


def test_an_amount_has_no_counterfactual(tmp_path):
    schema = standardised(tmp_path, "mse")
    with pytest.raises(UnfitError, match=r"DCMT learns task watch .* found an amount, expected"):
        build_model("dcmt", schema)


def test_an_amount_is_refused_before_the_logs_are_read(tmp_path):
    settings = parse([*NEEDED, "--models=dcmt"], "")[0]
    with pytest.raises(UnfitError, match="DCMT learns task watch"):
        check_models(settings, standardised(tmp_path, "mse"))
