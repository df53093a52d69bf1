"""The signature `rank`: a request's candidates against the same rows asked one by one."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.config import ConfigError
from lt4rec_tf.serving.ranking import Ranking, rank_specs, ranking_of, sides_of
from lt4rec_tf.serving.signatures import ServedModel
from lt4rec_tf.serving.towers import HALVED
from tests.test_serving import NETWORKS, expected_answers, raw_rows, schema, trained_network

__all__ = ["schema"]  # a fixture

LENGTH = Ranking({"ctr": 0.5, "cvr": 2.0}, "length", 1.5)


def request(schema, requests, candidates, lists=3, seed=0):
    """(what a client sends to rank, the same as rows of serving_default)."""
    asking = raw_rows(schema, requests, lists, seed)
    ranked = raw_rows(schema, requests * candidates, lists, seed + 1)
    sent, rows = {}, {}
    for feature in schema.features:
        if feature.side == "item":
            values = rows[feature.name] = ranked[feature.name]
            sent[feature.name] = values.reshape(requests, candidates, *values.shape[1:])
        else:
            sent[feature.name] = asking[feature.name]
            rows[feature.name] = np.repeat(asking[feature.name], candidates, axis=0)
    return sent, rows


def answer(function, sent):
    answers = function(**{name: tf.constant(values) for name, values in sent.items()})
    return {name: values.numpy() for name, values in answers.items()}


@pytest.fixture(scope="module", params=NETWORKS)
def served(request, schema):
    """(network, schema, rank) of a network away from its initialisation."""
    schema = schema.with_tasks(NETWORKS[request.param][0])
    network = trained_network(schema, request.param)
    tasks = [task for task in ("ctr", "cvr") if task in network.tasks]
    ranking = Ranking({task: LENGTH.exponents[task] for task in tasks}, "length", 1.5)
    model = ServedModel(network, schema, ranking=ranking)
    return network, schema, model.signatures()["rank"]


@pytest.mark.parametrize(
    ("requests", "candidates"), [(1, 5), (3, 4), (2, 1), (1, 0), (0, 3), (1, HALVED + 1)]
)
def test_candidates_are_answered_as_rows_of_their_own(served, requests, candidates):
    network, schema, rank = served
    sent, rows = request(schema, requests, candidates, seed=requests + candidates)
    answers = answer(rank, sent)
    assert set(answers) == {"score", *(f"p{task}" for task in network.tasks)}
    for task, outputs in expected_answers(network, schema, rows).items():
        if task in network.tasks:
            found = answers[f"p{task}"]
            assert (found.dtype, found.shape) == (np.float32, (requests, candidates))
            expected = outputs[f"p{task}"].reshape(requests, candidates)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_score_is_eq_3(served):
    network, schema, rank = served
    sent, _ = request(schema, 2, 40)
    answers = answer(rank, sent)
    length = sent["length"].astype(np.float64)
    expected = np.ones((2, 40))
    for task in network.tasks:
        expected *= answers[f"p{task}"].astype(np.float64) ** LENGTH.exponents.get(task, 0.0)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(length) & (length > 0)
        expected = np.where(known, expected * length**1.5, 0)
    assert known.any()
    assert not known.all()  # zero, negative, infinite and absent lengths score 0
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(answers["score"], expected.astype(np.float32), rtol=1e-5)


def test_requests_do_not_depend_on_each_other(served):
    _, schema, rank = served
    sent, _ = request(schema, 3, 4)
    whole = answer(rank, sent)
    alone = answer(rank, {name: values[1:2] for name, values in sent.items()})
    for name, values in whole.items():
        np.testing.assert_allclose(alone[name], values[1:2], rtol=1e-5, atol=1e-6)


def test_without_a_length_the_probabilities_alone_count(schema):
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "sparse sharing")
    rank = ServedModel(network, schema, ranking=Ranking({"cvr": 1.0})).signatures()["rank"]
    answers = answer(rank, request(schema, 1, 6)[0])
    np.testing.assert_allclose(answers["score"], answers["pcvr"], rtol=1e-6)


def test_a_length_that_is_no_feature_is_an_input_of_its_own(schema):
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "sparse sharing")
    ranking = Ranking({"ctr": 1.0}, "seconds", 2.0, extra_input="seconds")
    rank = ServedModel(network, schema, ranking=ranking).signatures()["rank"]
    sent, _ = request(schema, 1, 3)
    answers = answer(rank, sent | {"seconds": np.array([[2.0, 0.0, 10.0]], np.float32)})
    expected = answers["pctr"] * np.array([[4.0, 0.0, 100.0]])
    np.testing.assert_allclose(answers["score"], expected, rtol=1e-6)


def test_what_differs_between_candidates_has_a_dimension_more(schema):
    specs = rank_specs(schema, Ranking({}, "seconds", 1.0, extra_input="seconds"))
    for feature in schema.features:
        dimensions = 1 + feature.multivalued + (feature.side == "item")
        assert specs[feature.name].shape.rank == dimensions, feature.name
    assert specs["seconds"].shape.rank == 2
    sides = sides_of(schema)
    assert sorted([*sides.asking, *sides.ranked]) == list(range(len(schema.features)))
    assert {schema.features[place].side for place in sides.asking} == {"user", "context"}


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("video", lambda values: values[0]),
        ("user", lambda values: values[:, np.newaxis]),
        ("length", lambda values: values[:, :-1]),  # one candidate short
        ("user", lambda values: np.repeat(values, 2)),  # a request too many
    ],
)
def test_a_request_whose_shapes_do_not_fit_is_refused(schema, feature, change):
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "sparse sharing")
    rank = ServedModel(network, schema, ranking=LENGTH).signatures()["rank"]
    sent, _ = request(schema, 2, 4)
    sent[feature] = change(sent[feature])
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
        answer(rank, sent)


def test_flags_say_how_candidates_are_scored(schema):
    two = schema.with_tasks(["ctr", "cvr"])
    assert ranking_of(two, (), "", 1.0) == Ranking({"ctr": 1.0, "cvr": 1.0})
    assert ranking_of(two, ("cvr=2.5",), "length", 0.5) == Ranking({"cvr": 2.5}, "length", 0.5)
    assert ranking_of(schema.with_tasks(["cvr"]), (), "", 1.0) == Ranking({"cvr": 1.0})
    # Of three tasks the first chain counts unless flags say otherwise.
    assert ranking_of(schema, (), "", 1.0) == Ranking({"ctr": 1.0, "cvr": 1.0})
    items = dataclasses.replace(
        two, features=tuple(feature for feature in two.features if feature.side == "item")
    )
    assert ranking_of(items, (), "", 1.0) is None


def test_a_duration_that_is_no_feature_is_asked_for_beside_the_features(schema):
    timed = dataclasses.replace(
        schema,
        labels=tuple(dataclasses.replace(label, duration="seconds") for label in schema.labels),
    )
    found = ranking_of(timed, (), "seconds", 1.0)
    assert found == Ranking({"ctr": 1.0, "cvr": 1.0}, "seconds", 1.0, extra_input="seconds")


@pytest.mark.parametrize(
    ("exponents", "length", "message"),
    [
        (("share=1",), "", r"--rank_exponents: found 'share', expected one of the tasks"),
        (("ctr=fast",), "", r"--rank_exponents: found 'ctr=fast', expected task=an exponent"),
        (("ctr=-1",), "", r"--rank_exponents: found 'ctr=-1', expected an exponent above 0"),
        ((), "lenght", r"--length_feature: found 'lenght', expected a numeric item feature"),
        ((), "user", r"--length_feature: found 'user'"),
        ((), "tags", r"--length_feature: found 'tags'"),
    ],
)
def test_flags_that_say_nothing_known_are_refused(schema, exponents, length, message):
    with pytest.raises(ConfigError, match=message):
        ranking_of(schema, exponents, length, 1.0)
