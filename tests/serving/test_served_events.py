"""Lists to which candidates attend: served rows and `rank` answer as Keras does."""

import numpy as np
import pytest

from lt4rec_tf.serving.publish import publish
from lt4rec_tf.serving.rank import Ranking, rank_specs, sides_of
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.schemas import POOLINGS, watched_schema
from tests.support.served_networks import (
    MORE_FEATURES,
    NETWORKS,
    answer,
    assert_ranked_as_rows,
    expected_answers,
    predictions,
    raw_rows,
    request,
    trained_network,
)

pytestmark = pytest.mark.slow(minutes=1)

CASES = [("sparse sharing", pooling) for pooling in POOLINGS] + [
    (name, "attention")
    for name in ("separate towers", "single task", "rows cut", "dimensions cut", "numbers cut")
]
CASES += [("own views", "attention"), ("own views", "transformer"), ("ple", "nearest by hash")]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: ", ".join(case))
def served(request, tmp_path_factory):
    """(network, schema, what serves it, its signatures)."""
    name, pooling = request.param
    schema = watched_schema(tmp_path_factory.mktemp("schema"), pooling, more=MORE_FEATURES)
    schema = schema.with_tasks(NETWORKS[name][0])
    network = trained_network(schema, name)
    model = ServedModel(network, schema, ranking=Ranking(dict.fromkeys(network.tasks, 1.0)))
    return network, schema, model, model.signatures("serving_default", "rank")


def test_rows_are_answered_as_the_network_predicts(served, tmp_path):
    network, schema, model, signatures = served
    raw = raw_rows(schema, 9)
    expected = expected_answers(network, schema, raw)["serving_default"]
    for name, values in answer(signatures["serving_default"], raw).items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-6)
    # Published: what was loaded answers the same.
    names = {"serving_default": signatures["serving_default"]}
    publish(
        model, names, tmp_path / "feed", {"serving_default": raw}, {"serving_default": expected}
    )


@pytest.mark.parametrize(("requests", "candidates"), [(1, 5), (3, 4), (2, 1), (1, 0), (0, 3)])
def test_candidates_are_answered_as_rows_of_their_own(served, requests, candidates):
    network, schema, _, signatures = served
    assert_ranked_as_rows(network, schema, signatures["rank"], requests, candidates)


def test_a_request_gives_its_history_once(tmp_path):
    schema = watched_schema(tmp_path, more=MORE_FEATURES)
    specs = rank_specs(schema, Ranking({"ctr": 1.0}))
    assert specs["watched"].shape.rank == 2
    names = [feature.name for feature in schema.features]
    assert {"watched", "ago"} <= {names[place] for place in sides_of(schema).ranked}


@pytest.mark.parametrize("signature", ["serving_default", "rank"])
def test_longer_histories_are_cut(served, signature):
    _, schema, _, signatures = served
    sent = request(schema, 2, 3)[0] if signature == "rank" else raw_rows(schema, 2)
    rng = np.random.default_rng(3)
    sent |= {
        "watched": rng.integers(0, 40, (2, 100_000)).astype(str).astype(object),
        "ago": rng.uniform(0, 10**6, (2, 100_000)).astype(np.float32),
    }
    cut = sent | {name: sent[name][:, :4] for name in ("watched", "ago")}
    found, expected = (answer(signatures[signature], raw) for raw in (sent, cut))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6)


def test_lists_of_a_request_may_be_of_several_lengths(served):
    """A shorter one ends earlier: what it would say of the last events is missing."""
    _, schema, _, signatures = served
    sent = raw_rows(schema, 3, lists=4, seed=8)
    shorter = sent | {"ago": sent["ago"][:, :2]}
    padded = sent | {"ago": np.where(np.arange(4) < 2, sent["ago"], np.float32(np.nan))}
    found, expected = (answer(signatures["serving_default"], raw) for raw in (shorter, padded))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6)


def test_an_empty_history_is_answered(served):
    network, schema, _, signatures = served
    raw = raw_rows(schema, 3)
    raw |= {"watched": np.zeros((3, 0), object), "ago": np.zeros((3, 0), np.float32)}
    missing = {"watched": np.full((3, 1), b"-1", object), "ago": np.full((3, 1), np.nan, "f")}
    found = answer(signatures["serving_default"], raw)
    for task, chances in predictions(network, schema, raw | missing).items():
        np.testing.assert_allclose(found[f"p{task}"], chances, rtol=0, atol=1e-6)
