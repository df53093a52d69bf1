"""Controls for a ticket: is it more than a random one, or than a small dense network?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lt4rec_tf.tickets.masks import Masks


def shuffle_layerwise(masks: Masks, seed: int) -> Masks:
    """Returns a random ticket: each kernel keeps as many weights as before, anywhere in the kernel.

    It shares with the ticket the density of each layer, and nothing else. If a network learns as
    well with it, the densities explain the ticket's success. A neuron that the ticket cut whole
    may get weights again.

    >>> ticket = {"tower_0": np.array([[True, False, False], [True, False, False]])}
    >>> shuffle_layerwise(ticket, seed=0)["tower_0"].astype(int)
    array([[1, 0, 0],
           [0, 1, 0]])

    Args:
        masks: The ticket.
        seed: Decides the places, together with the kernels' shapes and order.

    Source: Frankle et al., Pruning Neural Networks at Initialization (arXiv 2009.08576), who
    shuffle what each layer keeps.
    """
    rng = np.random.default_rng(seed)
    return {name: rng.permutation(mask.ravel()).reshape(mask.shape) for name, mask in masks.items()}


def dense_widths(hidden_units: Sequence[int], inputs: int, weights: int) -> tuple[int, ...]:
    """Returns the widths of a small dense tower with as many weights as a ticket keeps.

    The widths are max(1, round(s * hidden_units)) for one scale s: the scale whose kernels,
    inputs * u_1 + u_1 * u_2 + ..., have a size closest to `weights`; of two as close, the smaller.

    >>> dense_widths([512, 256, 128], inputs=720, weights=106496)  # a ticket of density 0.2
    (133, 66, 33)
    >>> 720 * 133 + 133 * 66 + 66 * 33
    106716

    Args:
        hidden_units: The tower's widths, from the bottom up.
        inputs: Of the tower.
        weights: Of all kernels together, without biases and head.

    Returns:
        As many widths, each 1 or more. Where `weights` is less than one neuron a layer takes,
        all are 1.

    Raises:
        ValueError: There is no width, or a number is below 1.
    """
    if not hidden_units or min(*hidden_units, inputs, weights) < 1:
        raise ValueError(
            f"found hidden_units {list(hidden_units)}, inputs {inputs}, weights {weights}; "
            "expected one width or more and numbers of 1 or more"
        )

    def widths(scale: float) -> tuple[int, ...]:
        return tuple(max(1, round(scale * units)) for units in hidden_units)

    def count(scale: float) -> int:
        return sum(below * above for below, above in pairwise((inputs, *widths(scale))))

    # The count never falls as the scale grows: bisection ends at the two scales on either side.
    low, high = 0.0, 1.0
    while count(high) <= weights:
        low, high = high, 2.0 * high

    while low < (middle := (low + high) / 2.0) < high:
        low, high = (middle, high) if count(middle) <= weights else (low, middle)

    return widths(min(low, high, key=lambda scale: abs(count(scale) - weights)))
