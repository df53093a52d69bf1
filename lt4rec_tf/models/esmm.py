"""Entire space multi-task model: tasks on clicks alone are learned on all impressions.

Source: ESMM (Ma et al., SIGIR 2018, arXiv 1804.07931), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.models.feature_encoder import Bottom
from lt4rec_tf.models.heads.of_task import loss_of, prediction, targets
from lt4rec_tf.models.losses import cross_entropy, population_mean, probability
from lt4rec_tf.models.network import OwnLosses, RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema, Task, chained_tasks

# (chained task, name of the task of its population, {task: logit}, batch) -> its loss
ChainedLoss = Callable[[Task, str, Mapping[str, tf.Tensor], Mapping[str, Any]], tf.Tensor]


def build_esmm(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds one tower for each task; chained tasks learn by the product of their probabilities.

    A chained task z, such as the watch ratio of clicks, has no loss of its own. Its loss is the
    cross entropy of pctr * pcvr against y * z over all impressions, y the click: with a ratio z it
    is the soft cross entropy. Of an amount z it is the mean of ((pctr * e - y * z) / scale)^2, e
    its prediction. Its gradient reaches both towers. Other tasks keep the losses that the schema
    gives them. Kernels are drawn Xavier-normal, as in every model here: models that are compared
    are trained alike.

    Args:
        schema: Its tasks; one with a population needs the task that predicts this population.
        bottom: Inputs and cross layer, on which the towers are built.
        hidden_units: Widths of the towers, from the bottom up.
        seed: Of all draws.
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).

    Raises:
        ValueError: See `chain`.
    """
    losses = entire_space_losses(schema) if chain(schema) else None
    dropout = TowerDropout(tower_dropout, seed)
    built = task_towers(schema, bottom, hidden_units, seed, dropout)
    return assemble(
        bottom,
        built.logits,
        built.heads,
        built.variables,
        own_losses=losses,
        counters=dropout.counters,
    )


class TaskTowers(NamedTuple):
    """Towers of tasks that share the cross layer's output and no more.

    Attributes:
        tops: Task -> its last hidden layer, float32 (batch, width).
        heads: Task -> the layer above.
        logits: Task -> float32 (batch,), or what its loss takes.
        variables: All trained variables by name, the bottom's included.
    """

    tops: dict[str, tf.Tensor]
    heads: dict[str, keras.layers.Dense]
    logits: dict[str, tf.Tensor]
    variables: dict[str, tf.Variable]


def task_towers(
    schema: Schema,
    bottom: Bottom,
    hidden_units: Sequence[int],
    seed: int,
    dropout: TowerDropout,
) -> TaskTowers:
    """Builds a tower and a head for each task.

    Args:
        schema: Its tasks.
        bottom: Inputs and cross layer, on which the towers are built.
        hidden_units: Widths of the towers, from the bottom up.
        seed: Of all draws.
        dropout: Of the hidden units.
    """
    built = TaskTowers({}, {}, {}, dict(bottom.variables))
    for task in schema.tasks:
        name, x = task.name, bottom.crossed
        top = dense_stack(x, hidden_units, f"{name}/tower", seed, built.variables, dropout)
        built.tops[name] = top
        built.heads[name], built.logits[name] = add_head(top, task, seed, built.variables)
    return built


def chain(schema: Schema, model: str = "ESMM") -> dict[str, str]:
    """Returns task with a population -> the binary task of its scenario that predicts that label.

    Args:
        schema: Its tasks.
        model: Its name in messages.

    Raises:
        ValueError: There is no such task, or a task with a population has another head than the
            plain one: losses of products are made of what that one predicts.
    """
    names = [task.name for task in schema.tasks]
    first_of: dict[str, str] = {}
    for first, second in chained_tasks(schema, names):
        first_of.setdefault(second, first)

    for task in schema.tasks:
        if task.population is not None and task.name not in first_of:
            raise UnfitError(
                f"{model} learns task {task.name} through the probability of {task.population}: "
                f"found tasks {', '.join(names)}, "
                f"expected a binary task on label {task.population} over all rows among them"
                + (f", of its scenario {task.scenario}" if task.where else "")
            )
        if task.name in first_of and not task.head.is_plain:
            raise UnfitError(
                f"{model} learns task {task.name} through its product with {first_of[task.name]}: "
                f"found head {task.head.kind}, expected plain"
            )
    return first_of


def product_loss(
    task: Task, first: str, logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]
) -> tf.Tensor:
    """Returns ESMM's loss of a chained task z: that of the product with y, over all impressions.

    Its labels are not smoothed.

    Args:
        task: z, of a probability, a ratio or an amount.
        first: Name of the task whose label is y.
        logits: Of both tasks.
        batch: Labels and weights of both.
    """
    labels, weights = batch["labels"], entire_space_weights(batch, first, task.name)
    product_labels = labels[first] * labels[task.name]
    if task.kind == "amount":
        expected = probability(logits[first]) * prediction(task, logits[task.name])
        error = (expected - product_labels) / task.scale
        return population_mean(tf.square(error), weights)
    product = product_logit(logits[first], logits[task.name])
    return cross_entropy(product, product_labels, weights)


def entire_space_weights(batch: Mapping[str, Any], first: str, task: str) -> tf.Tensor:
    """Returns the weights of impressions whose y * z is known, float32 (batch,); 0 for others.

    Without a click y * z is 0, whether z is known or not. A click without a known z (no duration)
    has weight 0.

    Args:
        batch: Labels and weights by task.
        first: Name of the task whose label is y.
        task: Name of the task whose label is z.
    """
    weights = batch["weights"]
    known = tf.minimum(weights[first], weights[task])
    return tf.where(batch["labels"][first] > 0.0, known, weights[first])


def entire_space_losses(
    schema: Schema, chained_loss: ChainedLoss = product_loss, model: str = "ESMM"
) -> OwnLosses:
    """Returns the losses of all tasks, by task: of a chained one its own, of others the schema's.

    Args:
        schema: The tasks.
        chained_loss: Of a chained task.
        model: Its name in messages.

    Raises:
        ValueError: See `chain`.
    """
    first_of = chain(schema, model)

    def losses(logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        weights = batch["weights"]
        loss_by_task = {}
        for task in schema.tasks:
            z = task.name
            if z in first_of:
                loss_by_task[z] = chained_loss(task, first_of[z], logits, batch)
            else:
                loss_by_task[z] = loss_of(task)(logits[z], targets(batch)[z], weights[z])
        return loss_by_task

    return losses


def product_logit(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns the logit of sigmoid(a) * sigmoid(b): a + b - log(1 + e^a + e^b).

    From it log(pq) and log(1 - pq) are exact where pq rounds to 0 or 1.

    >>> float(product_logit(tf.constant(0.0), tf.constant(0.0)))  # log(.25 / .75)
    -1.0986123085021973
    """
    terms = tf.stack([tf.zeros_like(first), first, second])
    return first + second - tf.reduce_logsumexp(terms, axis=0)
