"""Inputs that tickets cut: what is not computed for them, that nothing changes."""

import functools
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.serving import towers
from lt4rec_tf.serving.development_server.loaded_version import LoadedVersion
from lt4rec_tf.serving.development_server.protocol import ServingError
from lt4rec_tf.serving.rank import Ranking, sides_of
from lt4rec_tf.serving.served_network import ServedNetwork
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.networks import build_small, moved, small_batch
from tests.support.schemas import SMALL_SCHEMA
from tests.support.served_networks import expected_answers, request


def small_schema():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.toml"
        path.write_text(SMALL_SCHEMA, encoding="utf-8")
        return load_schema(path).with_tasks(["ctr", "cvr"])


SCHEMA, TASKS = small_schema(), ("ctr", "cvr")
SIDES = sides_of(SCHEMA)
FIELDS = SIDES.fields
DIMENSION, UNITS = 4, (8, 4)
NETWORKS = {
    "gram": {},
    "triangle": {"cross": "triangle"},
    "own": {"own_embedding": {"cvr": 3}},
    "own of all, triangle": {"cross": "triangle", "own_embedding": {"ctr": 1, "cvr": 2}},
}


@functools.cache
def network_of(name):
    return moved(build_small(SCHEMA, **NETWORKS[name]))


def alive_inputs(name, products, vectors):
    """Inputs of a ticket that keeps some products, bool (fields, fields), and some vectors."""
    keeps = products | products.T
    if NETWORKS[name].get("cross") == "triangle":
        keeps = keeps[np.tril_indices(FIELDS, -1)]
    return np.concatenate([keeps.reshape(-1), np.repeat(vectors, DIMENSION)])


def masks_of(name, task, seed, silent, dense):
    """Masks of a task: outer products of alive inputs and alive units.

    silent: fields that no task reads; dense: the task that reads all inputs, if any.
    """
    rng = np.random.default_rng([seed, TASKS.index(task)])
    share = rng.choice([0.1, 0.5, 0.9])
    products, vectors = rng.random((FIELDS, FIELDS)) < share / 2, rng.random(FIELDS) < share
    for field in silent:
        products[field] = products[:, field] = vectors[field] = False
    if task == dense:
        products[:], vectors[:] = True, True

    alive = [alive_inputs(name, products, vectors)]
    alive += [rng.random(units) < 0.7 for units in UNITS]
    pairs = enumerate(itertools.pairwise(alive))
    return {f"tower_{depth}": np.outer(below, units) for depth, (below, units) in pairs}


def served(network):
    return ServedNetwork(network, SCHEMA, tf.float32, tf.float32)


def of_candidates(requests, candidates, seed):
    """(ids as `rank` takes them, the same as rows)."""
    asking, ranked = (
        small_batch(rows, seed)["features"] for rows in (requests, requests * candidates)
    )
    sent, rows = {}, {}
    for place, feature in enumerate(SCHEMA.features):
        name = feature.name
        if place in SIDES.ranked:
            rows[name] = ranked[name]
            shape = [requests, candidates, *ranked[name].shape[1:]]
            sent[name] = tf.reshape(ranked[name], shape)
        else:
            sent[name] = asking[name]
            rows[name] = tf.repeat(asking[name], candidates, axis=0)
    return sent, rows


def assert_served_as_masked(network, halved_weights):
    of_network = served(network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(towers, "HALVED_WEIGHTS", halved_weights)
        patch.setattr(towers, "HALVED", 3)
        for requests, candidates in [(1, 5), (3, 2)]:
            sent, rows = of_candidates(requests, candidates, seed=candidates)
            expected = network.model(rows, training=False)
            by_row = of_network.logits(of_network.vectors(rows), TASKS)
            ranked = of_network.rank(sent, TASKS)
            for task in TASKS:
                masked = tf.reshape(expected[task], [-1])
                np.testing.assert_allclose(by_row[task], masked, rtol=1e-5, atol=2e-5)
                in_lists = tf.reshape(masked, [requests, candidates])
                np.testing.assert_allclose(ranked[task], in_lists, rtol=1e-5, atol=2e-5)


SILENT = st.one_of(
    st.sets(st.integers(0, FIELDS - 1)), st.sampled_from([set(SIDES.asking), set(SIDES.ranked)])
)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(list(NETWORKS)),
    st.integers(0, 999),
    SILENT,
    st.sampled_from([None, *TASKS]),
    st.sampled_from([0, 2**18]),
)
def test_what_no_task_reads_is_left_out_and_nothing_changes(
    name, seed, silent, dense, halved_weights
):
    network = network_of(name)
    for task in TASKS:
        network.wear(task, masks_of(name, task, seed, silent, dense))
    assert_served_as_masked(network, halved_weights)


UNREAD = ("user", "tags")  # one a request, one a candidate and in lists


@pytest.fixture(scope="module")
def with_unread(tmp_path_factory):
    """(network, ask) of a version of which no task reads some features."""
    network = network_of("gram")
    silent = [place for place, f in enumerate(SCHEMA.features) if f.name in UNREAD]
    for task in TASKS:
        network.wear(task, masks_of("gram", task, 1, silent, None))
    served_model = ServedModel(network, SCHEMA, ranking=Ranking({"ctr": 1.0}))
    version = tmp_path_factory.mktemp("model") / "1"
    signatures = served_model.signatures("serving_default", "rank")
    tf.saved_model.save(served_model, str(version), signatures=signatures)
    assert served_model.network.looked_up == {f.name for f in SCHEMA.features} - set(UNREAD)
    # A server, and its stand-in, checks no shape before it runs the graph.
    return network, LoadedVersion(version).run


def test_features_that_no_task_reads_are_taken_and_change_nothing(with_unread):
    network, ask = with_unread
    sent, rows = request(SCHEMA, 2, 5)
    expected = expected_answers(network, SCHEMA, rows)["serving_default"]
    assert np.ptp(expected["pctr"]) > 0.01
    np.testing.assert_allclose(ask("serving_default", rows)["pctr"], expected["pctr"], atol=1e-6)
    ranked = ask("rank", sent)
    np.testing.assert_allclose(ranked["pcvr"].reshape(-1), expected["pcvr"], atol=1e-6)


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("user", lambda values: values[:, np.newaxis]),
        ("user", lambda values: np.repeat(values, 2)),
        ("tags", lambda values: values[0]),
        ("tags", lambda values: values[:, :-1]),  # one candidate short
        ("tags", lambda values: values[:1]),
    ],
)
def test_a_request_in_which_an_unread_feature_does_not_fit_is_refused(with_unread, feature, change):
    _, ask = with_unread
    sent, rows = request(SCHEMA, 2, 4)
    with pytest.raises(ServingError):
        ask("rank", sent | {feature: change(sent[feature])})
    with pytest.raises(ServingError):
        ask("serving_default", rows | {feature: rows[feature][:-1]})
