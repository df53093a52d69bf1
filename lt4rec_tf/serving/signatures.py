"""What a served model answers: raw features in, one probability a task out.

Masks are folded into kernels (W * M is stored, not computed), so a ticket costs what a dense layer
of that shape costs. All else is stored as the network has it, once for all tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.data.features import features_to_ids, raw_specs
from lt4rec_tf.layers.masked_dense import MaskedDense
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema import Schema
from lt4rec_tf.training.evaluation import chained_tasks, product_name
from lt4rec_tf.training.losses import probability

DEFAULT_SIGNATURE = "serving_default"


def answer_names(schema: Schema, tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The answers about some tasks, each with the tasks whose probabilities it multiplies.

    Two chained tasks give {"pctr": ("ctr",), "pcvr": ("cvr",), "pctcvr": ("ctr", "cvr")}.
    """
    names: dict[str, tuple[str, ...]] = {f"p{task}": (task,) for task in tasks}
    for first, second in chained_tasks(schema, tasks):
        names[f"p{product_name(first, second)}"] = (first, second)
    return names


class ServedModel(tf.Module):
    """A network with folded kernels and one function a signature.

    Signatures: one named after each task, answering p<task>; `serving_default`, answering all of
    them and the products of chained tasks (pctcvr = pctr * pcvr, LT4REC Eq. 1). All take the same
    inputs, so that a client sends one payload whichever it calls: every feature of the schema, of
    its dtype, shape (batch,), multi-valued ones (batch, values) padded with the missing value.
    Outputs are float32 (batch,).

    Args:
        network: Wears the masks to fold, if its layers wear any; its other variables are shared,
            not copied.
        schema: Features and tasks.
    """

    def __init__(self, network: RankingNetwork, schema: Schema) -> None:
        super().__init__(name="lt4rec")
        self._schema, self._tasks = schema, network.tasks
        model = fold(network.model)
        # The module's own lists and a closure, so that saving stores no Keras objects.
        trained = {variable.ref() for variable in network.variables.values()}
        self.shared_variables = [v for v in model.variables if v.ref() in trained]
        self.folded = {
            task: [model.get_layer(layer.name).kernel for layer in tower]
            for task, tower in network.towers.items()
        }

        def logits(ids: Mapping[str, tf.Tensor], tasks: Sequence[str]) -> dict[str, tf.Tensor]:
            asked = keras.Model(model.input, {task: model.output[task] for task in tasks})
            return asked(ids, training=False)

        self._logits = logits

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """The concrete functions by signature name."""
        found = {task: self._signature([task]) for task in self._tasks}
        found[DEFAULT_SIGNATURE] = self._signature(self._tasks)
        return found

    def predict(self, raw: Mapping[str, tf.Tensor], tasks: tuple[str, ...]) -> dict[str, tf.Tensor]:
        """Probabilities for raw features: {"p<task>": float32 (batch,)}, and products."""
        logits = self._logits(self._ids(raw), tasks)
        chances = {task: probability(logits[task]) for task in tasks}
        return {
            name: tf.cast(math.prod(chances[task] for task in factors), tf.float32)
            for name, factors in answer_names(self._schema, tasks).items()
        }

    def _signature(self, tasks: Sequence[str]) -> Callable[..., Any]:
        @tf.function(input_signature=[raw_specs(self._schema)])
        def serve(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return self.predict(raw, tuple(tasks))

        return serve.get_concrete_function()

    def _ids(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids = features_to_ids(self._schema, raw)
        for feature in self._schema.features:
            if feature.multivalued:
                # A request whose lists are all empty still has a place for the missing row.
                ids[feature.name] = tf.pad(ids[feature.name], [[0, 0], [0, 1]])
        return ids


class FoldedDense(keras.layers.Layer):
    """A MaskedDense whose masked kernel is stored: relu(x K + b) with K = W * M.

    Args:
        masked: The layer as the network has it; its bias is shared.
    """

    def __init__(self, masked: MaskedDense) -> None:
        super().__init__(name=masked.name)
        self.kernel = tf.Variable(masked.folded_kernel(), name="kernel")
        self.bias, self.activation = masked.shared.bias, masked.shared.activation

    def call(self, x: tf.Tensor, addend: tf.Tensor | None = None) -> tf.Tensor:
        """Applies the layer; see `MaskedDense`."""
        product = tf.matmul(x, self.kernel)
        if addend is not None:
            product += addend
        return self.activation(tf.nn.bias_add(product, self.bias))


def fold(model: keras.Model) -> keras.Model:
    """The same model with a FoldedDense for each MaskedDense; all other layers are shared."""

    def folded(layer: keras.layers.Layer) -> keras.layers.Layer:
        return FoldedDense(layer) if isinstance(layer, MaskedDense) else layer

    return keras.models.clone_model(model, clone_function=folded)
