"""A small schema."""

from __future__ import annotations

from lt4rec_tf.schema.numbers import Numbers
from lt4rec_tf.schema.reader import load_schema
from tests.support.paths import PROJECT

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
# Users, items, one with several values, one that is cut into intervals.
# Features that tests add to the small schema.
HOUR = """
[[features]]
name = "hour"
dtype = "int64"
side = "context"
missing = -1
ids = { kind = "integer", minimum = 0, maximum = 23 }
"""
LENGTH = """
[[features]]
name = "length"
dtype = "float32"
side = "item"
ids = { kind = "boundaries", boundaries = [15, 60.5, 300] }
"""
# By rules of numbers that an audit fits, and what it might have found.
FITTED = """
[[features]]
name = "fans"
dtype = "int64"
side = "user"
ids = { kind = "quantiles", bins = 4 }

[[features]]
name = "loudness"
dtype = "float32"
side = "item"
ids = { kind = "piecewise_linear", bins = 3 }

[[features]]
name = "wait"
dtype = "float32"
side = "context"
ids = { kind = "standardised", transform = "log1p" }
"""
# What a user watched before: the videos, and how long ago.
WATCHED = """
[[features]]
name = "watched"
dtype = "string"
multivalued = true
max_values = 4
separator = "|"
side = "user"
table = "video"
missing = "-1"
pooling = "attention"
candidate = "video"
ids = { kind = "hash", buckets = 30 }

[[features]]
name = "ago"
dtype = "float32"
multivalued = true
max_values = 4
separator = "|"
side = "user"
aligned_with = "watched"
ids = { kind = "boundaries", boundaries = [60, 3600, 86400] }
"""
ATTENTION = 'pooling = "attention"'
POOLINGS = {
    "attention": ATTENTION,
    "softmax": 'pooling = "softmax_attention"',
    "transformer": 'pooling = "transformer"',
    "nearest by value": f'{ATTENTION}\nnearest = 2\nsearch = "watched"',
    "nearest by hash": f'{ATTENTION}\nnearest = 2\nsearch = "hash"',
}


def watched_schema(folder, pooling="attention", lists=WATCHED, more=""):
    """The small schema with the last videos that a user watched."""
    path = folder / "watched.toml"
    text = SMALL_SCHEMA + lists.replace(ATTENTION, POOLINGS[pooling]) + more
    path.write_text(text, encoding="utf-8")
    return load_schema(path)


FOUND = {
    "fans": Numbers(9, 100.0, 30.0, (7.0, 20.0, 2.0**62)),
    "loudness": Numbers(9, 0.0, 3.0, (-3.0, 0.5, 15.0, 300.0)),
    "wait": Numbers(9, 2.0, 0.5),
}
FEW = ("user_id", "video_id", "tags", "duration")


# Flags of a run on the simulated feed that takes seconds.
SMALL_RUN = (
    "--simulate_rows=6000",
    "--hidden_units=16,8",
    "--embedding_dim=4",
    "--epochs=1",
    "--rounds=1",
    "--batch_size=256",
    "--learning_rate=0.01",
    "--reading=memory",
)


def few_features(name, folder, *more):
    """The path of a schema of the project with four features and more, written into a folder.

    What takes most of a small run's time, its graphs, grows with them.
    """
    text = (PROJECT / "configs" / "schemas" / f"{name}.toml").read_text(encoding="utf-8")
    kept = [
        table
        for table in text.split("\n\n")
        if not table.startswith("[[features]]")
        or any(f'name = "{feature}"\n' in table for feature in (*FEW, *more))
    ]
    path = folder / f"{name}.toml"
    path.write_text("\n\n".join(kept), encoding="utf-8")
    return path
