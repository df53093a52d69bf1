"""Adaptive information transfer: every task's tower hands on to the next task's.

Source: AITM (Xi et al., KDD 2021, arXiv 2105.08489), section 3, and the authors' code.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.feature_encoder import Bottom, seed_of
from lt4rec_tf.models.layers.attention import UnitAttention
from lt4rec_tf.models.losses import loss_of, population_mean, probability
from lt4rec_tf.models.network import OwnLosses, RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.schema.types import Schema

CALIBRATOR_WEIGHT = 0.6


def build_aitm(
    schema: Schema, bottom: Bottom, *, hidden_units: Sequence[int], seed: int
) -> RankingNetwork:
    """Builds a chain of towers in the order of the schema's tasks.

    z_1 = tower_1(x), z_t = transfer(tower_t(x), relu(z_{t-1} V_t + c_t)), logit_t = head_t(z_t);
    x is the cross layer's output. Every task keeps its loss and its population: a watch ratio is
    learned on clicks. Nothing holds the gradient back: a task teaches the towers before its own.
    No dropout, and Xavier-normal kernels (the paper draws embeddings and transfer from
    N(0, .01)), as in every model here: rows of a comparison are trained alike.

    Args:
        schema: Its tasks, of any kind, in the order in which their events happen.
        bottom: Where the tensors begin.
        hidden_units: Widths of the towers, from the bottom up; the last is also that of what is
            handed on.
        seed: Of all draws.
    """
    variables = dict(bottom.variables)
    heads, logits = {}, {}
    before = None
    for task in (task.name for task in schema.tasks):
        z = dense_stack(bottom.crossed, hidden_units, f"{task}/tower", seed, variables)
        if before is not None:
            handed = dense_stack(before, hidden_units[-1:], f"{task}/handed", seed, variables)
            z = _transfer(z, handed, task, seed, variables)
        heads[task], logits[task] = add_head(z, schema.task(task), seed, variables)
        before = z
    losses = calibrated_losses(schema) if calibrated_pairs(schema) else None
    return assemble(bottom, logits, heads, variables, own_losses=losses)


def calibrated_pairs(schema: Schema) -> list[tuple[str, str]]:
    """Consecutive tasks that are both binary and learned on all rows.

    Of such a pair the later event implies the earlier one (AITM's purchase implies its click), so
    its probability must not be above. That does not hold of a task that is no event or that has a
    population: the watch ratio of a click, say, is not bounded by the probability of the click.
    """
    return [
        (first.name, second.name)
        for first, second in itertools.pairwise(schema.tasks)
        if all(task.kind == "binary" and task.population is None for task in (first, second))
    ]


def calibrated_losses(schema: Schema) -> OwnLosses:
    """All tasks' losses; the later one of a calibrated pair adds .6 mean(max(p_t - p_{t-1}, 0)).

    The mean is over all rows. The calibrator stands in the later task's loss, so it is weighed as
    that loss is. Source: AITM, "behavioral expectation calibrator".
    """
    before = {second: first for first, second in calibrated_pairs(schema)}

    def losses(logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        found = {}
        for task in schema.tasks:
            later = task.name
            found[later] = loss_of(task)(
                logits[later], batch["labels"][later], batch["weights"][later]
            )
            if later in before:
                above = probability(logits[later]) - probability(logits[before[later]])
                mean = population_mean(tf.nn.relu(above), tf.ones_like(above))
                found[later] += CALIBRATOR_WEIGHT * mean
        return found

    return losses


def _transfer(
    own: tf.Tensor, handed: tf.Tensor, task: str, seed: int, variables: dict[str, tf.Variable]
) -> tf.Tensor:
    names = [f"{task}/transfer/{part}_kernel" for part in ("query", "key", "value")]
    draws = [keras.initializers.GlorotNormal(seed=seed_of(seed, name)) for name in names]
    transfer = UnitAttention(own.shape[-1], draws, name=f"{task}.transfer")
    z = transfer([own, handed])
    variables |= zip(names, transfer.kernels.values(), strict=True)
    return z
