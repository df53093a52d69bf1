"""What a served model answers: raw features in, one probability a task out.

Masks are folded into kernels (W * M is stored, not computed), so a ticket costs what a dense layer
of that shape costs. All tasks share one copy of the embedding and cross variables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from lt4rec_tf.data.features import features_to_ids, raw_specs
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
        network: Wears the masks to fold; its other variables are shared, not copied.
        schema: Features and tasks.
    """

    def __init__(self, network: RankingNetwork, schema: Schema) -> None:
        super().__init__(name="lt4rec")
        self._schema, self._network = schema, network
        # The module's own list, so that saving finds them without storing Keras's objects.
        self.shared_variables = list(network.bottom.variables)
        self.folded = {
            task: [(tf.Variable(layer.folded_kernel()), layer.shared.bias) for layer in tower]
            for task, tower in network.towers.items()
        }
        self.head_variables = {task: list(head.weights) for task, head in network.heads.items()}

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """The concrete functions by signature name."""
        tasks = self._network.tasks
        found = {task: self._signature([task]) for task in tasks}
        found[DEFAULT_SIGNATURE] = self._signature(tasks)
        return found

    def predict(self, raw: Mapping[str, tf.Tensor], tasks: tuple[str, ...]) -> dict[str, tf.Tensor]:
        """Probabilities for raw features: {"p<task>": float32 (batch,)}, and products."""
        crossed = self._network.bottom(self._ids(raw), training=False)
        chances = {task: probability(self._logit(task, crossed)) for task in tasks}
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

    def _logit(self, task: str, crossed: tf.Tensor) -> tf.Tensor:
        hidden = crossed
        for (kernel, bias), layer in zip(
            self.folded[task], self._network.towers[task], strict=True
        ):
            hidden = layer.shared.activation(tf.nn.bias_add(tf.matmul(hidden, kernel), bias))
        return self._network.heads[task](hidden)[:, 0]
