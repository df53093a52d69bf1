"""Entire space counterfactual multi-task model: losses of clicks stand for all impressions.

Whether an impression is clicked is a draw with probability p, its propensity. A click's loss
divided by p is, on average over the draws, the loss of the impression itself, had it been clicked.

Source: ESCM2 (Wang et al., SIGIR 2022, arXiv 2204.05125), its IPS and DR regularisers. What the
paper leaves open, and what is done here:

- **Losses.** Its labels are binary and its l is the log loss. Here l is the loss that the schema
  gives the task: as for hard sharing, so that models of a comparison differ in what l is averaged
  over. The product is learned as in ESMM.
- **Weights.** The counterfactual risk has the share `--counterfactual_share` of the task's weight,
  the product's loss the rest. Half each is what PaddleRec's implementation has; at 1 the risk is
  alone. `--loss_weights` scales both.
- **Propensities** are CTR's predictions. They are constants to CVR's loss: otherwise CTR would be
  taught to predict more clicks where CVR is wrong. They are those of the rows that are trained on,
  also where negatives were sampled. They are clipped from below, which bounds a click's weight by
  1 / `LEAST_PROPENSITY` and lets rarer clicks count for less than they should.
- **No normalisation** by the sum of the inverse propensities: the mean is over all impressions.
- **The imputation tower** is one more tower of the task's size. It predicts the loss itself, so
  its output is above 0 (softplus), but for "ziln", whose likelihood can be below. The loss that it
  is compared with is a constant there: CVR's tower is to make it small, not easy to predict. As
  the imputed loss does not depend on CVR's tower, that tower's own gradient is that of IPS;
  tables and cross layer, which towers share, are taught otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from lt4rec_tf.models.esmm import (
    ChainedLoss,
    chain,
    entire_space_losses,
    entire_space_weights,
    product_loss,
    task_towers,
)
from lt4rec_tf.models.feature_encoder import Bottom
from lt4rec_tf.models.heads.of_task import loss_of
from lt4rec_tf.models.losses import losses_by_row, population_mean, probability
from lt4rec_tf.models.network import (
    AUXILIARY,
    RankingNetwork,
    add_auxiliary_head,
    assemble,
    dense_stack,
)
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema, Task

LEAST_PROPENSITY = 0.01


def build_escm2(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    seed: int,
    doubly_robust: bool,
    counterfactual_share: float,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds one tower for each task, as ESMM does; doubly robust, an imputation tower beside.

    A task z with a population y, such as the watch ratio of clicks, learns by s R + (1 - s) L. L is
    ESMM's loss of pctr * pcvr, R the counterfactual risk over all impressions D:

    IPS: R = mean_D(y l / p)
    DR:  R = mean_D(m + y (l - m) / p) + mean_D(y (l - m)^2 / p), m the imputed loss

    l is the schema's loss of z. Other tasks keep theirs.

    Args:
        schema: Its tasks; one with a population needs the task that predicts this population.
        bottom: Inputs and cross layer, on which the towers are built.
        hidden_units: Widths of the towers, from the bottom up.
        seed: Of all draws.
        doubly_robust: DR in place of IPS.
        counterfactual_share: s, in (0, 1].
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).

    Raises:
        ValueError: The task that another is chained to is not there.
    """
    first_of = chain(schema, "ESCM2")

    dropout = TowerDropout(tower_dropout, seed)
    built = task_towers(schema, bottom, hidden_units, seed, dropout)
    variables, auxiliary = built.variables, {}
    for name in first_of if doubly_robust else ():
        of_loss = f"{name}/imputation"
        imputing = dense_stack(bottom.crossed, hidden_units, of_loss, seed, variables, dropout)
        auxiliary[name] = add_auxiliary_head(imputing, of_loss, seed, variables)

    risk = doubly_robust_risk if doubly_robust else inverse_propensity_risk
    loss = partial(counterfactual_loss, risk=risk, share=counterfactual_share)
    losses = entire_space_losses(schema, loss, "ESCM2") if first_of else None
    return assemble(
        bottom,
        built.logits,
        built.heads,
        variables,
        own_losses=losses,
        counters=dropout.counters,
        auxiliary=auxiliary,
    )


def propensities(logits: tf.Tensor, least: float = LEAST_PROPENSITY) -> tf.Tensor:
    """Returns sigmoid(logit) within [least, 1 - least], without a gradient.

    >>> propensities(tf.constant([-100.0, 0.0, 100.0]), least=0.25).numpy().tolist()
    [0.25, 0.5, 0.75]
    """
    return tf.stop_gradient(tf.clip_by_value(probability(logits), least, 1.0 - least))


def counterfactual_loss(
    task: Task,
    first: str,
    logits: Mapping[str, tf.Tensor],
    batch: Mapping[str, Any],
    *,
    risk: ChainedLoss,
    share: float,
) -> tf.Tensor:
    """Returns s R + (1 - s) L of a chained task, see `build_escm2`.

    Args:
        task: As `esmm.product_loss` has it, like the next three.
        first: See there.
        logits: See there; with the imputation tower's output, if the risk reads it.
        batch: See there.
        risk: R.
        share: s, in (0, 1].
    """
    of_product = product_loss(task, first, logits, batch)
    return share * risk(task, first, logits, batch) + (1.0 - share) * of_product


def inverse_propensity_risk(
    task: Task, first: str, logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]
) -> tf.Tensor:
    """Returns mean_D(y l / p) of a chained task; arguments as `esmm.product_loss` has them."""
    labels, weights = batch["labels"], entire_space_weights(batch, first, task.name)
    inverse = labels[first] / propensities(logits[first])
    return loss_of(task)(logits[task.name], labels[task.name], weights, inverse)


def doubly_robust_risk(
    task: Task, first: str, logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]
) -> tf.Tensor:
    """Returns the risk of DR of a chained task; arguments as `esmm.product_loss` has them."""
    labels, weights = batch["labels"], entire_space_weights(batch, first, task.name)
    inverse = labels[first] / propensities(logits[first])
    output = logits[f"{task.name}{AUXILIARY}"]
    imputed = output if task.loss == "ziln" else tf.nn.softplus(output)

    # Of a row without a click the loss is of no label at all: there `inverse` is 0.
    losses = losses_by_row(task, logits[task.name], labels[task.name])
    risk = population_mean(imputed + inverse * (losses - imputed), weights)
    squares = tf.math.squared_difference(tf.stop_gradient(losses), imputed)
    return risk + population_mean(squares, weights, inverse)
