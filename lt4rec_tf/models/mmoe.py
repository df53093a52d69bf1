"""Multi-gate mixture of experts: experts of all tasks, a gate and a tower of each task.

Source: MMoE (Ma et al., KDD 2018, doi 10.1145/3219819.3220007), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.feature_encoder import Bottom, seed_of
from lt4rec_tf.models.layers.experts import ExpertMixture
from lt4rec_tf.models.network import RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema


def build_mmoe(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    experts: int,
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds y_k = h_k(sum_i softmax(x W_k)_i E_i(x)) for each task k, x the cross layer's output.

    Kernels are drawn Xavier-normal, as in every model here: models that are compared are trained
    alike.

    Args:
        schema: Its tasks, of any kind.
        bottom: Inputs and cross layer, on which experts and gates are built.
        hidden_units: Widths from the bottom up, at least one: the experts take all but the last,
            the towers the last. One width alone is that of both.
        experts: Number of E_i, 1 or more.
        seed: Of all draws.
        tower_dropout: Share of the experts' and towers' units that a training
            step sets to 0, in [0, 1).
    """
    dropout = TowerDropout(tower_dropout, seed)
    variables = dict(bottom.variables)
    units = expert_units(hidden_units)
    outputs = [
        dense_stack(bottom.crossed, units, f"expert_{i}", seed, variables, dropout)
        for i in range(experts)
    ]

    heads, logits = {}, {}
    for task in schema.tasks:
        name = task.name
        mixed = mix(bottom.crossed, outputs, name, seed, variables)
        tower = dense_stack(mixed, hidden_units[-1:], f"{name}/tower", seed, variables, dropout)
        heads[name], logits[name] = add_head(tower, task, seed, variables)
    return assemble(bottom, logits, heads, variables, counters=dropout.counters)


def expert_units(hidden_units: Sequence[int]) -> Sequence[int]:
    """Returns the widths of a model's experts: all but the last, which is the towers'.

    >>> expert_units([512, 256, 128]), expert_units([64])
    ([512, 256], [64])
    """
    return hidden_units[:-1] or hidden_units


def mix(
    x: tf.Tensor,
    outputs: Sequence[tf.Tensor],
    prefix: str,
    seed: int,
    variables: dict[str, tf.Variable],
) -> tf.Tensor:
    """Mixes experts' outputs by one gate; returns float32 (batch, units).

    Args:
        x: The gate's input, float32 (batch, width).
        outputs: Of the experts, each float32 (batch, units).
        prefix: Begins the name of the gate's kernel: a task, or a task and a level.
        seed: Of the draw.
        variables: Gets "<prefix>/gate/kernel".
    """
    name = f"{prefix}/gate"
    draw = keras.initializers.GlorotNormal(seed=seed_of(seed, name))
    mixture = ExpertMixture(len(outputs), draw, name=name.replace("/", "."))
    mixed = mixture(x, outputs)
    variables[f"{name}/kernel"] = mixture.kernel
    return mixed
