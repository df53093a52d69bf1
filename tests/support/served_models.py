"""SavedModels of pure functions, by which the stand-in is held against the server's rules."""

import contextlib
import json

import tensorflow as tf

from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.serving_server import post

MODEL = "/v1/models/m"
ROW = {"x": 1.5, "n": 3, "s": "é"}

FEATURES = {
    "price": tf.io.FixedLenFeature((), tf.float32),
    "count": tf.io.FixedLenFeature((), tf.int64, 0),
    "word": tf.io.FixedLenFeature((), tf.string, ""),
}


def floats(name="x", rank=1, dtype=tf.float32):
    return tf.TensorSpec((None,) * rank, dtype, name)


EXAMPLES = {"inputs": floats("inputs", dtype=tf.string)}
THREE = {"x": floats(), "n": floats("n", dtype=tf.int64), "s": floats("s", dtype=tf.string)}
KINDS = {
    "double": tf.float64,
    "int32": tf.int32,
    "int8": tf.int8,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "bool": tf.bool,
}


def regress(raw):
    row = tf.io.parse_example(raw["inputs"], FEATURES)
    length = tf.cast(tf.strings.length(row["word"]), tf.float32)
    return row["price"] + 10.0 * tf.cast(row["count"], tf.float32) + 100.0 * length


def classify(raw):
    score = regress(raw)
    labels = tf.tile(tf.constant([["yes", "no"]]), [tf.size(score), 1])
    return {"classes": labels, "scores": tf.stack([score, 1.0 - score], axis=1)}


def checked(raw):
    with tf.control_dependencies([tf.debugging.assert_positive(raw["x"], "x must be above 0")]):
        return {"y": tf.identity(raw["x"])}


SIGNATURES = {
    "serving_default": (
        THREE,
        lambda raw: {"y": 2.0 * raw["x"] + tf.cast(raw["n"], tf.float32), "word": raw["s"]},
    ),
    "one": ({"x": floats()}, lambda raw: {"y": 2.0 * raw["x"]}),
    "lists": ({"x": floats(rank=2)}, lambda raw: {"sum": tf.reduce_sum(raw["x"], axis=1)}),
    "same": ({"x": floats(rank=2)}, lambda raw: {"y": raw["x"] + 0.0}),
    "mean": ({"x": floats()}, lambda raw: {"y": raw["x"], "mean": tf.reduce_mean(raw["x"])}),
    "longer": ({"x": floats()}, lambda raw: {"y": raw["x"], "z": tf.concat([raw["x"]] * 2, 0)}),
    "checked": ({"x": floats()}, checked),
    "text": ({"s": floats("s", dtype=tf.string)}, lambda raw: {"s": raw["s"] + ""}),
    "bytes": ({"s": floats("s", dtype=tf.string)}, lambda raw: {"s_bytes": raw["s"] + ""}),
    "half": ({"x": floats(dtype=tf.half)}, lambda raw: {"y": tf.cast(raw["x"], tf.float32)}),
    "to_half": ({"x": floats()}, lambda raw: {"y": tf.cast(raw["x"], tf.half)}),
    "regress": (EXAMPLES, lambda raw: {"outputs": regress(raw)}),
    "regress_column": (EXAMPLES, lambda raw: {"outputs": regress(raw)[:, tf.newaxis]}),
    "regress_wide": (EXAMPLES, lambda raw: {"outputs": tf.stack([regress(raw)] * 2, axis=1)}),
    "regress_fewer": (EXAMPLES, lambda raw: {"outputs": regress(raw)[1:]}),
    "classify": (EXAMPLES, classify),
    "scores": (EXAMPLES, lambda raw: {"scores": classify(raw)["scores"]}),
    **{
        kind: ({"x": floats(dtype=dtype)}, lambda raw: {"y": tf.identity(raw["x"])})
        for kind, dtype in KINDS.items()
    },
}


class Functions(tf.Module):
    """Keeps what the signatures need."""

    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(factor)


def save(folder, signatures=SIGNATURES):
    module = Functions(1.0)
    found = {
        name: tf.function(function, input_signature=[inputs]).get_concrete_function()
        for name, (inputs, function) in signatures.items()
    }
    tf.saved_model.save(module, str(folder), signatures=found)


def save_constant(base, number, factor):
    """A version that answers factor times x; it appears whole."""
    module = Functions(factor)
    serve = tf.function(
        lambda raw: {"y": module.factor * raw["x"]}, input_signature=[{"x": floats()}]
    )
    temporary = base / f".tmp-{number}"
    tf.saved_model.save(module, str(temporary), signatures=serve.get_concrete_function())
    temporary.rename(base / str(number))


@contextlib.contextmanager
def serve_all(base):
    """The address of a server that has all signatures as version 3 of model m."""
    save(base / "3")
    with serve_folders({"m": base}, labels={"m": {"stable": 3, "gone": 2}}) as url:
        yield url


def predict(url, signature, **request):
    status, text = post(url, f"{MODEL}:predict", {"signature_name": signature} | request)
    return status, json.loads(text)


def refused(url, signature, **request):
    """The message of a request that is answered by 400."""
    status, content = predict(url, signature, **request)
    assert (status, list(content)) == (400, ["error"])
    return content["error"]
