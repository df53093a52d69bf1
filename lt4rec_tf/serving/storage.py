"""What a version stores of its towers: every weight once, in the form that takes less.

Where a ticket leaves little, each task's own small kernel is stored. Where tasks wear large parts
of one kernel, the kernel is stored and a bit a weight and task; theirs are made on loading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import Kept, Tower
from lt4rec_tf.serving.kernels import Source, WornKernel, kernel_of, worn_bytes


class Storage(tf.Module):
    """Variables of a version; equal values are stored once.

    Args:
        dtype: Of kernels: tf.float32 or tf.bfloat16.
    """

    def __init__(self, dtype: tf.DType) -> None:
        super().__init__(name="storage")
        self.dtype = dtype
        self.worn: list[WornKernel] = []
        self._known: dict[str, tf.Variable] = {}

    def variable(self, values: np.ndarray, dtype: tf.DType, name: str) -> tf.Variable:
        """A variable that holds `values`: a new one, or one of equal values."""
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
            network: Says which tasks wear masks on one kernel.
            towers: Task -> its tower, as `plain_tower` gives it; of the tasks to store.
            kept: Task -> what compaction leaves of it.
            inputs: Task -> places of the inputs that its first layer is given.

        Returns:
            Task -> its kernels from the bottom up.
        """
        sources: dict[str, list[Source]] = {task: [] for task in towers}
        for depth in range(len(network.towers[network.tasks[0]])):
            below = {t: kept[t].units[depth - 1] if depth else inputs[t] for t in towers}
            for tasks in _sharing(network, list(towers), depth):
                wearers = {task: (below[task], kept[task].units[depth]) for task in tasks}
                for task, source in self._layer(network, towers, wearers, depth).items():
                    sources[task].append(source)
        return sources

    def _layer(
        self,
        network: RankingNetwork,
        towers: Mapping[str, Tower],
        wearers: Mapping[str, tuple[np.ndarray, np.ndarray]],
        depth: int,
    ) -> dict[str, Source]:
        """One layer of tasks that wear masks on one kernel: task -> its inputs, its units."""
        shared = network.towers[next(iter(wearers))][depth].shared.kernel.numpy()
        plain = {task: towers[task].kernels[depth] for task in wearers}
        # Rows of a view that is a task's own stand below the shared kernel's.
        worn = {
            task: (inputs[inputs < len(shared)], units) for task, (inputs, units) in wearers.items()
        }
        small = {task: plain[task][np.ix_(*places)] for task, places in worn.items()}
        found: dict[str, Source] = {}
        if len(wearers) > 1 and self._is_less(shared, list(small.values())):
            kernel = WornKernel(shared, self.dtype, f"kernel_{depth}")
            self.worn.append(kernel)
            for task, places in worn.items():
                mask = network.masks(task)[f"tower_{depth}"]
                found[task] = kernel.part(task, mask, *places)
        else:
            for task, values in small.items():
                found[task] = self.variable(values, self.dtype, f"{task}.kernel_{depth}")
        for task, (inputs, units) in wearers.items():
            own = plain[task][np.ix_(inputs[inputs >= len(shared)], units)]
            if len(own):
                variable = self.variable(own, self.dtype, f"{task}.own")
                found[task] = _stacked(found[task], variable)
        return found

    def _is_less(self, shared: np.ndarray, small: Sequence[np.ndarray]) -> bool:
        """Whether one kernel and bits for each task take less than the tasks' own kernels."""
        different = {kernel.tobytes(): kernel.size for kernel in small}
        return worn_bytes(shared.shape, len(small), self.dtype.size) < (
            sum(different.values()) * self.dtype.size
        )


def _sharing(network: RankingNetwork, tasks: Sequence[str], depth: int) -> list[list[str]]:
    """The tasks by the kernel that they wear masks on."""
    by_kernel: dict[int, list[str]] = {}
    for task in tasks:
        kernel = network.towers[task][depth].shared.kernel
        by_kernel.setdefault(id(kernel), []).append(task)
    return list(by_kernel.values())


def _stacked(upper: Source, lower: tf.Variable) -> Source:
    return lambda: tf.concat([kernel_of(upper), lower.read_value()], axis=0)


def plain_tower(network: RankingNetwork, task: str) -> Tower:
    """A task's tower with its masks folded in.

    The kernel of field vectors that the task alone reads stands below the first layer's.

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
