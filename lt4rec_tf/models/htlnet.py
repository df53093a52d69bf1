"""Hybrid targets learning: a chain of classifications that ends in an amount or a ratio.

Source: HTLNet (Tang et al., RecSys 2024, arXiv 2403.17442). The docstrings name the choices that
its text leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.feature_encoder import Bottom, seed_of
from lt4rec_tf.models.layers.attention import UnitAttention
from lt4rec_tf.models.layers.label_embedding import LabelEmbedding, Temperature
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.lt4rec import build_tower
from lt4rec_tf.models.network import TRANSFER, RankingNetwork, add_head, assemble
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Schema, Task


@dataclass(frozen=True)
class Transfer:
    """Sizes and rules of the transfer from a task to the tasks after it.

    Attributes:
        label_embedding: Length of a predicted label's embedding; 0: labels are not transferred.
        representation: Length of the fused representation; 0: representations are not transferred.
        fusion: "attention" over all tasks before, or "concat": one linear layer of all of them.
        transfer_stop: Where the gradient to earlier tasks ends: at the "entry" of the transfer, so
            that label embeddings and fusion are learned by the tasks that read them; at the
            "output" of both, which then keep their draw; "none": nowhere.
        label_noise: True: labels are sampled in training.
        temperature: Of the sampling.
    """

    label_embedding: int
    representation: int
    fusion: str
    transfer_stop: str
    label_noise: bool
    temperature: Temperature


def build_htlnet(
    schema: Schema,
    bottom: Bottom,
    *,
    hidden_units: Sequence[int],
    separate_towers: bool,
    transfer: Transfer,
    seed: int,
    tower_dropout: float = 0.0,
) -> RankingNetwork:
    """Builds a chain of towers in the order of the schema's tasks.

    The first layer of task t > 1 is relu(x (W * M) + [r_t, e_t] V + b): x the cross layer's output,
    r_t the fused representations of the tasks before (their first layers' outputs), e_t the fused
    embeddings of the labels that the classifications among them predict. This equals the paper's
    tower over the concatenation of all three. The transfer has a kernel of its own, so that a mask
    M fits the same kernels as a mask of `models.lt4rec`. The first task reads x alone. Towers have
    the draws of those of `models.lt4rec`. What is handed on is read before any dropout.

    The paper stops gradients so that later tasks reach earlier ones through the embeddings alone.
    A third-party text has the stop at the output of the transfer, which would leave it untrained;
    this project's runs stop gradients at the entry unless a flag says otherwise.

    Args:
        schema: Its tasks, in the order in which their events happen.
        bottom: Inputs and cross layer, on which the towers are built.
        hidden_units: Widths of the towers, from the bottom up.
        separate_towers: True: each task has kernels of its own, as in the paper. False: all tasks
            have masks on one tower (sparse sharing).
        transfer: Sizes and rules of the transfer.
        seed: Of all draws, and of the labels' noise.
        tower_dropout: Share of hidden units that a training step sets to 0, in [0, 1).

    Raises:
        ValueError: The fusion or the place of the stop is unknown.
    """
    if transfer.fusion not in ("attention", "concat"):
        raise ValueError(f"fusion: found {transfer.fusion!r}, expected 'attention' or 'concat'")
    if transfer.transfer_stop not in ("entry", "output", "none"):
        stop = transfer.transfer_stop
        raise ValueError(f"transfer_stop: found {stop!r}, expected 'entry', 'output' or 'none'")

    chain = _Chain(transfer, seed, dict(bottom.variables))
    dropout = TowerDropout(tower_dropout, seed)
    shared: list[keras.layers.Dense] = []
    towers, heads, logits = {}, {}, {}
    for task in schema.tasks:
        name = task.name
        if separate_towers or not shared:
            prefix = f"{name}/" if separate_towers else ""
            width = bottom.crossed.shape[-1]
            shared = build_tower(width, hidden_units, prefix, seed, chain.variables)
        towers[name] = [MaskedDense(d, name=f"{name}.masked_{i}") for i, d in enumerate(shared)]

        transferred = chain.transfer_to(name, hidden_units[0])
        first = towers[name][0](bottom.crossed, addend=transferred)
        hidden = dropout.of(first, f"{name}/tower_0")
        for depth, layer in enumerate(towers[name][1:], 1):
            hidden = dropout.of(layer(hidden), f"{name}/tower_{depth}")
        heads[name], logits[name] = add_head(hidden, task, seed, chain.variables)

        if task is not schema.tasks[-1]:
            chain.add(task, first, logits[name])
    counters = chain.counters | dropout.counters
    return assemble(bottom, logits, heads, chain.variables, towers=towers, counters=counters)


class _Chain:
    """Labels and representations of the tasks built so far, for the tasks after them.

    Attributes:
        variables: All trained variables of the network so far.
        counters: Of the label embeddings.
    """

    def __init__(self, transfer: Transfer, seed: int, variables: dict[str, tf.Variable]) -> None:
        self._transfer, self._seed = transfer, seed
        self._labels: list[tf.Tensor] = []
        self._representations: list[tf.Tensor] = []
        self.variables = variables
        self.counters: dict[str, tf.Variable] = {}

    def add(self, task: Task, representation: tf.Tensor, logit: tf.Tensor) -> None:
        """Adds a task at the chain's end; only a classification has a label to embed."""
        if self._transfer.representation:
            self._representations.append(self._stopped("entry", representation))
        if self._transfer.label_embedding and task.kind == "binary":
            self._labels.append(self._embedded(task.name, self._stopped("entry", logit)))

    def transfer_to(self, task: str, units: int) -> tf.Tensor | None:
        """Returns what a task's first layer adds, float32 (batch, units); None: nothing."""
        transfer = self._transfer
        parts = []
        if self._representations:
            parts.append(
                self._fused(
                    f"{task}/representation", self._representations, transfer.representation
                )
            )
        if self._labels:
            parts.append(self._fused(f"{task}/label", self._labels, transfer.label_embedding))
        if not parts:
            return None

        stopped = [self._stopped("output", part) for part in parts]
        whole = stopped[0]
        if len(stopped) > 1:
            whole = keras.layers.Concatenate(name=f"{task}.handed")(stopped)
        return self._linear(f"{task}/input", whole, units)

    def _fused(self, name: str, units: Sequence[tf.Tensor], width: int) -> tf.Tensor:
        """Fuses vectors of all tasks before, float32 (batch, width)."""
        if len(units) == 1:  # its attention weight would be 1
            return self._linear(name, units[0], width)

        if self._transfer.fusion == "concat":
            whole = keras.layers.Concatenate(name=_layer(f"{name}/whole"))([*units])
            return self._linear(name, whole, width)

        names = [f"{TRANSFER}{name}/{part}_kernel" for part in ("query", "key", "value")]
        draws = [keras.initializers.GlorotNormal(seed=seed_of(self._seed, n)) for n in names]
        attention = UnitAttention(width, draws, name=_layer(f"{name}/attention"))
        fused = attention([*units])
        for part, kernel in attention.kernels.items():
            self.variables[f"{TRANSFER}{name}/{part}_kernel"] = kernel
        return fused

    def _linear(self, name: str, x: tf.Tensor, units: int) -> tf.Tensor:
        """Applies a new Dense layer without bias or activation."""
        kernel = f"{TRANSFER}{name}/kernel"
        draw = keras.initializers.GlorotNormal(seed=seed_of(self._seed, kernel))
        dense = keras.layers.Dense(
            units, use_bias=False, kernel_initializer=draw, name=_layer(f"{name}/linear")
        )
        product = dense(x)
        self.variables[kernel] = dense.kernel
        return product

    def _embedded(self, task: str, logit: tf.Tensor) -> tf.Tensor:
        """Embeds the label that a task predicts, float32 (batch, label_dim)."""
        transfer, table = self._transfer, f"{TRANSFER}{task}/label_table"
        embedding = LabelEmbedding(
            transfer.label_embedding,
            keras.initializers.GlorotNormal(seed=seed_of(self._seed, table)),
            temperature=transfer.temperature,
            noise=transfer.label_noise,
            seed=seed_of(self._seed, f"{task}/label noise"),
            name=_layer(f"{task}/label_embedding"),
        )
        label_vectors = embedding(logit)
        self.variables[table] = embedding.table
        self.counters[f"{task}/label_calls"] = embedding.calls
        return label_vectors

    def _stopped(self, at: str, x: tf.Tensor) -> tf.Tensor:
        """Stops the gradient at the entry or output, if the transfer stops it there."""
        return tf.stop_gradient(x) if self._transfer.transfer_stop == at else x


def _layer(name: str) -> str:
    """Returns a layer's name: TensorFlow would take slashes for scopes."""
    return name.replace("/", ".")
