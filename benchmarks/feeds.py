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
EVENTS = """
[[features]]
name = "{name}"
dtype = "int64"
multivalued = true
max_values = {length}
separator = "|"
missing = -1
side = "user"
ids = {{ kind = "integer", minimum = 0, maximum = {last} }}
{keys}
"""
ATTENTION = 'pooling = "attention"'


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
    return schema_of("".join(features))


def schema_of(features: str) -> Schema:
    """Returns a schema of features, CTR and CVR."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "schema.toml"
        path.write_text(HEAD + features, encoding="utf-8")
        return load_schema(path)


def random_ids(rows: int, batch: int, seed: int) -> np.ndarray:
    """Draws ids of every field: int64 (batch, fields) in [2, rows)."""
    return np.random.default_rng(seed).integers(2, rows, (batch, FIELDS))


def random_labels(batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws clicks, 0 or 1, and watch ratios in [0, 1), float32 (batch,) each."""
    rng = np.random.default_rng(seed)
    clicks = rng.random(batch) < CLICK_SHARE
    return clicks.astype(np.float32), rng.random(batch, np.float32)


def history_schema(ids: int, length: int) -> Schema:
    """Returns a schema of a user, an item, and the items that the user clicked before.

    Args:
        ids: Of users, and of items.
        length: The most items of a history.
    """
    fields = "".join(
        FEATURE.format(side=side, index=0, last=ids - 3).replace(f"{side}_0", name)
        for side, name in (("user", "user"), ("item", "item"))
    )
    return schema_of(fields + clicked_items(length, ids - 3, table="item", candidate="item"))


def clicked_items(
    length: int, last: int, *, table: str, candidate: str, pooling: str = ATTENTION
) -> str:
    """Returns the feature `clicked`: items that a user clicked before.

    Args:
        length: The most items.
        last: The largest id.
        table: Of the items.
        candidate: The feature of the item that is ranked.
        pooling: The keys that say how the list is pooled.
    """
    keys = f'table = "{table}"\ncandidate = "{candidate}"\n{pooling}'
    return EVENTS.format(name="clicked", length=length, last=last, keys=keys)


def random_histories(ids: int, batch: int, length: int, seed: int) -> dict[str, np.ndarray]:
    """Draws rows: a user, an item, a history of 0 to `length` items, 0 behind it, and clicks."""
    rng = np.random.default_rng(seed)
    is_event = np.arange(length) < rng.integers(0, length + 1, (batch, 1))
    return {
        "user": rng.integers(2, ids, batch),
        "item": rng.integers(2, ids, batch),
        "clicked": rng.integers(2, ids, (batch, length)) * is_event,
        "click": random_labels(batch, seed)[0],
    }
