"""Folds the masks of models that are served as Keras computes them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import whole
from lt4rec_tf.serving.kernels import Kernel
from lt4rec_tf.serving.storage import Storage, plain_tower


class FoldedDense(keras.layers.Layer):
    """Computes relu(x K + b) with K = W * M in place of a MaskedDense.

    Args:
        masked: The layer; its bias is used, its kernel and mask are not.
        kernel: W * M.

    Call:
        x: float32 (batch, inputs).
        addend: As for `MaskedDense`.
        Returns float32 (batch, units).
    """

    def __init__(self, masked: MaskedDense, kernel: Kernel) -> None:
        super().__init__(name=masked.name)
        self._shared, self._kernel = masked.shared, kernel

    def call(self, x: tf.Tensor, addend: tf.Tensor | None = None) -> tf.Tensor:
        """Applies the layer."""
        product = self._kernel.product(x)
        if addend is not None:
            product += addend
        return self._shared.activation(tf.nn.bias_add(product, self._shared.bias))


class FoldedKernels(tf.Module):
    """The kernels of a network's towers, masks folded in; dead neurons are kept.

    Args:
        network: With its masks.
        dtype: Of stored kernels and products: tf.float32 or tf.bfloat16.
    """

    def __init__(self, network: RankingNetwork, dtype: tf.DType) -> None:
        super().__init__(name="folded")
        self.storage = Storage(dtype)
        plain = {task: plain_tower(network, task) for task in network.tasks}
        kept = {task: whole(tower) for task, tower in plain.items()}
        inputs = {task: np.arange(len(tower.kernels[0])) for task, tower in plain.items()}

        sources = self.storage.kernels(network, plain, kept, inputs)
        self.kernels: dict[str, Kernel] = {}
        for task, task_sources in sources.items():
            for depth, source in enumerate(task_sources):
                self.kernels[f"{task}_{depth}"] = Kernel(source, f"{task}_{depth}")

        self._of_layer: dict[str, Kernel] = {}
        for task, tower in network.towers.items():
            for depth, layer in enumerate(tower):
                self._of_layer[layer.name] = self.kernels[f"{task}_{depth}"]

    def in_place(self, model: keras.Model) -> keras.Model:
        """Returns the model with these in place of masked layers; other layers stay the same."""

        def fold(layer: keras.layers.Layer) -> keras.layers.Layer:
            if isinstance(layer, MaskedDense):
                return FoldedDense(layer, self._of_layer[layer.name])
            return layer

        return keras.models.clone_model(model, clone_function=fold)
