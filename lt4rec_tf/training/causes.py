"""What is likely to keep a training from learning, found in a few rows of the logs.

ReLU turns a NaN into 0: a network whose activations are no longer finite may train on, with a
finite loss and predictions that say nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.parameter_server import Pass
from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.numbers import EXTREME, UNBOUNDED
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.plan import Batches
from lt4rec_tf.training.stage import SMALLER_STEPS

_SEARCHED = 200  # batches
_NEARLY_ALL = 0.9  # of a layer's units
_OUTLYING = 10.0  # times the largest number of any other feature's vectors


class Causes(NamedTuple):
    """Signs of what keeps a training from learning, one text each.

    Attributes:
        of_features: In what the network reads, and in the vectors of features.
        of_tasks: By task, in its layers.
    """

    of_features: list[str]
    of_tasks: dict[str, list[str]]


def causes_in(
    split: Batches, network: RankingNetwork, schema: Schema, tasks: Sequence[str] = ()
) -> Causes:
    """Looks for what keeps a training from learning.

    Args:
        split: The rows that are searched; none where workers read them in parts.
        network: With the weights that training came to.
        schema: Its features.
        tasks: Whose layers are searched for dead units.
    """
    batches = iter(()) if isinstance(split, Pass) else iter(split)
    first = next(batches, None)
    if first is None:
        return Causes([], {task: [] for task in tasks})

    features, searched = first["features"], itertools.chain([first], batches)
    numbers = _extreme_numbers(schema, itertools.islice(searched, _SEARCHED))
    return Causes(
        numbers or _outlying_vectors(network, schema, features),
        {task: _dead_layers(network, task, features) for task in tasks},
    )


def _extreme_numbers(schema: Schema, batches: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names the features whose numbers are so large that they drown all others."""
    unbounded = [f.name for f in schema.features if f.ids.kind in UNBOUNDED]
    largest = dict.fromkeys(unbounded, 0.0)
    for batch in batches:
        for name in unbounded:
            numbers = np.asarray(batch["features"][name])
            largest[name] = max(largest[name], _largest(numbers))
    return [
        f"feature {name} gives the network numbers up to {size:.7g}, which drown all others: "
        'ids = { kind = "quantiles" } bounds them'
        for name, size in largest.items()
        if size > EXTREME
    ]


def _outlying_vectors(
    network: RankingNetwork, schema: Schema, features: Mapping[str, Any]
) -> list[str]:
    """Names the features whose vectors are not finite, or far larger than all others."""
    model = network.bottom
    layers = [layer for layer in model.layers if isinstance(layer, FieldVectors)]
    if not layers:
        return []
    inputs = {name: features[name] for name in model.input}
    # Of one task, where tasks pool events by masks of their own.
    output = tf.nest.flatten(layers[0].output)[0]
    vectors = np.asarray(keras.Model(model.input, output)(inputs, training=False))

    lines, sizes = [], {}
    for feature, rows in zip(schema.features, np.moveaxis(vectors, 1, 0), strict=True):
        broken = int((~np.isfinite(rows)).any(axis=1).sum())
        sizes[feature.name] = _largest(rows)
        if broken:
            lines.append(
                f"vectors of feature {feature.name} are not finite in {broken} of {len(rows)} "
                f"rows: {SMALLER_STEPS}"
            )
    # Once a loss is not finite, its gradients break the vectors of all features at once.
    if lines:
        return lines if len(lines) < len(sizes) else []

    *_, second, first = [(0.0, ""), *sorted((size, name) for name, size in sizes.items())]
    if first[0] > max(1.0, _OUTLYING * second[0]):
        return [
            f"vectors of feature {first[1]} hold numbers up to {first[0]:.4g}, those of all others "
            f"up to {second[0]:.4g}: {SMALLER_STEPS}"
        ]
    return []


def _dead_layers(network: RankingNetwork, task: str, features: Mapping[str, Any]) -> list[str]:
    """Names the lowest layer of which nearly all units are 0 in every row."""
    model = network.task_models[task]
    layers = {layer.name: layer for layer in model.layers if _is_rectified(layer)}
    if not layers:
        return []

    inputs = {name: features[name] for name in model.input}
    outputs = {name: layer.output for name, layer in layers.items()}
    for name, values in keras.Model(model.input, outputs)(inputs, training=False).items():
        of_units = np.asarray(values)[:, _kept_units(layers[name])]
        dead, units = int((of_units == 0).all(axis=0).sum()), of_units.shape[1]
        if dead >= _NEARLY_ALL * units:
            # Of the lowest one: those above it follow.
            return [
                f"{dead} of {units} units of layer {name} are 0 in every row, and pass no gradient "
                f"on: {SMALLER_STEPS}"
            ]
    return []


def _is_rectified(layer: keras.layers.Layer) -> bool:
    dense = layer.shared if isinstance(layer, MaskedDense) else layer
    return isinstance(dense, keras.layers.Dense) and dense.activation is keras.activations.relu


def _kept_units(layer: keras.layers.Layer) -> Any:
    """Returns bool (units,): those that a ticket leaves some weight; all of other layers."""
    return layer.mask.numpy().any(axis=0) if isinstance(layer, MaskedDense) else slice(None)


def _largest(numbers: np.ndarray) -> float:
    """Returns the largest distance from 0 of the finite numbers; 0 where there are none."""
    return float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))
