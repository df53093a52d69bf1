"""Predictions corrected for sampled negatives, as every signature answers them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.serving.expression import parse_expression
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.requests import serialized_examples
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.served_networks import predictions, raw_rows, request, trained_network

SHARE = 0.1


@pytest.mark.parametrize("name", ["three tasks", "separate towers", "esmm"])
def test_every_signature_answers_for_the_log_before_it_was_sampled(schema, name):
    network = trained_network(schema, name)
    tasks = tuple(
        dataclasses.replace(task, negatives_kept=SHARE) if task.name == "ctr" else task
        for task in schema.with_tasks(network.tasks).tasks
    )
    sampled = dataclasses.replace(schema, tasks=tasks)
    ranking = Ranking({}, expression=parse_expression("ctr", list(network.tasks)))
    served = ServedModel(network, sampled, ranking=ranking)
    signatures = served.signatures("serving_default", "tf_example", "ctr", "rank")

    raw = raw_rows(schema, 20)
    by_task = predictions(network, schema, raw)
    p = by_task["ctr"].astype(np.float64)
    expected = p / (p + (1 - p) / SHARE)
    assert np.abs(expected - p).max() > 0.1

    sent = {name: tf.constant(values) for name, values in raw.items()}
    for answers in (
        signatures["serving_default"](**sent),
        signatures["tf_example"](examples=tf.constant(serialized_examples(sampled, raw))),
    ):
        np.testing.assert_allclose(answers["pctr"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(answers["pcvr"], by_task["cvr"], rtol=1e-4, atol=1e-6)
        both = expected * by_task["cvr"]
        np.testing.assert_allclose(answers["pctcvr"], both, rtol=1e-4, atol=1e-6)
    alone = signatures["ctr"](**sent)["pctr"]
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-6)

    sent, rows = request(schema, 3, 5)
    p = predictions(network, schema, rows)["ctr"].reshape(3, 5)
    answers = signatures["rank"](**{name: tf.constant(values) for name, values in sent.items()})
    for output in ("score", "pctr"):
        np.testing.assert_allclose(answers[output], p / (p + (1 - p) / SHARE), rtol=1e-4, atol=1e-6)
