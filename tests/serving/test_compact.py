"""Compaction: what is taken out, and that nothing changes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lt4rec_tf.serving.compact import Tower, compact, kept_kernels

EIGHTHS = st.integers(-16, 16).map(lambda number: np.float32(number / 8))


def answers(kernels, biases, head_bias, x):
    """In float64, where sums of eighths are exact."""
    for kernel, bias in zip(kernels[:-1], biases, strict=True):
        x = np.maximum(x.astype(np.float64) @ kernel + bias, 0)
    return x @ kernels[-1].astype(np.float64) + head_bias


def whole(tower, x):
    return answers([*tower.kernels, tower.head_kernel], tower.biases, tower.head_bias, x)


def compacted(tower, x):
    kept = compact(tower)
    kernels = kept_kernels(tower, kept, kept.inputs)
    return answers(kernels, kept.biases, kept.head_bias, x[:, kept.inputs])


@st.composite
def towers(draw):
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    kernels, biases = [], []
    for below, units in pairwise(widths):
        weights = draw(arrays.arrays(np.float32, (below, units), elements=EIGHTHS))
        kernels.append(weights * draw(arrays.arrays(np.bool_, (below, units))))
        biases.append(draw(arrays.arrays(np.float32, units, elements=EIGHTHS)))
    head = draw(arrays.arrays(np.float32, (widths[-1], 1), elements=EIGHTHS))
    bias = draw(arrays.arrays(np.float32, 1, elements=EIGHTHS))
    return Tower(tuple(kernels), tuple(biases), head, bias)


@settings(max_examples=300)
@given(towers(), st.integers(0, 99))
def test_a_compacted_tower_answers_exactly_as_the_whole(tower, seed):
    x = np.random.default_rng(seed).integers(-8, 8, (6, tower.kernels[0].shape[0])) / 4
    np.testing.assert_allclose(compacted(tower, x), whole(tower, x), rtol=1e-6, atol=1e-6)


@given(towers())
def test_nothing_that_is_left_is_dead(tower):
    kept = compact(tower)
    kernels = kept_kernels(tower, kept, kept.inputs)
    for kernel in kernels[:-1]:
        assert np.any(kernel != 0, axis=0).all()  # something reaches it
    for kernel in kernels:
        assert np.any(kernel != 0, axis=1).all()  # something reads it
    assert len(kept.inputs) <= tower.kernels[0].shape[0]


def test_cut_neurons_go_and_what_their_biases_said_stays():
    first = np.array([[1, 0, 2], [0, 0, 1], [0, 0, 0]], np.float32)
    second = np.array([[1, 1], [5, 2], [0, 0]], np.float32)
    tower = Tower(
        (first, second),
        (np.array([0.5, 3, 1], np.float32), np.array([0.25, -9], np.float32)),
        np.array([[2], [1]], np.float32),
        np.array([-1], np.float32),
    )
    kept = compact(tower)
    # Neuron 1 of the first layer is relu(3) for all; neuron 2 is not read, nor is input 1 then.
    assert [units.tolist() for units in kept.units] == [[0], [0, 1]]
    assert kept.inputs.tolist() == [0]
    assert kept.biases[0].tolist() == [0.5]
    assert kept.biases[1].tolist() == [0.25 + 3 * 5, -9 + 3 * 2]
    assert kept.head_bias.tolist() == [-1]


def test_a_tower_of_which_nothing_is_left_is_its_constant():
    tower = Tower(
        (np.zeros((2, 2), np.float32), np.ones((2, 1), np.float32)),
        (np.array([1, -1], np.float32), np.array([0.5], np.float32)),
        np.array([[2]], np.float32),
        np.array([0.25], np.float32),
    )
    kept = compact(tower)
    assert [len(places) for places in (kept.inputs, *kept.units)] == [0, 0, 0]
    assert kept.head_bias.tolist() == [0.25 + 2 * 1.5]
    assert compacted(tower, np.ones((3, 2))).tolist() == [[3.25]] * 3


@pytest.mark.parametrize("given_inputs", [[0, 1, 2], [0, 2]])
def test_the_first_kernel_has_a_row_for_every_input_it_is_given(given_inputs):
    kernel = np.array([[1], [0], [2]], np.float32)
    tower = Tower((kernel,), (np.zeros(1, np.float32),), np.ones((1, 1)), np.zeros(1))
    kept = compact(tower)
    assert kept.inputs.tolist() == [0, 2]
    first, _ = kept_kernels(tower, kept, given_inputs)
    np.testing.assert_array_equal(first, kernel[given_inputs])
