"""Rules of numbers that an audit fits: served networks answer as Keras does, by row and by rank."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.schema.numbers import with_numbers
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.serving.model_card_sections import features_section
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.schemas import FITTED, FOUND, SMALL_SCHEMA
from tests.support.served_networks import predictions, raw_rows, trained_network

REAL = [-50.0, -3.0, 0.0, 0.7, 15.0, 20.0, 90.0, 1e3, np.nan, np.inf]


def fitted_schema(folder):
    path = folder / "numbers.toml"
    path.write_text(SMALL_SCHEMA + FITTED, encoding="utf-8")
    return with_numbers(load_schema(path), FOUND)


def test_the_model_card_says_what_train_said(tmp_path):
    card = features_section(fitted_schema(tmp_path))
    for rule in (
        "quantiles of train, between 7, 20, 4.61169e+18",
        "piecewise linear between quantiles of train: -3, 0.5, 15, 300",
        "(log(1 + max(x, 0)) - 2) / 0.5, of train",
    ):
        assert rule in card


def asked(signature, raw):
    return signature(**{name: tf.constant(values) for name, values in raw.items()})


@pytest.mark.parametrize("name", ["sparse sharing", "dimensions cut", "numbers cut", "ple"])
def test_a_served_network_answers_as_it_was_trained(tmp_path, name):
    schema = fitted_schema(tmp_path)
    network = trained_network(schema, name)
    served = ServedModel(network, schema, ranking=Ranking(dict.fromkeys(network.tasks, 1.0)))
    signatures = served.signatures("serving_default", "rank")

    raw = raw_rows(schema, 12, seed=2)
    rng = np.random.default_rng(5)
    for feature in schema.features:
        if feature.dtype == "float32":
            raw[feature.name] = rng.choice(REAL, 12).astype(np.float32)
    expected = predictions(network, schema, raw)
    rows = asked(signatures["serving_default"], raw)
    for task, chances in expected.items():
        np.testing.assert_allclose(rows[f"p{task}"], chances, rtol=0, atol=1e-5, err_msg=task)

    # The first row's user with each row's item.
    sent, paired = {}, {}
    for feature in schema.features:
        values = raw[feature.name]
        is_item = feature.side == "item"
        sent[feature.name] = values[np.newaxis] if is_item else values[:1]
        paired[feature.name] = values if is_item else np.repeat(values[:1], 12, axis=0)
    ranked = asked(signatures["rank"], sent)
    for task, chances in predictions(network, schema, paired).items():
        np.testing.assert_allclose(ranked[f"p{task}"][0], chances, rtol=0, atol=1e-5, err_msg=task)
