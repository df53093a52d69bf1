"""The requests by which TensorFlow Serving warms a version up."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.serving.publish import PublishError, opened, publish
from lt4rec_tf.serving.warmup import (
    MAX_RECORDS,
    WARMUP_FILE,
    ServingApiMissingError,
    WarmupError,
    replay,
    warmup_records,
)

prediction_log_pb2 = pytest.importorskip(
    "tensorflow_serving.apis.prediction_log_pb2",
    reason="warm-up requests need the extra `serving`",
)

AGES = [31.5, -2.0, 0.25]


class Ages(tf.Module):
    """Predict signatures over features and examples, and two regressions over examples."""

    def __init__(self):
        super().__init__()
        self.slope = tf.Variable(2.0)

    def signatures(self):
        words, ages = (
            tf.TensorSpec((None, None), tf.string, "tags"),
            tf.TensorSpec((None,), tf.float32, "age"),
        )
        examples = tf.TensorSpec((None,), tf.string, "examples")
        inputs = tf.TensorSpec((None,), tf.string, "inputs")
        functions = {
            "serving_default": (self.predict, [{"age": ages, "tags": words}]),
            "tf_example": (self.parsed, [{"examples": examples}]),
            "regress_ctr": (lambda raw: self.regress(raw, 1.0), [{"inputs": inputs}]),
            "regress_cvr": (lambda raw: self.regress(raw, -1.0), [{"inputs": inputs}]),
        }
        return {
            name: tf.function(function, input_signature=specs).get_concrete_function()
            for name, (function, specs) in functions.items()
        }

    def predict(self, raw):
        length = tf.reduce_sum(tf.strings.length(raw["tags"]), 1)
        return {"age": self.slope * raw["age"], "length": tf.cast(length, tf.float32)}

    def parsed(self, raw):
        return {"age": self.slope * self._ages(raw["examples"])}

    def regress(self, raw, sign):
        return {"outputs": sign * self.slope * self._ages(raw["inputs"])}

    def _ages(self, examples):
        return tf.io.parse_example(examples, {"age": tf.io.FixedLenFeature((), tf.float32)})["age"]


def example(age):
    number = tf.train.Feature(float_list=tf.train.FloatList(value=[age]))
    features = tf.train.Features(feature={"age": number})
    return tf.train.Example(features=features).SerializeToString()


EXAMPLES = np.array([example(age) for age in AGES], object)
REQUESTS = {
    "serving_default": {
        "age": np.array(AGES, np.float32),
        "tags": np.array([[b"a", "фильм".encode()], [b"", b""], [b"\xff\x00", b"b"]], object),
    },
    "tf_example": {"examples": EXAMPLES},
    "regress_ctr": {"inputs": EXAMPLES},
    "regress_cvr": {"inputs": EXAMPLES},
}
ANSWERS = {
    "serving_default": {
        "age": np.array([63.0, -4.0, 0.5], np.float32),
        "length": np.array([11.0, 0.0, 3.0], np.float32),
    },
    "tf_example": {"age": np.array([63.0, -4.0, 0.5], np.float32)},
    "regress_ctr": {"outputs": np.array([63.0, -4.0, 0.5], np.float32)},
    "regress_cvr": {"outputs": np.array([-63.0, 4.0, -0.5], np.float32)},
}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A published version, warm-up file and all, opened as a server opens it."""
    model = Ages()

    def extra(saved):
        records = warmup_records(REQUESTS, [2, 5])
        replay(saved, records)
        return {WARMUP_FILE: records}

    base = tmp_path_factory.mktemp("models")
    folder = publish(model, model.signatures(), base, REQUESTS, ANSWERS, extra=extra)
    with opened(folder) as found:
        yield found


def logs_of(folder):
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_every_signature_is_asked_at_every_batch_size(version):
    asked = []
    for log in logs_of(version.folder):
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        if kind == "multi_inference_log":
            assert {task.method_name for task in request.tasks} == {"tensorflow/serving/regress"}
            assert {task.model_spec.name for task in request.tasks} == {"model"}
            name = "+".join(task.model_spec.signature_name for task in request.tasks)
        else:
            assert request.model_spec.name == "model"
            name = request.model_spec.signature_name
        if kind == "predict_log":
            (rows,) = {tensor.tensor_shape.dim[0].size for tensor in request.inputs.values()}
        else:
            rows = len(request.input.example_list.examples)
        asked.append((kind, name, rows))
    assert sorted(asked) == sorted(
        (kind, name, rows)
        for rows in (1, 2, 5)
        for kind, name in [
            ("predict_log", "serving_default"),
            ("predict_log", "tf_example"),
            ("regress_log", "regress_ctr"),
            ("regress_log", "regress_cvr"),
            ("multi_inference_log", "regress_ctr+regress_cvr"),
        ]
    )


def test_a_replay_gives_the_models_answers(version):
    records = (version.folder / WARMUP_FILE).read_bytes()
    replayed = replay(version, records)
    assert [sorted(answers) for answers in replayed].count(["regress_ctr", "regress_cvr"]) == 3
    sizes = set()
    for answers in replayed:
        for signature, outputs in answers.items():
            assert set(outputs) == set(ANSWERS[signature])
            for name, values in outputs.items():
                sizes.add(len(values))
                rows = np.resize(ANSWERS[signature][name], len(values))  # rows come round again
                np.testing.assert_array_equal(values, rows)
    assert sizes == {1, 2, 5}


