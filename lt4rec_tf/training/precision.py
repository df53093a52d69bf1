"""Precision of a stage's matrix products.

Weights, moments, losses and updates are float32 either way. With bfloat16, TensorFlow's own graph
rewrite (auto mixed precision) computes products, and the operations between them, in 8 bits of
mantissa. Processors with matrix units for bfloat16 are several times as fast at it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
# bfloat16 is chosen where its products are at least this many times as fast. Below that, the casts
# around them cost more than they save.
WORTHWHILE = 1.5
ROWS, WIDTH, ROUNDS = 2048, 1024, 7  # of the products that are timed

_REWRITE = "auto_mixed_precision_onednn_bfloat16"


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Sets the precision in which functions that are called within the context compute.

    Args:
        precision: "float32" or "bfloat16".
    """
    before = tf.config.optimizer.get_experimental_options().get(_REWRITE, False)
    tf.config.optimizer.set_experimental_options({_REWRITE: precision == BFLOAT16})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_REWRITE: before})


def settled(precision: str, folder: Path) -> str:
    """Returns the precision that a setting means, the same in all of a run's processes.

    Args:
        precision: "float32", "bfloat16", or "auto": the faster one, measured by the first process.
        folder: The measurement is saved there.

    Returns:
        "float32" or "bfloat16".
    """
    if precision != AUTO:
        return precision
    file = folder / "precision.json"
    if not file.exists():
        ratio = product_ratio()
        chosen = BFLOAT16 if ratio >= WORTHWHILE else FLOAT32
        artifacts.write_json(file, {"precision": chosen, "bfloat16_is_faster_by": round(ratio, 2)})
    chosen_before: _Chosen = read_typed(file, _Chosen)
    return chosen_before["precision"]


class _Chosen(TypedDict):
    precision: str


def product_ratio() -> float:
    """Measures how many times as fast bfloat16 products are as float32 ones on this machine."""
    seconds: dict[str, list[float]] = {FLOAT32: [], BFLOAT16: []}
    matrices = {}
    for name in seconds:
        dtype = tf.as_dtype(name)
        matrices[name] = (tf.ones((ROWS, WIDTH), dtype), tf.ones((WIDTH, WIDTH), dtype))

    # The two alternate, so that a machine that slows down slows both.
    for _ in range(ROUNDS):
        for name, (x, kernel) in matrices.items():
            started = time.perf_counter()
            tf.matmul(x, kernel).numpy()
            seconds[name].append(time.perf_counter() - started)
    return statistics.median(seconds[FLOAT32]) / statistics.median(seconds[BFLOAT16])
