"""A built network with its parts by name, and the pieces that all models are built from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import parts_of
from lt4rec_tf.models.feature_encoder import Bottom, seed_of
from lt4rec_tf.models.heads.of_task import outputs_of
from lt4rec_tf.models.layers.event_attention import EventAttention
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.tower_dropout import TowerDropout
from lt4rec_tf.schema.types import Task
from lt4rec_tf.tickets.masks import Masks

# ({task: logit}, batch) -> {task: loss}, for models whose paper defines losses over all tasks'
# outputs together.
OwnLosses = Callable[[Mapping[str, tf.Tensor], Mapping[str, Any]], dict[str, tf.Tensor]]


CROSSED = ".crossed"  # no feature's name holds a dot
# Begins the names of variables that transfer between tasks. A search trains one task alone: its
# theta_0 has none of them.
TRANSFER = "transfer/"
# Ends the name of what a task's loss alone reads, in a model's outputs. Tasks' names hold no dot.
AUXILIARY = ".auxiliary"


@dataclass(frozen=True)
class RankingNetwork:
    """A functional model and its parts by name, the same for every paper's model.

    Attributes:
        model: {feature: ids} -> {task: logit, float32 (batch,), or what its loss takes;
            <task>.auxiliary: float32 (batch,), of tasks with one}.
        bottom: {feature: ids} -> output of the cross layer, float32 (batch, width); {task: that}
            where tasks wear masks on the attention, see `crossed`.
        task_models: Task -> {feature: ids} -> logit; they share the model's layers.
        towers: Task -> its MaskedDense layers, from the bottom up; none if nothing is masked.
        heads: Task -> its last Dense layer.
        variables: Every trained variable by a name that does not depend on Keras.
        own_losses: The model's own losses in place of each task's; None: the tasks' are used.
        tops: Task -> {CROSSED: output of the cross layer; feature: ids, if the task reads them
            itself} -> logit; none if tasks share more than the cross layer.
        counters: Counters that layers update in training, by name; a checkpoint must hold them.
        scored: Masks, each with a variable of its shape from which training steps subtract the
            gradient of the loss by the mask; see `training.mask_scores`.
        attentions: Attention to events whose hidden kernels each task masks, by the beginning of
            its variables' names; none: its kernels are the same for all tasks.
        trained_with: Task -> its logit and its auxiliary output, which its loss alone reads and no
            prediction; none of tasks without one.
        penalty: () -> what is added to the sum of the tasks' weighted losses, a scalar that no
            batch changes; None: nothing is.
        kept_shares: () -> task -> share of what the model could switch off for it that is on; None:
            it has masks alone.
    """

    model: keras.Model
    bottom: keras.Model
    task_models: dict[str, keras.Model]
    towers: dict[str, list[MaskedDense]]
    heads: dict[str, keras.layers.Dense]
    variables: dict[str, tf.Variable]
    own_losses: OwnLosses | None = None
    tops: Mapping[str, keras.Model] = field(default_factory=dict)
    counters: Mapping[str, tf.Variable] = field(default_factory=dict)
    scored: Sequence[tuple[tf.Variable, tf.Variable]] = ()
    attentions: Mapping[str, EventAttention] = field(default_factory=dict)
    trained_with: Mapping[str, keras.Model] = field(default_factory=dict)
    penalty: Callable[[], tf.Tensor] | None = None
    kept_shares: Callable[[], dict[str, float]] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Returns the tasks' names, in order."""
        return tuple(self.towers)

    def feature_specs(self) -> dict[str, tf.TensorSpec]:
        """Returns the model's inputs: {feature: spec of its ids}."""
        return {
            name: tf.TensorSpec(tensor.shape, tensor.dtype)
            for name, tensor in self.model.input.items()
        }

    def crossed(self, features: Mapping[str, tf.Tensor], *, training: bool) -> dict[str, tf.Tensor]:
        """Returns the output of the cross layer that each task reads, float32 (batch, width)."""
        crossed = self.bottom(features, training=training)
        return crossed if self.attentions else dict.fromkeys(self.tasks, crossed)

    def kernels(self, task: str) -> dict[str, tf.Variable]:
        """Returns a task's prunable kernels, from the input upwards.

        Named "attention.<list>/<kernel>" where tasks wear masks on it, and "tower_<depth>".
        """
        kernels = {
            f"{name}/{kernel}": attention.parameters[kernel]
            for name, attention in self.attentions.items()
            for kernel in attention.masks[task]
        }
        towers = {f"tower_{i}": layer.shared.kernel for i, layer in enumerate(self.towers[task])}
        return kernels | towers

    def mask_variables(self, task: str) -> dict[str, tf.Variable]:
        """Returns the masks of a task's kernels, by their names."""
        masks = {
            f"{name}/{kernel}": mask
            for name, attention in self.attentions.items()
            for kernel, mask in attention.masks[task].items()
        }
        return masks | {f"tower_{i}": layer.mask for i, layer in enumerate(self.towers[task])}

    def attention_digest(self, task: str) -> str:
        """Returns a text that tasks have in common whose masks of the attention are equal."""
        digest = hashlib.sha256()
        for attention in self.attentions.values():
            for mask in attention.masks[task].values():
                digest.update(mask.numpy().tobytes())
        return digest.hexdigest()

    def kernel_shapes(self, task: str) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of a task's kernels, which are those of its masks."""
        return {name: tuple(kernel.shape) for name, kernel in self.kernels(task).items()}

    def masks(self, task: str) -> Masks:
        """Returns the masks of a task."""
        return {name: mask.numpy().astype(bool) for name, mask in self.mask_variables(task).items()}

    def wear(self, task: str, masks: Masks) -> None:
        """Applies a ticket to a task.

        Raises:
            ValueError: The masks' names or shapes are not those of the task's kernels.
        """
        if set(masks) != set(self.kernels(task)):
            raise ValueError(
                f"task {task}: masks for {sorted(masks)}, kernels are {sorted(self.kernels(task))}"
            )
        for i, layer in enumerate(self.towers[task]):
            layer.set_mask(masks[f"tower_{i}"])
        for name, attention in self.attentions.items():
            for kernel in attention.masks[task]:
                attention.set_mask(task, kernel, masks[f"{name}/{kernel}"])

    def is_compact(self, task: str) -> bool:
        """Tells if training steps compute a task's alive neurons alone; see `CompactTower`."""
        towers = [layer.tower for layer in self.towers[task]]
        return any(tower is not None and tower.worthwhile for tower in towers)

    def trained_by(self, task: str) -> list[tf.Variable]:
        """Returns the variables that a task's loss has a gradient for."""
        return self.trained_with.get(task, self.task_models[task]).trainable_variables

    def read_by(self, task: str) -> list[tf.Variable]:
        """Returns the trained variables that a task's prediction reads."""
        return self.task_models[task].trainable_variables

    def predicting(self) -> dict[str, tf.Variable]:
        """Returns the variables that predictions read, by name: all but auxiliary ones."""
        if not self.trained_with:
            return self.variables
        read: set[Any] = set()
        for task in self.tasks:
            read.update(variable.ref() for variable in self.read_by(task))
        return {
            name: variable
            for name, variable in self.variables.items()
            if any(part.ref() in read for part in parts_of(variable))
        }


