"""A feed by days, small enough to train chains of runs on, with a vocabulary that grows."""

import numpy as np

from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import write_lines

COLUMNS = ("user", "video", "device", "day", "length", "click", "play_time")
ROWS = 300  # of a day
FIRST = 20261101  # the date of day 0
BATCH = 32
SCHEMA = """
name = "daily"
format = "csv"
files = ["*.csv"]
user = "user"
time = { column = "day" }

[[features]]
name = "user"
dtype = "string"
side = "user"
ids = { kind = "fitted" }

[[features]]
name = "device"
dtype = "string"
side = "user"
ids = { kind = "vocabulary", vocabulary = ["phone", "tv"] }

[[features]]
name = "video"
dtype = "string"
side = "item"
ids = { kind = "hash", buckets = 30 }

[[features]]
name = "length"
dtype = "float32"
side = "item"
ids = { kind = "standardised" }

[[features]]
name = "length_bin"
column = "length"
dtype = "float32"
side = "item"
ids = { kind = "quantiles", bins = 4 }

[[features]]
name = "length_place"
column = "length"
dtype = "float32"
side = "item"
ids = { kind = "piecewise_linear", bins = 4 }

[[labels]]
name = "click"
kind = "binary"
column = "click"

[[labels]]
name = "seconds"
kind = "amount"
column = "play_time"
multiplier = 0.01

[[tasks]]
name = "ctr"
label = "click"
kind = "binary"
loss = "cross_entropy"
metric = "auc"

[[tasks]]
name = "watch"
label = "seconds"
kind = "amount"
population = "click"
loss = "mse"
metric = "nrmse"
head = { kind = "ordinal", bins = 4 }
"""


def write_schema(folder):
    path = folder / "daily.toml"
    path.write_text(SCHEMA)
    return load_schema(path)


def write_day(folder, day, devices=(), name="log.csv", dates=None):
    """A day's rows, some of new users; the first ones are of given devices, others of two.

    `dates` are those of rows, by their numbers, that have another date than the day's.
    """
    rng = np.random.default_rng(day)
    dates = dates or {}
    lines = []
    for k in range(ROWS):
        user, video = rng.integers(30) + 2 * day, rng.integers(20)
        device = devices[k] if k < len(devices) else ["phone", "tv"][k % 2]
        length = int(rng.integers(10, 120))
        click = int(rng.random() < 0.2 + 0.6 * ((user + video) % 3 == 0))
        seconds = round(length * rng.random(), 1) if click else 0
        date = dates.get(k, FIRST + day)
        row = (f"u{user}", f"v{video}", device, date, length, click, seconds)
        lines.append(",".join(map(str, row)).encode())
    folder.mkdir(exist_ok=True)
    header = ",".join(COLUMNS).encode()
    return write_lines(folder / name, [header, *lines], header=False)


def flags(home, *more):
    """Flags that all runs of a chain have in common."""
    return [
        f"--schema={home}/daily.toml",
        "--hidden_units=8,4",
        "--epochs=1",
        "--embedding_dim=4",
        f"--batch_size={BATCH}",
        "--learning_rate=0.01",
        "--rounds=1",
        "--final_density=0.5",
        "--embedding_rounds=1",
        "--embedding_density=0.6",
        "--auto_trainings=1",
        "--reading=memory",  # a day is read some ten times
        *more,
    ]
