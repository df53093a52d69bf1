"""LT4REC's towers as a server computes them: masks folded, dead neurons gone, weights stored once.

Field vectors -> cross layer -> per task: dense layers -> logit. For a request that ranks many
candidates the first layer is parted: what it makes of user and context alone is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.layers.cross import GramCross, TriangleCross
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import compact
from lt4rec_tf.serving.first_layer import CrossPlaces, FirstLayer, PartedLayer, Sides
from lt4rec_tf.serving.kernels import Kernel
from lt4rec_tf.serving.storage import Storage, plain_tower

SHARED = "shared"  # owner of the field vectors that all tasks read; others belong to their task
# Below this share of alive inputs, picking them out costs less than multiplying all: TensorFlow's
# gather along columns takes about as long as a few hundred multiply-adds an element.
GATHERED_SHARE = 0.3
# One request's candidates, from so many on, climb the towers as two halves: TensorFlow leaves a
# product of a few hundred rows to one core, and two of them to two.
HALVED = 192

Vectors = Mapping[str, tf.Tensor]  # owner -> float32 (rows, fields, dimension)
Done = dict[tuple[int, ...], tf.Tensor]  # what was computed already, by what it was computed from


class TaskTower(tf.Module):
    """One task's layers.

    Attributes:
        inputs: Places of the inputs that the first kernel takes; None: all.
        read: Places of the inputs that are alive.
        kernels: From the bottom up.
        biases: float32 (units,) each.
        head: The head's kernel, float32 (units, outputs), and its bias, float32 (outputs,); the
            bias alone where it is the answer to everything.
        parted: The first layer as `rank` computes it; None where it is not parted.
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

    Args:
        network: Wears its masks.
        sides: Of the schema's features.
        dtype: Of kernels: tf.float32 or tf.bfloat16.
    """

    def __init__(self, network: RankingNetwork, sides: Sides, dtype: tf.DType) -> None:
        super().__init__(name="towers")
        self._cross = network.model.get_layer("shared.cross")
        # Each output of these reads two fields at most; of others, every one reads all.
        self._splits = isinstance(self._cross, GramCross | TriangleCross)
        self.is_parted = self._splits and bool(sides.asking) and bool(sides.ranked)
        self._sides = sides
        self._dimension = network.model.get_layer("shared.embedding").dimension
        self.storage = Storage(dtype)
        self.towers: dict[str, TaskTower] = {}
        self._own = {
            task: network.model.get_layer(f"{task}.embedding").dimension
            for task in network.tasks
            if f"{task}/own/kernel" in network.variables
        }
        self._build(network)

    def _build(self, network: RankingNetwork) -> None:
        plain = {task: plain_tower(network, task) for task in network.tasks}
        kept = {task: compact(tower) for task, tower in plain.items()}
        inputs = {}
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
            if len(kept[task].inputs) < GATHERED_SHARE * len(inputs[task]):
                tower.inputs = inputs[task] = kept[task].inputs
            values = {f"bias_{depth}": bias for depth, bias in enumerate(kept[task].biases)}
            values["head_kernel"] = plain[task].head_kernel[kept[task].units[-1]]
            values["head_bias"] = kept[task].head_bias
            *tower.biases, kernel, bias = (
                self.storage.variable(array, tf.float32, f"{task}.{name}")
                for name, array in values.items()
            )
            tower.head = [kernel, bias]
        # Tasks that have a kernel in common compute with it once, whole or parted.
        known: dict[int, Kernel] = {}
        parted: dict[tuple[int, bytes], PartedLayer] = {}
        for task, sources in self.storage.kernels(network, plain, kept, inputs).items():
            tower = self.towers[task]
            for depth, source in enumerate(sources):
                if id(source) not in known:
                    known[id(source)] = Kernel(source, f"{task}_{depth}")
                tower.kernels.append(known[id(source)])
            if self.is_parted:
                first = (id(sources[0]), inputs[task].tobytes())
                if first not in parted:
                    parted[first] = PartedLayer(
                        sources[0], inputs[task], self._first_layer(task), task
                    )
                tower.parted = parted[first]

    def _first_layer(self, task: str) -> FirstLayer:
        cross = "gram" if isinstance(self._cross, GramCross) else "triangle"
        places = CrossPlaces(cross, self._sides.fields, self._dimension)
        return FirstLayer(places, self._sides, self._own.get(task, 0))

    def read_fields(self, tasks: Sequence[str]) -> set[int]:
        """Places of the fields that the answers about some tasks depend on."""
        if not self._splits:
            return set(range(self._sides.fields))
        read = (self._first_layer(task).fields_of(self.towers[task].read) for task in tasks)
        return set().union(*read)

    def logits(self, vectors: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Task -> float32 (rows,)."""
        crossed = self._cross(vectors[SHARED])
        done: Done = {}
        found = {}
        for task in tasks:
            tower, x = self.towers[task], self._with_own(crossed, vectors, task)
            if tower.inputs is not None:
                x = tf.gather(x, tower.inputs, axis=1)
            found[task] = _climb(tower, x, 0, done)
        return found

    def rank(self, asking: Vectors, ranked: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Task -> float32 (requests * candidates,); for towers whose first layer `is_parted`.

        Args:
            asking: Owner -> vectors of user and context fields, (requests, fields, dimension).
            ranked: Owner -> vectors of item fields, (requests, candidates, fields, dimension).
            tasks: To answer for.
        """
        said = self._said(asking, tasks)
        rows = {owner: by_row(vectors) for owner, vectors in ranked.items()}
        each = tf.concat([self._between(asking, ranked), self._cross(rows[SHARED])], axis=1)
        shape = tf.shape(ranked[SHARED])[:2]
        requests, candidates = tf.unstack(shape)

        def of_halves() -> dict[str, tf.Tensor]:
            middle = candidates // 2
            halves = [
                self._of_candidates(
                    each[half], {owner: v[half] for owner, v in rows.items()}, said, tasks, None
                )
                for half in (slice(None, middle), slice(middle, None))
            ]
            return {task: tf.concat([found[task] for found in halves], axis=0) for task in tasks}

        def of_all() -> dict[str, tf.Tensor]:
            return self._of_candidates(each, rows, said, tasks, shape)

        return tf.cond((requests == 1) & (candidates >= HALVED), of_halves, of_all)

    def _said(self, asking: Vectors, tasks: Sequence[str]) -> dict[str, tf.Tensor]:
        """Task -> what its first layer makes of the requests, and its bias: (requests, units)."""
        once = self._cross(asking[SHARED])
        done: Done = {}
        said = {}
        for task in tasks:
            tower, x = self.towers[task], self._with_own(once, asking, task)
            if tower.parted:
                key = (id(x), id(tower.parted), id(tower.biases[0]))
                if key not in done:
                    done[key] = tower.parted.asking.product(x) + tower.biases[0]
                said[task] = done[key]
        return said

    def _of_candidates(
        self,
        each: tf.Tensor,
        rows: Vectors,
        said: Mapping[str, tf.Tensor],
        tasks: Sequence[str],
        shape: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        """Task -> float32 (rows,).

        Args:
            each: Outputs of the cross layer that differ between candidates, (rows, inputs).
            rows: Owner -> vectors of item fields, (rows, fields, dimension).
            said: As of `_said`.
            tasks: To answer for.
            shape: [requests, candidates]; None: the rows are candidates of one request.
        """
        done: Done = {}
        found = {}
        for task in tasks:
            tower, x = self.towers[task], self._with_own(each, rows, task)
            if tower.parted:
                key = (id(x), id(said[task]), id(tower.parted))
                if key not in done:
                    product = tower.parted.ranked.product(x)
                    done[key] = _with_said(product, said[task], shape)
                x = done[key]
            found[task] = _climb(tower, x, 1, done)
        return found

    def _between(self, asking: Vectors, ranked: Vectors) -> tf.Tensor:
        """<h_i, h_j> of item field i and user field j, i by i: (rows, pairs)."""
        fields, items = len(self._sides.asking), len(self._sides.ranked)
        # One product a request: TensorFlow is slow at many small ones.
        shape = tf.concat([tf.shape(ranked[SHARED])[:1], [-1, self._dimension]], axis=0)
        product = tf.matmul(tf.reshape(ranked[SHARED], shape), asking[SHARED], transpose_b=True)
        return tf.reshape(product, [-1, items * fields])

    def _with_own(self, crossed: tf.Tensor, vectors: Vectors, task: str) -> tf.Tensor:
        if task not in self._own:
            return crossed
        _, fields, dimension = vectors[task].shape
        return tf.concat([crossed, tf.reshape(vectors[task], [-1, fields * dimension])], axis=1)


def _climb(tower: TaskTower, x: tf.Tensor, first: int, done: Done) -> tf.Tensor:
    """Layers from `first` on, and the head: float32 (rows,).

    A layer that was computed for another task, alike and of the same tensor, is in `done`.
    """
    if not tower.kernels:
        return _as_output(tf.tile(tower.head[0][tf.newaxis], [tf.shape(x)[0], 1]))
    for kernel, bias in zip(tower.kernels[first:], tower.biases[first:], strict=True):
        key = (id(x), id(kernel), id(bias))
        if key not in done:
            done[key] = tf.nn.relu(kernel.product(x) + bias)
        x = done[key]
    return _as_output(tf.matmul(x, tower.head[0]) + tower.head[1])


def _as_output(found: tf.Tensor) -> tf.Tensor:
    """(rows, outputs); one output alone is (rows,)."""
    return found if found.shape[1] > 1 else tf.reshape(found, [-1])


def _with_said(product: tf.Tensor, said: tf.Tensor, shape: tf.Tensor | None) -> tf.Tensor:
    """A first layer's units, float32 (requests * candidates, units).

    Args:
        product: Of the candidates, (requests * candidates, units).
        said: Of the requests, (requests, units).
        shape: [requests, candidates]; None: there is one request.
    """
    if shape is None:
        return tf.nn.relu(tf.nn.bias_add(product, said[0]))  # in one operation with the product
    units = said.shape[1]
    parted = tf.reshape(product, tf.concat([shape, [units]], axis=0))
    return tf.reshape(tf.nn.relu(parted + said[:, tf.newaxis]), [-1, units])


def by_row(vectors: tf.Tensor) -> tf.Tensor:
    """(requests, candidates, fields, dimension) -> (requests * candidates, fields, dimension)."""
    return tf.reshape(vectors, [-1, *vectors.shape[2:]])
