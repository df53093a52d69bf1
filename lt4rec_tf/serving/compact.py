"""Removes dead neurons from a tower without changing its output.

A neuron is dead in one of two ways. If no neuron above reads it, it is removed. If no input reaches
it, its output is the same for every example and is added to the biases above. Removing one neuron
can leave others dead. A tower is therefore traversed once upwards, for constants, and once
downwards, for neurons that are read. Unstructured tickets rarely leave dead neurons; tickets of
whole neurons become dense towers of fewer neurons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tower:
    """Dense layers with ReLU and a linear head, float32.

    Attributes:
        kernels: From the bottom up, (inputs, units); 0 where a weight is cut.
        biases: (units,) each.
        head_kernel: (units of the last layer, outputs).
        head_bias: (outputs,).
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    head_kernel: np.ndarray
    head_bias: np.ndarray


@dataclass(frozen=True)
class Kept:
    """The remaining part of a tower.

    Attributes:
        inputs: Indices of the inputs that are read, increasing.
        units: For each layer, the indices of the neurons that remain, increasing.
        biases: Of these neurons, constants from below added.
        head_bias: (outputs,), constants from below added.
    """

    inputs: np.ndarray
    units: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    head_bias: np.ndarray


def compact(tower: Tower) -> Kept:
    """Returns the neurons and inputs that a tower needs, and their biases.

    With z_l = x_l K_l + b_l and c_j = relu(b_j) for a neuron j that no input reaches, the next
    layer's biases become b + sum_j c_j K[j].

    >>> kernel = np.array([[1, 0], [1, 0]], np.float32)   # nothing reaches the second neuron
    >>> kept = compact(Tower((kernel,), (np.array([0, 2], np.float32),),
    ...                      np.array([[1], [3]], np.float32), np.array([0.5], np.float32)))
    >>> kept.units[0].tolist(), kept.head_bias.tolist()   # .5 + 3 relu(2)
    ([0], [6.5])

    If no input reaches the head, no layer keeps a neuron and the output is the head's bias;
    otherwise every layer keeps at least one.

    Args:
        tower: Masks folded into its kernels.
    """
    biases, constant = [], []
    outputs = np.zeros(tower.kernels[0].shape[0], bool)  # which inputs of a layer are constant
    values = np.zeros(len(outputs), np.float32)  # what these are, 0 elsewhere
    for kernel, bias in zip(tower.kernels, tower.biases, strict=True):
        biases.append(bias + values @ kernel)
        outputs = ~np.any(kernel[~outputs] != 0, axis=0)
        values = np.where(outputs, np.maximum(biases[-1], 0), 0).astype(np.float32)
        constant.append(outputs)
    head_bias = tower.head_bias + values @ tower.head_kernel

    units, kernel, above = [], tower.head_kernel, np.arange(tower.head_kernel.shape[1])
    for depth in reversed(range(len(tower.kernels))):
        above = np.flatnonzero(np.any(kernel[:, above] != 0, axis=1) & ~constant[depth])
        units.append(above)
        kernel = tower.kernels[depth]
    inputs = np.flatnonzero(np.any(kernel[:, above] != 0, axis=1))

    kept = tuple(reversed(units))
    return Kept(
        inputs,
        kept,
        tuple(bias[places] for bias, places in zip(biases, kept, strict=True)),
        head_bias,
    )


def whole(tower: Tower) -> Kept:
    """Returns all of a tower, with its dead neurons."""
    return Kept(
        np.arange(tower.kernels[0].shape[0]),
        tuple(np.arange(kernel.shape[1]) for kernel in tower.kernels),
        tower.biases,
        tower.head_bias,
    )


def kept_kernels(tower: Tower, kept: Kept, inputs: np.ndarray) -> list[np.ndarray]:
    """Returns the remaining kernels, the head's last.

    Args:
        tower: The argument of `compact`.
        kept: The result of `compact`.
        inputs: Indices of the first layer's inputs; they include `kept.inputs`.
    """
    below = [inputs, *kept.units]
    kernels = [*tower.kernels, tower.head_kernel]
    units = [*kept.units, np.arange(tower.head_kernel.shape[1])]
    return [
        kernel[np.ix_(rows, places)]
        for kernel, rows, places in zip(kernels, below, units, strict=True)
    ]
