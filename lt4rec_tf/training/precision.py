"""In which precision a stage's matrix products are computed.

Weights, moments, losses and updates are float32 either way. With bfloat16, TensorFlow's own graph
rewrite (auto mixed precision) computes products and what lies between them in 8 bits of mantissa,
which processors with matrix units for it do several times as fast.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from lt4rec_tf.core import artifacts

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
# bfloat16 is chosen where its products are at least so many times as fast: for less, the casts
# around them cost what they gain.
WORTHWHILE = 1.5
ROWS, WIDTH, ROUNDS = 2048, 1024, 7  # of the products that are timed

_REWRITE = "auto_mixed_precision_onednn_bfloat16"


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Functions that are called within compute in this precision; others as they did.

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
    """The precision that a setting means, the same in all of a run's processes.

    Args:
        precision: "float32", "bfloat16", or "auto": what is faster on the machine that asks first.
        folder: Keeps what was measured.

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
    return artifacts.read_json(file)["precision"]


def product_ratio() -> float:
    """How many times as fast this machine multiplies matrices in bfloat16 as in float32."""
    seconds: dict[str, list[float]] = {FLOAT32: [], BFLOAT16: []}
    factors = {
        name: (
            tf.ones((ROWS, WIDTH), tf.as_dtype(name)),
            tf.ones((WIDTH, WIDTH), tf.as_dtype(name)),
        )
        for name in seconds
    }
    for _ in range(ROUNDS):
        for name, (x, kernel) in factors.items():
            begun = time.perf_counter()
            tf.matmul(x, kernel).numpy()
            seconds[name].append(time.perf_counter() - begun)
    return statistics.median(seconds[FLOAT32]) / statistics.median(seconds[BFLOAT16])
