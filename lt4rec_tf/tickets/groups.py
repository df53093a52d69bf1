"""Pruning of what a network computes as one piece: neurons, and groups of a tower's inputs.

A neuron is a column of its own kernel together with a row of the next. A group of inputs is some
rows of the first kernel, such as those of a field's vector or of the product of two fields. What is
left is a dense tower of fewer inputs and neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.tickets.masks import MaskError, Masks
from lt4rec_tf.tickets.neurons import alive_neurons, count_weights, masks_of_neurons

# Cut at a time; then what each further cut frees is counted anew.
CUT_AT_ONCE = 0.01


@dataclass(frozen=True)
class Importance:
    """How much a task loses without a piece, by an estimate; below 0 what it would gain.

    Attributes:
        groups: Of each group of inputs, float (groups,).
        units: Of each layer's neurons from the input upwards, float (units,) each.
    """

    groups: np.ndarray
    units: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class _Alive:
    """What is left of a tower; arrays are changed in place."""

    groups: np.ndarray
    units: tuple[np.ndarray, ...]


def prune_groups(
    importance: Importance, masks: Masks, keep: int, groups: Sequence[np.ndarray]
) -> Masks:
    """Cuts the pieces that matter least for the weights that they take, until few enough remain.

    The score of a piece is its importance divided by the number of alive weights that go with it:
    for a neuron those of its column and its row, for a group those of its rows. The weakest
    hundredth of all pieces is cut at a time.

    >>> masks = {"tower_0": np.ones((3, 2), bool), "tower_1": np.ones((2, 1), bool)}
    >>> importance = Importance(np.array([0.9, 0.1]), (np.array([0.5, 0.6]), np.array([1.0])))
    >>> pruned = prune_groups(importance, masks, 5, [np.array([0]), np.array([1, 2])])
    >>> pruned["tower_0"].astype(int)   # the second group, of two inputs
    array([[1, 1],
           [0, 0],
           [0, 0]])

    Args:
        importance: Of the pieces; that of cut ones has no meaning.
        masks: Kernel name -> bool (inputs, units), from the input upwards: ones, or what this
            function returned.
        keep: Number of weights to keep at most, from that of one group and one neuron a layer.
        groups: Indices of the first layer's inputs; none is in two groups, each is in one.

    Returns:
        New masks; each keeps its alive inputs times its alive units. Nothing cut revives; one group
        and one neuron of each layer are kept. Of equal scores the first is cut first: groups, then
        layers from the input upwards.

    Raises:
        MaskError: Masks that no tower of whole pieces has.
        ValueError: `keep` is too small, or the importance is not finite, or of others.

    Source: importance of one gate a piece, Molchanov et al. (arXiv 1906.10771).
    """
    alive = _alive_pieces(masks, groups)
    sizes = np.array([len(places) for places in groups])
    _check_importance(importance, alive)
    fewest = int(sizes[alive.groups].min()) + len(masks) - 1
    if keep < fewest:
        raise ValueError(f"keep: found {keep}, expected {fewest} or more")

    while count_weights(_widths(alive, sizes)) > keep:
        _cut_weakest(importance, alive, sizes, keep)
    return masks_of_neurons([_inputs_of(alive.groups, groups), *alive.units], masks)


def shares_kept(masks: Masks, groups: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the share of each group's weights in the first kernel that a ticket keeps, in [0, 1].

    >>> masks = {"tower_0": np.array([[True, False], [False, False], [True, True]])}
    >>> shares_kept(masks, {"user": np.array([0, 1]), "video": np.array([2])})
    {'user': 0.25, 'video': 1.0}

    Args:
        masks: Kernel name -> bool (inputs, units), from the input upwards.
        groups: Name -> indices of the first kernel's inputs.
    """
    first = next(iter(masks.values()))
    return {name: float(first[places].mean()) for name, places in groups.items()}


def _alive_pieces(masks: Masks, groups: Sequence[np.ndarray]) -> _Alive:
    first = next(iter(masks.values()))
    if not np.array_equal(np.sort(np.concatenate(groups)), np.arange(first.shape[0])):
        raise MaskError(f"groups: expected each of {first.shape[0]} inputs in one of them")

    read = np.asarray(first.any(axis=1))
    alive_groups = np.array([bool(read[places].any()) for places in groups])
    _, *units = alive_neurons(masks, _inputs_of(alive_groups, groups))
    return _Alive(alive_groups, tuple(units))


def _inputs_of(alive_groups: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    inputs = np.zeros(sum(map(len, groups)), bool)
    for places, is_alive in zip(groups, alive_groups, strict=True):
        inputs[places] = is_alive
    return inputs


def _check_importance(importance: Importance, alive: _Alive) -> None:
    found = [importance.groups, *importance.units]
    expected = [alive.groups, *alive.units]
    if [scores.shape for scores in found] != [pieces.shape for pieces in expected]:
        raise ValueError(
            f"importance: found shapes {[scores.shape for scores in found]}, "
            f"expected {[pieces.shape for pieces in expected]}"
        )
    for scores in found:
        if not np.isfinite(scores).all():
            raise ValueError("importance: found NaN or infinite numbers, expected finite ones")


def _cut_weakest(importance: Importance, alive: _Alive, sizes: np.ndarray, keep: int) -> None:
    """Cuts the weakest hundredth of the alive pieces, or fewer if few enough weights are left."""
    widths = _widths(alive, sizes)
    freed = [sizes * widths[1]]
    for layer in range(1, len(widths)):
        above = widths[layer + 1] if layer + 1 < len(widths) else 0
        freed.append(np.full(len(alive.units[layer - 1]), widths[layer - 1] + above))

    kinds = [alive.groups, *alive.units]
    scores = [
        np.where(pieces, one / weights, np.inf)
        for pieces, one, weights in zip(
            kinds, [importance.groups, *importance.units], freed, strict=True
        )
    ]
    owners = [(kind, index) for kind, pieces in enumerate(kinds) for index in range(len(pieces))]
    order = np.argsort(np.concatenate(scores), kind="stable")
    count = sum(int(pieces.sum()) for pieces in kinds)

    left = max(1, int(CUT_AT_ONCE * count))
    for place in order[:count]:
        kind, index = owners[place]
        if kinds[kind].sum() == 1:  # the last of its kind
            continue
        kinds[kind][index] = False
        left -= 1
        if not left or count_weights(_widths(alive, sizes)) <= keep:
            return


def _widths(alive: _Alive, sizes: np.ndarray) -> list[int]:
    return [int(sizes[alive.groups].sum()), *(int(units.sum()) for units in alive.units)]
