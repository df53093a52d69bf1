"""A small schema."""

from __future__ import annotations

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
FEW = ("user_id", "video_id", "tags", "duration")


def few_features(name, folder):
    """The path of a schema of the project with four features, written into a folder.

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
