"""What a row costs to hold and to ask."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.network import TRANSFER, RankingNetwork


def cost_of(network: RankingNetwork) -> dict[str, Any]:
    """Counts parameters and multiply-adds.

    Returns:
        trained_parameters: All trained numbers, embedding rows included, cut ones not.
        table_bytes: What a version of the model stores of embedding tables, in float32: numbers,
            and a bit for whatever a ticket could have cut.
        alive_parameters: Task -> numbers in kernels and biases above the cross layer that its
            prediction reads, cut weights not counted; what a ticket leaves of the network.
        multiply_adds: Of one example's predictions for all tasks above the cross layer, a cut
            weight counting nothing. Layers that several tasks compute alike count once.
    """
    above = _above_the_cross_layer(network)
    masked = {layer.shared.kernel.ref() for tower in network.towers.values() for layer in tower}
    alive = {}
    for task in network.tasks:
        read = {variable.ref() for variable in network.trained_by(task)}
        plain = [v for v in above.values() if v.ref() in read and v.ref() not in masked]
        cut = sum(int(mask.sum()) for mask in network.masks(task).values())
        alive[task] = cut + sum(int(np.prod(v.shape)) for v in plain)
    products = sum(
        _uses(name, network) * int(np.prod(variable.shape))
        for name, variable in above.items()
        if name.endswith("kernel") and variable.ref() not in masked
    )
    tables = [layer for layer in network.model.layers if isinstance(layer, FieldVectors)]
    whole = sum(int(np.prod(v.shape)) for v in network.variables.values())
    return {
        "trained_parameters": whole - sum(layer.layout.cut_numbers() for layer in tables),
        "table_bytes": sum(layer.layout.stored_bytes() for layer in tables),
        "alive_parameters": alive,
        "multiply_adds": products + _masked_products(network),
    }


def _above_the_cross_layer(network: RankingNetwork) -> dict[str, Any]:
    return {
        name: variable
        for name, variable in network.variables.items()
        if not name.startswith("cross/") and not is_table(name)
    }


def _uses(name: str, network: RankingNetwork) -> int:
    """How often one example meets a kernel: an attention's once a unit, all others once."""
    if "/transfer/" in name:  # AITM's, of two tasks
        return 2
    if not name.startswith(TRANSFER) or name.rpartition("/")[2] == "kernel":
        return 1
    # HTLNet's, of all tasks before, or of those among them that have labels to embed.
    _, task, handed, _ = name.split("/")
    before = network.tasks[: network.tasks.index(task)]
    if handed == "representation":
        return len(before)
    return sum(f"{TRANSFER}{earlier}/label_table" in network.variables for earlier in before)


def _masked_products(network: RankingNetwork) -> int:
    """Alive weights over all tasks; a stretch of layers that tasks wear alike is computed once."""
    computed: dict[tuple[Any, ...], int] = {}
    for task, tower in network.towers.items():
        # What is added to a task's first layer sets it and those above apart.
        added = {f"{task}/own/kernel", f"{TRANSFER}{task}/input/kernel"}
        path: tuple[Any, ...] = (task,) if added & network.variables.keys() else ()
        for layer in tower:
            path = (*path, layer.shared.kernel.ref(), _digest(layer))
            computed[path] = int(np.count_nonzero(layer.mask.numpy()))
    return sum(computed.values())


def _digest(layer: MaskedDense) -> str:
    return hashlib.sha256(layer.mask.numpy().tobytes()).hexdigest()
