"""What fitted vocabularies cost beside hashed ids: the audit, the served model, a request.

    python benchmarks/fitted_ids.py --values 1000000 10000000

A CSV log of `--rows` rows with as many users as said, one of 16 videos, and a click; the user
is hashed into 20 times as many buckets as there are users, or fitted. Each audit runs in a process
of its own, so that its memory is its own. Then a model that does nothing but turn users into ids is
saved, loaded in a new process, and asked for batches of 512 users.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from feeds import HEAD

from lt4rec_tf.data.audit.audit import audit
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.fitted import with_vocabularies, write_vocabularies
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema

BATCH, REQUESTS, CHUNK = 512, 200, 1_000_000
FEATURES = """
[[features]]
name = "user"
dtype = "string"
side = "user"
ids = {rule}

[[features]]
name = "video"
dtype = "int64"
side = "item"
ids = {{ kind = "integer", minimum = 0, maximum = 15 }}
"""


def main() -> None:
    """Writes logs, measures each part in processes of their own, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rows", type=int, help="of the log; as many as values unless said")
    parser.add_argument("--part", help="of the measurement; what processes are started with")
    parser.add_argument("--folder", type=Path, help="beside --part")
    flags = parser.parse_args()
    if flags.part:
        print(json.dumps(PARTS[flags.part](flags.folder)))
        return

    for values in flags.values:
        with tempfile.TemporaryDirectory() as folder:
            write_log(Path(folder), flags.rows or values, values)
            for part in PARTS:
                found = in_a_process(part, Path(folder))
                print(f"{values:,} values, {part}: {found}", flush=True)


def write_log(folder: Path, rows: int, values: int) -> None:
    """Writes the log and both schemas; user k stands in row k, then users come again."""
    for name, rule in (
        ("hash", f'{{ kind = "hash", buckets = {20 * values} }}'),
        ("fitted", '{ kind = "fitted" }'),
    ):
        text = HEAD.replace("none.csv", "log.csv") + FEATURES.format(rule=rule)
        (folder / f"{name}.toml").write_text(text)

    with (folder / "log.csv").open("w") as file:
        file.write("user,video,click\n")
        for first in range(0, rows, CHUNK):
            numbers = range(first, min(rows, first + CHUNK))
            file.writelines(f"user_{k % values},{k % 16},{k % 2}\n" for k in numbers)


def in_a_process(part: str, folder: Path) -> str:
    """Measures a part in a new process; returns its numbers in words."""
    command = [sys.executable, __file__, f"--part={part}", f"--folder={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return ", ".join(f"{name} {number:g}" for name, number in json.loads(done.stdout).items())


def audited(folder: Path, rule: str) -> dict[str, float]:
    """Audits the log by one of both schemas."""
    source = open_source(
        load_schema(folder / f"{rule}.toml").with_tasks(["ctr"]), folder, SplitRule("none")
    )
    begun = time.perf_counter()
    found = audit(source)
    seconds = time.perf_counter() - begun
    if rule == "fitted":
        write_vocabularies(folder / "vocabularies", found.vocabularies)
        save(folder, with_vocabularies(source.schema, found.vocabularies))
    return {"seconds": seconds, "GiB": peak_gib()}


def save(folder: Path, schema: Schema) -> None:
    """Saves a model that turns users into ids."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "user")])
    def ids(users: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = {"user": users, "video": tf.zeros_like(users, tf.int64)}
        return {"ids": features_to_ids(schema, raw)["user"]}

    module.ids = ids
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": ids})


def served(folder: Path) -> dict[str, float]:
    """Loads the model and asks for ids."""
    before = peak_gib()
    begun = time.perf_counter()
    model = tf.saved_model.load(str(folder / "model"))
    answer = model.signatures["serving_default"]
    rng = np.random.default_rng(0)
    users = tf.constant([f"user_{k}" for k in rng.integers(0, CHUNK, BATCH)])
    answer(user=users)
    loaded = time.perf_counter() - begun

    seconds = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        answer(user=users)
        seconds.append(time.perf_counter() - begun)
    size = sum(path.stat().st_size for path in (folder / "model").rglob("*") if path.is_file())
    return {
        "MB on disk": size / 1e6,
        "seconds to the first answer": loaded,
        "GiB more": peak_gib() - before,
        f"ms for {BATCH}": 1000 * statistics.median(seconds),
    }


def peak_gib() -> float:
    """Returns the most memory that this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


PARTS = {
    "audit with hashed users": lambda folder: audited(folder, "hash"),
    "audit with fitted users": lambda folder: audited(folder, "fitted"),
    "served": served,
}


if __name__ == "__main__":
    main()
