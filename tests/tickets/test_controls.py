"""Shuffled, drawn and one-shot tickets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lt4rec_tf.tickets.controls import dense_widths, shuffle_layerwise
from lt4rec_tf.tickets.masks import densities, overlap

tickets = st.dictionaries(
    st.sampled_from(["tower_0", "tower_1", "tower_2"]),
    arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=6)),
)


@given(tickets, st.integers(0, 2**32))
def test_shuffling_keeps_each_kernel_s_shape_and_density(ticket, seed):
    shuffled = shuffle_layerwise(ticket, seed)
    assert list(shuffled) == list(ticket)
    assert densities(shuffled) == densities(ticket)
    for name, mask in ticket.items():
        assert shuffled[name].shape == mask.shape
        assert shuffled[name].dtype == bool
        assert not np.shares_memory(shuffled[name], mask)


def test_the_seed_decides_the_places():
    ticket = {f"tower_{k}": np.arange(200).reshape(20, 10) < 40 for k in range(2)}
    first, again, other = (shuffle_layerwise(ticket, seed) for seed in (1, 1, 2))
    assert overlap([first, again]) == 1.0
    assert overlap([first, other]) < 1.0
    assert not np.array_equal(first["tower_0"], first["tower_1"])
    assert np.count_nonzero(ticket["tower_0"]) == 40  # the ticket is left as it is


def test_each_place_is_as_likely_as_any_other():
    ticket = {"tower_0": np.array([[True, True, False], [False, False, False]])}
    draws = [shuffle_layerwise(ticket, seed)["tower_0"] for seed in range(3000)]
    # Of 6 places 2 are kept: each with 1/3; the standard error of 3000 draws is .0086.
    np.testing.assert_allclose(np.mean(draws, axis=0), 1 / 3, atol=0.04)


def weights_of(widths, inputs):
    layers = [inputs, *widths]
    return sum(layers[k] * layers[k + 1] for k in range(len(widths)))


def every_width(hidden_units, largest_scale, steps=20_000):
    """By plain search: all towers that some scale gives, in growing order."""
    scales = np.linspace(0.0, largest_scale, steps)
    return dict.fromkeys(
        tuple(max(1, round(scale * units)) for units in hidden_units) for scale in scales
    )


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 20), st.integers(1, 1500)
)
def test_no_tower_of_those_proportions_comes_closer(hidden_units, inputs, weights):
    small_weights = weights_of(dense_widths(hidden_units, inputs, weights), inputs)
    smallest_scale_beyond = 1.5 + weights / (inputs * hidden_units[0])
    for widths in every_width(hidden_units, smallest_scale_beyond, steps=2000):
        assert abs(small_weights - weights) <= abs(weights_of(widths, inputs) - weights)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=4), st.integers(1, 2000))
def test_a_whole_tower_s_weights_give_the_tower(hidden_units, inputs):
    assert dense_widths(hidden_units, inputs, weights_of(hidden_units, inputs)) == tuple(
        hidden_units
    )


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 0.9])
def test_a_tower_of_usual_size_is_met_within_a_neuron(density):
    weights = round(density * weights_of([512, 256, 128], 1457))
    widths = dense_widths([512, 256, 128], 1457, weights)
    assert abs(weights_of(widths, 1457) - weights) <= 1457 + 512
    np.testing.assert_allclose(np.divide(widths, widths[0]), [1, 0.5, 0.25], atol=0.02)


def test_widths_grow_with_the_weights_beyond_the_tower_too():
    grown = [dense_widths([8, 4], 10, weights) for weights in range(1, 1000)]
    assert grown == sorted(grown)
    assert grown[0] == (1, 1)
    assert grown[-1] > (16, 8)


def test_of_two_as_close_the_smaller_is_taken():
    assert dense_widths([1], 2, 3) == (1,)  # 2 or 4 weights


@pytest.mark.parametrize("wrong", [([], 3, 4), ([2, 0], 3, 4), ([2], 0, 4), ([2], 3, 0)])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises(ValueError, match="expected one width or more"):
        dense_widths(*wrong)
