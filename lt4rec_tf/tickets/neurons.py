"""Pruning of whole neurons: LT4REC's S-Neuron.

A neuron is a column of its own kernel together with a row of the next. What is left is a dense
tower of fewer neurons, which a masked one computes exactly. The paper gives no criterion; the one
here is documented at `prune_neurons`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from lt4rec_tf.tickets.magnitude import as_float, check_weights
from lt4rec_tf.tickets.masks import MaskError, Masks


def prune_neurons(weights: Mapping[str, np.ndarray], masks: Masks, keep: int) -> Masks:
    """Cuts the weakest neurons of all layers, one after another, until few enough weights remain.

    The score of neuron j in layer l, over its alive weights only:

        a_lj = sqrt(|incoming| * |outgoing|)    the last layer, whose head is no kernel: |incoming|
        score_lj = a_lj / sqrt(mean_k a_lk ** 2)    over the alive neurons k of layer l

    with Euclidean norms. A neuron needs both sides to matter, hence their product; its square root
    makes it a length like that of the last layer. The size of weights differs by layer from the
    first draw on (its deviation follows from fan-in and fan-out), hence the division: a score is
    relative to its layer, and layers can be compared. Scores are those of the trained network and
    are not computed again after each cut: the next round trains before it cuts.

    The head reads the last layer whole: a neuron cut there still gives it the activation of its
    bias, the same for every example.

    >>> weights = {"tower_0": np.array([[0.5, 0.3, 0.5], [0.5, 0.3, 0.5]]),
    ...            "tower_1": np.array([[0.5, 0.4], [0.5, 0.4], [0.1, 0.1]])}
    >>> masks = {name: np.ones(kernel.shape, bool) for name, kernel in weights.items()}
    >>> pruned = prune_neurons(weights, masks, keep=8)
    >>> pruned["tower_0"].astype(int)   # the third has large inputs and small outputs
    array([[1, 1, 0],
           [1, 1, 0]])

    Args:
        weights: Kernel name -> float array (inputs, units), finite, from the input upwards.
        masks: Kernel name -> bool array of the kernel's shape: ones, or whole neurons cut.
        keep: Number of weights to keep at most. What is kept may be less by up to the weights of
            one neuron; so may be what a level began with, where this may cut nothing at all.

    Returns:
        New masks; each keeps its alive inputs times its alive units. No layer is emptied and no
        neuron revives. Of equal scores the first is cut first: layers in order, then units.

    Raises:
        ValueError: Names, shapes or dtypes do not match, a weight is not finite, or `keep` is less
            than one neuron a layer takes or more than all weights.
        MaskError: A kernel does not take as many inputs as the kernel below has units, single
            weights are cut, or a layer has no neuron left.

    Source: LT4REC (arXiv 2008.09872), the row S-Neuron of Table 2; scores divided by their layer's
    norm: Molchanov et al. (arXiv 1611.06440).
    """
    check_weights(weights, masks)
    inputs = np.ones(next(iter(masks.values())).shape[0], bool)
    alive = alive_neurons(masks, inputs)
    widths = [int(np.count_nonzero(units)) for units in alive]
    fewest = count_weights([widths[0], *[1] * len(masks)])
    most = sum(mask.size for mask in masks.values())
    if not fewest <= keep <= most:
        raise ValueError(
            f"keep: found {keep}, expected {fewest}..{most}, from the weights of one neuron in "
            "each layer to all weights"
        )

    kernels = [as_float(weights[name]) for name in masks]
    for layer, unit in _weakest_first(_scores(kernels, alive), alive):
        if count_weights(widths) <= keep:
            break
        if widths[layer] > 1:
            alive[layer][unit] = False
            widths[layer] -= 1

    return masks_of_neurons(alive, masks)


def alive_neurons(masks: Masks, inputs: np.ndarray) -> list[np.ndarray]:
    """Finds the alive neurons of a tower of which whole neurons are cut.

    Args:
        masks: Kernel name -> bool (inputs, units), from the input upwards.
        inputs: bool (inputs,), the tower's inputs that are alive.

    Returns:
        `inputs`, then bool (units,) of each layer.

    Raises:
        MaskError: A kernel does not take as many inputs as the kernel below has units, single
            weights are cut, or a layer has no neuron left.
    """
    alive = [inputs]
    for name, mask in masks.items():
        if mask.ndim != 2 or mask.shape[0] != alive[-1].size:
            raise MaskError(
                f"kernel {name!r}: found shape {mask.shape}, expected ({alive[-1].size}, units)"
            )
        units = np.asarray(mask.any(axis=0))
        if not units.any():
            raise MaskError(f"kernel {name!r}: found no neuron alive, expected one or more")
        if not np.array_equal(mask, np.outer(alive[-1], units)):
            raise MaskError(
                f"kernel {name!r}: found single weights cut, expected whole neurons: a column of "
                "one kernel and the row of the next"
            )
        alive.append(units)
    return alive


def masks_of_neurons(alive: Sequence[np.ndarray], names: Iterable[str]) -> Masks:
    """Returns masks that keep alive inputs times alive units; the reverse of `alive_neurons`.

    Args:
        alive: Of the inputs, then of each layer's neurons.
        names: Of the kernels, from the input upwards.
    """
    return {
        name: np.outer(below, units)
        for name, (below, units) in zip(names, pairwise(alive), strict=True)
    }


def count_weights(widths: Sequence[int]) -> int:
    """Returns the number of weights of a dense tower: of its inputs, then of its layers.

    >>> count_weights([4, 3, 2])
    18
    """
    return sum(below * above for below, above in pairwise(widths))


def _scores(kernels: Sequence[np.ndarray], alive: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Computes the scores of each layer's neurons; those of cut ones have no meaning."""
    squares = []
    for kernel, (below, units) in zip(kernels, pairwise(alive), strict=True):
        squares.append(np.square(kernel) * np.outer(below, units))

    # sqrt(|incoming| * |outgoing|); of the last layer |incoming|.
    lengths = [np.sqrt(square.sum(axis=0)) for square in squares]
    for layer, next_square in enumerate(squares[1:]):
        lengths[layer] = np.sqrt(lengths[layer] * np.sqrt(next_square.sum(axis=1)))

    scores = []
    for length, units in zip(lengths, alive[1:], strict=True):
        layer_scale = np.sqrt(np.mean(np.square(length[units])))
        scores.append(length / layer_scale if layer_scale > 0.0 else length)
    return scores


def _weakest_first(
    scores: Sequence[np.ndarray], alive: Sequence[np.ndarray]
) -> list[tuple[int, int]]:
    """Sorts the alive neurons by score: (index into `alive`, unit) of each."""
    neurons = []
    for layer, units in enumerate(alive[1:], start=1):
        neurons += [(layer, int(unit)) for unit in np.flatnonzero(units)]

    alive_scores = [score[units] for score, units in zip(scores, alive[1:], strict=True)]
    order = np.argsort(np.concatenate(alive_scores), kind="stable")
    return [neurons[index] for index in order]
