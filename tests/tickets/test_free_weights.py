"""What a task that comes later may train of a shared tower."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.tickets.free_weights import free_weights
from lt4rec_tf.tickets.masks import MaskError


def output(kernels, biases, masks, inputs):
    """Computes a tower of ReLU layers that wears masks."""
    hidden = inputs
    for kernel, bias, mask in zip(kernels, biases, masks.values(), strict=True):
        hidden = np.maximum(hidden @ (kernel * mask) + bias, 0)
    return hidden


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_outputs_of_all_tickets_stay_where_only_free_weights_change(seed, share):
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (4, 3), (3, 2)]
    tickets = [
        {f"tower_{i}": rng.random(shape) < share for i, shape in enumerate(shapes)}
        for _ in range(2)
    ]
    kernels = [rng.normal(size=shape) for shape in shapes]
    biases = [rng.normal(size=shape[1]) for shape in shapes]
    inputs = rng.normal(size=(5, 3))
    before = [output(kernels, biases, masks, inputs) for masks in tickets]

    free = free_weights(tickets)
    for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        kernel += free[f"tower_{i}/kernel"] * rng.normal(size=kernel.shape)
        if f"tower_{i}/bias" in free:
            bias += free[f"tower_{i}/bias"] * rng.normal(size=bias.shape)

    for masks, expected in zip(tickets, before, strict=True):
        np.testing.assert_array_equal(output(kernels, biases, masks, inputs), expected)


def test_last_biases_are_never_free():
    masks = {"tower_0": np.zeros((2, 3), bool), "tower_1": np.zeros((3, 1), bool)}
    assert set(free_weights([masks])) == {"tower_0/kernel", "tower_0/bias", "tower_1/kernel"}


def test_a_bias_that_one_ticket_reads_is_not_free():
    reads = {"tower_0": np.ones((2, 2), bool), "tower_1": np.array([[True], [False]])}
    cut = {"tower_0": np.zeros((2, 2), bool), "tower_1": np.zeros((2, 1), bool)}
    assert free_weights([cut, reads])["tower_0/bias"].tolist() == [False, True]


@pytest.mark.parametrize(
    "tickets", [[], [{"tower_0": np.ones((1, 2))}, {"tower_0": np.ones((2, 1))}]]
)
def test_tickets_of_other_kernels_are_refused(tickets):
    with pytest.raises(MaskError, match="expected the same of one task or more"):
        free_weights(tickets)
