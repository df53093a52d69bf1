"""A compiled training step: forward pass with masks, losses, their balance, strict update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.distributed.replicas import gradients_over_replicas, spread
from lt4rec_tf.models.heads.of_task import loss_of, targets, with_targets
from lt4rec_tf.models.layers.compact_tower import compact_towers
from lt4rec_tf.models.network import CROSSED, RankingNetwork
from lt4rec_tf.schema.types import Schema, sampled_by_column
from lt4rec_tf.training import optimizers
from lt4rec_tf.training.adjustment import NONE, Adjustment
from lt4rec_tf.training.balancing.rule import Rule
from lt4rec_tf.training.conflict import Conflict, emphasis, pairs_in_conflict
from lt4rec_tf.training.mask_scores import add_to_scores
from lt4rec_tf.training.optimizers import Optimizer
from lt4rec_tf.training.plan import Objective

Step = Callable[[dict[str, Any]], dict[str, tf.Tensor]]
Batch = Mapping[str, Any]
Losses = Callable[[Batch], dict[str, tf.Tensor]]
TaskLogits = tuple[tf.Tensor | None, tf.Tensor]  # rows of the batch, None for all; their logits


@dataclass(frozen=True)
class Update:
    """Makes new weights of a step's gradients.

    Attributes:
        rule: Makes one gradient a variable of the tasks' losses.
        optimizer: Built for `variables`.
        variables: What may be updated; those without a gradient from a step's tasks are left alone.
        adjustment: Of the rule's gradients, before the optimiser takes them.
        before_update: Called with these gradients and the variables, before they are updated.
    """

    rule: Rule
    optimizer: Optimizer
    variables: Sequence[tf.Variable]
    adjustment: Adjustment = NONE
    before_update: Callable[[Sequence[Any], Sequence[tf.Variable]], None] = lambda _, __: None


def compile_step(
    network: RankingNetwork,
    schema: Schema,
    objective: Objective,
    tasks: Sequence[str],
    update: Update,
    loss_sums: Mapping[str, tf.Variable],
) -> Step:
    """Compiles a step that trains some tasks on one batch; the rule is given weight_t * loss_t.

    Only weights within the mask of one of these tasks, and embedding rows of the batch, are
    updated.

    Args:
        network: Its masks are read at each step, so a step remains valid when a ticket changes. It
            is compiled once more where other tasks' towers become compact.
        schema: The batches' tasks, their losses.
        objective: Of the whole training.
        tasks: Those of the objective's that this step trains; one task runs its own forward pass
            alone.
        update: Makes new weights of the losses' gradients.
        loss_sums: Task -> float64 (2,): the step adds (loss, 1).

    Returns:
        A function from a batch to {task: loss}.

    Raises:
        ValueError: There is a conflict to weigh, but no pair of tasks that can have one, or the
            network has losses of its own.
    """
    rule, optimizer, variables = update.rule, update.optimizer, update.variables
    losses_of = _losses(network, schema, tasks, objective.conflict)
    scored_masks = [mask for mask, _ in network.scored]
    # Momentum that steps of other tasks left must not move weights outside these tasks' masks, nor
    # may weight decay.
    takes_turns = len(tasks) < len(objective.tasks)
    masks_needed = takes_turns or optimizers.decays(optimizer)

    def train_step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape, compact_towers():
            tape.watch(scored_masks)
            losses = losses_of(with_targets(batch, schema.tasks, objective.label_smoothing))
            weighted = [objective.loss_weights[task] * loss for task, loss in losses.items()]
            targets = rule.targets(weighted)
            penalty = None if network.penalty is None else network.penalty()
        sources = [*variables, *scored_masks]
        all_gradients = gradients_over_replicas([tape.gradient(t, sources) for t in targets])
        gradients = [of_target[: len(variables)] for of_target in all_gradients]
        add_to_scores(network, [of_target[len(variables) :] for of_target in all_gradients])

        combined = rule.combine(weighted, gradients, variables)
        if penalty is not None:
            # Of weights alone: it is the same on all replicas, and no rule balances it.
            combined = _sums(combined, tape.gradient(penalty, variables))
        adjusted = update.adjustment.of(combined, variables)
        update.before_update(adjusted, variables)
        masks = _update_masks(network, tasks) if masks_needed else {}
        optimizer.update_masks = _where_changeable(masks, update.adjustment.changeable)
        optimizer.apply_gradients(
            [(g, v) for g, v in zip(adjusted, variables, strict=True) if g is not None],
            skip_gradients_aggregation=True,
        )

        for task, loss in losses.items():
            loss_sums[task].assign_add(tf.stack([tf.cast(loss, tf.float64), 1.0]))
        return losses

    spec = _batch_spec(network, schema)
    compiled: dict[tuple[str, ...], Step] = {}

    def take_step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        compact = tuple(task for task in tasks if network.is_compact(task))
        if compact not in compiled:
            compiled[compact] = spread(train_step, spec)
        return compiled[compact](batch)

    return take_step


def loss_sum() -> tf.Variable:
    """Makes a sum for `compile_step`: of losses, of batches; it is the same on all replicas."""
    first = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable([0.0, 0.0], dtype=tf.float64, trainable=False, aggregation=first)


def _losses(
    network: RankingNetwork, schema: Schema, tasks: Sequence[str], conflict: Conflict | None
) -> Losses:
    """Makes the function from a batch to the tasks' losses, in the order of the tasks."""
    if network.own_losses is None:
        return _schema_losses(network, schema, tasks, conflict)
    if conflict is not None:
        raise UnfitError(
            "conflict: found a network with losses of its own, expected one whose tasks' "
            "losses are the schema's"
        )
    own_losses = network.own_losses

    def losses_of(batch: Batch) -> dict[str, tf.Tensor]:
        losses = own_losses(network.model(batch["features"], training=True), batch)
        return {task: losses[task] for task in tasks}

    return losses_of


