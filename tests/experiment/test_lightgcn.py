"""Propagation and losses against what NumPy and plain differentiation say."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from lt4rec_tf.data.public.interactions import Interactions
from lt4rec_tf.experiment.lightgcn import losses as pair_losses
from lt4rec_tf.experiment.lightgcn.batches import triples, users_with_items
from lt4rec_tf.experiment.lightgcn.model import normalised_adjacency, propagate
from lt4rec_tf.experiment.lightgcn.ranking import measure, top_items
from lt4rec_tf.metrics.top_k import recall_and_ndcg

USERS, ITEMS = 5, 7
RNG = np.random.default_rng(0)
MET = RNG.random((USERS, ITEMS)) < 0.4
MET[3] = False  # a user without items
MET[:, 6] = False  # an item without users
PAIRS = Interactions.of_pairs(USERS, ITEMS, *np.nonzero(MET))
TABLE = RNG.normal(size=(USERS + ITEMS, 3)).astype(np.float32)


def dense_adjacency():
    graph = np.zeros((USERS + ITEMS, USERS + ITEMS))
    graph[:USERS, USERS:] = MET
    graph += graph.T
    scale = np.divide(1, np.sqrt(graph.sum(axis=0)), where=graph.any(axis=0), out=np.zeros(12))
    return scale[:, None] * graph * scale


def dense_propagation(table, layers):
    powers = [np.linalg.matrix_power(dense_adjacency(), k) for k in range(layers + 1)]
    return sum(powers) / (layers + 1) @ table


# Propagation


def test_the_adjacency_is_that_of_the_definition():
    found = tf.sparse.to_dense(
        normalised_adjacency(USERS, ITEMS, PAIRS.user_ids, PAIRS.item_ids)
    ).numpy()
    np.testing.assert_allclose(found, dense_adjacency(), atol=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_propagation_and_its_gradient_are_those_of_dense_products(layers):
    upstream = RNG.normal(size=TABLE.shape).astype(np.float32)
    table = tf.Variable(TABLE)
    with tf.GradientTape() as tape:
        vectors = propagate(
            normalised_adjacency(USERS, ITEMS, PAIRS.user_ids, PAIRS.item_ids), table, layers
        )
        loss = tf.reduce_sum(vectors * upstream)
    np.testing.assert_allclose(vectors, dense_propagation(TABLE, layers), atol=1e-5)
    gradient = tape.gradient(loss, table)
    np.testing.assert_allclose(gradient, dense_propagation(upstream, layers), atol=1e-5)


# Losses


def naive_softmax(vectors, users, places, items, temperature):
    scores = tf.matmul(tf.gather(vectors, users), vectors[USERS:], transpose_b=True) / temperature
    chances = tf.nn.log_softmax(scores)
    of_pairs = tf.gather_nd(chances, tf.stack([places, items - USERS], axis=1))
    return -tf.reduce_mean(of_pairs)


@pytest.mark.parametrize("block", [1, 2, 256])
def test_softmax_and_its_gradient_are_those_of_the_definition(block, monkeypatch):
    monkeypatch.setattr(pair_losses, "USERS_AT_A_TIME", block)
    users = tf.constant([4, 0, 2], tf.int64)
    places, items = map(tf.constant, PAIRS.of_users(users.numpy()))
    vectors = tf.Variable(TABLE)
    losses, gradients = [], []
    for loss_of in (
        lambda: pair_losses.softmax(vectors, USERS, users, places, items + USERS, 0.5),
        lambda: naive_softmax(vectors, users, places, items + USERS, 0.5),
    ):
        with tf.GradientTape() as tape:
            losses.append(3 * loss_of())
        gradients.append(tf.convert_to_tensor(tape.gradient(losses[-1], vectors)).numpy())
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(*gradients, atol=1e-5)


def test_softmax_bears_scores_of_any_size():
    row = tf.constant([0], tf.int64)
    vectors = tf.constant([[100.0], [100.0], [-100.0]])
    assert float(pair_losses.softmax(vectors, 1, row, row, row + 1, 1.0)) == 0.0
    assert float(pair_losses.softmax(vectors, 1, row, row, row + 2, 1.0)) == 20_000.0


def test_bpr_is_the_mean_of_the_definition():
    users, met, others = np.array([0, 1]), np.array([5, 6]), np.array([8, 7])
    differences = np.sum(TABLE[users] * (TABLE[met] - TABLE[others]), axis=1)
    found = pair_losses.bpr(tf.constant(TABLE), users, met, others)
    np.testing.assert_allclose(found, np.mean(np.log1p(np.exp(-differences))), rtol=1e-5)


def test_the_regulariser_counts_a_row_as_often_as_it_comes():
    found = pair_losses.half_squares(tf.constant([[2.0], [3.0]]), [0, 0, 1], 2)
    assert float(found) == (4 + 4 + 9) / 4


# Batches


@given(st.integers(1, 20), st.integers(0, 99))
def test_triples_are_of_what_was_met_and_what_was_not(batch, seed):
    drawn = list(triples(PAIRS, batch, np.random.default_rng(seed)))
    assert [len(users) for users, *_ in drawn[:-1]] == [batch] * (len(drawn) - 1)
    users, met, others = map(np.concatenate, zip(*drawn, strict=True))
    assert len(users) == MET.sum()
    assert MET[users, met].all()
    assert not MET[users, others].any()


def test_triples_take_users_and_items_evenly():
    rng = np.random.default_rng(0)
    passes = [next(triples(PAIRS, 1000, rng)) for _ in range(600)]
    users, met, others = map(np.concatenate, zip(*passes, strict=True))
    eligible = np.flatnonzero(MET.any(axis=1))
    np.testing.assert_allclose(np.bincount(users)[eligible] / len(users), 1 / 4, atol=0.02)
    for user in eligible:
        own = met[users == user], others[users == user]
        for drawn, possible in zip(own, (MET[user], ~MET[user]), strict=True):
            shares = np.bincount(drawn, minlength=ITEMS) / len(drawn)
            np.testing.assert_allclose(shares, possible / possible.sum(), atol=0.05)


def test_a_user_who_met_all_items_is_no_triple():
    everything = Interactions.of_pairs(2, 2, np.array([0, 0, 1]), np.array([0, 1, 0]))
    users = np.concatenate([u for u, *_ in triples(everything, 2, np.random.default_rng(0))])
    assert set(users) == {1}


@given(st.integers(1, 9), st.integers(0, 99))
def test_a_pass_over_users_has_every_pair_once(batch, seed):
    found = []
    for users, places, items in users_with_items(PAIRS, batch, np.random.default_rng(seed)):
        assert 0 < len(users) <= batch
        found += zip(users[places], items, strict=True)
    assert sorted(found) == list(zip(*np.nonzero(MET), strict=True))


# Ranking


def test_lists_are_those_of_sorting_everything():
    users = np.array([4, 3, 0])
    scores = TABLE[:USERS] @ TABLE[USERS:].T
    for user, found in zip(users, top_items(TABLE, PAIRS, users, 3), strict=True):
        unknown = np.flatnonzero(~MET[user])
        best = unknown[np.argsort(-scores[user, unknown], kind="stable")]
        assert found.tolist() == best[:3].tolist()


def test_lists_are_no_longer_than_there_are_items():
    assert top_items(TABLE, PAIRS, np.array([0]), 99).shape == (1, ITEMS)
    assert top_items(TABLE, PAIRS, np.zeros(0, np.int64), 2).shape == (0, 2)


def test_recall_and_ndcg_of_lists_by_hand_and_by_scikit_learn():
    truth_of = np.array([[0, 0, 0, 1, 0, 1, 1], [1, 0, 0, 0, 0, 0, 0]], bool)
    truth = Interactions.of_pairs(USERS, ITEMS, *np.nonzero(truth_of))
    nothing = Interactions.of_pairs(USERS, ITEMS, np.zeros(0, int), np.zeros(0, int))
    found = measure(TABLE, nothing, truth, 3)
    scores = (TABLE[:USERS] @ TABLE[USERS:].T)[:2]
    lists = np.argsort(-scores, axis=1)[:, :3]
    hits = np.take_along_axis(truth_of, lists, axis=1)
    assert found["recall"] == pytest.approx(np.mean(hits.sum(axis=1) / [3, 1]))
    assert found["ndcg"] == pytest.approx(ndcg_score(truth_of, scores, k=3))


def test_metrics_are_undefined_where_nobody_has_anything_to_find():
    assert np.isnan(recall_and_ndcg(np.zeros((2, 3), bool), np.array([0, 0]))).all()


@given(st.integers(0, 2**21 - 1))
def test_metrics_lie_in_their_range_and_perfect_lists_have_ndcg_1(bits):
    hits = (bits >> np.arange(21) & 1).astype(bool).reshape(7, 3)
    recall, ndcg = recall_and_ndcg(hits, np.full(7, 3))
    assert 0 <= recall <= 1
    assert 0 <= ndcg <= 1
    assert recall_and_ndcg(np.ones((7, 3), bool), np.full(7, 3)) == (1.0, pytest.approx(1.0))
