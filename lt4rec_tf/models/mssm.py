"""Multiple-level sparse sharing: tasks learn which fields they read, and which cells of which task.

Source: MSSM (Ding et al., SIGIR 2021, doi 10.1145/3404835.3463022), as its abstract and public
summaries of it describe it; no code of it was found. Its coding variables are those of SNR (Ma et
al., AAAI 2019), with the gates of Louizos et al. (arXiv 1712.01312).

What these leave open, and what is done here:

- **The cross layer** reads gated vectors: u_j = relu(cross(E_j) W_j + b_j). A field that a task
  does not read is out of its products of two fields too.
- **The shared subnetwork** reads all fields as they are. The gates say what is a task's own.
- **Coding variables**: one for each pair of subnetworks and unit of the one that is read ("cell").
  A closed one takes a row of W_ab away, which no unit above then reads.
- **The last layer** has no shared subnetwork, which nobody would read.
- **The L0 penalty** is lambda_0 times the expected share of coding variables that are open, in
  place of their number: lambda_0 then means the same for all widths and numbers of tasks.
- **The L2 penalty** is --weight_decay, as for all models.
- **Draws**: g_ij from N(0, 1). Field vectors begin near 0, so gates begin there too and open as far
  as training makes the vectors long: what the shared subnetwork learned first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.feature_encoder import Bottom, seed_of
from lt4rec_tf.models.layers.coded_dense import CodedDense
from lt4rec_tf.models.layers.field_gates import FieldGates
from lt4rec_tf.models.network import RankingNetwork, add_head, assemble, dense_stack
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema

# Begins the names of the shared subnetwork's variables; tasks' names hold no dot.
SHARED = "cell.shared"


def build_mssm(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    mask_penalty: float,
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds a subnetwork for each task and a shared one, whose layers read each other sparsely.

    Of task j and field i with vector e_i: w_ij = relu(tanh(g_ij . e_i)), E_j = [w_1j e_1, ...].
    Above the first layer v_a = relu(sum_b (m_ab * u_b) W_ab + b_a), a and b over the tasks and the
    shared subnetwork, m_ab of `CodedDense`. Losses of the tasks get
    `mask_penalty` * mean of P(m > 0) added.

    Args:
        schema: Its tasks, of any kind.
        bottom: Inputs, field vectors and cross layer, on which the subnetworks are built.
        hidden_units: Widths from the bottom up, at least one: the first is that of u, the others
            of the layers above. One width alone is that of both.
        mask_penalty: lambda_0, 0 or more.
        seed: Of all draws.
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).
    """
    dropout = TowerDropout(tower_dropout, seed)
    variables = dict(bottom.variables)
    cells = [f"{task.name}/cell" for task in schema.tasks]
    inputs = {cell: _gated(bottom, cell, seed, variables) for cell in cells}
    inputs[SHARED] = bottom.crossed

    first, above = hidden_units[:1], hidden_units[1:] or hidden_units
    read = [dense_stack(x, first, cell, seed, variables, dropout) for cell, x in inputs.items()]
    coded: dict[str, list[CodedDense]] = {cell: [] for cell in inputs}
    for depth, units in enumerate(above, 1):
        is_last = depth == len(above)
        whole = keras.layers.Concatenate(name=f"cell.all.{depth - 1}")(read)
        readers = cells if is_last else [*inputs]
        layers = {cell: _coded(f"{cell}/{depth}", units, seed) for cell in readers}
        read = [dropout.of(layer(whole), f"{cell}/{depth}") for cell, layer in layers.items()]
        for cell, layer in layers.items():
            coded[cell].append(layer)
            for name in ("kernel", "bias", "coding"):
                variables[f"{cell}/{depth}/{name}"] = getattr(layer, name)

    heads, logits = {}, {}
    for task, top in zip(schema.tasks, read, strict=True):
        heads[task.name], logits[task.name] = add_head(top, task, seed, variables)
    counters = {f"{layer.name}/calls": layer.calls for layer in _all_of(coded)}
    return assemble(
        bottom,
        logits,
        heads,
        variables,
        counters=counters | dropout.counters,
        penalty=_penalty(_all_of(coded), mask_penalty) if mask_penalty else None,
        kept_shares=lambda: {
            task.name: open_share(coded[cell])
            for task, cell in zip(schema.tasks, cells, strict=True)
        },
    )


def open_share(layers: Sequence[CodedDense]) -> float:
    """Returns the share of the coding variables of some layers that inference has above 0."""
    gates = tf.concat([layer.gates() for layer in layers], axis=0)
    return float(tf.reduce_mean(tf.cast(gates > 0.0, tf.float32)))


def _gated(bottom: Bottom, cell: str, seed: int, variables: dict[str, tf.Variable]) -> tf.Tensor:
    """Returns the cross layer's output of a task's gated fields, float32 (batch, width)."""
    name = f"{cell}/gates"
    draw = keras.initializers.RandomNormal(stddev=1.0, seed=seed_of(seed, name))
    gates = FieldGates(draw, name=name.replace("/", "."))
    gated = gates(bottom.vectors)
    variables[f"{name}/directions"] = gates.directions
    return bottom.cross_layer(gated)


def _coded(name: str, units: int, seed: int) -> CodedDense:
    draw = keras.initializers.GlorotNormal(seed=seed_of(seed, name))
    own_seed = seed_of(seed, f"{name}/coding")
    return CodedDense(units, draw, seed=own_seed, name=name.replace("/", "."))


def _all_of(coded: Mapping[str, Sequence[CodedDense]]) -> list[CodedDense]:
    return [layer for layers in coded.values() for layer in layers]


def _penalty(layers: Sequence[CodedDense], weight: float) -> Callable[[], tf.Tensor]:
    def penalty() -> tf.Tensor:
        chances = tf.concat([layer.open_chances() for layer in layers], axis=0)
        return weight * tf.reduce_mean(chances)

    return penalty
