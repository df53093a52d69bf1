"""In which form each kernel of a served tower is multiplied: chosen by measurement.

A processor multiplies a dense kernel at many times the rate of a sparse one. TensorFlow's CSR
product, which skips zeros, wins where a ticket left a few per cent of a layer and loses at a fifth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.compact import compact, kept_kernels
from lt4rec_tf.serving.kernels import Kernel
from lt4rec_tf.serving.storage import plain_tower

# Denser kernels were never faster as CSR in any measurement: they are not tried.
TRIED_DENSITY = 0.15
REPEATS = 15


@dataclass(frozen=True)
class Forms:
    """The form of every kernel.

    Attributes:
        compact: Whether dead neurons are taken out.
        sparse: (task, depth) of the kernels that are multiplied as CSR; the others are dense.
    """

    compact: bool = True
    sparse: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def of(self, task: str, depth: int) -> str:
        """Of one kernel: "dense" or "csr"."""
        return "csr" if (task, depth) in self.sparse else "dense"


DENSE, COMPACT = Forms(compact=False), Forms()


def forms_of(network: RankingNetwork, kernel_form: str, precision: str, rows: int) -> Forms:
    """The forms that a flag asks for.

    Args:
        network: Wears its masks.
        kernel_form: "dense": kernels as the network has them, zeros and all. "compact": without
            dead neurons. "csr": that, and every product sparse. "auto": that, and each product as
            it is faster on this machine.
        precision: "float32" or "bfloat16".
        rows: Of the products that are timed.

    Raises:
        ValueError: The form is unknown.
    """
    if kernel_form == "dense":
        return DENSE
    if kernel_form == "compact" or not network.tops:
        return COMPACT
    kernels = _compact_kernels(network)
    if kernel_form == "csr":
        return Forms(sparse=frozenset(kernels))
    if kernel_form != "auto":
        raise ValueError(
            f"kernel_form: found {kernel_form!r}, expected 'auto', 'dense', 'compact' or 'csr'"
        )
    faster = {
        place
        for place, kernel in kernels.items()
        if np.count_nonzero(kernel) < TRIED_DENSITY * kernel.size
        and _sparse_is_faster(kernel, tf.as_dtype(precision), rows)
    }
    return Forms(sparse=frozenset(faster))


def _compact_kernels(network: RankingNetwork) -> Mapping[tuple[str, int], np.ndarray]:
    found = {}
    for task in network.tasks:
        tower = plain_tower(network, task)
        kept = compact(tower)
        if not len(kept.inputs):
            continue  # nothing is multiplied
        inputs = np.arange(tower.kernels[0].shape[0])
        for depth, kernel in enumerate(kept_kernels(tower, kept, inputs)[:-1]):
            found[task, depth] = kernel
    return found


def _sparse_is_faster(kernel: np.ndarray, dtype: tf.DType, rows: int) -> bool:
    variable = tf.Variable(tf.cast(kernel, dtype), trainable=False)
    x = tf.constant(np.random.default_rng(0).normal(size=(rows, len(kernel))).astype(np.float32))
    dense, sparse = (
        tf.function(Kernel(variable, form, f"tried_{form}").product) for form in ("dense", "csr")
    )
    return _median_seconds(lambda: sparse(x)) < _median_seconds(lambda: dense(x))


def _median_seconds(call: Callable[[], tf.Tensor]) -> float:
    call()  # is traced
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call().numpy()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))
