"""Progressive layered extraction: levels of experts of each task and of all tasks.

One level is CGC (customized gate control). Source: PLE (Tang et al., RecSys 2020,
doi 10.1145/3383313.3412236), sections 4.1 and 4.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import tensorflow as tf

from lt4rec_tf.models.feature_encoder import Bottom
from lt4rec_tf.models.mmoe import expert_units, mix
from lt4rec_tf.models.network import RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema


def build_ple(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    levels: int,
    own_experts: int,
    shared_experts: int,
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds levels of experts and gates, and one tower on each task's last mixture.

    At every level a task's gate reads the task's input and mixes the task's own and the shared
    experts into its next input; below the last level, a shared gate mixes all experts of all tasks
    into the shared experts' next input. The first level's inputs are the cross layer's output.
    Kernels are drawn Xavier-normal, as in every model here: models that are compared are trained
    alike. Each task's loss is over its own population (PLE, section 4.3).

    Args:
        schema: Its tasks, of any kind.
        bottom: Inputs and cross layer, on which the first level is built.
        hidden_units: Widths from the bottom up, at least one: the towers take the last, experts
            (of one layer) the one of their level among the others, levels above them the highest
            of these. One width alone is that of all.
        levels: Number of levels, 1 or more.
        own_experts: Experts of each task in a level, 1 or more.
        shared_experts: Experts of all tasks in a level, 1 or more.
        seed: Of all draws.
        tower_dropout: Share of the experts' and towers' units that a training
            step sets to 0, in [0, 1).
    """
    dropout = TowerDropout(tower_dropout, seed)
    variables = dict(bottom.variables)
    widths = expert_units(hidden_units)
    task_inputs = {task.name: bottom.crossed for task in schema.tasks}
    shared_input = bottom.crossed
    for level in range(levels):
        width, name = widths[min(level, len(widths) - 1)], f"level_{level}"

        shared_outputs = _experts(
            shared_input, shared_experts, width, name, seed, variables, dropout
        )
        task_outputs = {}
        for task, x in task_inputs.items():
            own = f"{task}/{name}"
            task_outputs[task] = _experts(x, own_experts, width, own, seed, variables, dropout)

        for task, x in task_inputs.items():
            outputs = [*task_outputs[task], *shared_outputs]
            task_inputs[task] = mix(x, outputs, f"{task}/{name}", seed, variables)

        # Above the last level there are no shared experts to read a mixture of all.
        if level < levels - 1:
            outputs = [*itertools.chain(*task_outputs.values()), *shared_outputs]
            shared_input = mix(shared_input, outputs, name, seed, variables)

    heads, logits = {}, {}
    for task, x in task_inputs.items():
        tower = dense_stack(x, hidden_units[-1:], f"{task}/tower", seed, variables, dropout)
        heads[task], logits[task] = add_head(tower, schema.task(task), seed, variables)
    return assemble(bottom, logits, heads, variables, counters=dropout.counters)


def _experts(
    x: tf.Tensor,
    count: int,
    width: int,
    prefix: str,
    seed: int,
    variables: dict[str, tf.Variable],
    dropout: TowerDropout,
) -> list[tf.Tensor]:
    """Returns the outputs of experts of one layer, each float32 (batch, width)."""
    return [
        dense_stack(x, [width], f"{prefix}/expert_{i}", seed, variables, dropout)
        for i in range(count)
    ]
