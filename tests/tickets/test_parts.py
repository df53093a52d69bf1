"""Parts of a ticket: what is kept of one does not depend on the scale of another."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.tickets.magnitude import alive_at_level, prune_by_magnitude
from lt4rec_tf.tickets.masks import density, ones_like
from lt4rec_tf.tickets.parts import parts_of, prune_parts


def kernels(seed, loudness):
    rng = np.random.default_rng(seed)
    return {
        "attention.watched/event_kernel": loudness * rng.normal(size=(6, 3)),
        "attention.liked/event_kernel": rng.normal(size=(2, 5)),
        "attention.watched/product_kernel": loudness * rng.normal(size=(4, 3)),
        "tower_0": rng.normal(size=(9, 7)),
        "tower_1": rng.normal(size=(7, 4)),
    }


def pruned_to(share, weights):
    def keep_of(part):
        return alive_at_level(sum(mask.size for mask in part.values()), share, 1, 1)

    return prune_parts(prune_by_magnitude, weights, ones_like(weights), keep_of)


@given(seed=st.integers(0, 50), share=st.floats(0.1, 0.9))
def test_each_part_keeps_the_same_share_whatever_its_scale(seed, share):
    masks = pruned_to(share, kernels(seed, loudness=1000.0))
    for part in parts_of(masks):
        total = sum(mask.size for mask in part.values())
        assert density(part) == alive_at_level(total, share, 1, 1) / total
    quiet = pruned_to(share, kernels(seed, loudness=0.001))
    for name, mask in masks.items():
        assert np.array_equal(mask, quiet[name]), name


def test_without_an_attention_a_ticket_is_one_part():
    weights = {n: kernel for n, kernel in kernels(1, 1.0).items() if n.startswith("tower")}
    expected = prune_by_magnitude(weights, ones_like(weights), 20)
    found = prune_parts(prune_by_magnitude, weights, ones_like(weights), lambda part: 20)
    assert list(found) == list(weights)
    for name, mask in found.items():
        assert np.array_equal(mask, expected[name])


def test_kernels_keep_their_order():
    assert list(pruned_to(0.5, kernels(1, 1.0))) == list(kernels(1, 1.0))
