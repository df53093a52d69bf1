"""One task's view of a Dense layer that several tasks share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.distributed.replicas import by_parameter_server
from lt4rec_tf.models.layers.compact_tower import CompactTower, are_compact
from lt4rec_tf.tickets.masks import as_numbers


class MaskedDense(keras.layers.Layer):
    """relu(x (W * M) + b): a task's mask M over a borrowed kernel W and bias b.

    The mask belongs to the task and is not trained. Kernel and bias belong to `shared`; every
    MaskedDense over the same `shared` reads and updates the same weights. The gradient of a cut
    weight is exactly 0, as dL/dW = (x^T dL/dz) * M.
    Source: LT4REC (arXiv 2008.09872), section 2.2; Sun et al. (arXiv 1911.05034).

    Args:
        shared: A built Dense layer; the view has its activation and its bias.

    Call:
        x: float32 (batch, inputs).
        addend: float32 (batch, units), added before the activation; None: nothing is added.
        Returns float32 (batch, units). In a compact tower x and what is returned hold the alive
        inputs and units alone; see `CompactTower`.
    """

    def __init__(self, shared: keras.layers.Dense, name: str | None = None) -> None:
        super().__init__(name=name)
        if not shared.built:
            raise ValueError(f"{name}: the shared layer {shared.name!r} is not built")
        self.shared = shared
        self.tower: CompactTower | None = None  # see `link_tower`
        self.depth = 0

    def build(self, input_shape: tf.TensorShape) -> None:
        """Starts with a mask of ones: nothing is cut."""
        if input_shape[-1] != self.shared.kernel.shape[0]:
            raise ValueError(
                f"{self.name}: input has width {input_shape[-1]}, "
                f"the shared kernel expects {self.shared.kernel.shape[0]}"
            )
        self.mask = self.add_weight(
            name="mask", shape=self.shared.kernel.shape, initializer="ones", trainable=False
        )
        super().build(input_shape)

    def call(self, x: tf.Tensor, addend: tf.Tensor | None = None) -> tf.Tensor:
        """Applies the layer with the task's mask."""
        kernel, bias = self._weights()
        product = tf.matmul(x, kernel)
        if addend is not None:
            product += addend
        return self.shared.activation(tf.nn.bias_add(product, bias))

    def _weights(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the kernel and the biases that the layer computes with."""
        if self.tower is None or not (are_compact() and self.tower.worthwhile):
            return self.folded_kernel(), self.shared.bias
        kernel, bias = map(tf.convert_to_tensor, (self.shared.kernel, self.shared.bias))
        return self.tower.kernel(self.depth, kernel), self.tower.bias(self.depth, bias)

    def folded_kernel(self) -> tf.Tensor:
        """Returns W * M, float32 (inputs, units): the kernel that this task computes with."""
        return self.shared.kernel * self.mask

    def set_mask(self, mask: np.ndarray) -> None:
        """Sets the task's mask.

        Args:
            mask: (inputs, units), bool or 0/1; 1 keeps a weight.

        Raises:
            ValueError: The shape is not the kernel's, or a value is neither 0 nor 1.
        """
        self.mask.assign(as_numbers(mask, tuple(self.shared.kernel.shape), self.name))
        if self.tower is not None:
            self.tower.wear(self.depth, mask)


def link_tower(tower: Sequence[MaskedDense], name: str) -> None:
    """Lets the layers of a task's tower be compact; see `CompactTower`.

    Each layer must be read by the next one alone, as it is, and nothing be added to it.

    Args:
        tower: The layers, from the bottom up.
        name: Of the variables that hold what is alive.
    """
    # On parameter servers steps are part of a function that is compiled once.
    if len(tower) < 2 or by_parameter_server():
        return
    compact = CompactTower([tuple(layer.shared.kernel.shape) for layer in tower], name)
    for depth, layer in enumerate(tower):
        layer.tower, layer.depth = compact, depth
