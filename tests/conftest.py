"""What several test files share: a small schema, a small network, real data where it is there."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from lt4rec_tf.core.command import before_tensorflow

before_tensorflow()  # as commands do
# Test processes side by side share the cores: with all of them for each, threads wait for threads.
beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if beside > 1:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // beside)))
settings.register_profile("lt4rec", deadline=None, max_examples=50, database=None)
settings.load_profile("lt4rec")

PROJECT = Path(__file__).resolve().parent.parent
REAL_DATA = PROJECT.parent / "shared" / "data"

SMALL_SCHEMA = """
name = "small"
format = "csv"
files = ["*.csv"]
user = "user"

[[features]]
name = "user"
dtype = "string"
side = "user"
table = "user"
ids = { kind = "hash", buckets = 20 }

[[features]]
name = "video"
dtype = "string"
side = "item"
table = "video"
ids = { kind = "hash", buckets = 30 }

[[features]]
name = "tags"
dtype = "string"
multivalued = true
max_values = 3
separator = "|"
side = "item"
table = "tag"
ids = { kind = "hash", buckets = 10 }

[[features]]
name = "source"
dtype = "string"
side = "context"
table = "video"
missing = "-1"
ids = { kind = "hash", buckets = 30 }

[[features]]
name = "age"
dtype = "float32"
side = "user"
table = "age"
ids = { kind = "numeric", mean = 30.0, scale = 10.0 }

[[labels]]
name = "click"
kind = "binary"
column = "click"

[[labels]]
name = "watch_ratio"
kind = "ratio"
column = "watch_ratio"

[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"
direction = "max"

[[tasks]]
name = "cvr"
label = "watch_ratio"
kind = "continuous"
population = "click"
loss = "mse"
metric = "mse"
direction = "min"
"""


# Files of minutes, the longest first: processes that share the suite then end at about one time.
LONGEST = (
    "test_cluster",
    "test_end_to_end",
    "test_compare",
    "test_hybrid_run",
    "test_data_sets",
    "test_daily",
    "test_parity",
    "test_serving",
    "test_convert",
    "test_simulate_online",
    "test_pool",
    "test_launch",
)


def pytest_collection_modifyitems(items):
    """Puts files of minutes last, in each the whole runs last: what fails fast is seen first."""

    def place(item):
        stem = item.path.stem
        slow = item.get_closest_marker("slow") is not None
        return (LONGEST.index(stem) + 1 if stem in LONGEST else 0), slow

    items.sort(key=place)


@pytest.fixture(scope="session")
def small_schema(tmp_path_factory):
    from lt4rec_tf.schema.reader import load_schema

    path = tmp_path_factory.mktemp("schema") / "small.toml"
    path.write_text(SMALL_SCHEMA, encoding="utf-8")
    return load_schema(path)


@pytest.fixture
def small_network(small_schema):
    return build_small(small_schema)


# Users, items, one with several values, one that is cut into intervals.
FEW = ("user_id", "video_id", "tags", "duration")


def few_features(name, folder):
    """The path of a simulator's schema with four features, written into a folder.

    What takes most of a small run's time, its graphs, grows with them.
    """
    text = (PROJECT / "configs" / "schemas" / f"{name}.toml").read_text(encoding="utf-8")
    kept = [
        table
        for table in text.split("\n\n")
        if not table.startswith("[[features]]")
        or any(f'name = "{feature}"\n' in table for feature in FEW)
    ]
    path = folder / f"{name}.toml"
    path.write_text("\n\n".join(kept), encoding="utf-8")
    return path


def build_small(schema, *, separate_towers=False, seed=1, cross="gram", hidden_units=(8, 4)):
    from lt4rec_tf.models.lt4rec import build_network

    return build_network(
        schema,
        separate_towers=separate_towers,
        embedding_dim=4,
        embedding_stddev=0.05,
        cross=cross,
        dcn_layers=2,
        hidden_units=hidden_units,
        seed=seed,
    )


def small_batch(rows=16, seed=0):
    """Random ids and labels that fit the small schema, as the pipeline gives them."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    click = rng.integers(0, 2, rows).astype(np.float32)
    features = {
        "user": rng.integers(0, 21, rows),
        "video": rng.integers(0, 31, rows),
        "tags": rng.integers(0, 11, (rows, 3)),
        "source": rng.integers(0, 31, rows),
    }
    features = {name: tf.constant(ids, tf.int64) for name, ids in features.items()}
    features["age"] = tf.constant(rng.normal(size=rows), tf.float32)
    ratio = (rng.random(rows) * click).astype(np.float32)
    duration = rng.choice([30.0, 90.0, np.nan], rows)
    return {
        "features": features,
        "labels": {"ctr": tf.constant(click), "cvr": tf.constant(ratio)},
        "weights": {"ctr": tf.ones(rows), "cvr": tf.constant(click)},
        "user": features["user"],
        "duration": tf.constant(duration, tf.float32),
    }


def real_data(folder: str) -> Path:
    """A folder of real rows; the test is skipped where it is absent."""
    path = REAL_DATA / folder
    if not path.is_dir():
        pytest.skip(f"real rows are not there: ../shared/data/{folder}")
    return path
