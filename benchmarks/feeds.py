"""Schemas and batches of the shape that benchmarks ask for."""

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
name = "{side}_{place}"
dtype = "int64"
missing = -1
side = "{side}"
ids = {{ kind = "integer", minimum = 0, maximum = {last} }}
"""


def wide_schema(
    rows: int, item_fields: int = FIELDS // 2, more_rows: Mapping[str, int] | None = None
) -> Schema:
    """Single-valued fields user_0, user_1, ..., item_0, ...; CTR and CVR.

    Args:
        rows: Of each field's embedding table, those of missing and unknown values included.
        item_fields: How many of the fields are items'; the others are users'.
        more_rows: Field -> rows of its table in place of `rows`.
    """
    fields = {"user": FIELDS - item_fields, "item": item_fields}
    names = [(side, place) for side, number in fields.items() for place in range(number)]
    rows_of = {f"{side}_{place}": rows for side, place in names} | dict(more_rows or {})
    features = [
        FEATURE.format(side=side, place=place, last=rows_of[f"{side}_{place}"] - 3)
        for side, place in names
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "schema.toml"
        path.write_text(HEAD + "".join(features), encoding="utf-8")
        return load_schema(path)


def random_ids(rows: int, batch: int, seed: int) -> np.ndarray:
    """Ids of every field, drawn alike: int64 (batch, fields) in [2, rows)."""
    return np.random.default_rng(seed).integers(2, rows, (batch, FIELDS))


def random_labels(batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clicks, 0 or 1, and watch ratios in [0, 1), float32 (batch,) each."""
    rng = np.random.default_rng(seed)
    clicks = rng.random(batch) < CLICK_SHARE
    return clicks.astype(np.float32), rng.random(batch, np.float32)
