"""The LT4REC network: single task, hard sharing and sparse sharing in one functional model.

ids -> field vectors -> cross layer -> per task: MaskedDense x depth -> head -> logit.

With shared towers every depth has one kernel, of which each task wears its own mask: sparse
sharing, and with masks of ones a fully shared bottom. With separate towers every task has kernels
of its own: hard sharing of embeddings and cross layer only. One task alone is the single-task
model. Source: LT4REC (arXiv 2008.09872), figures 1 to 3.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.layers.cross import CrossNetworkV2, GramCross, TriangleCross
from lt4rec_tf.layers.embedding import FieldVectors
from lt4rec_tf.layers.masked_dense import MaskedDense
from lt4rec_tf.schema import Feature, Schema
from lt4rec_tf.tickets.masks import Masks


@dataclass(frozen=True)
class RankingNetwork:
    """A functional model and its parts by name.

    Attributes:
        model: {feature: ids} -> {task: logit, float32 (batch,)}.
        bottom: {feature: ids} -> output of the cross layer, float32 (batch, width).
        task_models: Task -> {feature: ids} -> logit; they share the model's layers.
        towers: Task -> its MaskedDense layers, from the bottom up.
        heads: Task -> its last Dense layer.
        variables: Every trained variable by a name that does not depend on Keras.
    """

    model: keras.Model
    bottom: keras.Model
    task_models: dict[str, keras.Model]
    towers: dict[str, list[MaskedDense]]
    heads: dict[str, keras.layers.Dense]
    variables: dict[str, tf.Variable]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names, in order."""
        return tuple(self.towers)

    def feature_specs(self) -> dict[str, tf.TensorSpec]:
        """What the model takes: {feature: spec of its ids}."""
        return {
            name: tf.TensorSpec(tensor.shape, tensor.dtype)
            for name, tensor in self.model.input.items()
        }

    def kernels(self, task: str) -> dict[str, tf.Variable]:
        """The prunable kernels that a task computes with: "tower_<depth>" -> variable."""
        return {f"tower_{i}": layer.shared.kernel for i, layer in enumerate(self.towers[task])}

    def kernel_shapes(self, task: str) -> dict[str, tuple[int, ...]]:
        """The shapes of a task's kernels, which its masks must have."""
        return {name: tuple(kernel.shape) for name, kernel in self.kernels(task).items()}

    def masks(self, task: str) -> Masks:
        """The masks that a task wears now."""
        return {
            f"tower_{i}": layer.mask.numpy().astype(bool)
            for i, layer in enumerate(self.towers[task])
        }

    def wear(self, task: str, masks: Masks) -> None:
        """Puts a ticket on a task.

        Raises:
            ValueError: The masks' names or shapes are not those of the task's kernels.
        """
        if set(masks) != set(self.kernels(task)):
            raise ValueError(
                f"task {task}: masks for {sorted(masks)}, kernels are {sorted(self.kernels(task))}"
            )
        for i, layer in enumerate(self.towers[task]):
            layer.set_mask(masks[f"tower_{i}"])

    def trained_by(self, task: str) -> list[tf.Variable]:
        """The variables that a task's loss has a gradient for."""
        return self.task_models[task].trainable_variables


def build_network(
    schema: Schema,
    *,
    separate_towers: bool,
    embedding_dim: int,
    embedding_stddev: float,
    cross: str,
    dcn_layers: int,
    hidden_units: Sequence[int],
    seed: int,
) -> RankingNetwork:
    """Builds the network for the schema's tasks.

    Embedding rows are drawn normal, kernels Xavier-normal, biases start at 0. Each variable's
    draw depends on the seed and the variable's name alone, and the towers of separate tasks draw
    what the shared tower draws: networks with different sharing start from the same theta_0.

    Args:
        schema: Features, tables and tasks.
        separate_towers: Whether each task has kernels of its own.
        embedding_dim: Length of a field vector.
        embedding_stddev: Standard deviation of the embedding rows at the start, above 0.
        cross: "gram", "triangle" or "dcn_v2".
        dcn_layers: Number of layers of "dcn_v2".
        hidden_units: Widths of the masked layers, from the bottom up.
        seed: Of all draws.
    """
    # Inputs have their features' names, which hold no dot: layers with one cannot clash with them.
    inputs = {feature.name: _input(feature) for feature in schema.features}
    row_seed = _seed(seed, "embedding")
    draw_rows = keras.initializers.RandomNormal(stddev=embedding_stddev, seed=row_seed)
    fields = FieldVectors(schema, embedding_dim, draw_rows, name="shared.embedding")
    cross_layer = _cross_layer(cross, dcn_layers, seed)
    crossed = cross_layer(fields(inputs))

    variables = {"embedding/table": fields.table}
    variables |= {f"cross/{i}": weight for i, weight in enumerate(cross_layer.weights)}
    shared: list[keras.layers.Dense] = []
    towers, heads, logits = {}, {}, {}
    for task in (task.name for task in schema.tasks):
        if separate_towers or not shared:
            prefix = f"{task}/" if separate_towers else ""
            shared = _tower(crossed.shape[-1], hidden_units, prefix, seed, variables)
        towers[task] = [
            MaskedDense(dense, name=f"{task}.masked_{i}") for i, dense in enumerate(shared)
        ]
        hidden = crossed
        for layer in towers[task]:
            hidden = layer(hidden)
        draw = keras.initializers.GlorotNormal(seed=_seed(seed, f"{task}/head"))
        heads[task] = keras.layers.Dense(1, kernel_initializer=draw, name=f"{task}.head")
        logits[task] = keras.layers.Reshape((), name=f"{task}.logit")(heads[task](hidden))
        variables[f"{task}/head/kernel"] = heads[task].kernel
        variables[f"{task}/head/bias"] = heads[task].bias

    network = RankingNetwork(
        model=keras.Model(inputs, logits),
        bottom=keras.Model(inputs, crossed),
        task_models={task: keras.Model(inputs, logit) for task, logit in logits.items()},
        towers=towers,
        heads=heads,
        variables=variables,
    )
    _check_all_named(network)
    return network