def test_requests_hold_the_rows_as_they_are(version):
    requests = [log.predict_log.request for log in logs_of(version.folder)]
    requests = [one for one in requests if one.model_spec.signature_name == "serving_default"]
    (request,) = [one for one in requests if one.inputs["age"].tensor_shape.dim[0].size == 5]
    tags = tf.make_ndarray(request.inputs["tags"])
    assert tags.tolist() == np.resize(REQUESTS["serving_default"]["tags"], (5, 2)).tolist()


def test_lists_of_no_values_are_asked_too(version):
    empty = {"age": np.array([1.0], np.float32), "tags": np.zeros((1, 0), object)}
    ((signature, answers),) = replay(version, warmup_records({"serving_default": empty}))[0].items()
    assert signature == "serving_default"
    assert answers["length"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ({"rank": REQUESTS["tf_example"]}, "warm-up request 0: signature rank: found none"),
        ({"regress_like": REQUESTS["regress_ctr"]}, "signature regress_like: found none"),
        ({"serving_default": REQUESTS["tf_example"]}, "serving_default: found inputs"),
        (
            {"tf_example": {"examples": np.array([b"junk"], object)}},
            "request 0: signature tf_example: refuses its inputs",
        ),
    ],
    ids=["predict", "regress", "inputs", "values"],
)
def test_a_request_that_fails_is_refused(version, requests, message):
    with pytest.raises(WarmupError, match=message):
        replay(version, warmup_records(requests))


def test_a_failing_request_is_named_by_its_place(version):
    requests = {"tf_example": REQUESTS["tf_example"], "nobody": REQUESTS["tf_example"]}
    with pytest.raises(WarmupError, match="warm-up request 1: signature nobody"):
        replay(version, warmup_records(requests))


def test_a_version_with_a_failing_request_is_not_published(tmp_path):
    model = Ages()

    def extra(saved):
        records = warmup_records({"wrong": REQUESTS["tf_example"]})
        replay(saved, records)
        return {WARMUP_FILE: records}

    with pytest.raises(PublishError, match="signature wrong"):
        publish(model, model.signatures(), tmp_path, REQUESTS, ANSWERS, extra=extra)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_regression_that_answers_no_number_an_example_is_refused(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "inputs")])
    def twice(inputs):
        length = tf.cast(tf.strings.length(inputs), tf.float32)
        return {"outputs": tf.stack([length, length], 1)}

    size = np.array([[len(one)] * 2 for one in EXAMPLES], np.float32)
    requests = {"regress_ctr": REQUESTS["regress_ctr"]}
    signatures = {"regress_ctr": twice.get_concrete_function()}
    expected = {"regress_ctr": {"outputs": size}}
    folder = publish(tf.Module(), signatures, tmp_path, requests, expected)
    with opened(folder) as found, pytest.raises(WarmupError, match=r"'outputs': \(1, 2\)"):
        replay(found, warmup_records(requests))


@pytest.mark.parametrize(
    ("requests", "sizes", "message"),
    [
        ({"a": {"x": np.zeros(0)}}, [], "signature a: found rows {'x': 0}"),
        ({"a": {"x": np.zeros(2), "y": np.zeros(3)}}, [], "{'x': 2, 'y': 3}, expected equally"),
        ({"a": {}}, [], "signature a: found rows {}"),
        ({"a": {"x": np.zeros(2)}}, [0], "batch size: found 0, expected 1 or more"),
        ({"regress_a": {"x": EXAMPLES}}, [], r"found inputs \['x'\], expected 'inputs' alone"),
        ({"regress_a": {"inputs": np.array([b"junk"], object)}}, [], "are no tf.Example"),
    ],
)
def test_rows_that_make_no_request_are_refused(requests, sizes, message):
    with pytest.raises(WarmupError, match=message):
        warmup_records(requests, sizes)


def test_a_server_replays_at_most_1000_requests(version):
    requests = {"serving_default": REQUESTS["serving_default"]}
    most = [1] * 9 + list(range(1, MAX_RECORDS + 1))
    assert len(warmup_records({"a": {"x": np.zeros(1, np.float32)}}, most)) > 0
    with pytest.raises(WarmupError, match="found 1001 warm-up requests, expected at most 1000"):
        warmup_records({"a": {"x": np.zeros(1, np.float32)}}, [*most, MAX_RECORDS + 1])
    assert len(replay(version, warmup_records(requests, [1, 2, 2]))) == 2


def test_a_damaged_file_is_refused(version):
    records = bytearray(warmup_records({"tf_example": REQUESTS["tf_example"]}))
    records[20] ^= 1
    with pytest.raises(WarmupError, match="damaged TFRecord"):
        replay(version, bytes(records))


def test_without_the_serving_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.prediction_log_pb2", None)
    with pytest.raises(ServingApiMissingError, match=r"pip install 'lt4rec_tf\[serving\]'"):
        warmup_records(REQUESTS)