def assemble(
    bottom: Bottom,
    logits: Mapping[str, tf.Tensor],
    heads: Mapping[str, keras.layers.Dense],
    variables: Mapping[str, tf.Variable],
    *,
    towers: Mapping[str, list[MaskedDense]] | None = None,
    own_losses: OwnLosses | None = None,
    tops: Mapping[str, keras.Model] | None = None,
    counters: Mapping[str, tf.Variable] | None = None,
    auxiliary: Mapping[str, tf.Tensor] | None = None,
    penalty: Callable[[], tf.Tensor] | None = None,
    kept_shares: Callable[[], dict[str, float]] | None = None,
) -> RankingNetwork:
    """Makes the Keras models of a network whose tensors are built.

    Args:
        bottom: Inputs and cross layer, on which the logits are built.
        logits: Task -> float32 (batch,), in the order of the tasks.
        heads: Task -> the layer below its logit.
        variables: All trained variables by name, the bottom's included.
        towers: Task -> its MaskedDense layers; None: nothing is masked.
        own_losses: See `RankingNetwork`.
        tops: See `RankingNetwork`.
        counters: See `RankingNetwork`; without those of the bottom.
        auxiliary: Task -> float32 (batch,), what its loss of the model's own reads beside logits.
        penalty: See `RankingNetwork`.
        kept_shares: See `RankingNetwork`.
    """
    auxiliary = dict(auxiliary or {})
    read_by_losses = {f"{task}{AUXILIARY}": output for task, output in auxiliary.items()}
    network = RankingNetwork(
        model=keras.Model(bottom.inputs, {**logits, **read_by_losses}),
        bottom=keras.Model(bottom.inputs, bottom.by_task or bottom.crossed),
        task_models={task: keras.Model(bottom.inputs, logit) for task, logit in logits.items()},
        towers=dict(towers) if towers is not None else {task: [] for task in logits},
        heads=dict(heads),
        variables=dict(variables),
        own_losses=own_losses,
        tops=dict(tops or {}),
        counters=bottom.counters | dict(counters or {}),
        attentions=bottom.attentions,
        trained_with={
            task: keras.Model(bottom.inputs, [logits[task], output])
            for task, output in auxiliary.items()
        },
        penalty=penalty,
        kept_shares=kept_shares,
    )
    _check_all_named(network)
    return network


