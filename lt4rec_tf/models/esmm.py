"""Entire space multi-task model: what is known of clicks alone is learned on all impressions.

Source: ESMM (Ma et al., SIGIR 2018, arXiv 1804.07931), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from lt4rec_tf.models.feature_encoder import Bottom
from lt4rec_tf.models.losses import cross_entropy, loss_of, population_mean, prediction, probability
from lt4rec_tf.models.network import OwnLosses, RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.schema.types import Schema


def build_esmm(
    schema: Schema, bottom: Bottom, *, hidden_units: Sequence[int], seed: int
) -> RankingNetwork:
    """Builds a tower a task, and learns chained tasks through the product of their probabilities.

    A chained task z, such as the watch ratio of clicks, has no loss of its own. In its place
    stands the cross entropy of pctr * pcvr against y * z over all impressions, y the click: with a
    ratio z it is the soft cross entropy. Of an amount z it is the mean of ((pctr * e - y * z) /
    scale)^2, e its prediction. Its gradient reaches both towers. Other tasks keep the
    losses that the schema gives them. No dropout, and Xavier-normal kernels, as in every model
    here: rows of a comparison are trained alike.

    Args:
        schema: Its tasks; one with a population needs the task that tells who is in it.
        bottom: Where the tensors begin.
        hidden_units: Widths of the towers, from the bottom up.
        seed: Of all draws.

    Raises:
        ValueError: The task that another is chained to is not there.
    """
    first_of = chain(schema)
    variables = dict(bottom.variables)
    heads, logits = {}, {}
    for task in (task.name for task in schema.tasks):
        tower = dense_stack(bottom.crossed, hidden_units, f"{task}/tower", seed, variables)
        heads[task], logits[task] = add_head(tower, schema.task(task), seed, variables)
    losses = entire_space_losses(schema) if first_of else None
    return assemble(bottom, logits, heads, variables, own_losses=losses)


def chain(schema: Schema) -> dict[str, str]:
    """Task with a population -> the binary task on all rows that predicts who is in it.

    Raises:
        ValueError: There is no such task; names the task that needs it and the label.
    """
    on_all_rows: dict[str, str] = {}
    for task in schema.tasks:
        if task.kind == "binary" and task.population is None:
            on_all_rows.setdefault(task.label, task.name)
    first_of = {}
    for task in schema.tasks:
        if task.population is None:
            continue
        if task.population not in on_all_rows:
            raise ValueError(
                f"ESMM learns task {task.name} through the probability of {task.population}: "
                f"found tasks {', '.join(task.name for task in schema.tasks)}, "
                f"expected a binary task on label {task.population} over all rows among them"
            )
        first_of[task.name] = on_all_rows[task.population]
    return first_of


def entire_space_losses(schema: Schema) -> OwnLosses:
    """ESMM's losses of all tasks; a chained task's stands under the task's name.

    Rows whose y * z is unknown (a click without a duration) do not count for it.

    Raises:
        ValueError: See `chain`.
    """
    first_of = chain(schema)

    def losses(logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        labels, weights = batch["labels"], batch["weights"]
        found = {}
        for task in schema.tasks:
            z = task.name
            if z not in first_of:
                found[z] = loss_of(task)(logits[z], labels[z], weights[z])
                continue
            y = first_of[z]
            known = weights[y] * tf.maximum(1.0 - labels[y], weights[z])
            if task.kind == "amount":
                expected = probability(logits[y]) * prediction(task, logits[z])
                gap = (expected - labels[y] * labels[z]) / task.scale
                found[z] = population_mean(tf.square(gap), known)
                continue
            product = product_logit(logits[y], logits[z])
            found[z] = cross_entropy(product, labels[y] * labels[z], known)
        return found

    return losses


def product_logit(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """The logit of sigmoid(a) * sigmoid(b): a + b - log(1 + e^a + e^b).

    So that log(pq) and log(1 - pq) are exact where pq rounds to 0 or 1.

    >>> float(product_logit(tf.constant(0.0), tf.constant(0.0)))  # log(.25 / .75)
    -1.0986123085021973
    """
    terms = tf.stack([tf.zeros_like(first), first, second])
    return first + second - tf.reduce_logsumexp(terms, axis=0)
