"""A tiny model with a signature of every kind, whose answers can be added up by hand."""

import os
import subprocess
import sys
from pathlib import Path

import tensorflow as tf

from tests.support.paths import PROJECT

DTYPES = {"user": tf.string, "age": tf.int64, "tags": tf.string, "length": tf.float32}
EXAMPLE = {
    "user": tf.io.FixedLenFeature([], tf.string, ""),
    "age": tf.io.FixedLenFeature([], tf.int64, -1),
    "tags": tf.io.VarLenFeature(tf.string),
    "length": tf.io.FixedLenFeature([], tf.float32, float("nan")),
}


def sums(user, age, tags, length):
    """Letters of the user in bytes + age / 100 + tags / 1000, and the length, or -1 for NaN."""
    first = (
        tf.cast(tf.strings.length(user), tf.float32)
        + tf.cast(age, tf.float32) / 100
        + tf.cast(tf.math.count_nonzero(tags != "", axis=-1), tf.float32) / 1000
    )
    return {"pctr": first, "pcvr": tf.where(tf.math.is_nan(length), -1.0, length)}


def _specs(**axes):
    return [
        tf.TensorSpec([None] * axes.get(name, 1), dtype, name) for name, dtype in DTYPES.items()
    ]


class Sums(tf.Module):
    @tf.function(input_signature=_specs(tags=2))
    def rows(self, user, age, tags, length):
        return sums(user, age, tags, length)

    @tf.function(input_signature=_specs(tags=2))
    def ctr(self, user, age, tags, length):
        return {"pctr": sums(user, age, tags, length)["pctr"]}

    @tf.function(input_signature=_specs(tags=3, length=2))
    def rank(self, user, age, tags, length):
        answers = sums(user[:, tf.newaxis], age[:, tf.newaxis], tags, length)
        return answers | {"score": answers["pctr"] * answers["pcvr"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def tf_example(self, examples):
        parsed = tf.io.parse_example(examples, EXAMPLE)
        return sums(**(parsed | {"tags": tf.sparse.to_dense(parsed["tags"], "")}))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress_ctr(self, inputs):
        return {"outputs": self.tf_example(inputs)["pctr"]}


def save_sums(base: Path) -> Path:
    """Saves the model as version 1 of a folder; returns the folder."""
    model = Sums()
    functions = {"serving_default": model.rows}
    functions |= {
        name: getattr(model, name) for name in ("ctr", "rank", "tf_example", "regress_ctr")
    }
    signatures = {name: made.get_concrete_function() for name, made in functions.items()}
    tf.saved_model.save(model, str(base / "1"), signatures=signatures)
    return base


def run_script(name, *flags, packages=False, environment=None):
    """Runs a script of export/; without packages, Python has its standard library alone."""
    alone = [] if packages else ["-S"]
    command = [sys.executable, *alone, str(PROJECT / "export" / name), *map(str, flags)]
    environment = os.environ | {"NO_COLOR": "1"} | (environment or {})
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=120, env=environment
    )
