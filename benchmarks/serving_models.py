"""The models whose requests serving.py times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from feeds import DIMENSION, FIELDS, TASKS
from networks import wide_network

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.masks import Masks
from lt4rec_tf.tickets.neurons import prune_neurons

# Structured tickets: shares of inputs, then of each layer's units.
STRUCTURED = {"ctr": (0.79, 0.34, 0.30, 0.44), "cvr": (0.89, 0.32, 0.26, 0.44)}
DEEPER = {"ctr": (0.60, 0.18, 0.18, 0.31), "cvr": (0.67, 0.17, 0.16, 0.30)}


def models(schema: Schema, density: float) -> list[tuple[str, list[RankingNetwork], str]]:
    """Returns (name, networks that together predict both tasks, precision) of every model."""
    single = [built(schema.with_tasks([task])) for task in TASKS]
    weight, neuron, structured, deeper, dense = (built(schema) for _ in range(5))
    rng = np.random.default_rng(0)
    for task in TASKS:
        kernels = {name: kernel.numpy() for name, kernel in neuron.kernels(task).items()}
        ones = {name: np.ones(kernel.shape, bool) for name, kernel in kernels.items()}
        weight.wear(task, {name: rng.random(m.shape) < density for name, m in ones.items()})
        scores = {name: kernel * rng.random(kernel.shape[1]) for name, kernel in kernels.items()}
        keep = round(density * sum(mask.size for mask in ones.values()))
        neuron.wear(task, prune_neurons(scores, ones, keep))
        structured.wear(task, structured_masks(ones, STRUCTURED[task], rng))
        deeper.wear(task, structured_masks(ones, DEEPER[task], rng))
    return [
        ("two single-task models", single, "float32"),
        ("two single-task models, bfloat16", single, "bfloat16"),
        ("shared bottom", [dense], "float32"),
        ("s_weight", [weight], "float32"),
        ("s_weight, bfloat16", [weight], "bfloat16"),
        ("s_neuron", [neuron], "float32"),
        ("s_neuron, bfloat16", [neuron], "bfloat16"),
        ("structured", [structured], "float32"),
        ("structured, deeper", [deeper], "float32"),
    ]


def structured_masks(ones: Masks, kept: Sequence[float], rng: np.random.Generator) -> Masks:
    """Cuts inputs and units: each mask is alive inputs times alive units, drawn at random.

    Half of the cut inputs are vectors of fields, the others products of two fields.

    Args:
        ones: Kernel -> its mask, from the bottom up.
        kept: Share of the first kernel's inputs, then of each kernel's units.
        rng: Draws.
    """
    inputs = next(iter(ones.values())).shape[0]
    cut = round((1 - kept[0]) * inputs)
    vectors = rng.permutation(FIELDS)[: round(cut / 2 / DIMENSION)]
    rows, columns = np.tril_indices(FIELDS, -1)
    pairs = rng.permutation(len(rows))[: (cut - DIMENSION * len(vectors)) // 2]

    products = np.ones((FIELDS, FIELDS), bool)
    products[rows[pairs], columns[pairs]] = products[columns[pairs], rows[pairs]] = False
    is_kept = np.repeat(~np.isin(np.arange(FIELDS), vectors), DIMENSION)
    alive = [np.concatenate([products.reshape(-1), is_kept])]
    for mask, share in zip(ones.values(), kept[1:], strict=True):
        units = mask.shape[1]
        alive.append(rng.permutation(units) < round(share * units))
    return {
        name: np.outer(below, units)
        for name, (below, units) in zip(ones, itertools.pairwise(alive), strict=True)
    }


def built(schema: Schema) -> RankingNetwork:
    """Returns the network with its initial weights."""
    return wide_network(schema, stddev=0.05, seed=len(schema.tasks[0].name))
