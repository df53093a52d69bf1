"""Stores the towers of a version: every weight once, in the form that takes fewer bytes.

Where tickets keep few weights, each task's own small kernel is stored. Where tickets keep many, the
shared kernel is stored once with one bit per weight and task. The tasks' kernels are then computed
on loading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import Kept, Tower
from lt4rec_tf.serving.kernels import MaskedKernel, Source, kernel_of, masked_kernel_bytes


class Storage(tf.Module):
    """Variables of a version; equal values are stored once.

    Args:
        dtype: Of kernels: tf.float32 or tf.bfloat16.
    """

    def __init__(self, dtype: tf.DType) -> None:
        super().__init__(name="storage")
        self.dtype = dtype
        self.worn: list[MaskedKernel] = []
        self._known: dict[str, tf.Variable] = {}

    def variable(self, values: np.ndarray, dtype: tf.DType, name: str) -> tf.Variable:
        """Returns a variable that holds `values`: a new one, or the earlier one of equal values."""
        digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
        key = f"{dtype.name}/{values.shape}/{digest}"
        if key not in self._known:
            self._known[key] = tf.Variable(tf.cast(values, dtype), trainable=False, name=name)
        return self._known[key]

    def kernels(
        self,
        network: RankingNetwork,
        towers: Mapping[str, Tower],
        kept: Mapping[str, Kept],
        inputs: Mapping[str, np.ndarray],
    ) -> dict[str, list[Source]]:
        """Stores the kernels of all towers.

        Args:
            network: Defines which tasks have masks on one kernel.
            towers: Task to store -> its tower, from `plain_tower`.
            kept: Task -> its tower's remaining neurons.
            inputs: Task -> indices of the inputs that its first layer gets.

        Returns:
            Task -> its kernels from the bottom up.
        """
        sources: dict[str, list[Source]] = {task: [] for task in towers}
        below = dict(inputs)  # task -> the indices that the layer's rows stand for
        for depth in range(len(network.towers[network.tasks[0]])):
            units = {task: kept[task].units[depth] for task in towers}
            for tasks in _tasks_by_kernel(network, list(towers), depth):
                slices = {task: (below[task], units[task]) for task in tasks}
                for task, source in self._layer(network, towers, slices, depth).items():
                    sources[task].append(source)
            below = units
        return sources

    def _layer(
        self,
        network: RankingNetwork,
        towers: Mapping[str, Tower],
        slices: Mapping[str, tuple[np.ndarray, np.ndarray]],
        depth: int,
    ) -> dict[str, Source]:
        """Stores one layer of the tasks that have masks on one kernel.

        Args:
            network: Has the kernel.
            towers: Task -> its tower.
            slices: Task -> its inputs (rows) and its units (columns).
            depth: Of the layer.
        """
        shared = network.towers[next(iter(slices))][depth].shared.kernel.numpy()
        folded = {task: towers[task].kernels[depth] for task in slices}

        # Rows of a task's own field vectors stand below the shared kernel's.
        shared_slices = {
            task: (inputs[inputs < len(shared)], units) for task, (inputs, units) in slices.items()
        }
        small = {task: folded[task][np.ix_(*indices)] for task, indices in shared_slices.items()}

        sources: dict[str, Source] = {}
        if len(slices) > 1 and self._takes_less(shared, list(small.values())):
            kernel = MaskedKernel(shared, self.dtype, f"kernel_{depth}")
            self.worn.append(kernel)
            for task, indices in shared_slices.items():
                mask = network.masks(task)[f"tower_{depth}"]
                sources[task] = kernel.part(task, mask, *indices)
        else:
            for task, values in small.items():
                sources[task] = self.variable(values, self.dtype, f"{task}.kernel_{depth}")

        for task, (inputs, units) in slices.items():
            own = folded[task][np.ix_(inputs[inputs >= len(shared)], units)]
            if len(own):
                variable = self.variable(own, self.dtype, f"{task}.own")
                sources[task] = _stacked(sources[task], variable)
        return sources

    def _takes_less(self, shared: np.ndarray, small: Sequence[np.ndarray]) -> bool:
        """Tells if one kernel and each task's bits take fewer bytes than the tasks' own kernels."""
        size_by_content = {kernel.tobytes(): kernel.size for kernel in small}
        bytes_of_own = sum(size_by_content.values()) * self.dtype.size
        return masked_kernel_bytes(shared.shape, len(small), self.dtype.size) < bytes_of_own


def _tasks_by_kernel(network: RankingNetwork, tasks: Sequence[str], depth: int) -> list[list[str]]:
    """Groups tasks by the kernel on which they have masks."""
    by_kernel: dict[int, list[str]] = {}
    for task in tasks:
        kernel = network.towers[task][depth].shared.kernel
        by_kernel.setdefault(id(kernel), []).append(task)
    return list(by_kernel.values())


def _stacked(upper: Source, lower: tf.Variable) -> Source:
    """Returns a kernel whose rows are those of two kernels."""
    return lambda: tf.concat([kernel_of(upper), lower.read_value()], axis=0)


def plain_tower(network: RankingNetwork, task: str) -> Tower:
    """Returns a task's tower with its masks folded into its kernels.

    Rows for field vectors that the task alone reads stand below the first layer's shared rows.

    Raises:
        ValueError: A layer has another activation than ReLU.
    """
    layers = network.towers[task]
    for layer in layers:
        if layer.shared.activation is not keras.activations.relu:
            raise ValueError(f"{layer.name}: found {layer.shared.activation}, expected relu")

    kernels = [layer.folded_kernel().numpy() for layer in layers]
    if f"{task}/own/kernel" in network.variables:
        own = network.variables[f"{task}/own/kernel"].numpy()
        kernels[0] = np.concatenate([kernels[0], own])

    head = network.heads[task]
    return Tower(
        tuple(kernels),
        tuple(layer.shared.bias.numpy() for layer in layers),
        head.kernel.numpy(),
        head.bias.numpy(),
    )
