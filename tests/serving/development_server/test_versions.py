"""The stand-in finds, warms up, serves and unloads versions as TensorFlow Serving does."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.serving_stand_in.folders_served import serve_folders
from tests.serving_stand_in.serving_server import post, send, states, wait_for
from tests.support.served_models import SIGNATURES, save, save_constant

MODEL = "/v1/models/m"


def answer_to_1(url, version=""):
    status, text = post(url, f"{MODEL}{version}:predict", {"instances": [1.0]})
    content = json.loads(text)
    return content["predictions"][0] if status == 200 else status


def test_a_model_without_versions_is_not_found(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / ".tmp-1").mkdir()
    with serve_folders({"m": tmp_path / "absent"}) as url:
        assert send(url, "GET", MODEL)[0] == 404
        assert answer_to_1(url) == 404


def test_the_highest_version_serves_and_the_last_is_unloaded_when_it_is_deleted(tmp_path):
    save_constant(tmp_path, 2, 2.0)
    save_constant(tmp_path, "007", 7.0)
    for name in (".tmp-x", "v50", "5.tmp", "latest"):
        (tmp_path / name).mkdir()
    with serve_folders({"m": tmp_path}, poll_seconds=0.05) as url:
        assert states(url) == {"7": "AVAILABLE"}
        assert (answer_to_1(url), answer_to_1(url, "/versions/2")) == (7.0, 404)
        save_constant(tmp_path, 10, 10.0)
        wait_for(url, {"10": "AVAILABLE", "7": "END"})
        assert (answer_to_1(url), answer_to_1(url, "/versions/7")) == (10.0, 404)
        shutil.rmtree(tmp_path / "10")
        wait_for(url, {"10": "END", "7": "AVAILABLE"})  # the highest that is there
        for name in ("2", "007"):
            (tmp_path / name).rename(tmp_path / f".gone-{name}")
        wait_for(url, {"10": "END", "7": "END"})
        assert answer_to_1(url) == 404


def test_two_versions_and_two_models_side_by_side(tmp_path):
    for number in (1, 2, 3):
        save_constant(tmp_path, number, float(number))
    labels = {"m": {"stable": 2, "canary": 3}}
    models = {"m": tmp_path, "my model": tmp_path}
    with serve_folders(models, labels=labels, keep=2) as url:
        assert list(states(url)) == ["3", "2"]
        assert list(states(url, "my%20model")) == ["3", "2"]
        assert answer_to_1(url, "/labels/stable") == answer_to_1(url, "/versions/2") == 2.0
        assert answer_to_1(url, "/labels/canary") == answer_to_1(url) == 3.0
        assert post(url, "/v1/models/my%20model:predict", {"instances": [1]})[0] == 200


def test_a_version_that_cannot_be_loaded_leaves_the_previous_one(tmp_path):
    save_constant(tmp_path, 1, 1.0)
    with serve_folders({"m": tmp_path}, poll_seconds=0.05) as url:
        (tmp_path / "2").mkdir()
        wait_for(url, {"2": "END", "1": "AVAILABLE"})
        _, _, text = send(url, "GET", f"{MODEL}/versions/2")
        status = json.loads(text)["model_version_status"][0]["status"]
        assert status["error_code"] == "NOT_FOUND"
        assert "saved_model.pb" in status["error_message"]
        assert answer_to_1(url) == 1.0
        save_constant(tmp_path, 3, 3.0)
        wait_for(url, {"3": "AVAILABLE", "2": "END", "1": "END"})


def test_a_half_written_version_takes_over_and_answers_nothing(tmp_path):
    """Why versions are published by a rename."""
    save_constant(tmp_path, 1, 1.0)
    save_constant(tmp_path, "whole", 2.0)
    with serve_folders({"m": tmp_path}, poll_seconds=0.05) as url:
        (tmp_path / "new").mkdir()
        shutil.copy(tmp_path / "whole" / "saved_model.pb", tmp_path / "new")
        (tmp_path / "new").rename(tmp_path / "2")
        wait_for(url, {"2": "AVAILABLE", "1": "END"})
        assert answer_to_1(url) == 400


def test_no_request_fails_while_versions_change(tmp_path):
    save_constant(tmp_path, 1, 1.0)
    answers, ended = [], threading.Event()

    def ask(url):
        while not ended.is_set():
            answers.append(answer_to_1(url))

    with serve_folders({"m": tmp_path}, poll_seconds=0.05) as url:
        threads = [threading.Thread(target=ask, args=(url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        save_constant(tmp_path, 2, 2.0)
        wait_for(url, {"2": "AVAILABLE", "1": "END"})
        ended.set()
        for thread in threads:
            thread.join()
        assert answer_to_1(url) == 2.0
    assert {1.0, 2.0} >= set(answers)
    assert 1.0 in answers


def warm_up(base, *logs):
    """A version with recorded requests, not yet under a number."""
    save(base / "new", {name: SIGNATURES[name] for name in ("one", "regress", "checked")})
    (base / "new" / "assets.extra").mkdir()
    path = base / "new" / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as file:
        for log in logs:
            file.write(log.SerializeToString())


def predict_log(signature, values, name="x", dtype=np.float32):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(values, dtype)))
    return log


def regress_logs(signature, price):
    """A regress request and one that asks twice in one."""
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    example = tf.train.Example()
    example.features.feature["price"].float_list.value.append(price)
    one, several = prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog()
    request = one.regress_log.request
    request.model_spec.signature_name = signature
    request.input.example_list.examples.append(example)
    request = several.multi_inference_log.request
    request.input.example_list.examples.append(example)
    for name in (signature, "regress"):
        task = request.tasks.add(method_name="tensorflow/serving/regress")
        task.model_spec.signature_name = name
    return one, several


def loaded(base):
    """State, code and message of that version as number 2, while version 1 serves."""
    save_constant(base, 1, 1.0)
    with serve_folders({"m": base}, poll_seconds=0.05) as url:
        (base / "new").rename(base / "2")
        deadline = time.monotonic() + 60
        while states(url).get("2") not in ("AVAILABLE", "END"):
            assert time.monotonic() < deadline, states(url)
            time.sleep(0.02)
        _, _, text = send(url, "GET", f"{MODEL}/versions/2")
        found = json.loads(text)["model_version_status"][0]
        if found["state"] == "END":
            assert answer_to_1(url) == 1.0
        return found["state"], found["status"]["error_code"], found["status"]["error_message"]


def test_a_version_serves_after_its_recorded_requests_were_answered(tmp_path):
    warm_up(tmp_path, predict_log("one", [1, 2]), *regress_logs("regress", 2.0))
    assert loaded(tmp_path) == ("AVAILABLE", "OK", "")


@pytest.mark.parametrize(
    ("log", "code", "message"),
    [
        (("none", [1]), "FAILED_PRECONDITION", 'Serving signature key "none" not found.'),
        (("one", [1], "z"), "INVALID_ARGUMENT", r"Missing but required: ['x']"),
        (("one", [1], "x", np.float64), "INVALID_ARGUMENT", "Type mismatch"),
        (("checked", [-1]), "INVALID_ARGUMENT", "x must be above 0"),
    ],
)
def test_one_recorded_request_that_fails_refuses_the_version(tmp_path, log, code, message):
    warm_up(tmp_path, predict_log("one", [1]), predict_log(*log))
    state, found, text = loaded(tmp_path)
    assert (state, found) == ("END", code)
    assert message in text


def test_recorded_regressions_that_fail_refuse_the_version(tmp_path):
    for place in (0, 1):
        base = tmp_path / str(place)
        base.mkdir()
        warm_up(base, regress_logs("one", 2.0)[place])
        assert loaded(base)[:2] == ("END", "FAILED_PRECONDITION")


def test_more_than_a_thousand_recorded_requests_are_refused(tmp_path):
    warm_up(tmp_path, *[predict_log("one", [1])] * 1001)
    assert loaded(tmp_path)[:2] == ("END", "INVALID_ARGUMENT")
