"""A task's tower whose layers compute the alive neurons alone, where whole neurons are cut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

import numpy as np
import tensorflow as tf

from lt4rec_tf.tickets.neurons import count_weights

# A tower of this share of its weights, or less, is computed as one of its alive neurons. Taking
# them out of the shared kernels, and putting gradients back, costs what the other share would save.
WORTHWHILE = 0.6

Moved = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # `pick_rows` or `put_rows`

_COMPACT = ContextVar("compact", default=False)


@contextlib.contextmanager
def compact_towers() -> Iterator[None]:
    """Within it towers for which this is worthwhile compute their alive neurons alone.

    What is compiled within it holds as long as the same towers are worthwhile.
    """
    token = _COMPACT.set(True)
    try:
        yield
    finally:
        _COMPACT.reset(token)


def are_compact() -> bool:
    """Tells if worthwhile towers compute their alive neurons alone."""
    return _COMPACT.get()


class CompactTower:
    """What is alive of one task's tower, for the kernels and biases of its layers.

    Layers of a compact tower hand on the units that are alive, in their order; the last one hands
    on all, since a head reads cut units too. The first one reads all inputs: picking some of them
    from each row costs more than the products with the others. Their number is read from variables
    at each step, so what was compiled for a compact tower stays valid as long as it is one.

    Args:
        shapes: Of the kernels, (inputs, units), from the bottom up; two layers or more.
        name: Of the variables.

    Attributes:
        worthwhile: Whole neurons are cut, so many that computing the alive ones is faster.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], name: str) -> None:
        self.worthwhile = False
        self._masks = [np.ones(shape, bool) for shape in shapes]
        self._top = len(shapes) - 1
        # float32 (inputs,), then (units,) of each layer: 1 where alive.
        widths = [shapes[0][0], *(units for _, units in shapes)]
        self._alive = [
            tf.Variable(tf.ones(width), trainable=False, name=f"{name}.alive_{i}")
            for i, width in enumerate(widths)
        ]

    def wear(self, depth: int, mask: np.ndarray) -> None:
        """Reads from a layer's new mask what is alive.

        Args:
            depth: The layer's, from 0.
            mask: (inputs, units), bool or 0/1.
        """
        self._masks[depth] = mask.astype(bool)
        alive = alive_neurons(self._masks)
        self.worthwhile = alive is not None and _computed_share(alive) <= WORTHWHILE
        if alive is not None:
            for variable, units in zip(self._alive, alive, strict=True):
                variable.assign(units.astype(np.float32))

    def kernel(self, depth: int, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the rows and columns of W * M that a layer of a compact tower computes with.

        The gradient is that of W * M: a dense tensor, 0 where a weight is cut.

        Args:
            depth: The layer's, from 0.
            kernel: W, float32 (inputs, units).

        Returns:
            float32 (alive inputs, alive units); of the first layer all inputs and of the last all
            units, with zeros where they are cut.
        """
        # Zeros of cut rows, or columns, are put into the smaller matrix.
        in_order = [self._on_rows, self._on_columns] if depth else [self._on_columns, self._on_rows]

        @tf.custom_gradient
        def alive_part(kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                for moved in reversed(in_order):
                    upstream = moved(depth, put_rows, upstream)
                return upstream

            part = kernel
            for moved in in_order:
                part = moved(depth, pick_rows, part)
            return part, gradient

        return alive_part(kernel)

    def bias(self, depth: int, bias: tf.Tensor) -> tf.Tensor:
        """Returns the biases, float32, of the units that a layer of a compact tower computes."""
        if depth == self._top:
            return bias
        alive = self._alive[depth + 1]

        @tf.custom_gradient
        def alive_part(bias: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return pick_rows(bias, alive), lambda upstream: put_rows(upstream, alive)

        return alive_part(bias)

    def _on_rows(self, depth: int, moved: Moved, matrix: tf.Tensor) -> tf.Tensor:
        alive = self._alive[depth]
        return moved(matrix, alive) if depth else matrix * alive[:, tf.newaxis]

    def _on_columns(self, depth: int, moved: Moved, matrix: tf.Tensor) -> tf.Tensor:
        alive = self._alive[depth + 1]
        if depth == self._top:
            return matrix * alive
        # Whole rows are moved many times as fast as single numbers of each row.
        return tf.transpose(moved(tf.transpose(matrix), alive))


def alive_neurons(masks: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """Finds what is alive of a tower of which whole neurons are cut.

    >>> first = np.array([[True, False], [True, False], [False, False]])
    >>> [alive.tolist() for alive in alive_neurons([first, np.array([[True], [False]])])]
    [[True, True, False], [True, False], [True]]
    >>> alive_neurons([first, np.array([[True], [True]])]) is None  # a cut unit is read
    True

    Args:
        masks: bool (inputs, units) of each layer, from the bottom up.

    Returns:
        bool (inputs,) of the first layer, then (units,) of each layer; None where some mask is not
        alive inputs times alive units, reads other units than those alive below, or is empty.
    """
    alive = [np.asarray(masks[0].any(axis=1))]
    for mask in masks:
        units = np.asarray(mask.any(axis=0))
        # TensorFlow aborts the process where a product of no columns is followed by a bias.
        if not units.any() or not np.array_equal(mask, np.outer(alive[-1], units)):
            return None
        alive.append(units)
    return alive


def pick_rows(matrix: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
    """Returns the alive rows of a matrix, or numbers of a vector.

    Args:
        matrix: (n, ...).
        alive: float32 (n,), 1 where alive.
    """
    return tf.gather(matrix, tf.where(alive > 0)[:, 0])


def put_rows(picked: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
    """Puts rows back where `pick_rows` took them, zeros elsewhere: (n, ...), its gradient."""
    with_zeros = tf.pad(picked, [[0, 1], *[[0, 0]] * (picked.shape.rank - 1)])
    place = tf.where(alive > 0, tf.cumsum(alive) - 1, tf.reduce_sum(alive))
    return tf.gather(with_zeros, tf.cast(place, tf.int32))


def _computed_share(alive: Sequence[np.ndarray]) -> float:
    """Returns the share of a tower's weights that a compact one computes with."""
    inner = [int(np.count_nonzero(units)) for units in alive[1:-1]]
    computed = [alive[0].size, *inner, alive[-1].size]
    return count_weights(computed) / count_weights([units.size for units in alive])
