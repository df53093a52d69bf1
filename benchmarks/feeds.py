"""Schemas and random batches of the benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema

FIELDS, DIMENSION, UNITS = 20, 32, (512, 256, 128)
TASKS = ("ctr", "cvr")
CLICK_SHARE = 0.2
HEAD = """
name = "benchmark"
format = "csv"
files = ["none.csv"]

[[labels]]
name = "click"
kind = "binary"
column = "click"

[[labels]]
name = "ratio"
kind = "ratio"
column = "ratio"

[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"
direction = "max"

[[tasks]]
name = "cvr"
label = "ratio"
kind = "continuous"
population = "click"
loss = "mse"
metric = "mse"
direction = "min"
"""
FEATURE = """
[[features]]
name = "{side}_{index}"
dtype = "int64"
missing = -1
side = "{side}"
ids = {{ kind = "integer", minimum = 0, maximum = {last} }}
"""


def wide_schema(
    rows: int, item_fields: int = FIELDS // 2, more_rows: Mapping[str, int] | None = None
) -> Schema:
    """Returns a schema of single-valued fields user_0, user_1, ..., item_0, ...; CTR and CVR.

    Args:
        rows: Of each field's embedding table, those of missing and unknown values included.
        item_fields: Number of items' fields; the others are users'.
        more_rows: Field -> rows of its table in place of `rows`.
    """
    features = []
    for side, count in (("user", FIELDS - item_fields), ("item", item_fields)):
        for index in range(count):
            rows_of_field = (more_rows or {}).get(f"{side}_{index}", rows)
            # Two rows are those of missing and unknown values.
            features.append(FEATURE.format(side=side, index=index, last=rows_of_field - 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "schema.toml"
        path.write_text(HEAD + "".join(features), encoding="utf-8")
        return load_schema(path)


def random_ids(rows: int, batch: int, seed: int) -> np.ndarray:
    """Draws ids of every field: int64 (batch, fields) in [2, rows)."""
    return np.random.default_rng(seed).integers(2, rows, (batch, FIELDS))


def random_labels(batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws clicks, 0 or 1, and watch ratios in [0, 1), float32 (batch,) each."""
    rng = np.random.default_rng(seed)
    clicks = rng.random(batch) < CLICK_SHARE
    return clicks.astype(np.float32), rng.random(batch, np.float32)
