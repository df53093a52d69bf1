"""Direct entire-space causal multi-task framework: impressions without a click have labels too.

Source: DCMT (Zhu et al., ICDE 2023, arXiv 2302.06141). Beside the factual CVR r, which clicks
teach, a twin predicts the counterfactual CVR r*, which impressions without a click teach: their
label is r* = 1. The counterfactual prior, r + r* = 1, ties them by a weak penalty.

**What this says of a watch ratio.** Of a binary conversion, r* is the chance of none. Of a ratio,
it is the share of the video that is left unwatched, and a label of 1 says that whoever did not
click would have watched nothing of it. That is the paper's prior, not an observation: CVR is the
ratio given a click, and somebody who did not see a video may well have watched it. The prior draws
r down where clicks are rare, by as much as its weight allows. Where skipping is a judgement on the
item it is right, where it comes from the position or the cover it is not; the model cannot tell.

What the paper leaves open, and what is done here:

- **Losses.** l of clicks is the loss that the schema gives the task, as in `escm2`; that of r* is
  the same loss with label 1. An amount has no 1 - r, so it is refused.
- **The twin** shares the task's hidden layers and has a head of its own.
- **Propensities** as in `escm2`: constants, clipped at both ends, as 1 - p divides too.
- **Normalisation.** Losses of clicks are divided by the sum of their 1 / p, those of others by the
  sum of their 1 / (1 - p) (self-normalised, as the paper proposes against large weights), so the
  task's loss does not depend on how rare clicks are.
- **Weights.** CVR's loss and the product's have weight 1 each, the prior `PRIOR_WEIGHT`, as in
  public implementations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.models.escm2 import propensities
from lt4rec_tf.models.esmm import (
    chain,
    entire_space_losses,
    entire_space_weights,
    product_loss,
    task_towers,
)
from lt4rec_tf.models.feature_encoder import Bottom
from lt4rec_tf.models.heads.of_task import loss_of
from lt4rec_tf.models.losses import population_mean, probability
from lt4rec_tf.models.network import (
    AUXILIARY,
    RankingNetwork,
    add_auxiliary_head,
    assemble,
)
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema, Task

PRIOR_WEIGHT = 0.001


def build_dcmt(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds one tower for each task, and a second head, r*, for each task with a population.

    Such a task z of clicks y learns, over all impressions D with click propensities p, by

    sum(y l(r, z) / p) / sum(y / p) + sum((1 - y) l(r*, 1) / (1 - p)) / sum((1 - y) / (1 - p))
    + `PRIOR_WEIGHT` mean_D |1 - (r + r*)| + ESMM's loss of pctr * pcvr

    Other tasks keep the losses that the schema gives them.

    Args:
        schema: Its tasks; one with a population needs the task that predicts this population.
        bottom: Inputs and cross layer, on which the towers are built.
        hidden_units: Widths of the towers, from the bottom up.
        seed: Of all draws.
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).

    Raises:
        ValueError: See `counterfactual_chain`.
    """
    first_of = counterfactual_chain(schema)

    dropout = TowerDropout(tower_dropout, seed)
    built = task_towers(schema, bottom, hidden_units, seed, dropout)
    auxiliary = {
        name: add_auxiliary_head(built.tops[name], f"{name}/counterfactual", seed, built.variables)
        for name in first_of
    }

    losses = entire_space_losses(schema, twin_loss, "DCMT") if first_of else None
    return assemble(
        bottom,
        built.logits,
        built.heads,
        built.variables,
        own_losses=losses,
        counters=dropout.counters,
        auxiliary=auxiliary,
    )


def counterfactual_chain(schema: Schema) -> dict[str, str]:
    """Returns what `esmm.chain` does, of tasks that have a counterfactual.

    Raises:
        ValueError: The task that another is chained to is not there, or the other is an amount.
    """
    first_of = chain(schema, "DCMT")
    for name in first_of:
        if schema.task(name).kind == "amount":
            raise UnfitError(
                f"DCMT learns task {name} and what is left of 1: found an amount, expected a "
                "probability or a ratio in [0, 1]"
            )
    return first_of


def twin_loss(
    task: Task, first: str, logits: Mapping[str, tf.Tensor], batch: Mapping[str, Any]
) -> tf.Tensor:
    """Returns a chained task's loss; arguments as `esmm.product_loss` has them."""
    z, loss = task.name, loss_of(task)
    click, label = batch["labels"][first], batch["labels"][z]
    weights = entire_space_weights(batch, first, z)
    chance = propensities(logits[first])
    factual, twin = logits[z], logits[f"{z}{AUXILIARY}"]

    # The loss of weighted rows is divided by the sum of their weights: it is self-normalised.
    of_clicks = loss(factual, label, weights * click / chance)
    of_others = loss(twin, tf.ones_like(label), weights * (1.0 - click) / (1.0 - chance))
    apart = tf.abs(1.0 - (probability(factual) + probability(twin)))
    prior = PRIOR_WEIGHT * population_mean(apart, weights)
    return of_clicks + of_others + prior + product_loss(task, first, logits, batch)
