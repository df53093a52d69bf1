"""Parameters of layers that pool events: their shapes, and how they begin."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import tf_keras as keras

Draw = Callable[[str], keras.initializers.Initializer]


def parameter_shapes(
    lists: int, compared: int, dimension: int, units: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of an activation unit's parameters by name.

    Rows of a kernel stand for the vectors of lists, or of candidates, one after another.

    Args:
        lists: Vectors of an event.
        compared: Of these, how many are compared with a candidate's.
        dimension: Length of a vector.
        units: Widths of the hidden layers.
    """
    shapes: dict[str, tuple[int, ...]] = {
        "event_kernel": (lists * dimension, units[0]),
        "candidate_kernel": (compared * dimension, units[0]),
        "product_kernel": (compared * dimension, units[0]),
        "bias_0": (units[0],),
    }
    for depth, (below, width) in enumerate(itertools.pairwise(units), 1):
        shapes |= {f"kernel_{depth}": (below, width), f"bias_{depth}": (width,)}
    return shapes | {"output_kernel": (units[-1], 1), "output_bias": (1,)}


def is_hidden_kernel(name: str) -> bool:
    """Tells if an activation unit's parameter is a kernel below its last layer.

    >>> is_hidden_kernel("event_kernel"), is_hidden_kernel("kernel_1"), is_hidden_kernel("bias_1")
    (True, True, False)
    >>> is_hidden_kernel("output_kernel")
    False
    """
    return "kernel" in name and not name.startswith("output")


def start_of(name: str, draw: Draw) -> keras.initializers.Initializer:
    """Returns how a variable begins: a kernel is drawn, a scale and the last bias are 1, others 0.

    Args:
        name: Of the variable.
        draw: A variable's name -> what draws it.
    """
    if "kernel" in name:
        return draw(name)
    return keras.initializers.Constant(1.0 if name.endswith(("scale", "output_bias")) else 0.0)
