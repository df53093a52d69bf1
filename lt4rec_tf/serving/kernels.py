"""Kernels of a served model: as a version stores them, and as a loaded version multiplies them.

A version stores each weight once. Where tasks have masks on one kernel W, it stores W and one bit
per weight and task. W * M is computed once, when a version is loaded: TensorFlow runs initialisers
after it has restored the variables, in a server's session loader and in Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.layers.table_layout import unpacked

# A variable that is a kernel, or () -> the kernel from what a version stores.
Source: TypeAlias = Any  # tf.Variable | Callable[[], tf.Tensor]; mypy sees nothing of the former


def kernel_of(source: Source) -> tf.Tensor:
    """Returns the kernel, (inputs, units)."""
    return source.read_value() if isinstance(source, tf.Variable) else source()


class LoadedTensor(tf.saved_model.experimental.TrackableResource):
    """A tensor that is computed once, when a version is loaded.

    It is not part of a checkpoint. What `make` reads must be stored by the module that has this
    tensor.

    Args:
        make: () -> the tensor.
        name: Of the tensor in the graph; tensors of one name are distinguished by their content.
    """

    def __init__(self, make: Callable[[], tf.Tensor], name: str) -> None:
        super().__init__()
        value = make()
        self._make, self._dtype, self.shape = make, value.dtype, value.shape

        # Versions that one Python process loads share its resources by name: equal names must mean
        # equal content. (For the same reason nothing is destroyed with one of its owners.)
        content = hashlib.sha256(np.ascontiguousarray(value.numpy()).tobytes()).hexdigest()
        self._shared_name = f"{name}.{content[:32]}"
        self._initialize()

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=self._dtype, shape=self.shape, shared_name=self._shared_name, container=""
        )

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=self._make())

    def read(self) -> tf.Tensor:
        """Returns the tensor."""
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=self._dtype)
        value.set_shape(self.shape)
        return value


class Kernel(tf.Module):
    """A kernel, ready to be multiplied.

    Args:
        source: See `Source`.
        name: Letters, digits and "_".
    """

    def __init__(self, source: Source, name: str) -> None:
        super().__init__(name=name)
        self.shape = tuple(kernel_of(source).shape)
        self._dense = source if isinstance(source, tf.Variable) else LoadedTensor(source, name)

    def product(self, x: tf.Tensor) -> tf.Tensor:
        """Multiplies in the kernel's precision.

        Args:
            x: float32 (rows, inputs).

        Returns:
            x K, float32 (rows, units).
        """
        dense = self._dense
        kernel = dense.read() if isinstance(dense, LoadedTensor) else dense.read_value()
        return tf.cast(tf.matmul(tf.cast(x, kernel.dtype), kernel), tf.float32)


class MaskedKernel(tf.Module):
    """One kernel W on which several tasks have masks: its weights, and one bit per weight and task.

    Args:
        weights: float32 (inputs, units).
        dtype: Of the stored weights and of the product.
        name: Of the variables.
    """

    def __init__(self, weights: np.ndarray, dtype: tf.DType, name: str) -> None:
        super().__init__(name=name)
        self.weights = tf.Variable(tf.cast(weights, dtype), trainable=False, name=name)
        self.bits: dict[str, tf.Variable] = {}

    def part(
        self, task: str, mask: np.ndarray, inputs: np.ndarray, units: np.ndarray
    ) -> Callable[[], tf.Tensor]:
        """Stores a task's mask as bits.

        Args:
            task: Its name.
            mask: bool, of the kernel's shape.
            inputs: Rows that the task needs.
            units: Columns that the task needs.

        Returns:
            () -> these rows and columns of W * M.
        """
        packed_mask = np.packbits(mask)
        self.bits[task] = tf.Variable(packed_mask, trainable=False, name=f"{task}.bits")

        def make() -> tf.Tensor:
            kernel = self.weights.read_value()
            bits = unpacked(self.bits[task].read_value(), kernel.shape.num_elements())
            ones = tf.reshape(bits, kernel.shape)
            return tf.gather(tf.gather(kernel * tf.cast(ones, kernel.dtype), inputs), units, axis=1)

        return make


def masked_kernel_bytes(shape: Sequence[int], tasks: int, size: int) -> int:
    """Returns the bytes that a `MaskedKernel` takes on disk.

    >>> masked_kernel_bytes((8, 4), tasks=2, size=4)
    136
    """
    weights = int(np.prod(shape))
    return weights * size + tasks * -(-weights // 8)