def dense_stack(
    hidden: tf.Tensor,
    units: Sequence[int],
    prefix: str,
    seed: int,
    variables: dict[str, tf.Variable],
    dropout: TowerDropout | None = None,
) -> tf.Tensor:
    """Builds Dense layers with ReLU, Xavier-normal kernels and zero biases.

    Args:
        hidden: float32 (batch, width).
        units: Widths from the bottom up; none: `hidden` is returned.
        prefix: Of the variables' names, such as "expert_0"; layers are called "<prefix>.<depth>".
        seed: Of all draws.
        variables: Gets "<prefix>/<depth>/kernel" and "<prefix>/<depth>/bias".
        dropout: Of the units of each layer; None: there is none.
    """
    for depth, width in enumerate(units):
        name = f"{prefix}/{depth}"
        draw = keras.initializers.GlorotNormal(seed=seed_of(seed, name))
        dense = keras.layers.Dense(
            width, activation="relu", kernel_initializer=draw, name=name.replace("/", ".")
        )
        hidden = dense(hidden)
        variables[f"{name}/kernel"], variables[f"{name}/bias"] = dense.kernel, dense.bias
        if dropout is not None:
            hidden = dropout.of(hidden, name)
    return hidden


def add_head(
    hidden: tf.Tensor, task: Task, seed: int, variables: dict[str, tf.Variable]
) -> tuple[keras.layers.Dense, tf.Tensor]:
    """Builds a task's last Dense layer, and its logit, float32 (batch,), or its loss's inputs.

    Args:
        hidden: The task's last hidden layer, float32 (batch, width).
        task: The task, whose loss decides the number of outputs.
        seed: Of all draws.
        variables: Gets "<task>/head/kernel" and "<task>/head/bias".
    """
    return _head_of_name(hidden, task.name, outputs_of(task), seed, variables)


def add_auxiliary_head(
    hidden: tf.Tensor, name: str, seed: int, variables: dict[str, tf.Variable]
) -> tf.Tensor:
    """Builds a Dense layer of one output that a loss alone reads, float32 (batch,).

    Args:
        hidden: float32 (batch, width).
        name: Begins the variables' names, such as "cvr/imputation".
        seed: Of all draws.
        variables: Gets "<name>/head/kernel" and "<name>/head/bias".
    """
    return _head_of_name(hidden, name, 1, seed, variables)[1]


def _head_of_name(
    hidden: tf.Tensor, name: str, outputs: int, seed: int, variables: dict[str, tf.Variable]
) -> tuple[keras.layers.Dense, tf.Tensor]:
    layer = name.replace("/", ".")
    draw = keras.initializers.GlorotNormal(seed=seed_of(seed, f"{name}/head"))
    head = keras.layers.Dense(outputs, kernel_initializer=draw, name=f"{layer}.head")

    # A single output loses its axis: losses take (batch,).
    shape = () if outputs == 1 else (outputs,)
    logit = keras.layers.Reshape(shape, name=f"{layer}.logit")(head(hidden))
    variables[f"{name}/head/kernel"], variables[f"{name}/head/bias"] = head.kernel, head.bias
    return head, logit


def _check_all_named(network: RankingNetwork) -> None:
    """Refuses a network with trained variables that `variables` lacks, or the reverse."""
    # A checkpoint is written from `variables`: one that is missing there would be lost silently.
    named: set[Any] = set()
    for variable in network.variables.values():
        named.update(part.ref() for part in parts_of(variable))
    trained = {variable.ref() for variable in network.model.trainable_variables}
    if named != trained:
        raise AssertionError(
            f"{len(trained - named)} trained variables have no name, "
            f"{len(named - trained)} named variables are not trained"
        )
