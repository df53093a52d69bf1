"""A small trained network, published and served, for tests by REST."""

import contextlib

import numpy as np
import tensorflow as tf

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.serving.publish import publish
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from lt4rec_tf.training.plan import Feed, Plan
from tests.serving_stand_in.serving_server import WIDTH, named_server, started_server
from tests.support.networks import build_small, small_batch
from tests.support.schemas import HOUR, SMALL_SCHEMA
from tests.support.training import random_masks, small_trainer

RANKING = Ranking({"ctr": 1.0, "cvr": 0.5}, "length", 0.5, extra_input="length")


def schema_of_rows(folder):
    """The small schema and a feature of whole numbers."""
    path = folder / "served.toml"
    path.write_text(SMALL_SCHEMA + HOUR, encoding="utf-8")
    return load_schema(path)


def train(schema, folder, seed):
    """A network of sparse sharing after two passes over a few rows."""
    rows = small_batch(64, seed)
    rows["features"]["hour"] = tf.constant(np.random.default_rng(seed).integers(0, 26, 64))
    feed = Feed(
        train=lambda epoch, skip: tf.data.Dataset.from_tensor_slices(rows).batch(16).skip(skip),
        validation=lambda: tf.data.Dataset.from_tensor_slices(rows).batch(16),
        steps_per_epoch=4,
    )
    network = build_small(schema, seed=seed)
    for task in network.tasks:
        network.wear(task, random_masks(network, task, seed=seed))
    plan = Plan(epochs=2, keep_last=True)
    small_trainer(network, schema, schedule="both", learning_rate=0.1, feed=feed).fit(
        folder, "joint", plan
    )
    return network


def publish_network(network, schema, base, only=None):
    """Publishes a network's signatures, each checked on rows of zeros and empty strings."""
    module = ServedModel(network, schema, ranking=RANKING)
    signatures = module.signatures()
    if only:
        signatures = {only: signatures[only]}
    sample, expected = {}, {}
    for name, function in signatures.items():
        specs = tf.nest.flatten(function.structured_input_signature)
        inputs = {spec.name: tf.zeros([2] * len(spec.shape), spec.dtype) for spec in specs}
        answers = function(**inputs)
        sample[name] = {key: values.numpy() for key, values in inputs.items()}
        expected[name] = {key: values.numpy() for key, values in answers.items()}
    return publish(module, signatures, base, sample, expected)


@contextlib.contextmanager
def running_server(folder):
    """The server that the environment names, or one that serves what is trained in a folder."""
    named = named_server()
    if named:
        yield named
        return
    schema = schema_of_rows(folder)
    publish_network(train(schema, folder / "trained", seed=1), schema, folder / "feed")
    with started_server(folder / "feed") as started:
        yield started


def assert_same(found, expected, tolerance=1e-6):
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].shape == np.shape(values), name
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)


def usual_row(server, signature="serving_default"):
    """One row in which every value is an ordinary one."""
    usual = {"DT_STRING": "u1", "DT_INT64": 7, "DT_FLOAT": 0.5}
    row = {}
    for name, (dtype, rank) in server.inputs(signature).items():
        row[name] = usual[dtype]
        for _ in range(rank - 1):
            row[name] = [row[name]] * WIDTH
    return row
