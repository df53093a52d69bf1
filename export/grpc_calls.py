"""The same calls by gRPC; needs tensorflow-serving-api (the package's `serving` extra)."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
import tf_example
from errors import NoAnswerError, RefusedError, shown
from request import Request
from signature import Signature

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

OK = "OK"
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else the channels of a process share a connection
]
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
DTYPES = {"string": object, "int64": np.int64, "float32": np.float32}
MOST_VALUES = 1 << 27  # of an output, whose shape a few bytes may claim

# gRPC prints the stack trace of an answer that it cannot parse, and raises the error too.
logging.getLogger("grpc").setLevel(logging.CRITICAL + 1)


@dataclass
class Model:
    """A model on a server, as `rest.Model`.

    Args:
        target: "host:8500".
        name: Of the model.
        version: A version's number; "": the highest that is available.
        label: A version's label instead.
        timeout: Seconds that a whole answer may take.
    """

    target: str
    name: str
    version: str = ""
    label: str = ""
    timeout: float = 30.0
    channel: grpc.Channel = field(init=False, repr=False)

    ok: ClassVar[str] = OK  # the status of answers

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.target, options=OPTIONS)

    def signatures(self) -> Any:
        """Returns the model's signature definitions by name; raises as `rest.Model.signatures`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        answer = self.send(("GetModelMetadata", request))
        found = ", ".join(sorted(answer.metadata)) or "nothing"  # before a look adds the key
        definitions = get_model_metadata_pb2.SignatureDefMap()
        try:
            is_there = answer.metadata["signature_def"].Unpack(definitions)
        except DecodeError as error:
            raise RefusedError(f"{self.target} metadata: cannot be parsed ({error})", OK) from error
        if not is_there:
            expected = "signature_def, a SignatureDefMap"
            message = f"{self.target} metadata: found {found}, expected {expected}"
            raise RefusedError(message, OK)
        read = json_format.MessageToDict(definitions, preserving_proto_field_name=True)
        return read.get("signature_def", {})

    def call(self, signature: Signature, request: Request) -> tuple[str, Any]:
        """Returns the method and the message of a request, for `send`."""
        spec = self._spec(signature.name)
        if signature.kind == "regress":
            regression = regression_pb2.RegressionRequest(model_spec=spec)
            for example in request.examples:
                serialized = tf_example.serialize(example)
                regression.input.example_list.examples.add().MergeFromString(serialized)
            return "Regress", regression

        if signature.kind == "examples":
            serialized_examples = [tf_example.serialize(example) for example in request.examples]
            inputs = {"examples": tf.make_tensor_proto(serialized_examples, tf.string)}
        else:
            inputs = {}
            for feature in signature.features:
                values = (request.inputs or {})[feature.name]
                with np.errstate(over="ignore"):  # beyond float32 is infinity, as in JSON
                    array = np.array(values, DTYPES[feature.dtype])
                inputs[feature.name] = tf.make_tensor_proto(array)
        return "Predict", predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)

    def send(self, call: tuple[str, Any]) -> Any:
        """Sends a call and returns its answer, for `read`.

        Raises:
            NoAnswerError: No server, no whole answer, or not in time.
            RefusedError: Another status than OK.
        """
        name, request = call
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        method: Callable[..., Any] = getattr(stub, name)
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            status = error.code().name
            message = f"{self.target} {name}: {status}: {error.details()}"
            if error.code() in NO_ANSWER:
                raise NoAnswerError(message) from error
            raise RefusedError(message, status) from error

    def read(self, signature: Signature, request: Request, answer: Any) -> dict[str, Any]:
        """Returns the outputs in an answer by name; their values are for `answers.check`.

        Raises:
            RefusedError: A tensor that cannot be parsed.
        """
        if signature.kind == "regress":
            regressions = answer.result.regressions
            return {signature.outputs[0].name: [regression.value for regression in regressions]}
        return {name: self._values(name, answer.outputs[name]) for name in answer.outputs}

    def close(self) -> None:
        """Ends the connection."""
        self.channel.close()

    def _values(self, name: str, tensor: Any) -> Any:
        shape = [axis.size for axis in tensor.tensor_shape.dim]
        if math.prod(shape) > MOST_VALUES:
            raise RefusedError(f"{self.target} Predict: {name}: found shape {shown(shape)}", OK)
        try:
            values = tf.make_ndarray(tensor)
        except (TypeError, ValueError) as error:
            message = f"{self.target} Predict: {name}: cannot be parsed ({error})"
            raise RefusedError(message, OK) from error
        return _texts(values.tolist()) if values.dtype == object else values.tolist()

    def _spec(self, signature: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature)
        if self.version:
            spec.version.value = int(self.version)
        elif self.label:
            spec.version_label = self.label
        return spec


def _texts(values: Any) -> Any:
    """Decodes strings as JSON has them."""
    if isinstance(values, list):
        return [_texts(inner) for inner in values]
    return values.decode("utf-8", "replace")
