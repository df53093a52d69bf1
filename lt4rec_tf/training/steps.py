"""One compiled training step: forward with masks, Eq. 2's loss, gradient, strict update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema import Schema
from lt4rec_tf.training.losses import LOSSES

Step = Callable[[dict[str, Any]], dict[str, tf.Tensor]]


def compile_step(
    network: RankingNetwork,
    schema: Schema,
    tasks: Sequence[str],
    *,
    loss_weights: Mapping[str, float],
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[tf.Variable],
    loss_sums: Mapping[str, tf.Variable],
) -> Step:
    """Makes a step that trains some tasks on one batch: loss = sum_t weight_t * loss_t.

    Only weights that one of the tasks wears, and embedding rows of the batch, are updated.

    Args:
        network: Its masks are read at each step, so a step outlives a change of ticket.
        schema: The batches' tasks, their losses.
        tasks: Those to train; one task runs its own forward pass alone.
        loss_weights: Task -> its weight in Eq. 2 (LT4REC).
        optimizer: Built for `variables`.
        variables: What may be updated; those without a gradient from the tasks are left alone.
        loss_sums: Task -> float64 (2,): the step adds (loss, 1).

    Returns:
        A function from a batch to {task: loss}.
    """
    model = network.task_models[tasks[0]] if len(tasks) == 1 else network.model
    losses_of = {task: LOSSES[schema.task(task).loss] for task in tasks}

    def train_step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = model(batch["features"], training=True)
            logits = {tasks[0]: outputs} if len(tasks) == 1 else outputs
            losses = {
                task: loss_of(logits[task], batch["labels"][task], batch["weights"][task])
                for task, loss_of in losses_of.items()
            }
            total = tf.add_n([loss_weights[task] * loss for task, loss in losses.items()])
        gradients = zip(tape.gradient(total, variables), variables, strict=True)
        optimizer.update_masks = _update_masks(network, tasks)
        optimizer.apply_gradients([(g, v) for g, v in gradients if g is not None])
        for task, loss in losses.items():
            loss_sums[task].assign_add([tf.cast(loss, tf.float64), 1.0])
        return losses

    return tf.function(train_step, input_signature=[_batch_spec(network, schema)])


def _batch_spec(network: RankingNetwork, schema: Schema) -> dict[str, Any]:
    per_task = {task.name: tf.TensorSpec((None,), tf.float32) for task in schema.tasks}
    return {
        "features": network.feature_specs(),
        "labels": per_task,
        "weights": per_task,
        "user": tf.TensorSpec((None,), tf.int64),
    }


def _update_masks(network: RankingNetwork, tasks: Sequence[str]) -> dict[Any, tf.Tensor]:
    """For every kernel of the towers: 1 where a weight belongs to one of the step's tasks."""
    masks: dict[Any, tf.Tensor] = {}
    for task in tasks:
        for layer in network.towers[task]:
            kernel = layer.shared.kernel.ref()
            mask = tf.convert_to_tensor(layer.mask)
            masks[kernel] = tf.maximum(masks[kernel], mask) if kernel in masks else mask
    return masks
