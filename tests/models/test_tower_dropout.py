"""Dropout of hidden units, in every model."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.dropout import UnitDropout
from tests.support.networks import BUILDERS, build_model, build_small, small_batch

MODELS = ["lt4rec", *BUILDERS]


def build(name, schema, rate):
    if name == "lt4rec":
        return build_small(schema, hidden_units=(8, 6, 4), tower_dropout=rate)
    return build_model(name, schema, tower_dropout=rate)


def dropouts(network):
    return {layer.name: layer for layer in network.model.layers if isinstance(layer, UnitDropout)}


def test_units_are_dropped_and_the_others_keep_the_mean():
    layer = UnitDropout(0.25, seed=4)
    hidden = tf.constant(np.random.default_rng(0).uniform(1, 2, (2000, 5)), tf.float32)
    found = layer(hidden, training=True).numpy()
    kept = found != 0
    np.testing.assert_allclose(found[kept], hidden.numpy()[kept] / 0.75, rtol=1e-6)
    assert np.all(np.abs(kept.mean(axis=0) - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 2000))
    again = layer(hidden, training=True).numpy()
    assert np.any(again != found)
    layer.calls.assign(0)
    np.testing.assert_array_equal(layer(hidden, training=True), found)
    np.testing.assert_array_equal(layer(hidden), hidden)
    assert int(layer.calls) == 1


@pytest.mark.parametrize("name", MODELS)
def test_every_hidden_layer_of_a_model_drops_in_training_alone(small_schema, name):
    plain, network = build(name, small_schema, 0.0), build(name, small_schema, 0.5)
    features = small_batch(64, 0)["features"]
    assert list(network.variables) == list(plain.variables)
    assert not dropouts(plain)
    for task, logits in network.model(features, training=False).items():
        np.testing.assert_allclose(logits, plain.model(features)[task], rtol=1e-5, atol=1e-7)

    layers = dropouts(network)
    biases = [v for v in network.variables if v.endswith("/bias") and "/head/" not in v]
    towers = len(network.tasks) if name == "lt4rec" else 1  # which tasks share
    counters = [c for key, c in network.counters.items() if key.endswith("/dropout_calls")]
    assert len(layers) == len(counters) == towers * len(biases)
    pairs = {key: (layer.input, layer.output) for key, layer in layers.items()}
    found = keras.Model(network.model.inputs, pairs)(features, training=True)
    draws = []
    for before, after in found.values():
        kept = after.numpy() != 0
        np.testing.assert_allclose(after.numpy()[kept], 2 * before.numpy()[kept], rtol=1e-6)
        alive = before.numpy() > 0
        assert 0.2 < kept[alive].mean() < 0.8
        draws.append(kept[:, :1].tobytes())
    assert len(set(draws)) == len(draws)
    assert all(int(counter) == 1 for counter in counters)
