"""Weights of a shared tower that no ticket wears: what a task that comes later may train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lt4rec_tf.tickets.masks import MaskError, Masks


def free_weights(tickets: Sequence[Masks]) -> dict[str, np.ndarray]:
    """Finds what of a shared tower can change while the outputs of all its tasks stay as they are.

    A weight is free where every ticket cuts it. A bias is free where no ticket reads its unit: all
    weights of the next kernel that read it are free. Biases of the last layer never are, since a
    head reads all units.

    >>> ctr = {"tower_0": np.array([[True, False]]), "tower_1": np.array([[True], [False]])}
    >>> cvr = {"tower_0": np.array([[True, False]]), "tower_1": np.array([[False], [False]])}
    >>> {name: free.astype(int).tolist() for name, free in free_weights([ctr, cvr]).items()}
    {'tower_0/kernel': [[0, 1]], 'tower_0/bias': [0, 1], 'tower_1/kernel': [[0], [1]]}

    Args:
        tickets: One of each task that wears the tower, over the same kernels.

    Returns:
        Name of a variable -> bool of its shape, True where it is free. Biases of the last layer are
        absent.

    Raises:
        MaskError: There is no ticket, or the tickets' kernels differ.

    Source: PackNet (Mallya and Lazebnik, arXiv 1711.05769), section 3, where tasks come one after
    the other and each is pruned before the next.
    """
    shapes = [{name: mask.shape for name, mask in masks.items()} for masks in tickets]
    if not shapes or any(other != shapes[0] for other in shapes):
        raise MaskError(f"tickets: found kernels {shapes}, expected the same of one task or more")

    worn = {name: np.any([masks[name] for masks in tickets], axis=0) for name in tickets[0]}
    free = {}
    for name, above in zip(worn, [*list(worn)[1:], None], strict=True):
        free[f"{name}/kernel"] = ~worn[name]
        if above is not None:
            free[f"{name}/bias"] = ~worn[above].any(axis=1)
    return free
