"""One task's view of a Dense layer that several tasks share."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras


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
        Returns float32 (batch, units).
    """

    def __init__(self, shared: keras.layers.Dense, name: str | None = None) -> None:
        super().__init__(name=name)
        if not shared.built:
            raise ValueError(f"{name}: the shared layer {shared.name!r} is not built")
        self.shared = shared

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
        product = tf.matmul(x, self.folded_kernel())
        if addend is not None:
            product += addend
        return self.shared.activation(tf.nn.bias_add(product, self.shared.bias))

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
        if mask.shape != tuple(self.shared.kernel.shape):
            raise ValueError(
                f"{self.name}: mask has shape {mask.shape}, "
                f"the kernel {tuple(self.shared.kernel.shape)}"
            )
        if not np.isin(mask, (0, 1)).all():
            raise ValueError(f"{self.name}: a mask holds 0 and 1 only")
        self.mask.assign(mask.astype(np.float32))