def _input(feature: Feature) -> tf.Tensor:
    if feature.ids.kind == "numeric":
        return keras.Input((), name=feature.name, dtype=tf.float32)
    # Lists are as long as the longest of a batch or request.
    shape = (None,) if feature.multivalued else ()
    return keras.Input(shape, name=feature.name, dtype=tf.int64)


def _cross_layer(cross: str, dcn_layers: int, seed: int) -> keras.layers.Layer:
    if cross == "gram":
        return GramCross(name="shared.cross")
    if cross == "triangle":
        return TriangleCross(name="shared.cross")
    if cross == "dcn_v2":
        draws = [
            keras.initializers.GlorotNormal(seed=_seed(seed, f"cross_{depth}"))
            for depth in range(dcn_layers)
        ]
        return CrossNetworkV2(draws, name="shared.cross")
    raise ValueError(f"cross: found {cross!r}, expected 'gram', 'triangle' or 'dcn_v2'")


def _tower(
    width: int,
    hidden_units: Sequence[int],
    prefix: str,
    seed: int,
    variables: dict[str, tf.Variable],
) -> list[keras.layers.Dense]:
    tower = []
    for depth, units in enumerate(hidden_units):
        name = f"tower_{depth}"
        draw = keras.initializers.GlorotNormal(seed=_seed(seed, name))
        dense = keras.layers.Dense(units, activation="relu", kernel_initializer=draw, name=name)
        dense.build((None, width))
        variables[f"{prefix}{name}/kernel"] = dense.kernel
        variables[f"{prefix}{name}/bias"] = dense.bias
        tower.append(dense)
        width = units
    return tower


def _seed(seed: int, name: str) -> int:
    """A seed for one variable, so that a draw does not depend on the order of building."""
    return zlib.crc32(f"{seed}/{name}".encode())


def _check_all_named(network: RankingNetwork) -> None:
    # A checkpoint is written from `variables`: one that is missing there would be lost silently.
    named = {variable.ref() for variable in network.variables.values()}
    trained = {variable.ref() for variable in network.model.trainable_variables}
    if named != trained:
        raise AssertionError(
            f"{len(trained - named)} trained variables have no name, "
            f"{len(named - trained)} named variables are not trained"
        )


def read_variables(network: RankingNetwork) -> dict[str, np.ndarray]:
    """The values of all trained variables by name."""
    return {name: variable.numpy() for name, variable in network.variables.items()}


def shared_name(name: str, tasks: Sequence[str]) -> str:
    """The shared network's name for a variable of a network with separate towers.

    >>> shared_name("cvr/tower_0/kernel", ["ctr", "cvr"]), shared_name("cvr/head/bias", ["cvr"])
    ('tower_0/kernel', 'cvr/head/bias')
    """
    task, _, rest = name.partition("/")
    return rest if task in tasks and rest.startswith("tower_") else name


def load_variables(network: RankingNetwork, values: Mapping[str, np.ndarray]) -> None:
    """Sets all trained variables; separate towers take the shared tower's values if need be.

    Raises:
        ValueError: A variable has no value, or one of another shape.
    """
    for name, variable in network.variables.items():
        value = values.get(name, values.get(shared_name(name, network.tasks)))
        if value is None:
            raise ValueError(f"no value for the variable {name}")
        if tuple(value.shape) != tuple(variable.shape):
            raise ValueError(
                f"{name}: value has shape {tuple(value.shape)}, variable {tuple(variable.shape)}"
            )
        variable.assign(value)
