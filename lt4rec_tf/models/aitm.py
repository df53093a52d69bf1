"""Adaptive information transfer: every task's tower passes its output to the next task's.

Source: AITM (Xi et al., KDD 2021, arXiv 2105.08489), section 3, and the authors' code.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.feature_encoder import Bottom, seed_of
from lt4rec_tf.models.heads.of_task import loss_of, targets
from lt4rec_tf.models.layers.attention import UnitAttention
from lt4rec_tf.models.losses import population_mean, probability
from lt4rec_tf.models.network import OwnLosses, RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema

CALIBRATOR_WEIGHT = 0.6


def build_aitm(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds a chain of towers in the order of the schema's tasks.

    z_1 = tower_1(x), z_t = transfer(tower_t(x), relu(z_{t-1} V_t + c_t)), logit_t = head_t(z_t);
    x is the cross layer's output. Every task keeps its loss and its population: a watch ratio is
    learned on clicks. Nothing holds the gradient back: a task teaches the towers before its own.
    Kernels are drawn Xavier-normal (the paper draws embeddings and transfer from N(0, .01)), as in
    every model here: models that are compared are trained alike.

    Args:
        schema: Its tasks, of any kind, in the order in which their events happen.
        bottom: Inputs and cross layer, on which the towers are built.
        hidden_units: Widths of the towers, from the bottom up; the last is also the width of the
            transfer.
        seed: Of all draws.
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).
    """
    dropout = TowerDropout(tower_dropout, seed)
    variables = dict(bottom.variables)
    heads, logits = {}, {}
    previous = None
    for task in schema.tasks:
        name = task.name
        z = dense_stack(bottom.crossed, hidden_units, f"{name}/tower", seed, variables, dropout)
        if previous is not None:
            handed = f"{name}/handed"
            passed = dense_stack(previous, hidden_units[-1:], handed, seed, variables, dropout)
            z = _transfer(z, passed, name, seed, variables)
        heads[name], logits[name] = add_head(z, task, seed, variables)
        previous = z

    losses = calibrated_losses(schema) if calibrated_pairs(schema) else None
    return assemble(bottom, logits, heads, variables, own_losses=losses, counters=dropout.counters)


def calibrated_pairs(schema: Schema) -> list[tuple[str, str]]:
    """Returns consecutive tasks of one scenario that are both binary and have no population.

    Of such a pair the later event implies the earlier one (AITM's purchase implies its click), so
    its probability must not be higher. This does not hold for a task that is no event or that has
    a population: the watch ratio of a click, for example, may exceed the probability of the click.
    """
    events = {t.name for t in schema.tasks if t.kind == "binary" and t.population is None}
    pairs = []
    for earlier, later in itertools.pairwise(schema.tasks):
        if events.issuperset((earlier.name, later.name)) and later.shares_scenario(earlier):
            pairs.append((earlier.name, later.name))
    return pairs


def calibrated_losses(schema: Schema) -> OwnLosses:
    """Returns all tasks' losses; calibrated pairs add .6 mean(max(p_t - p_{t-1}, 0)) to task t's.

    The mean is over all rows of the pair's scenario, by their weights. The calibrator is part of
    the later task's loss, so it has that loss's weight. Source: AITM, "behavioral expectation
    calibrator".
    """
    earlier_of = {second: first for first, second in calibrated_pairs(schema)}

    def losses(logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        loss_by_task = {}
        for task in schema.tasks:
            name = task.name
            loss = loss_of(task)(logits[name], targets(batch)[name], batch["weights"][name])
            if name in earlier_of:
                excess = probability(logits[name]) - probability(logits[earlier_of[name]])
                mean = population_mean(tf.nn.relu(excess), batch["weights"][name])
                loss += CALIBRATOR_WEIGHT * mean
            loss_by_task[name] = loss
        return loss_by_task

    return losses


def _transfer(
    own: tf.Tensor, passed: tf.Tensor, task: str, seed: int, variables: dict[str, tf.Variable]
) -> tf.Tensor:
    """Fuses a tower's output with that of the task before, by attention."""
    names = [f"{task}/transfer/{part}_kernel" for part in ("query", "key", "value")]
    draws = [keras.initializers.GlorotNormal(seed=seed_of(seed, name)) for name in names]
    transfer = UnitAttention(own.shape[-1], draws, name=f"{task}.transfer")
    z = transfer([own, passed])
    variables |= zip(names, transfer.kernels.values(), strict=True)
    return z
