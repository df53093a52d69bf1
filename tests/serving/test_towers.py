"""Towers as a server computes them: what is stored, what is left out, that nothing changes."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.serving import towers
from lt4rec_tf.serving.kernels import masked_kernel_bytes
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from lt4rec_tf.serving.towers import HALVED
from lt4rec_tf.tickets.neurons import prune_neurons
from tests.support.networks import build_model, build_small
from tests.support.served_networks import (
    expected_answers,
    raw_rows,
    request,
    trained_network,
)

RANKING = Ranking({"ctr": 1.0, "cvr": 1.0})


@pytest.fixture
def two(schema):
    return schema.with_tasks(["ctr", "cvr"])


def neuron_network(schema, keep=0.2):
    """Sparse sharing whose tickets cut whole neurons."""
    network = trained_network(schema, "sparse sharing")
    for task in network.tasks:
        kernels = {name: kernel.numpy() for name, kernel in network.kernels(task).items()}
        ones = {name: np.ones(kernel.shape, bool) for name, kernel in kernels.items()}
        scores = {name: kernel * (1 + (task == "cvr")) for name, kernel in kernels.items()}
        size = sum(mask.size for mask in ones.values())
        network.wear(task, prune_neurons(scores, ones, round(keep * size)))
    return network


def held_bytes(served):
    return sum(variable.numpy().nbytes for variable in served.variables)


def assert_answers(served, network, schema, atol=1e-6):
    signatures = served.signatures("serving_default", "rank")
    raw = raw_rows(schema, 33, seed=2)
    expected = expected_answers(network, schema, raw)["serving_default"]
    answers = signatures["serving_default"](**{n: tf.constant(v) for n, v in raw.items()})
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=0, atol=atol)
    for requests, candidates in [(2, 5), (1, HALVED + 1)]:
        sent, rows = request(schema, requests, candidates)
        expected = expected_answers(network, schema, rows)["serving_default"]
        answers = signatures["rank"](**{n: tf.constant(v) for n, v in sent.items()})
        for task in network.tasks:
            found = tf.reshape(answers[f"p{task}"], [-1])
            np.testing.assert_allclose(found, expected[f"p{task}"], rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("make", "halved_weights"),
    [
        (neuron_network, towers.HALVED_WEIGHTS),
        (lambda schema: trained_network(schema, "sparse sharing"), 0),
    ],
)
def test_served_towers_answer_as_the_network(two, make, halved_weights, monkeypatch):
    monkeypatch.setattr(towers, "HALVED_WEIGHTS", halved_weights)
    network = make(two)
    assert_answers(ServedModel(network, two, ranking=RANKING), network, two)


def test_tasks_of_one_tower_are_ranked_by_one_product(two):
    network = build_small(two)  # without masks: hard sharing
    towers = ServedModel(network, two, ranking=RANKING).network.towers.towers
    assert towers["ctr"].parted is towers["cvr"].parted
    assert_answers(ServedModel(network, two, ranking=RANKING), network, two)


DROPPING = {
    "lt4rec": lambda schema: build_small(schema, tower_dropout=0.5),
    "htlnet": lambda schema: build_model("htlnet", schema, tower_dropout=0.5),
    "mmoe": lambda schema: build_model("mmoe", schema, tower_dropout=0.5),
}


@pytest.mark.parametrize("model", DROPPING)
def test_nothing_of_dropout_is_served(two, model):
    network = DROPPING[model](two)
    served = ServedModel(network, two, ranking=RANKING)
    assert_answers(served, network, two)
    assert not [variable.name for variable in served.variables if "dropout" in variable.name]


def test_neuron_tickets_become_small_dense_towers(two):
    network = neuron_network(two)
    served = ServedModel(network, two)
    for task in network.tasks:
        masks = list(network.masks(task).values())
        alive = [int(mask.any(axis=0).sum()) for mask in masks]
        kernels = served.network.towers.towers[task].kernels
        assert [kernel.shape[1] for kernel in kernels] == alive
        assert kernels[0].shape[0] == masks[0].shape[0]
        assert sum(alive) < sum(mask.shape[1] for mask in masks)
    weights = ServedModel(trained_network(two, "sparse sharing"), two)  # kernels are kept whole
    assert held_bytes(served) < held_bytes(weights)


def test_worn_kernels_are_stored_once_with_a_bit_a_weight_and_task(two):
    network = trained_network(two, "sparse sharing")
    storage = ServedModel(network, two).network.towers.storage
    assert len(storage.worn) >= 1
    for kernel in storage.worn:
        held = sum(v.numpy().nbytes for v in (kernel.weights, *kernel.bits.values()))
        assert held == masked_kernel_bytes(kernel.weights.shape, tasks=2, size=4)


def test_tasks_that_wear_the_same_share_what_is_stored_and_computed(two):
    network = build_small(two)  # masks of ones: a shared bottom
    served = ServedModel(network, two)
    ctr, cvr = (served.network.towers.towers[task] for task in ("ctr", "cvr"))
    assert [id(kernel) for kernel in ctr.kernels] == [id(kernel) for kernel in cvr.kernels]
    assert not served.network.towers.storage.worn
    graph = served.signatures("serving_default")["serving_default"].graph.as_graph_def()
    operations = [node.op for function in graph.library.function for node in function.node_def]
    assert operations.count("MatMul") == len(ctr.kernels) + 2  # and a head each


def test_bfloat16_halves_what_is_stored_and_moves_answers_little(two):
    network = trained_network(two, "sparse sharing")
    single, half = (
        ServedModel(network, two, ranking=RANKING, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert_answers(half, network, two, atol=0.05)
    assert held_bytes(half) < 0.6 * held_bytes(single)
    assert {v.dtype for v in half.variables} <= {tf.bfloat16, tf.float32, tf.uint8}


def test_a_signature_may_ask_for_nothing_that_it_does_not_read(two):
    network = trained_network(two, "sparse sharing")
    names = [feature.name for feature in two.features]
    first = names.index("age")
    masks = network.masks("cvr")
    dimension = network.model.get_layer("shared.embedding").dimension
    masks["tower_0"][:] = False
    masks["tower_0"][len(names) ** 2 + first * dimension] = True  # one number of one field
    network.wear("cvr", masks)
    served = ServedModel(network, two, ranking=RANKING, minimal=True)
    assert served.features(["cvr"]) == ["age"]
    assert served.features(["ctr", "cvr"]) == served.features(["ctr"])
    raw = raw_rows(two, 9)
    signature = served.signatures("cvr")["cvr"]
    answers = signature(age=tf.constant(raw["age"]))["pcvr"]
    expected = expected_answers(network, two, raw)["cvr"]["pcvr"]
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-6)


def test_a_task_of_which_nothing_is_left_is_answered_by_its_biases(two):
    network = trained_network(two, "sparse sharing")
    network.wear("cvr", {name: mask & False for name, mask in network.masks("cvr").items()})
    served = ServedModel(network, two, ranking=RANKING)
    assert_answers(served, network, two)
    raw = raw_rows(two, 4)
    chances = expected_answers(network, two, raw)["cvr"]["pcvr"]
    assert len(set(chances.tolist())) == 1
    # Even one that asks for what it reads alone must be told how many rows there are.
    signature = ServedModel(network, two, minimal=True).signatures("cvr")["cvr"]
    wanted = signature.structured_input_signature[0][0]
    answers = signature(**{name: tf.constant(raw[name]) for name in wanted})["pcvr"]
    np.testing.assert_allclose(answers, chances, rtol=0, atol=1e-6)


def test_two_versions_of_one_network_hold_the_same(two, tmp_path):
    """Nothing of a version depends on the machine's load, or on the moment of its export."""
    versions = []
    for name in ("one", "two"):
        served = ServedModel(trained_network(two, "sparse sharing"), two, ranking=RANKING)
        signatures = served.signatures("serving_default", "rank", "regress_ctr")
        tf.saved_model.save(served, str(tmp_path / name), signatures=signatures)
        variables = sorted((tmp_path / name / "variables").iterdir())
        graphs = [signatures[key].graph.as_graph_def() for key in sorted(signatures)]
        operations = [[node.op for node in graph.node] for graph in graphs]
        versions.append(([path.read_bytes() for path in variables], operations))
    assert versions[0] == versions[1]
