"""Cost of a model: its parameters, its storage, the multiply-adds of a prediction."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.feature_encoder import is_attention, is_table
from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.network import TRANSFER, RankingNetwork
from lt4rec_tf.tickets.parts import of_towers


def cost_of(network: RankingNetwork) -> dict[str, Any]:
    """Counts parameters and multiply-adds.

    Returns:
        trained_parameters: All trained numbers, embedding rows included, cut ones not.
        table_bytes: What a version of the model stores of embedding tables, in float32: numbers,
            and a bit for whatever a ticket could have cut.
        alive_parameters: Task -> numbers in kernels and biases above the cross layer that its
            prediction reads, without cut weights.
        multiply_adds: Of one example's predictions for all tasks above the cross layer, without
            cut weights. Layers that several tasks compute alike count once.
        attention_parameters: Task -> numbers of the attention to events that its prediction reads,
            without cut weights.
        attention_multiply_adds: Of an event that is weighed for a candidate, for all tasks. Both
            are absent where no list is attended to.
    """
    above = _above_the_cross_layer(network)
    layers = itertools.chain.from_iterable(network.towers.values())
    masked = {layer.shared.kernel.ref() for layer in layers}

    alive = {}
    for task in network.tasks:
        read = {variable.ref() for variable in network.read_by(task)}
        plain = [v for v in above.values() if v.ref() in read and v.ref() not in masked]
        uncut = sum(int(mask.sum()) for mask in of_towers(network.masks(task)).values())
        alive[task] = uncut + sum(int(np.prod(v.shape)) for v in plain)

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
    } | _attention_cost(network)


def _above_the_cross_layer(network: RankingNetwork) -> dict[str, Any]:
    return {
        name: variable
        for name, variable in network.predicting().items()
        if not (name.startswith("cross/") or is_table(name) or is_attention(name))
    }


def _uses(name: str, network: RankingNetwork) -> int:
    """Returns how often an example is multiplied by a kernel: an attention's once per unit."""
    if "/transfer/" in name:  # AITM's, of two tasks
        return 2
    if not name.startswith(TRANSFER) or name.rpartition("/")[2] == "kernel":
        return 1

    # HTLNet's, of all tasks before, or of those among them that have labels to embed.
    _, task, transferred, _ = name.split("/")
    before = network.tasks[: network.tasks.index(task)]
    if transferred == "representation":
        return len(before)
    return sum(f"{TRANSFER}{earlier}/label_table" in network.variables for earlier in before)


def _masked_products(network: RankingNetwork) -> int:
    """Counts alive weights over all tasks; layers with equal masks up to them count once.

    Masks of the attention to events are among these: tasks with other ones read other inputs.
    """
    computed: dict[tuple[Any, ...], int] = {}
    for task, tower in network.towers.items():
        # An input of its own in a task's first layer makes it, and those above, the task's alone.
        added = {f"{task}/own/kernel", f"{TRANSFER}{task}/input/kernel"}
        path: tuple[Any, ...] = (task,) if added & network.variables.keys() else ()
        path = (*path, network.attention_digest(task))
        for layer in tower:
            path = (*path, layer.shared.kernel.ref(), _digest(layer))
            computed[path] = int(np.count_nonzero(layer.mask.numpy()))
    return sum(computed.values())


def _attention_cost(network: RankingNetwork) -> dict[str, Any]:
    """Counts what weighs an event for a candidate; nothing where there is no attention."""
    kernels = {n: v for n, v in network.variables.items() if is_attention(n)}
    if not kernels:
        return {}

    alive: dict[str, int] = {}
    products: dict[tuple[Any, ...], int] = {}
    for task in network.tasks:
        read = {variable.ref() for variable in network.read_by(task)}
        sizes = {n: _size(v) for n, v in kernels.items() if v.ref() in read}
        masks = network.masks(task)
        sizes |= {name: int(masks[name].sum()) for name in sizes if name in masks}
        alive[task] = sum(sizes.values())
        # Tasks with equal masks compute the same.
        path = (*sizes, network.attention_digest(task))
        products[path] = sum(n for name, n in sizes.items() if _is_multiplied(name))
    return {"attention_parameters": alive, "attention_multiply_adds": sum(products.values())}


def _is_multiplied(name: str) -> bool:
    return name.endswith("kernel") and not name.endswith("position_kernel")


def _size(variable: tf.Variable) -> int:
    return int(np.prod(variable.shape))


def _digest(layer: MaskedDense) -> str:
    return hashlib.sha256(layer.mask.numpy().tobytes()).hexdigest()
