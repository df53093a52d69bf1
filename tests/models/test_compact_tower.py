"""Towers of which whole neurons are cut: computing the alive ones alone changes no number."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lt4rec_tf.models.layers.compact_tower import (
    alive_neurons,
    compact_towers,
    pick_rows,
    put_rows,
)
from lt4rec_tf.models.layers.masked_dense import MaskedDense, link_tower
from tests.support.networks import build_model, build_small, read_variables, small_batch
from tests.support.training import neuron_masks, random_masks
from tests.training.test_steps import step_of

WIDTHS = (7, 6, 5, 4)
X = np.random.default_rng(0).normal(size=(3, WIDTHS[0])).astype(np.float32)
UPSTREAM = np.random.default_rng(1).normal(size=(3, WIDTHS[-1])).astype(np.float32)
ALIVE = st.tuples(*(arrays(bool, width).filter(np.any) for width in WIDTHS))


def outer_masks(alive):
    return [np.outer(inputs, units) for inputs, units in pairwise(alive)]


def ones_of(width, *places):
    return np.isin(np.arange(width), places)


@pytest.fixture(scope="module")
def tower():
    rng = np.random.default_rng(2)
    layers = []
    for depth, (inputs, units) in enumerate(pairwise(WIDTHS)):
        shared = keras.layers.Dense(units, activation="relu")
        shared.build((None, inputs))
        shared.kernel.assign(rng.normal(size=(inputs, units)))
        shared.bias.assign(rng.normal(size=units))
        layers.append(MaskedDense(shared, name=f"masked_{depth}"))
        layers[-1].build((None, inputs))
    link_tower(layers, "tower")
    return layers


@pytest.fixture(scope="module")
def computed(tower):
    """Output, then gradients of x, kernels and biases; each way is compiled once."""
    sources = [part for layer in tower for part in (layer.shared.kernel, layer.shared.bias)]

    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            hidden = x
            for layer in tower:
                hidden = layer(hidden)
            loss = tf.reduce_sum(hidden * UPSTREAM)
        return [hidden, *tape.gradient(loss, [x, *sources])]

    def compute_compact(x):
        tower[0].tower.worthwhile = True
        with compact_towers():
            return compute(x)

    ways = [tf.function(way, autograph=False) for way in (compute, compute_compact)]
    return lambda: [way(tf.constant(X)) for way in ways]


@given(ALIVE)
@example([ones_of(7, 0, 3), ones_of(6, 1), ones_of(5, 4), ones_of(4, 2)])
@example([ones_of(7, 3), ones_of(6, 1), ones_of(5, 0, 1, 2, 3, 4), ones_of(4, 2)])
def test_the_alive_neurons_alone_give_the_numbers_of_the_masked_tower(tower, computed, alive):
    masks = outer_masks(alive)
    for layer, mask in zip(tower, masks, strict=True):
        layer.set_mask(mask)
    for expected, found in zip(*computed(), strict=True):
        assert isinstance(found, tf.Tensor)  # no IndexedSlices
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    of_kernels = computed()[1][2::2]
    for mask, gradient in zip(masks, of_kernels, strict=True):
        assert (gradient.numpy()[~mask] == 0).all()


def test_a_compact_layer_has_the_alive_part_of_its_kernel(tower):
    alive = [ones_of(7, 0, 3), ones_of(6, 1, 5), ones_of(5, 0, 2, 4), ones_of(4, 2)]
    for layer, mask in zip(tower, outer_masks(alive), strict=True):
        layer.set_mask(mask)
    compact = tower[0].tower
    parts = [compact.kernel(i, layer.shared.kernel.value()) for i, layer in enumerate(tower)]

    first, inner, last = (layer.shared.kernel.numpy() for layer in tower)
    expected = [
        first[:, [1, 5]] * alive[0][:, np.newaxis],
        inner[np.ix_([1, 5], [0, 2, 4])],
        last[[0, 2, 4]] * alive[3],
    ]
    for part, matrix in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part, matrix)
    biases = [compact.bias(i, layer.shared.bias.value()) for i, layer in enumerate(tower)]
    assert [len(bias) for bias in biases] == [2, 3, 4]


def test_only_towers_of_few_whole_neurons_are_worthwhile(tower):
    def worthwhile(masks):
        for layer, mask in zip(tower, masks, strict=True):
            layer.set_mask(mask)
        return tower[0].tower.worthwhile

    whole = [np.ones(width, bool) for width in WIDTHS]
    few = [whole[0], ones_of(6, 1, 2), ones_of(5, 0, 3), whole[3]]
    assert not worthwhile(outer_masks(whole))
    assert worthwhile(outer_masks(few))

    single_weight = outer_masks(few)
    single_weight[1][1, 0] = False
    assert not worthwhile(single_weight)
    assert not worthwhile([mask & False for mask in outer_masks(few)])
    read_though_cut = outer_masks(few)
    read_though_cut[2][1] = True
    assert not worthwhile(read_though_cut)


@given(ALIVE)
@settings(max_examples=20)
def test_alive_neurons_are_those_of_the_masks(alive):
    found = alive_neurons(outer_masks(alive))
    for mine, expected in zip(found, alive, strict=True):
        np.testing.assert_array_equal(mine, expected)


@given(arrays(bool, 6))
@settings(max_examples=20)
def test_rows_are_put_back_where_they_were_picked(alive):
    matrix = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
    picked = pick_rows(matrix, alive.astype(np.float32))
    np.testing.assert_array_equal(picked, matrix[alive])
    put = put_rows(picked, tf.constant(alive, tf.float32))
    np.testing.assert_array_equal(put, matrix * alive[:, np.newaxis])


def test_a_training_of_changing_tickets_gives_the_weights_of_the_masked_one(small_schema):
    networks = [build_small(small_schema, hidden_units=(8, 6, 4)) for _ in range(2)]
    compact, masked = networks
    for layer in (*masked.towers["ctr"], *masked.towers["cvr"]):
        layer.tower = None
    steps = [step_of(network, small_schema, network.tasks) for network in networks]

    tickets = [
        [neuron_masks(compact, task, seed) for seed, task in enumerate(compact.tasks)],
        [random_masks(compact, "ctr", 2), neuron_masks(compact, "cvr", 3)],
        [neuron_masks(compact, task, seed=4, density=0.2) for task in compact.tasks],
    ]
    for masks in tickets:
        for network, step in zip(networks, steps, strict=True):
            for task, ticket in zip(network.tasks, masks, strict=True):
                network.wear(task, ticket)
            for seed in range(3):
                step(small_batch(seed=seed))
        assert compact.is_compact("ctr") == (masks is not tickets[1])
        assert compact.is_compact("cvr")
        assert not masked.is_compact("cvr")

    expected = read_variables(masked)
    for name, value in read_variables(compact).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("changes", [{"tower_dropout": 0.2}, {"own_embedding": {"ctr": 2}}])
def test_a_tower_that_others_read_is_not_compact(small_schema, changes):
    network = build_small(small_schema, **changes)
    network.wear("ctr", neuron_masks(network, "ctr", 1))
    assert not network.is_compact("ctr")


def test_a_tower_whose_first_layer_is_handed_on_is_not_compact(small_schema):
    network = build_model("htlnet", small_schema)
    network.wear("ctr", neuron_masks(network, "ctr", 1))
    assert not network.is_compact("ctr")
