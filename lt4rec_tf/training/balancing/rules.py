"""The balancing rules by name."""

from __future__ import annotations

import tensorflow as tf

from lt4rec_tf.core.errors import UnfitError
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.balancing.core_task import HybridTargets, MetaBalance
from lt4rec_tf.training.balancing.gradients import Gradient
from lt4rec_tf.training.balancing.gradnorm import GradNorm, last_shared_kernel
from lt4rec_tf.training.balancing.pcgrad import PCGrad
from lt4rec_tf.training.balancing.rule import Gradients, Losses, Rule, Variables
from lt4rec_tf.training.balancing.uncertainty import Uncertainty
from lt4rec_tf.training.plan import Objective, Optimization

RULES = ("none", "pcgrad", "gradnorm", "uncertainty", "metabalance", "htlnet")


def build_rule(
    network: RankingNetwork,
    schema: Schema,
    objective: Objective,
    optimization: Optimization,
    tensors: int,
) -> Rule:
    """Makes the rule that an objective names.

    Args:
        network: Its variables are trained.
        schema: The tasks' losses.
        objective: Names the rule, one of `RULES`, and the tasks whose losses the rule is given.
        optimization: Of the network.
        tensors: Number of variables that are trained.

    Raises:
        ValueError: The name is unknown, the tasks are not trained on one batch, there are fewer
            than two of them, or the network lacks what the rule needs.
    """
    name, tasks = objective.balance, objective.present
    if name != "none" and objective.schedule != "both":
        raise UnfitError(
            f"balance {name}: found schedule {objective.schedule!r}, expected 'both': it compares "
            "the tasks on one batch"
        )
    if name not in RULES:
        raise ValueError(f"balance: found {name!r}, expected one of {', '.join(RULES)}")
    if name == "none" or (objective.absent and len(tasks) == 1):
        return WeightedSum()
    if len(tasks) < 2:
        raise UnfitError(f"balance {name}: found {', '.join(tasks)} alone, expected two tasks")

    if name == "pcgrad":
        return PCGrad(len(tasks), optimization.seed)
    if name == "gradnorm":
        return GradNorm(len(tasks), last_shared_kernel(network, tasks))
    if name == "metabalance":
        return MetaBalance(len(tasks), tensors)
    if name == "htlnet":
        return HybridTargets(objective.core)
    squared = [schema.task(task).learns_squares for task in tasks]
    return Uncertainty(squared, optimization.optimizer, optimization.learning_rate)


class WeightedSum(Rule):
    """Sums the losses, sum_t L_t, without balancing: Eq. 2 of LT4REC (arXiv 2008.09872)."""

    def targets(self, losses: Losses) -> list[tf.Tensor]:
        """Returns the sum."""
        return [tf.add_n(losses)]

    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Returns the sum's gradients."""
        return list(gradients[0])
