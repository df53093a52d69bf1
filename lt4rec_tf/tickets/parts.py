"""Parts of a ticket: a tower's kernels, and those of each attention to events.

Attention's kernels are named "attention.<list>/<kernel>". Each part keeps the same share of its own
weights. Those of an attention have another scale than a tower's: ranked together by size, most of
them would stay, and by another score perhaps none (docs/attention.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from lt4rec_tf.tickets.masks import Masks

ATTENTION = "attention."  # no task's name holds a dot

Value = TypeVar("Value")
# (scores or weights of a part, its masks, how many weights it keeps) -> its new masks
PrunePart = Callable[[Mapping[str, np.ndarray], Masks, int], Masks]


def of_towers(kernels: Mapping[str, Value]) -> dict[str, Value]:
    """Returns what is by kernel, of a tower's kernels alone.

    >>> of_towers({"attention.watched/event_kernel": 1, "tower_0": 2})
    {'tower_0': 2}
    """
    return {name: value for name, value in kernels.items() if not name.startswith(ATTENTION)}


def of_attention(kernels: Mapping[str, Value], of_list: str) -> dict[str, Value]:
    """Returns what is by kernel, of the attention to one list's events, by the kernels' own names.

    >>> of_attention({"attention.watched/event_kernel": 1, "tower_0": 2}, "watched")
    {'event_kernel': 1}
    """
    prefix = f"{ATTENTION}{of_list}/"
    return {
        name.removeprefix(prefix): value
        for name, value in kernels.items()
        if name.startswith(prefix)
    }


def parts_of(kernels: Mapping[str, Value]) -> list[dict[str, Value]]:
    """Splits what is by kernel into parts, in the order of their first kernels.

    >>> parts_of({"attention.watched/event_kernel": 1, "tower_0": 2, "tower_1": 3})
    [{'attention.watched/event_kernel': 1}, {'tower_0': 2, 'tower_1': 3}]
    """
    parts: dict[str, dict[str, Value]] = {}
    for name, value in kernels.items():
        parts.setdefault(name.rpartition("/")[0], {})[name] = value
    return [*parts.values()]


def prune_parts(
    prune: PrunePart,
    scores: Mapping[str, np.ndarray],
    masks: Masks,
    keep_of: Callable[[Masks], int],
) -> Masks:
    """Prunes each part by itself.

    Args:
        prune: Prunes a part.
        scores: Kernel name -> scores or weights.
        masks: Kernel name -> what is alive now.
        keep_of: Masks of a part -> how many weights it keeps.

    Returns:
        New masks, in the order of `masks`.
    """
    pruned: Masks = {}
    for part in parts_of(masks):
        pruned |= prune({name: scores[name] for name in part}, part, keep_of(part))
    return {name: pruned[name] for name in masks}


def variable_of(kernel: str) -> str:
    """Returns the name of a kernel's variable in theta_0 and in trainings of a search.

    >>> variable_of("tower_0"), variable_of("attention.watched/event_kernel")
    ('tower_0/kernel', 'attention.watched/event_kernel')
    """
    return kernel if kernel.startswith(ATTENTION) else f"{kernel}/kernel"
