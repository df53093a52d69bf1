"""LT4REC's towers as a server computes them: masks folded, dead neurons gone, weights stored once.

Field vectors -> cross layer -> per task: dense layers -> logit. For a request that ranks many
candidates the first layer is parted: what it makes of user and context alone is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from lt4rec_tf.layers.cross import GramCross, TriangleCross
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import compact, whole
from lt4rec_tf.serving.forms import Forms
from lt4rec_tf.serving.kernels import Kernel, Source
from lt4rec_tf.serving.split import CrossPlaces, FirstLayer, Sides, picked_rows
from lt4rec_tf.serving.storage import Storage, plain_tower

SHARED = "shared"  # owner of the field vectors that all tasks read; others belong to their task
# Below this share of alive inputs, picking them out costs less than multiplying all: TensorFlow's
# gather along columns takes about as long as a few hundred multiply-adds an element.
GATHERED_SHARE = 0.3

Vectors = Mapping[str, tf.Tensor]  # owner -> float32 (rows, fields, dimension)
Done = dict[tuple[int, ...], tf.Tensor]  # what was computed already, by what it was computed from


class TaskTower(tf.Module):
    """One task's layers.

    Attributes:
        inputs: Places of the inputs that the first kernel takes; None: all.
        read: Places of the inputs that are alive.
        kernels: From the bottom up.
        biases: float32 (units,) each.
        head: The head's kernel, float32 (units, 1), and its bias, float32 (1,); the bias alone
            where it is the answer to everything.
        asking: First kernel for what a request says once; None where the layer is not parted.
        ranked: First kernel for what differs between candidates.
    """

    def __init__(self, task: str) -> None:
        super().__init__(name=task)
        self.inputs: np.ndarray | None = None
        self.read = np.zeros(0, np.int64)
        self.kernels: list[Kernel] = []
        self.biases: list[tf.Variable] = []
        self.head: list[tf.Variable] = []
        self.asking: Kernel | None = None
        self.ranked: Kernel | None = None


class ServedTowers(tf.Module):
    """The towers of a network whose layers are MaskedDense.

    Args:
        network: Wears its masks.
        sides: Of the schema's features.
        dtype: Of kernels: tf.float32 or tf.bfloat16.
        forms: Of kernels.
    """

    def __init__(
        self, network: RankingNetwork, sides: Sides, dtype: tf.DType, forms: Forms
    ) -> None:
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
        self._build(network, forms)

    def _build(self, network: RankingNetwork, forms: Forms) -> None:
        plain = {task: plain_tower(network, task) for task in network.tasks}
        kept = {t: compact(tower) if forms.compact else whole(tower) for t, tower in plain.items()}
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
        known: dict[tuple[int, str], Kernel] = {}
        for task, sources in self.storage.kernels(network, plain, kept, inputs).items():
            for depth, source in enumerate(sources):
                form = forms.of(task, depth)
                key = (id(source), form)
                if key not in known:
                    known[key] = Kernel(source, form, f"{task}_{depth}")
                self.towers[task].kernels.append(known[key])
            if self.is_parted:
                self._part(task, sources[0], inputs[task])

    def _part(self, task: str, source: Source, inputs: np.ndarray) -> None:
        first, tower = self._first_layer(task), self.towers[task]

        def asking() -> tf.Tensor:
            return picked_rows(source, inputs, [[first.asking()]])

        def ranked() -> tf.Tensor:
            return picked_rows(source, inputs, first.ranked())

        tower.asking = Kernel(asking, "dense", f"{task}_asking")
        tower.ranked = Kernel(ranked, tower.kernels[0].form, f"{task}_ranked")

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
        rows = {owner: by_row(vectors) for owner, vectors in ranked.items()}
        requests, candidates = tf.unstack(tf.shape(ranked[SHARED])[:2])
        once = self._cross(asking[SHARED])
        each = tf.concat([self._between(asking, ranked), self._cross(rows[SHARED])], axis=1)
        done: Done = {}
        found = {}
        for task in tasks:
            tower = self.towers[task]
            x, y = self._with_own(once, asking, task), self._with_own(each, rows, task)
            if tower.kernels:
                y = _first_layer(tower, x, y, requests, candidates)
            found[task] = _climb(tower, y, 1, done)
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


def _first_layer(
    tower: TaskTower, once: tf.Tensor, each: tf.Tensor, requests: tf.Tensor, candidates: tf.Tensor
) -> tf.Tensor:
    """A parted first layer: float32 (requests * candidates, units).

    Args:
        tower: The task's.
        once: What its kernel `asking` takes, (requests, inputs).
        each: What its kernel `ranked` takes, (requests * candidates, inputs).
        requests: Their number.
        candidates: Of each request.
    """
    asking, ranked = tower.asking, tower.ranked
    assert asking is not None
    assert ranked is not None
    said = asking.product(once) + tower.biases[0]
    units = said.shape[1]

    def of_one() -> tf.Tensor:
        # As a bias, which TensorFlow adds within the product.
        return tf.nn.relu(tf.nn.bias_add(ranked.product(each), said[0]))

    def of_many() -> tf.Tensor:
        product = tf.reshape(ranked.product(each), [requests, candidates, units])
        return tf.reshape(tf.nn.relu(product + said[:, tf.newaxis]), [-1, units])

    return tf.ensure_shape(tf.cond(tf.equal(requests, 1), of_one, of_many), (None, units))


def _climb(tower: TaskTower, x: tf.Tensor, first: int, done: Done) -> tf.Tensor:
    """Layers from `first` on, and the head: float32 (rows,).

    A layer that was computed for another task, alike and of the same tensor, is in `done`.
    """
    if not tower.kernels:
        return tf.repeat(tower.head[0], tf.shape(x)[0])
    for kernel, bias in zip(tower.kernels[first:], tower.biases[first:], strict=True):
        key = (id(x), id(kernel), id(bias))
        if key not in done:
            done[key] = tf.nn.relu(kernel.product(x) + bias)
        x = done[key]
    return tf.reshape(tf.matmul(x, tower.head[0]) + tower.head[1], [-1])


def by_row(vectors: tf.Tensor) -> tf.Tensor:
    """(requests, candidates, fields, dimension) -> (requests * candidates, fields, dimension)."""
    return tf.reshape(vectors, [-1, *vectors.shape[2:]])
