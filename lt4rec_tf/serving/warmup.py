"""Warm-up requests, which TensorFlow Serving replays on a version before it serves clients.

The first request of a signature is slow: graphs are optimised and memory is allocated then. A
version can contain its first requests, in the file WARMUP_FILE. A server refuses a version if one
of them fails, so they are replayed here before it is published.

The requests are protocol buffers of the package tensorflow-serving-api, the extra `serving`.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.serving.publish import Arrays, OpenedVersion, PublishError
from lt4rec_tf.serving.signatures import REGRESS

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000  # a server refuses more
REGRESS_INPUT, REGRESS_OUTPUT = "inputs", "outputs"
_REGRESS_METHOD = "tensorflow/serving/regress"

Answers = dict[str, dict[str, np.ndarray]]  # signature -> output -> values


class WarmupError(PublishError):
    """Requests that a server could not replay."""


class ServingApiMissingError(ImportError):
    """The package that defines the requests is not installed; all else works without it."""


def warmup_records(
    requests: Mapping[str, Arrays], batch_sizes: Sequence[int] = (), model: str = "model"
) -> bytes:
    """Makes the content of WARMUP_FILE: requests to every signature, of every batch size.

    Signatures named regress_<task> get regress requests, the others predict requests. Where there
    are several of the former, MultiInference requests for all of them are added.

    Args:
        requests: Signature -> input -> values of real rows; all inputs of a signature have equally
            many. A batch of more rows repeats them.
        batch_sizes: Rows per request, besides 1.
        model: The model's name in the requests. Servers do not compare it with theirs.

    Returns:
        A TFRecord file of serialized `tensorflow.serving.PredictionLog`.

    Raises:
        WarmupError: Inputs without rows or of different length, a batch size below 1, bytes that
            are no tf.Example where a regress signature takes one, or more than 1000 requests.
        ServingApiMissingError: tensorflow-serving-api is not installed.
    """
    new_log = _prediction_log()
    sizes = sorted({1, *batch_sizes})
    if sizes[0] < 1:
        raise WarmupError(f"warm-up batch size: found {sizes[0]}, expected 1 or more")

    regressions = [name for name in requests if name.startswith(REGRESS)]
    logs = []
    for size in sizes:
        for signature, inputs in requests.items():
            rows = _rows(signature, inputs, size)
            fill = _regress if signature in regressions else _predict
            logs.append(fill(new_log(), model, signature, rows))
        if len(regressions) > 1:
            rows = _rows(regressions[0], requests[regressions[0]], size)
            logs.append(_multi_inference(new_log(), model, regressions, rows))

    if len(logs) > MAX_RECORDS:
        raise WarmupError(f"found {len(logs)} warm-up requests, expected at most {MAX_RECORDS}")
    return _to_tfrecord(log.SerializeToString(deterministic=True) for log in logs)


def replay(version: OpenedVersion, records: bytes) -> list[Answers]:
    """Answers warm-up requests as a server does when it loads a version.

    Args:
        version: Opened by the session loader.
        records: From `warmup_records`, or the content of a version's WARMUP_FILE.

    Returns:
        Per request: its answers by signature (MultiInference has several) and output.

    Raises:
        WarmupError: A request fails: a server would refuse the version. Names the request.
        ServingApiMissingError: tensorflow-serving-api is not installed.
    """
    new_log = _prediction_log()
    answers = []
    for place, record in enumerate(_from_tfrecord(records)):
        try:
            answers.append(_answer(version, new_log.FromString(record)))
        except (PublishError, DecodeError) as error:
            raise WarmupError(f"warm-up request {place}: {error}") from error
    return answers


def _prediction_log() -> Any:
    try:
        apis = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    except ImportError as error:
        raise ServingApiMissingError(
            "warm-up requests need tensorflow-serving-api: pip install 'lt4rec_tf[serving]'"
        ) from error
    return apis.PredictionLog


def _rows(signature: str, inputs: Arrays, size: int) -> Arrays:
    lengths = {name: len(values) for name, values in inputs.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise WarmupError(f"signature {signature}: found rows {lengths}, expected equally many")
    return {name: values[np.arange(size) % len(values)] for name, values in inputs.items()}


def _predict(log: Any, model: str, signature: str, rows: Arrays) -> Any:
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, values in rows.items():
        tensor = tf.make_tensor_proto(values, tf.as_dtype(values.dtype))
        request.inputs[name].CopyFrom(tensor)
    return log


def _regress(log: Any, model: str, signature: str, rows: Arrays) -> Any:
    request = log.regress_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    _add_examples(request, signature, rows)
    return log


def _multi_inference(log: Any, model: str, signatures: Sequence[str], rows: Arrays) -> Any:
    request = log.multi_inference_log.request
    for signature in signatures:
        task = request.tasks.add(method_name=_REGRESS_METHOD)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    _add_examples(request, signatures[0], rows)
    return log


def _add_examples(request: Any, signature: str, rows: Arrays) -> None:
    if set(rows) != {REGRESS_INPUT}:
        raise WarmupError(
            f"signature {signature}: found inputs {sorted(rows)}, expected {REGRESS_INPUT!r} alone"
        )
    try:
        for example in rows[REGRESS_INPUT]:
            request.input.example_list.examples.add().ParseFromString(example)
    except DecodeError as error:
        raise WarmupError(f"signature {signature}: found bytes that are no tf.Example") from error


def _answer(version: OpenedVersion, log: Any) -> Answers:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        signature = request.model_spec.signature_name
        return {signature: version.answers(signature, inputs)}
    if kind == "regress_log":
        request = log.regress_log.request
        return _regressions(version, [request.model_spec], request)
    if kind == "multi_inference_log":
        request = log.multi_inference_log.request
        return _regressions(version, [task.model_spec for task in request.tasks], request)
    raise WarmupError(f"found {kind}, expected a predict, regress or multi-inference request")


def _regressions(version: OpenedVersion, specs: Iterable[Any], request: Any) -> Answers:
    examples = request.input.example_list.examples
    serialized = np.array([example.SerializeToString() for example in examples], object)
    answers = {}
    for spec in specs:
        outputs = version.answers(spec.signature_name, {REGRESS_INPUT: serialized})
        shapes = {name: values.shape for name, values in outputs.items()}
        rows = len(examples)
        if shapes not in ({REGRESS_OUTPUT: (rows,)}, {REGRESS_OUTPUT: (rows, 1)}):
            raise WarmupError(
                f"signature {spec.signature_name}: found outputs {shapes}, "
                f"expected {REGRESS_OUTPUT!r} alone, a number for each of {rows} examples"
            )
        answers[spec.signature_name] = outputs
    return answers


# TensorFlow writes and reads record files by path alone.
def _to_tfrecord(records: Iterable[bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        return path.read_bytes()


def _from_tfrecord(content: bytes) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        path.write_bytes(content)
        try:
            return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        except tf.errors.DataLossError as error:
            raise WarmupError("warm-up requests: found a damaged TFRecord file") from error
