"""Importance of a tower's neurons and inputs to its task, by the gradient of its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.heads.of_task import loss_of, targets, with_targets
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.groups import Importance

# More batches of 512 rows found no better tickets on the simulated feed.
MOST_BATCHES = 50

Gradients = Callable[[dict[str, Any]], list[tf.Tensor]]


def importance_of(
    gradients: Gradients, groups: Sequence[np.ndarray], batches: Iterable[dict[str, Any]]
) -> Importance:
    """Estimates what a task's loss gains by each neuron, and by each group of inputs.

    With a gate g = 1 that multiplies a piece's output, the loss without it is about L - dL/dg. For
    both kinds of piece dL/dg is the sum of W dL/dW over the kernel's entries that read the piece.
    The importance is its square, averaged over batches.

    Args:
        gradients: Of the task, as `gate_gradients` compiles them; what is cut has importance 0.
        groups: Indices of the first layer's inputs.
        batches: Of training; the first `MOST_BATCHES` are used.

    Source: Molchanov et al. (arXiv 1906.10771), Eq. 3 and 8, averaged over batches.
    """
    squares_by_batch = []
    for batch in islice(batches, MOST_BATCHES):
        inputs, *units = (gradient.numpy().astype(np.float64) for gradient in gradients(batch))
        of_groups = np.array([inputs[places].sum() for places in groups])
        squares_by_batch.append([np.square(gradient) for gradient in (of_groups, *units)])

    of_groups, *of_units = (
        np.mean(squares, axis=0) for squares in zip(*squares_by_batch, strict=True)
    )
    return Importance(of_groups, tuple(of_units))


def gate_gradients(network: RankingNetwork, schema: Schema, task: str) -> Gradients:
    """Compiles batch -> dL/dg of the inputs, then of each layer's neurons, float32 each.

    Args:
        network: Its weights and masks are read at each call.
        schema: Loss and population of the task.
        task: Its name.
    """
    loss_function, model = loss_of(schema.task(task)), network.task_models[task]
    # The kernel that reads a layer's neurons is the one above: the head's of the last.
    readers = [*network.kernels(task).values(), network.heads[task].kernel]

    def gate_gradients(batch: Mapping[str, Any]) -> list[tf.Tensor]:
        batch = with_targets(batch, [schema.task(task)])
        with tf.GradientTape() as tape:
            logits = model(batch["features"], training=False)
            loss = loss_function(logits, targets(batch)[task], batch["weights"][task])
        gradients = tape.gradient(loss, readers)
        return [tf.reduce_sum(w * g, axis=1) for w, g in zip(readers, gradients, strict=True)]

    return tf.function(gate_gradients, reduce_retracing=True, autograph=False)
