"""LT4REC's towers as a server computes them: masks folded, dead neurons removed.

Field vectors -> cross layer -> per task: dense layers -> logit. When a request ranks many
candidates, the first layer is split: its product with user and context is computed once per
request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import Kept, Tower, compact
from lt4rec_tf.serving.first_layer import PartedLayer
from lt4rec_tf.serving.kernels import Kernel, Source
from lt4rec_tf.serving.reads import Sides
from lt4rec_tf.serving.storage import Storage, plain_tower
from lt4rec_tf.serving.tower_inputs import TowerInputs, Vectors, by_row

# Below this share of live inputs, gathering them costs less than multiplying all: TensorFlow's
# gather along columns takes about as long as a few hundred multiply-adds per element.
GATHERED_SHARE = 0.3
# From this number of candidates on, a single request is computed as two halves: TensorFlow uses
# one core for a product of a few hundred rows, and two cores for two such products. Towers of fewer
# weights than this are faster whole.
HALVED = 192
HALVED_WEIGHTS = 2**18

Done = dict[tuple[int, ...], tf.Tensor]  # ids of a product's operands -> the computed tensor


class TaskTower(tf.Module):
    """One task's layers.

    Attributes:
        inputs: Indices of the inputs that the first kernel takes; None: all.
        read: Indices of the inputs that the task depends on.
        kernels: From the bottom up.
        biases: float32 (units,) each.
        head: The head's kernel, float32 (units, outputs), and its bias, float32 (outputs,); the
            bias alone where the tower's output is constant.
        parted: The first layer as `rank` computes it; None where it is not split.
    """

    def __init__(self, task: str) -> None:
        super().__init__(name=task)
        self.inputs: np.ndarray | None = None
        self.read = np.zeros(0, np.int64)
        self.kernels: list[Kernel] = []
        self.biases: list[tf.Variable] = []
        self.head: list[tf.Variable] = []
        self.parted: PartedLayer | None = None


class ServedTowers(tf.Module):
    """The towers of a network whose layers are MaskedDense.

    Attributes:
        inputs: Computes the inputs of first layers.
        is_parted: Whether `rank` computes per request what candidates share.

    Args:
        network: With its masks.
        sides: Of the schema's features.
        dtype: Of kernels: tf.float32 or tf.bfloat16.
    """

    def __init__(self, network: RankingNetwork, sides: Sides, dtype: tf.DType) -> None:
        super().__init__(name="towers")
        own = {
            task: network.model.get_layer(f"{task}.embedding").dimension
            for task in network.tasks
            if f"{task}/own/kernel" in network.variables
        }
        cross = network.model.get_layer("shared.cross")
        dimension = network.model.get_layer("shared.embedding").dimension
        self.inputs = TowerInputs(cross, sides, dimension, own)
        self.is_parted = self.inputs.splits and bool(sides.asking) and bool(sides.ranked)
        self.storage = Storage(dtype)
        self.towers: dict[str, TaskTower] = {}
        self._build(network)

    def _build(self, network: RankingNetwork) -> None:
        plain = {task: plain_tower(network, task) for task in network.tasks}
        kept = {task: compact(tower) for task, tower in plain.items()}
        inputs = {}
        if self.inputs.splits:
            self.inputs.keep(np.concatenate([tower.inputs for tower in kept.values()]))

        for task in network.tasks:
            self.towers[task] = tower = TaskTower(task)
            tower.read = kept[task].inputs
            if not len(kept[task].units[-1]):
                # Never as a product of width 0: oneDNN ends the process at one.
                bias = self.storage.variable(kept[task].head_bias, tf.float32, f"{task}.head_bias")
                tower.head = [bias]
                del plain[task]
                continue

            inputs[task] = np.arange(plain[task].kernels[0].shape[0])
            if self.inputs.splits:
                inputs[task] = self.inputs.layer(task).rows(self.inputs.reads)
            if len(kept[task].inputs) < GATHERED_SHARE * len(inputs[task]):
                tower.inputs = np.searchsorted(inputs[task], kept[task].inputs)
                inputs[task] = kept[task].inputs
            self._store_vectors(tower, plain[task], kept[task])

        sources = self.storage.kernels(network, plain, kept, inputs)
        self._build_kernels(sources)
        if self.is_parted:
            self._part_first_layers(sources, inputs)

    def _store_vectors(self, tower: TaskTower, plain: Tower, kept: Kept) -> None:
        """Stores biases and head of a tower, always as float32."""
        values = {f"bias_{depth}": bias for depth, bias in enumerate(kept.biases)}
        values["head_kernel"] = plain.head_kernel[kept.units[-1]]
        values["head_bias"] = kept.head_bias
        *tower.biases, kernel, bias = (
            self.storage.variable(array, tf.float32, f"{tower.name}.{name}")
            for name, array in values.items()
        )
        tower.head = [kernel, bias]

    def _build_kernels(self, sources: Mapping[str, Sequence[Source]]) -> None:
        """Gives each task its kernels; tasks with one source share one kernel."""
        kernel_of_source: dict[int, Kernel] = {}
        for task, task_sources in sources.items():
            for depth, source in enumerate(task_sources):
                if id(source) not in kernel_of_source:
                    kernel_of_source[id(source)] = Kernel(source, f"{task}_{depth}")
                self.towers[task].kernels.append(kernel_of_source[id(source)])

    def _part_first_layers(
        self, sources: Mapping[str, Sequence[Source]], inputs: Mapping[str, np.ndarray]
    ) -> None:
        """Parts each task's first layer; tasks with one source and equal inputs share the parts."""
        layer_of_source: dict[tuple[int, bytes], PartedLayer] = {}
        for task, (source, *_) in sources.items():
            key = (id(source), inputs[task].tobytes())
            if key not in layer_of_source:
                layer, reads = self.inputs.layer(task), self.inputs.reads
                layer_of_source[key] = PartedLayer(source, inputs[task], layer, reads, task)
            self.towers[task].parted = layer_of_source[key]

    def read_fields(self, tasks: Sequence[str]) -> set[int]:
        """Returns the indices of the fields on which some tasks' outputs depend."""
        if not self.inputs.splits:
            return set(self.inputs.fields)
        read = (self.inputs.layer(task).fields_of(self.towers[task].read) for task in tasks)
        return set().union(*read)

    def logits(self, vectors: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Returns task -> logits, float32 (rows,)."""
        crossed = self.inputs.of_rows(vectors)
        done: Done = {}
        logits = {}
        for task in tasks:
            tower, x = self.towers[task], self.inputs.with_own(crossed, vectors, task)
            if tower.inputs is not None:
                x = tf.gather(x, tower.inputs, axis=1)
            logits[task] = _apply_layers(tower, x, 0, done)
        return logits

    def rank(self, asking: Vectors, ranked: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Computes logits of candidates; for towers whose first layer `is_parted`.

        Args:
            asking: Owner -> vectors of user and context fields, (requests, fields, dimension).
            ranked: Owner -> vectors of item fields, (requests, candidates, fields, dimension).
            tasks: Whose logits are computed.

        Returns:
            Task -> float32 (requests * candidates,).
        """
        of_requests = self._of_requests(asking, tasks)
        rows = {owner: by_row(vectors) for owner, vectors in ranked.items()}
        of_items = self.inputs.of_items(rows)
        shape = tf.shape(next(iter(ranked.values())))[:2]
        requests, candidates = tf.unstack(shape)

        def inputs_of(requests: tf.Tensor | int) -> tf.Tensor:
            return tf.concat([*self.inputs.between(asking, rows, requests), *of_items], axis=1)

        def of_one() -> dict[str, tf.Tensor]:
            return self._of_candidates(inputs_of(1), rows, of_requests, tasks, None)

        def of_halves() -> dict[str, tf.Tensor]:
            x, middle = inputs_of(1), candidates // 2
            halves = []
            for half in (slice(None, middle), slice(middle, None)):
                rows_of_half = {owner: vectors[half] for owner, vectors in rows.items()}
                halves.append(self._of_candidates(x[half], rows_of_half, of_requests, tasks, None))
            return {task: tf.concat([logits[task] for logits in halves], axis=0) for task in tasks}

        def of_all() -> dict[str, tf.Tensor]:
            return self._of_candidates(inputs_of(requests), rows, of_requests, tasks, shape)

        def of_one_or_halves() -> dict[str, tf.Tensor]:
            return tf.cond(candidates >= HALVED, of_halves, of_one)

        is_halved = self._weights(tasks) >= HALVED_WEIGHTS
        return tf.cond(requests == 1, of_one_or_halves if is_halved else of_one, of_all)

    def _weights(self, tasks: Sequence[str]) -> int:
        """Returns the number of weights with which a candidate is multiplied."""
        kernels: dict[int, Kernel] = {}
        for task in tasks:
            tower = self.towers[task]
            if tower.parted:
                layers = [tower.parted.ranked, *tower.kernels[1:]]
                kernels |= {id(kernel): kernel for kernel in layers}
        return sum(math.prod(kernel.shape) for kernel in kernels.values())

    def _of_requests(self, asking: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Returns task -> first layer's product with the requests, plus bias: (requests, units)."""
        crossed = self.inputs.of_requests(asking)
        done: Done = {}
        of_requests = {}
        for task in tasks:
            tower, x = self.towers[task], self.inputs.with_own(crossed, asking, task)
            if tower.parted:
                key = (id(x), id(tower.parted), id(tower.biases[0]))
                if key not in done:
                    done[key] = tower.parted.asking.product(x) + tower.biases[0]
                of_requests[task] = done[key]
        return of_requests

    def _of_candidates(
        self,
        crossed: tf.Tensor,
        rows: Vectors,
        of_requests: Mapping[str, tf.Tensor],
        tasks: Sequence[str],
        shape: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        """Returns task -> logits, float32 (rows,).

        Args:
            crossed: Outputs of the cross layer that differ between candidates, (rows, inputs).
            rows: Owner -> vectors of item fields, (rows, fields, dimension).
            of_requests: From `_of_requests`.
            tasks: Whose logits are computed.
            shape: [requests, candidates]; None: the rows are candidates of one request.
        """
        done: Done = {}
        logits = {}
        for task in tasks:
            tower, x = self.towers[task], self.inputs.with_own(crossed, rows, task)
            if tower.parted:
                key = (id(x), id(of_requests[task]), id(tower.parted))
                if key not in done:
                    product = tower.parted.ranked.product(x)
                    done[key] = _first_units(product, of_requests[task], shape)
                x = done[key]
            logits[task] = _apply_layers(tower, x, 1, done)
        return logits


def _apply_layers(tower: TaskTower, x: tf.Tensor, first: int, done: Done) -> tf.Tensor:
    """Applies the layers from `first` on, and the head: float32 (rows,).

    `done` holds layers that were computed for another task with the same weights and the same x.
    """
    if not tower.kernels:
        return _as_output(tf.tile(tower.head[0][tf.newaxis], [tf.shape(x)[0], 1]))
    for kernel, bias in zip(tower.kernels[first:], tower.biases[first:], strict=True):
        key = (id(x), id(kernel), id(bias))
        if key not in done:
            done[key] = tf.nn.relu(kernel.product(x) + bias)
        x = done[key]

    return _as_output(tf.matmul(x, tower.head[0]) + tower.head[1])


def _as_output(logits: tf.Tensor) -> tf.Tensor:
    """Reshapes (rows, 1) to (rows,); several outputs stay (rows, outputs)."""
    return logits if logits.shape[1] > 1 else tf.reshape(logits, [-1])


def _first_units(product: tf.Tensor, of_requests: tf.Tensor, shape: tf.Tensor | None) -> tf.Tensor:
    """Computes a first layer's units, float32 (requests * candidates, units).

    Args:
        product: Of the candidates, (requests * candidates, units).
        of_requests: Of the requests, (requests, units).
        shape: [requests, candidates]; None: there is one request.
    """
    if shape is None:
        # TensorFlow fuses product, bias and ReLU into one operation.
        return tf.nn.relu(tf.nn.bias_add(product, of_requests[0]))
    units = of_requests.shape[1]
    by_request = tf.reshape(product, tf.concat([shape, [units]], axis=0))
    return tf.reshape(tf.nn.relu(by_request + of_requests[:, tf.newaxis]), [-1, units])