def _schema_losses(
    network: RankingNetwork, schema: Schema, tasks: Sequence[str], conflict: Conflict | None
) -> Losses:
    """Makes the function from a batch to the losses that the schema names."""
    loss_functions = {task: loss_of(schema.task(task)) for task in tasks}
    pairs = pairs_in_conflict(schema, tasks) if conflict is not None else []
    logits_of = _logits(network, schema, tasks)

    def losses_of(batch: Batch) -> dict[str, tf.Tensor]:
        emphasis_by_task = emphasis(conflict, pairs, batch) if conflict is not None else {}
        losses = {}
        for task, (rows, logits) in logits_of(batch).items():
            columns = {"labels": targets(batch)[task], "weights": batch["weights"][task]}
            if task in emphasis_by_task:
                columns["emphasis"] = emphasis_by_task[task]
            columns = _gathered(columns, rows)
            losses[task] = loss_functions[task](
                logits, columns["labels"], columns["weights"], columns.get("emphasis")
            )
        return losses

    return losses_of


def _logits(
    network: RankingNetwork, schema: Schema, tasks: Sequence[str]
) -> Callable[[Batch], dict[str, TaskLogits]]:
    """Makes the function from a batch to each task's rows, None for all, and its logits there.

    Rows outside a task's population have weight 0: where they can be left out, they are.
    """
    populated = [task for task in tasks if not schema.task(task).on_all_rows]

    def of_all_rows(batch: Batch) -> dict[str, TaskLogits]:
        if len(tasks) == 1:
            (task,) = tasks
            return {task: (None, network.task_models[task](batch["features"], training=True))}
        logits = network.model(batch["features"], training=True)
        return {task: (None, logits[task]) for task in tasks}

    def of_populations(batch: Batch) -> dict[str, TaskLogits]:
        # Embeddings are looked up for all rows: which rows a step touches, and thereby what lazy
        # optimisers do to them, must not depend on what is left out above.
        crossed = network.crossed(batch["features"], training=True)
        logits_by_task = {}
        for task in tasks:
            top = network.tops[task]
            tensors = {CROSSED: crossed[task]} | batch["features"]
            rows = _population_rows(batch, task) if task in populated else None
            inputs = _gathered({name: tensors[name] for name in top.input}, rows)
            logits_by_task[task] = (rows, top(inputs, training=True))
        return logits_by_task

    return of_populations if populated and network.tops else of_all_rows


def _population_rows(batch: Batch, task: str) -> tf.Tensor:
    return tf.where(batch["weights"][task] > 0)[:, 0]


def _gathered(columns: dict[str, tf.Tensor], rows: tf.Tensor | None) -> dict[str, tf.Tensor]:
    if rows is None:
        return columns
    return {name: tf.gather(column, rows) for name, column in columns.items()}


def _batch_spec(network: RankingNetwork, schema: Schema) -> dict[str, Any]:
    per_task = {task.name: tf.TensorSpec((None,), tf.float32) for task in schema.tasks}
    sampled = sampled_by_column(schema, [*per_task])
    spec = {
        "features": network.feature_specs(),
        "labels": per_task,
        "weights": per_task,
        "user": tf.TensorSpec((None,), tf.int64),
        "duration": tf.TensorSpec((None,), tf.float32),
    }
    kept = {"negatives_kept": {task: per_task[task] for task in sampled}}
    return spec | (kept if sampled else {})


def _sums(gradients: Sequence[Any], added: Sequence[Any]) -> list[Any]:
    """Adds dense gradients to those of variables that this step's tasks read."""
    return [
        gradient if gradient is None or more is None else gradient + more
        for gradient, more in zip(gradients, added, strict=True)
    ]


def _update_masks(network: RankingNetwork, tasks: Sequence[str]) -> dict[Any, tf.Tensor]:
    """Returns for every kernel with masks: 1 where a weight belongs to one of the tasks."""
    masks: dict[Any, tf.Tensor] = {}
    for task in tasks:
        mask_by_name = network.mask_variables(task)
        for name, variable in network.kernels(task).items():
            kernel, mask = variable.ref(), tf.convert_to_tensor(mask_by_name[name])
            masks[kernel] = tf.maximum(masks[kernel], mask) if kernel in masks else mask
    return masks


def _where_changeable(
    masks: Mapping[Any, tf.Tensor], changeable: Mapping[Any, np.ndarray]
) -> dict[Any, tf.Tensor]:
    """Returns update masks that are 0 where nothing may change; of kernels that have one."""
    return {
        kernel: mask * tf.cast(changeable[kernel], mask.dtype) if kernel in changeable else mask
        for kernel, mask in masks.items()
    }
